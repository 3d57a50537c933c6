package node

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sysctls are the kernel settings that a kubelet requires. They apply to the whole
// machine, so inside the node other files are mounted over them.
var sysctls = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// Inside runs the node's first process. It runs in separate namespaces, which end with
// it together with all processes in them. Start starts it with the file of its settings
// as the argument. It waits for a byte on its standard input and then executes itself
// again, as a process that sees only the node's control groups.
func Inside(args []string) int {
	if len(args) != 2 {
		return 2
	}
	err := errors.New("no such stage")
	switch args[0] {
	case "enter":
		err = enter(args[1])
	case "run":
		err = run(args[1])
	case "try":
		err = try(args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// enter waits until the node's control groups and network are made.
func enter(file string) error {
	if n, err := os.Stdin.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("the supervisor has gone: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("no namespace of control groups: %w", err)
	}
	stage := "run"
	if filepath.Base(file) == tryFile {
		stage = "try"
	}
	return syscall.Exec(self, []string{self, Command, stage, file}, os.Environ())
}

// mounts gives the node a separate view of the machine's files. kubelet and containerd
// write to fixed paths below /run and /var, so these folders are covered by empty ones
// in memory. keep lists the folders below them that stay visible.
func mounts(keep []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts cannot be made private: %w", err)
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	mount := func(kind, at, options string) error {
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(kind, at, kind, 0, options); err != nil {
			return fmt.Errorf("%s cannot be mounted at %s: %w", kind, at, err)
		}
		return nil
	}
	_ = unix.Unmount(cgroupRoot, unix.MNT_DETACH) // else programs that list mounts find the machine's groups first
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := mount(m[0], m[1], ""); err != nil {
			return err
		}
	}
	if len(all) > 1 || all[0].Options != "" {
		if err := mount("tmpfs", cgroupRoot, "mode=755"); err != nil {
			return err
		}
	}
	for _, h := range all {
		if err := mount(h.mountType(), filepath.Join(cgroupRoot, h.Folder), h.Options); err != nil {
			return err
		}
		if names := strings.Split(h.Folder, ","); len(names) > 1 {
			for _, name := range names {
				if err := os.Symlink(h.Folder, filepath.Join(cgroupRoot, name)); err != nil {
					return err
				}
			}
		}
		if h.Options == "" {
			if err := delegate(); err != nil {
				return err
			}
		}
	}
	if err := cover(keep, "/run", "/var"); err != nil {
		return err
	}
	if err := os.Symlink("/run", "/var/run"); err != nil {
		return err
	}
	for name, value := range sysctls {
		at, file := filepath.Join("/proc/sys", name), filepath.Join("/run", filepath.Base(name))
		if _, err := os.Stat(at); err != nil {
			continue
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s cannot be covered: %w", at, err)
		}
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") // so that running containers see later mounts
}

// delegate allows groups below the root group of version 2. It moves this process into
// a group below, because a group with children may hold no processes.
func delegate() error {
	first := filepath.Join(cgroupRoot, "init")
	if err := os.MkdirAll(first, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(first, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	list, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+"+name), 0); err != nil {
			return err
		}
	}
	return nil
}

// cover mounts empty folders over the given ones, and mounts the paths in keep into
// them again.
func cover(keep []string, folders ...string) error {
	held := map[string]int{}
	for _, path := range keep {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		held[path] = fd
		defer unix.Close(fd)
	}
	for _, folder := range folders {
		if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("%s cannot be covered: %w", folder, err)
		}
		for path, fd := range held {
			if !strings.HasPrefix(path, folder+"/") {
				continue
			}
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("%s cannot be mounted over the empty folder: %w", path, err)
			}
		}
	}
	for _, folder := range []string{"/var/lib", "/var/log", "/var/tmp", "/run/lock"} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// run starts the registry, containerd and the kubelet, and returns when one of them
// ends.
func run(file string) error {
	s, err := readSettings(file)
	if err != nil {
		return err
	}
	if err := mounts(s.keep()); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(Name)); err != nil {
		return err
	}
	images, err := newRegistry(s.Sample)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", Registry)
	if err != nil {
		return err
	}
	ended := make(chan error, 3)
	go func() { ended <- http.Serve(listener, images) }()
	if err := s.start(ended, "containerd", s.containerd()...); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("containerd does not answer: %w; see %s", err, s.log("containerd"))
		}
	}
	if err := s.start(ended, "kubelet", s.kubelet()...); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	for {
		select {
		case err := <-ended:
			return err
		case <-stop:
			return nil // the kernel ends whatever else runs in here
		case <-time.After(time.Second):
			reap()
		}
	}
}

// start starts one of the node's programs. The node ends when the program ends.
func (s settings) start(ended chan<- error, name string, args ...string) error {
	out, err := os.OpenFile(s.log(name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+strings.Join([]string{s.Packages + "/usr/sbin", s.Packages + "/usr/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}, ":"))
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	children[cmd.Process.Pid] = true
	go func() { ended <- fmt.Errorf("%s has ended (%v); see %s", name, cmd.Wait(), s.log(name)) }()
	return nil
}

// children are the processes for which a goroutine waits.
var children = map[int]bool{}

// reap waits for processes whose parent has ended, which are now children of the first
// process. It waits for each by its number, because waiting for any child would take
// the children from the goroutines that wait for them.
func reap() {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil || children[pid] {
			continue
		}
		var status unix.WaitStatus
		_, _ = unix.Wait4(pid, &status, unix.WNOHANG, nil) // not a child, or it runs: nothing happens
	}
}
