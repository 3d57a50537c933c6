// Package ports finds free ports for an instance, so that instances do not collide.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// Offsets of an instance's ports in its block.
const (
	Kubelet    = iota // held by the supervisor; holding it reserves the block
	APIServer         //
	EtcdClient        //
	EtcdPeer          //
	Controllers
	Scheduler
	Kwok
	Metrics
	inUse

	blockSize = 10
	lowest    = 10240
	tries     = 200
)

// Block is ten consecutive ports for one instance. The supervisor listens on the first
// of them as long as it lives. All instances take whole blocks at the same boundaries,
// so the holder of the first port holds the block.
type Block struct {
	Base  int
	Guard net.Listener
}

// Port returns the number of one of the block's ports.
func (b Block) Port(offset int) int { return b.Base + offset }

// Address returns one of the block's ports as an address to listen on.
func (b Block) Address(offset int) string { return address(b.Port(offset)) }

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Take reserves a block: the preferred one (that of the last run, so that addresses
// stay the same), or any other outside the range that the kernel uses for outgoing
// connections.
func Take(preferred int) (Block, error) {
	low, high := ephemeral()
	if preferred != 0 {
		if b, err := take(preferred); err == nil {
			return b, nil
		}
	}
	blocks := candidates(low, high)
	if len(blocks) == 0 {
		return Block{}, fmt.Errorf("no ports are left outside the kernel's range for outgoing connections (%d to %d in /proc/sys/net/ipv4/ip_local_port_range)", low, high)
	}
	var last error
	for range tries {
		b, err := take(blocks[rand.IntN(len(blocks))])
		if err == nil {
			return b, nil
		}
		last = err
	}
	return Block{}, fmt.Errorf("no block of %d free ports on 127.0.0.1 after %d tries: %w", inUse, tries, last)
}

// take listens on the block's first port permanently, and checks that the other ports
// are free.
func take(base int) (Block, error) {
	guard, err := net.Listen("tcp", address(base))
	if err != nil {
		return Block{}, err
	}
	var failed error
	for offset := 1; offset < inUse; offset++ {
		l, err := net.Listen("tcp", address(base+offset))
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		l.Close()
	}
	if failed != nil {
		guard.Close()
		return Block{}, failed
	}
	return Block{Base: base, Guard: guard}, nil
}

// candidates returns the first ports of all blocks outside [low, high].
func candidates(low, high int) []int {
	var out []int
	for base := lowest; base+blockSize <= 65536; base += blockSize {
		if base+blockSize <= low || base > high {
			out = append(out, base)
		}
	}
	return out
}

// ephemeral returns the range of ports for outgoing connections.
func ephemeral() (low, high int) {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		if n, _ := fmt.Sscan(string(data), &low, &high); n == 2 {
			return low, high
		}
	}
	return 32768, 60999
}
