package node

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The network is set up by netlink and not by the program ip, which not every machine
// has.

// bridge is the device inside the node to which its pods are connected.
const bridge = "pods"

// Subnet is the network of one node: 256 addresses in 198.18.0.0/15, a range that is
// reserved for tests (RFC 2544), so that it hides no real network.
type Subnet struct{ Number int }

// subnets is the number of such networks.
const subnets = 512

func (s Subnet) address(last byte) net.IP {
	return net.IPv4(198, byte(18+s.Number/256), byte(s.Number%256), last)
}

// Node is the node's address, and the gateway of its pods.
func (s Subnet) Node() net.IP { return s.address(1) }

// machine is the address of the machine, as the pods see it.
func (s Subnet) machine() net.IP { return s.address(254) }

// Pods is the range of the pods' addresses.
func (s Subnet) Pods() (first, last net.IP) { return s.address(2), s.address(250) }

// CIDR is the whole network.
func (s Subnet) CIDR() *net.IPNet {
	return &net.IPNet{IP: s.address(0), Mask: net.CIDRMask(24, 32)}
}

// link is the device outside, which the kernel removes with the node's network.
func (s Subnet) link() string { return fmt.Sprintf("gantry-%d", s.Number) }

// connect joins the network of a process to this machine's by a pair of devices. The
// inner end is connected to a bridge for the pods. The route outside reserves the
// subnet, because the kernel accepts each route only once.
func connect(pid int) (Subnet, error) {
	inside, err := netns.GetFromPid(pid)
	if err != nil {
		return Subnet{}, err
	}
	defer inside.Close()
	there, err := netlink.NewHandleAt(inside)
	if err != nil {
		return Subnet{}, err
	}
	defer there.Close()
	first := rand.IntN(subnets)
	for n := range subnets {
		s := Subnet{(first + n) % subnets}
		err = s.outside(pid)
		if errors.Is(err, syscall.EEXIST) {
			continue
		}
		if err == nil {
			err = s.inside(there)
		}
		return s, err
	}
	return Subnet{}, errors.New("all networks of 198.18.0.0/15 are taken")
}

func (s Subnet) outside(pid int) error {
	wire := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "uplink", PeerNamespace: netlink.NsPid(pid)}
	wire.Name = s.link()
	if err := netlink.LinkAdd(wire); err != nil {
		return fmt.Errorf("no network device can be made: %w", err)
	}
	link, err := netlink.LinkByName(s.link())
	if err != nil {
		return err
	}
	err = netlink.AddrAdd(link, &netlink.Addr{IPNet: host(s.machine())})
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err == nil {
		err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: s.CIDR(), Src: s.machine(), Scope: netlink.SCOPE_LINK})
	}
	if err != nil {
		_ = netlink.LinkDel(link)
		return fmt.Errorf("network device %s: %w", s.link(), err)
	}
	return nil
}

func (s Subnet) inside(there *netlink.Handle) error {
	device := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	device.Name = bridge
	if err := there.LinkAdd(device); err != nil {
		return fmt.Errorf("no bridge can be made: %w", err)
	}
	address := &net.IPNet{IP: s.Node(), Mask: s.CIDR().Mask}
	if err := there.AddrAdd(device, &netlink.Addr{IPNet: address}); err != nil {
		return err
	}
	uplink, err := there.LinkByName("uplink")
	if err != nil {
		return err
	}
	if err := there.LinkSetMaster(uplink, device); err != nil {
		return err
	}
	lo, err := there.LinkByName("lo")
	if err != nil {
		return err
	}
	return errors.Join(there.LinkSetUp(lo), there.LinkSetUp(uplink), there.LinkSetUp(device))
}

func host(ip net.IP) *net.IPNet { return &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)} }

// listenIn listens in the network of another process. A socket stays in the network in
// which it was made, whichever process uses it.
func listenIn(pid int, address string) (net.Listener, error) {
	type made struct {
		listener net.Listener
		err      error
	}
	result := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		inside, err := netns.GetFromPid(pid)
		if err == nil {
			defer inside.Close()
			err = unix.Setns(int(inside), unix.CLONE_NEWNET)
		}
		if err != nil {
			result <- made{err: err}
			return
		}
		l, err := net.Listen("tcp", address)
		result <- made{l, err}
	}()
	r := <-result
	return r.listener, r.err
}

// forward carries every connection of a listener to an address outside, until the
// listener is closed.
func forward(from net.Listener, to string) {
	for {
		inner, err := from.Accept()
		if err != nil {
			return
		}
		go func() {
			defer inner.Close()
			outer, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer outer.Close()
			go func() {
				_, _ = io.Copy(outer, inner)
				_ = outer.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(inner, outer)
		}()
	}
}
