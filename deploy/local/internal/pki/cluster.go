package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Cluster is the set of certificates that one cluster needs.
type Cluster struct {
	CA          Pair // signs servers and users
	EtcdCA      Pair // separate, so that no user of the cluster is a user of etcd
	FrontCA     Pair // separate, because its clients may act as any user towards an extension server
	Serving     Pair // of every server but etcd
	Metrics     Pair // of metrics-server, under its name in the cluster
	Etcd        Pair
	EtcdClient  Pair
	FrontProxy  Pair // the API server towards extension servers
	Kubelet     Pair // the API server towards kubelets
	Admin       Pair
	Controllers Pair
	Scheduler   Pair
	TokenKey    string // signs service accounts' tokens
	TokenPublic string // checks them
}

// NewCluster makes all certificates in a folder. Existing authorities and the existing
// token key are preserved; everything else is replaced.
func NewCluster(dir string) (c Cluster, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return c, err
	}
	ca, err1 := newAuthority(dir, "ca")
	etcd, err2 := newAuthority(dir, "etcd-ca")
	front, err3 := newAuthority(dir, "front-proxy-ca")
	if err := errors.Join(err1, err2, err3); err != nil {
		return c, err
	}
	c.CA, c.EtcdCA, c.FrontCA = ca.Pair, etcd.Pair, front.Pair

	var failed error
	must := func(p Pair, err error) Pair {
		failed = errors.Join(failed, err)
		return p
	}
	c.Serving = must(ca.server("serving", "127.0.0.1", "::1", "localhost", "10.0.0.1",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"))
	c.Metrics = must(ca.server("metrics-server", "127.0.0.1", "localhost", "metrics-server.kube-system.svc"))
	c.Etcd = must(etcd.server("etcd", "127.0.0.1", "localhost"))
	c.EtcdClient = must(etcd.client("etcd-client", "kube-apiserver"))
	c.FrontProxy = must(front.client("front-proxy-client", "front-proxy-client"))
	c.Kubelet = must(ca.client("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"))
	c.Admin = must(ca.client("admin", "gantry-local-admin", "system:masters"))
	c.Controllers = must(ca.client("controller-manager", "system:kube-controller-manager"))
	c.Scheduler = must(ca.client("scheduler", "system:kube-scheduler"))
	c.TokenKey, c.TokenPublic = filepath.Join(dir, "sa.key"), filepath.Join(dir, "sa.pub")
	return c, errors.Join(failed, writeTokenKeys(c.TokenKey, c.TokenPublic))
}

// NewNode makes a kubelet's certificates, signed by the cluster's authority in the
// folder: the serving one for its address, and the client one that makes it a node.
func NewNode(dir, name, ip string) (serving, client Pair, err error) {
	ca, err := newAuthority(dir, "ca")
	if err != nil {
		return serving, client, err
	}
	serving, err1 := ca.server("node-serving", ip, name)
	client, err2 := ca.client("node", "system:node:"+name, "system:nodes")
	return serving, client, errors.Join(err1, err2)
}

// writeTokenKeys makes the key pair of the service accounts' tokens unless it exists.
func writeTokenKeys(private, public string) error {
	if _, err := os.Stat(private); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	privateDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	publicDER, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: privateDER}), 0o600)
}

// WriteKubeconfig writes a kubeconfig with a single context named gantry-local. The
// file is replaced in one step, so a reader sees the old file or the new one.
func (c Cluster) WriteKubeconfig(path, server, user string, p Pair) error {
	b64 := base64.StdEncoding.EncodeToString
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: gantry-local
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: %q
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: gantry-local
  context: {cluster: gantry-local, user: %q}
current-context: gantry-local
`, server, b64(c.CA.CertPEM), user, b64(p.CertPEM), b64(p.KeyPEM), user)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
