// Package node is one node with a real kubelet, containerd and runc, in separate
// namespaces: mounts, network, processes, control groups. All of it ends with its first
// process, and the first process ends with the supervisor. Only empty control groups
// are left, which Close or the next start (Sweep) removes.
//
// The control plane stays outside, on 127.0.0.1. Inside, the same address leads to it,
// because the supervisor also listens in the node's network. From outside, the kubelet
// and the pods' addresses are reached over a pair of devices between the two networks.
package node

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"gantry.invalid/local/internal/instance"
	"gantry.invalid/local/internal/pki"
	"gantry.invalid/local/internal/proc"
)

const (
	// Name is the name of the node.
	Name = "real-1"
	// Label is the key of a label and a taint of the node, both with the value "true".
	// So only pods that tolerate the taint come here.
	Label = "gantry.dev/real"
	// Command is the hidden command under which the node's first process runs.
	Command = "node-inside"
	// Part is the name of the first process among the cluster's parts.
	Part = "real-node"

	socket = "/run/containerd/containerd.sock"
	// namespaces are the namespaces that the node does not share. The one of control
	// groups is made inside, once the process is in its groups.
	namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
)

//go:embed containerd.toml
var containerdConfig string

//go:embed kubelet.yaml
var kubeletConfig string

// settings are the settings of the first process.
type settings struct {
	Root       string `json:"root"`     // the cluster's folder
	Packages   string `json:"packages"` // where Debian's packages are unpacked
	Kubelet    string `json:"kubelet"`  // program
	Sample     string `json:"sample"`   // program of the images
	IP         string `json:"ip"`
	Kubeconfig string `json:"kubeconfig"`
}

func readSettings(file string) (s settings, err error) {
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
}

func (s settings) path(name string) string { return filepath.Join(s.Root, "node", name) }

func (s settings) log(name string) string {
	return filepath.Join(s.Root, "logs", Part+"-"+name+".log")
}

// keep returns the folders that must stay visible inside, wherever they are.
func (s settings) keep() []string {
	return []string{s.Root, s.Packages, filepath.Dir(s.Kubelet), filepath.Dir(s.Sample)}
}

func (s settings) containerd() []string {
	return []string{filepath.Join(s.Packages, "usr/bin/containerd"), "-c", s.path("containerd.toml"), "-l", "info"}
}

func (s settings) kubelet() []string {
	return []string{
		s.Kubelet, "--kubeconfig", s.Kubeconfig, "--config", s.path("kubelet.yaml"), "--root-dir", s.path("kubelet"),
		"--hostname-override", Name, "--node-ip", s.IP,
		"--node-labels", Label + "=true,topology.kubernetes.io/region=local,topology.kubernetes.io/zone=zone-a",
		"--v=1",
	}
}

// Node is a running node.
type Node struct {
	Part   *proc.Part
	Subnet Subnet
	groups groups
	api    net.Listener
}

// Options are the inputs of Start.
type Options struct {
	Dir      instance.Dir
	Self     string // this program
	Programs string // folder with kubelet and sample
	Packages string
	Server   string // the API server's URL
	Address  string // its host and port, outside and inside
	PKI      pki.Cluster
}

// Start starts a node, which becomes Ready some seconds later. An error means that this
// machine does not allow a real node.
func Start(o Options, spawner *proc.Spawner) (n *Node, err error) {
	Sweep()
	s := settings{Root: o.Dir.Root, Packages: o.Packages, Kubelet: filepath.Join(o.Programs, "kubelet"),
		Sample: filepath.Join(o.Programs, "sample"), Kubeconfig: o.Dir.Component("kubelet")}
	for _, name := range []string{"cni", "pods"} {
		if err := os.MkdirAll(s.path(name), 0o755); err != nil {
			return nil, err
		}
	}
	n, opened, err := begin(spawner, o.Dir.Log(Part), o.Self, s.path("settings.json"))
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	defer func() {
		if err != nil {
			n.Part.Reap(0)
			n.Close()
		}
	}()
	s.IP = n.Subnet.Node().String()
	if err := s.write(o, n.Subnet); err != nil {
		return nil, err
	}
	if n.api, err = listenIn(n.Part.ID.PID, o.Address); err != nil {
		return nil, fmt.Errorf("cannot listen in the node's network: %w", err)
	}
	go forward(n.api, o.Address)
	_, err = opened.WriteString("!")
	return n, err
}

// begin starts the first process in its groups and with its network. The process
// continues when a byte is written to opened.
func begin(spawner *proc.Spawner, log, self, file string) (n *Node, opened *os.File, err error) {
	waiting, opened, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer waiting.Close()
	cmd := exec.Command(self, Command, "enter", file)
	cmd.Dir, cmd.Stdin = "/", waiting
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LANG=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	n = &Node{}
	if n.Part, err = spawner.Launch(Part, log, cmd); err != nil {
		opened.Close()
		return nil, nil, fmt.Errorf("no namespaces can be made: %w", err)
	}
	owner, err := proc.Identify(os.Getpid())
	if err == nil {
		n.groups, err = makeGroups(owner)
	}
	if err == nil {
		err = n.groups.take(n.Part.ID.PID)
	}
	if err == nil {
		n.Subnet, err = connect(n.Part.ID.PID)
	}
	if err != nil {
		n.Part.Reap(0)
		n.Close()
		opened.Close()
		return nil, nil, err
	}
	return n, opened, nil
}

// Close removes what is left of a node whose first process has ended.
func (n *Node) Close() {
	if n.api != nil {
		n.api.Close()
	}
	n.groups.remove()
}

// write writes the files that containerd and the kubelet read.
func (s settings) write(o Options, subnet Subnet) error {
	serving, client, err := pki.NewNode(o.Dir.PKI(), Name, s.IP)
	if err != nil {
		return err
	}
	fill := strings.NewReplacer("@node@", filepath.Join(s.Root, "node"), "@packages@", s.Packages, "@socket@", socket,
		"@pause@", pauseImage, "@ca@", o.PKI.CA.Cert, "@cert@", serving.Cert, "@key@", serving.Key,
		"@ip@", s.IP, "@machine@", subnet.machine().String(), "@label@", Label)
	first, last := subnet.Pods()
	cni, err := json.Marshal(map[string]any{
		"cniVersion": "1.0.0", "name": "pods", "plugins": []any{map[string]any{
			"type": "bridge", "bridge": bridge, "isGateway": true, "ipMasq": false,
			"ipam": map[string]any{"type": "host-local", "dataDir": "/run/cni",
				"ranges": []any{[]any{map[string]any{"subnet": subnet.CIDR().String(), "gateway": s.IP,
					"rangeStart": first.String(), "rangeEnd": last.String()}}},
				"routes": []any{map[string]any{"dst": "0.0.0.0/0"}}},
		}}})
	if err != nil {
		return err
	}
	all, err := json.Marshal(s)
	if err != nil {
		return err
	}
	write := func(name string, data []byte) error { return os.WriteFile(s.path(name), data, 0o600) }
	return errors.Join(
		write("containerd.toml", []byte(fill.Replace(containerdConfig))),
		write("kubelet.yaml", []byte(fill.Replace(kubeletConfig))),
		write("cni/10-pods.conflist", cni),
		write("settings.json", all),
		o.PKI.WriteKubeconfig(s.Kubeconfig, o.Server, Name, client),
	)
}
