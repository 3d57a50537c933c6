// Package instance is the folder of one cluster: the paths in it, its lock, and the
// record of the processes that belong to the cluster.
package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"gantry.invalid/local/internal/proc"
)

// marker is the file that marks a folder as a cluster's. Without it nothing is ever
// removed from a folder.
const marker = ".gantry-local"

// Dir is a cluster's folder.
type Dir struct{ Root string }

// Open returns a cluster's folder, which need not exist.
func Open(path string) (Dir, error) {
	if path == "" {
		state := os.Getenv("XDG_STATE_HOME")
		if state == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return Dir{}, fmt.Errorf("no folder for the cluster: %w; give one with --dir", err)
			}
			state = filepath.Join(home, ".local", "state")
		}
		path = filepath.Join(state, "gantry", "local")
	}
	root, err := filepath.Abs(path)
	return Dir{Root: root}, err
}

// Paths in the folder.
func (d Dir) Path(name string) string      { return filepath.Join(d.Root, name) }
func (d Dir) Kubeconfig() string           { return d.Path("kubeconfig") }
func (d Dir) PKI() string                  { return d.Path("pki") }
func (d Dir) Log(part string) string       { return filepath.Join(d.Path("logs"), part+".log") }
func (d Dir) Component(name string) string { return d.Path(name + ".kubeconfig") }
func (d Dir) record() string               { return d.Path("run.json") }

// Exists reports whether the folder is a cluster's.
func (d Dir) Exists() bool {
	_, err := os.Stat(d.Path(marker))
	return err == nil
}

// Create marks the folder as a cluster's. It refuses a folder that holds other files,
// because a later start empties it.
func (d Dir) Create() error {
	if d.Exists() {
		return nil
	}
	entries, err := os.ReadDir(d.Root)
	if err == nil && len(entries) > 0 {
		return fmt.Errorf("%s holds other files and no cluster; give an empty or a new folder with --dir", d.Root)
	}
	if err := os.MkdirAll(d.Root, 0o700); err != nil {
		return fmt.Errorf("cannot make the cluster's folder: %w", err)
	}
	return os.WriteFile(d.Path(marker), []byte("A local Kubernetes cluster lives in this folder. It is emptied at each start.\n"), 0o600)
}

// Clean removes the files of an earlier run. With keep it preserves the objects of the
// cluster and what belongs to them (authorities, token keys). The kubeconfig stays
// until the new one replaces it, because programs may be waiting at it.
func (d Dir) Clean(keep bool) error {
	names := []string{"logs", "certs", "kwok.yaml", "controller-manager.kubeconfig", "scheduler.kubeconfig", "kubelet.kubeconfig", "node"}
	if !keep {
		names = append(names, "etcd", "pki")
	}
	var failed error
	for _, name := range names {
		failed = errors.Join(failed, os.RemoveAll(d.Path(name)))
	}
	for _, name := range []string{"logs", "pki"} {
		failed = errors.Join(failed, os.MkdirAll(d.Path(name), 0o700))
	}
	return failed
}

// Lock holds the folder for one supervisor. The kernel releases the lock when the
// holder ends, in whatever way it ends. Children do not inherit it.
func (d Dir) Lock() (release func(), held bool, err error) {
	f, err := os.OpenFile(d.Path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("cannot lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, true, nil
}

// State of a run.
const (
	Starting = "starting"
	Ready    = "ready"
	Stopping = "stopping"
	Stopped  = "stopped"
	Failed   = "failed"
)

// PartID is the process of one part.
type PartID struct {
	Name string `json:"name"`
	proc.ID
}

// Record is the state of the last run, for later commands.
type Record struct {
	State      string    `json:"state"`
	Failure    string    `json:"failure,omitempty"` // why it ended
	Supervisor proc.ID   `json:"supervisor"`
	Parts      []PartID  `json:"parts"`
	Program    string    `json:"program"` // the supervisor's own file
	Server     string    `json:"server"`  // the API server's URL
	Base       int       `json:"base"`    // its block of ports
	Nodes      int       `json:"nodes"`
	RealNode   bool      `json:"realNode,omitempty"`
	Version    string    `json:"version"`
	Started    time.Time `json:"started"`
	ReadyAt    time.Time `json:"readyAt"`
}

// Load reads the record. A missing or unreadable record counts as empty.
func (d Dir) Load() (r Record) {
	data, err := os.ReadFile(d.record())
	if err == nil {
		_ = json.Unmarshal(data, &r)
	}
	return r
}

// Save replaces the record in one step.
func (d Dir) Save(r Record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.record()+".new", append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(d.record()+".new", d.record())
}

// EndLeftovers ends processes of an earlier run whose supervisor is gone, and returns
// their names. It touches only processes that are in the record, have the recorded
// start time and run a program of this tool.
func (d Dir) EndLeftovers() (ended []string, err error) {
	r := d.Load()
	for _, p := range r.Parts {
		killed, e := p.Kill(5 * time.Second)
		if killed {
			ended = append(ended, fmt.Sprintf("%s (%d)", p.Name, p.PID))
		}
		err = errors.Join(err, e)
	}
	return ended, err
}
