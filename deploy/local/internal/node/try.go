package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gantry.invalid/local/internal/proc"
)

// tryFile is the name of the settings file that makes the first process only try.
const tryFile = "try.json"

// Try returns the reason why this machine allows no real node, or nil if it allows one.
// It makes and removes all that a node needs: namespaces, control groups, network,
// mounts. folder is where the node's files will be, because not every file system can
// hold containers.
func Try(self, folder string) error {
	if os.Geteuid() != 0 {
		return errors.New("it needs root")
	}
	Sweep()
	dir, err := os.MkdirTemp(folder, "try-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log := filepath.Join(dir, "log")
	n, opened, err := begin(proc.NewSpawner(), log, self, filepath.Join(dir, tryFile))
	if err != nil {
		return err
	}
	defer n.Close()
	defer opened.Close()
	if _, err := opened.WriteString("!"); err != nil {
		return err
	}
	if killed := n.Part.Reap(10 * time.Second); killed {
		return errors.New("making its view of the machine takes more than 10 s")
	}
	if !n.Part.Succeeded() {
		return fmt.Errorf("%s (%s)", strings.TrimSpace(proc.Tail(log, 1)), n.Part.Result())
	}
	return nil
}

// try does the same as run up to its first program, and makes a mount like those of
// containers.
func try(file string) error {
	dir := filepath.Dir(file)
	if err := mounts([]string{dir}); err != nil {
		return err
	}
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	options := "lowerdir=" + in("lower") + ",upperdir=" + in("upper") + ",workdir=" + in("work")
	if err := unix.Mount("overlay", in("merged"), "overlay", 0, options); err != nil {
		return fmt.Errorf("no overlay file system can be mounted: %w", err)
	}
	return nil
}
