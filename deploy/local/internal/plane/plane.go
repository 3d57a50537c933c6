// Package plane makes the flags of every component of the cluster.
package plane

import (
	"os"
	"strconv"
	"strings"

	"gantry.invalid/local/internal/instance"
	"gantry.invalid/local/internal/kube"
	"gantry.invalid/local/internal/pki"
	"gantry.invalid/local/internal/ports"
)

// Names of the components and of their logs.
const (
	Etcd        = "etcd"
	APIServer   = "kube-apiserver"
	Controllers = "kube-controller-manager"
	Scheduler   = "kube-scheduler"
	Kwok        = "kwok"
	Metrics     = "metrics-server"
)

// serviceRange is the range of the Services' addresses, podRange that of the pods'
// addresses.
const (
	serviceRange = "10.0.0.0/16"
	podRange     = "10.244.0.0/16"
)

// Plane holds everything that the flags depend on.
type Plane struct {
	Dir   instance.Dir
	PKI   pki.Cluster
	Ports ports.Block
	Extra map[string][]string // more flags, by component
}

// Server is the API server's URL.
func (p Plane) Server() string { return "https://" + p.Ports.Address(ports.APIServer) }

// EtcdURL is the URL for etcd's clients.
func (p Plane) EtcdURL() string { return "https://" + p.Ports.Address(ports.EtcdClient) }

// Health returns a component's server and the path of its health check.
func (p Plane) Health(name string) (server, path string) {
	switch name {
	case Etcd:
		return p.EtcdURL(), "/health"
	case APIServer:
		return p.Server(), "/readyz"
	case Controllers:
		return "https://" + p.Ports.Address(ports.Controllers), "/healthz"
	default:
		return "https://" + p.Ports.Address(ports.Scheduler), "/healthz"
	}
}

// Args returns a component's arguments.
func (p Plane) Args(name string) []string {
	flags := map[string]func() []string{
		Etcd: p.etcd, APIServer: p.apiServer, Controllers: p.controllers,
		Scheduler: p.scheduler, Kwok: p.kwok, Metrics: p.metrics,
	}[name]()
	return append(append([]string{name}, flags...), p.Extra[name]...)
}

func (p Plane) port(offset int) string { return strconv.Itoa(p.Ports.Port(offset)) }

func (p Plane) etcd() []string {
	return []string{
		"--data-dir=" + p.Dir.Path("etcd"),
		"--listen-client-urls=" + p.EtcdURL(),
		"--listen-peer-urls=https://" + p.Ports.Address(ports.EtcdPeer),
		"--cert-file=" + p.PKI.Etcd.Cert, "--key-file=" + p.PKI.Etcd.Key,
		"--trusted-ca-file=" + p.PKI.EtcdCA.Cert,
		"--unsafe-no-fsync", // the data of a test cluster need not survive a power cut
	}
}

func (p Plane) apiServer() []string {
	return []string{
		"--etcd-servers=" + p.EtcdURL(),
		"--etcd-cafile=" + p.PKI.EtcdCA.Cert, "--etcd-certfile=" + p.PKI.EtcdClient.Cert, "--etcd-keyfile=" + p.PKI.EtcdClient.Key,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		"--secure-port=" + p.port(ports.APIServer),
		"--tls-cert-file=" + p.PKI.Serving.Cert, "--tls-private-key-file=" + p.PKI.Serving.Key,
		"--client-ca-file=" + p.PKI.CA.Cert,
		"--authorization-mode=Node,RBAC",
		"--service-cluster-ip-range=" + serviceRange,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + p.PKI.TokenPublic,
		"--service-account-signing-key-file=" + p.PKI.TokenKey,
		"--kubelet-client-certificate=" + p.PKI.Kubelet.Cert, "--kubelet-client-key=" + p.PKI.Kubelet.Key,
		"--kubelet-certificate-authority=" + p.PKI.CA.Cert,
		"--kubelet-preferred-address-types=InternalIP", // no name server knows the nodes' names
		"--requestheader-client-ca-file=" + p.PKI.FrontCA.Cert,
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p.PKI.FrontProxy.Cert, "--proxy-client-key-file=" + p.PKI.FrontProxy.Key,
		"--allow-privileged=true",
		"--endpoint-reconciler-type=none", // 127.0.0.1 is no valid endpoint address
		"--shutdown-delay-duration=0s",
		"--v=1",
	}
}

// component returns the flags that the controller manager and the scheduler share.
func (p Plane) component(name string, port int) []string {
	kubeconfig := p.Dir.Component(name)
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=" + p.port(port),
		"--tls-cert-file=" + p.PKI.Serving.Cert, "--tls-private-key-file=" + p.PKI.Serving.Key,
		"--leader-elect=false",
		"--kube-api-qps=1000", "--kube-api-burst=2000", // with the defaults (20, 30) a start waits 5 s for them
		"--v=1",
	}
}

func (p Plane) controllers() []string {
	return append(p.component("controller-manager", ports.Controllers),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+p.PKI.TokenKey,
		"--root-ca-file="+p.PKI.CA.Cert,
		"--cluster-signing-cert-file="+p.PKI.CA.Cert, "--cluster-signing-key-file="+p.PKI.CA.Key,
		"--service-cluster-ip-range="+serviceRange)
}

func (p Plane) scheduler() []string { return p.component("scheduler", ports.Scheduler) }

// kwok returns KWOK's flags. KWOK answers any process of this machine on its port, but
// only with metrics, because the configuration allows no logs, exec or port forwarding.
// Nodes name the supervisor's port as their kubelet's port.
func (p Plane) kwok() []string {
	return []string{
		"-v", "ERROR", // otherwise a line for each change of each pod
		"--kubeconfig", "./kubeconfig", // relative, because KWOK splits paths at commas
		"--config", "./kwok.yaml",
		"--manage-nodes-with-annotation-selector", kube.SimulatedNodes,
		"--cidr", podRange,
		"--node-ip", "127.0.0.1", "--node-name", "localhost", "--node-port", p.port(ports.Kubelet),
		"--server-address", p.Ports.Address(ports.Kwok),
		"--node-lease-duration-seconds", "40",
	}
}

func (p Plane) metrics() []string {
	kubeconfig := p.Dir.Kubeconfig()
	return []string{
		"--kubeconfig", kubeconfig, "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
		"--bind-address", "127.0.0.1", "--secure-port", p.port(ports.Metrics),
		"--tls-cert-file", p.PKI.Metrics.Cert, "--tls-private-key-file", p.PKI.Metrics.Key,
		"--kubelet-use-node-status-port", "--kubelet-preferred-address-types", "InternalIP",
		"--kubelet-certificate-authority", p.PKI.CA.Cert,
		"--metric-resolution", "10s", // the shortest that it takes
		"--kubelet-request-timeout", "5s",
	}
}

// Environment returns the environment of the components. It contains no proxy, and no
// settings of another KWOK of the user.
func (p Plane) Environment() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch upper := strings.ToUpper(name); {
		case strings.HasSuffix(upper, "_PROXY"), strings.HasPrefix(upper, "KWOK_"), upper == "KUBECONFIG":
		default:
			env = append(env, v)
		}
	}
	return append(env, "KWOK_WORKDIR="+p.Dir.Path("kwok"))
}
