package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gantry.invalid/local/internal/proc"
)

// cgroupRoot is where the machine mounts its control groups.
const cgroupRoot = "/sys/fs/cgroup"

// groupPrefix begins the name of every control group that this tool makes. The rest of
// the name is the owner's process, so that a group whose owner is gone can be
// recognised and removed.
const groupPrefix = "gantry-node-"

// hierarchy is one tree of control groups: the single tree of version 2, or one of the
// many of version 1.
type hierarchy struct {
	Folder  string // its folder in cgroupRoot; empty for version 2
	Options string // how it is mounted; empty for version 2
	Path    string // this process's own group in it
}

func (h hierarchy) mountType() string {
	if h.Options == "" {
		return "cgroup2"
	}
	return "cgroup"
}

// parseHierarchies reads /proc/self/cgroup. If there are hierarchies of version 1, the
// one of version 2 is left out, because containers cannot be limited by both.
func parseHierarchies(text string) (all []hierarchy) {
	var two []hierarchy
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			continue
		}
		if fields[1] == "" {
			two = append(two, hierarchy{Path: fields[2]})
			continue
		}
		all = append(all, hierarchy{Folder: strings.TrimPrefix(fields[1], "name="), Options: fields[1], Path: fields[2]})
	}
	if len(all) == 0 {
		return two
	}
	return all
}

func hierarchies() ([]hierarchy, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	all := parseHierarchies(string(data))
	if len(all) == 0 {
		return nil, errors.New("this process is in no control group")
	}
	return all, nil
}

// groups are the control groups of one node, one in each hierarchy.
type groups []string

// makeGroups makes a group below this process's group in every hierarchy.
func makeGroups(owner proc.ID) (made groups, err error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s%d-%d", groupPrefix, owner.PID, owner.Start)
	for _, h := range all {
		folder := filepath.Join(cgroupRoot, h.Folder, h.Path, name)
		if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			made.remove()
			return nil, fmt.Errorf("no control group can be made: %w", err)
		}
		made = append(made, folder)
		if h.Folder != "cpuset" && !strings.Contains(h.Folder, "cpuset,") && !strings.HasSuffix(h.Folder, ",cpuset") {
			continue
		}
		// A new group of version 1 has no CPUs, and accepts no process until it has
		// some.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(filepath.Dir(folder), file))
			if err == nil {
				err = os.WriteFile(filepath.Join(folder, file), value, 0)
			}
			if err != nil {
				made.remove()
				return nil, err
			}
		}
	}
	return made, nil
}

// take moves a process into the groups.
func (g groups) take(pid int) error {
	for _, folder := range g {
		if err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("the control group takes no process: %w", err)
		}
	}
	return nil
}

// remove removes the groups and all groups below them. It retries for 5 s, because
// processes in them may still be ending.
func (g groups) remove() {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := false
		for _, folder := range g {
			left = !removeTree(folder) || left
		}
		if !left || time.Now().After(end) {
			return
		}
	}
}

// removeTree removes a group with the groups below it and reports whether it is gone.
// The files in a group belong to the kernel and disappear with it.
func removeTree(folder string) bool {
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		if e.IsDir() {
			removeTree(filepath.Join(folder, e.Name()))
		}
	}
	err := syscall.Rmdir(folder)
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

// Sweep removes the groups of nodes whose supervisor was killed before it could remove
// them. The kernel ends the processes and the network of such a node, but not its
// groups.
func Sweep() {
	all, err := hierarchies()
	if err != nil {
		return
	}
	var left groups
	for _, h := range all {
		found, _ := filepath.Glob(filepath.Join(cgroupRoot, h.Folder, h.Path, groupPrefix+"*"))
		for _, folder := range found {
			if owner, ok := ownerOf(filepath.Base(folder)); ok && !owner.Alive() {
				left = append(left, folder)
			}
		}
	}
	if len(left) > 0 {
		left.remove()
	}
}

// ownerOf reads the owner's process from a group's name.
func ownerOf(name string) (id proc.ID, ok bool) {
	pid, start, ok := strings.Cut(strings.TrimPrefix(name, groupPrefix), "-")
	if !ok {
		return id, false
	}
	n, err1 := strconv.Atoi(pid)
	s, err2 := strconv.ParseUint(start, 10, 64)
	if err1 != nil || err2 != nil {
		return id, false
	}
	return proc.Here(n, s), true
}
