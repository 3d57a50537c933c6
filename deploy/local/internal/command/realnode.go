package command

import (
	"fmt"
	"os"
	"path/filepath"

	"gantry.invalid/local/internal/node"
	"gantry.invalid/local/internal/ports"
)

// tryNode is the hidden command that checks whether this machine allows a real node.
// The script runs it before it builds a real node's programs.
const tryNode = "try-node"

// packages is where the script puts containerd, runc and the network's plugins, beside
// the programs. It is a link to the folder with the unpacked packages.
const packages = "packages"

func try(o options) int {
	self, err := os.Executable()
	if err == nil {
		err = o.dir.Create()
	}
	if err == nil {
		err = node.Try(self, o.dir.Root)
	}
	if err != nil {
		complain("no real node on this machine: %v", err)
		return cannot
	}
	return ok
}

// allNodes returns the number of nodes, the real one included.
func (s *supervisor) allNodes() int {
	if s.realNode {
		return s.nodes + 1
	}
	return s.nodes
}

// startNode starts the real node.
func (s *supervisor) startNode() error {
	folder, err := programs()
	if err != nil {
		return err
	}
	unpacked, err := filepath.EvalSymlinks(filepath.Join(folder, packages))
	if err != nil {
		return fmt.Errorf("its programs are missing; start it with %s: %w", me, err)
	}
	n, err := node.Start(node.Options{
		Dir: s.dir, Self: filepath.Join(folder, "cluster"), Programs: folder, Packages: unpacked,
		Server: s.plane.Server(), Address: s.plane.Ports.Address(ports.APIServer), PKI: s.plane.PKI,
	}, s.spawner)
	if err != nil {
		return err
	}
	s.node = n
	s.adopt(n.Part)
	s.say("%s is started, its network is %s", node.Name, n.Subnet.CIDR())
	return nil
}
