package proc

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Spawner starts child processes that end with this one, in whatever way it ends.
//
// The kernel's "parent death signal" fires when the thread that forked ends, not when
// the process does. Go's threads come and go, so one goroutine holds one thread
// permanently and starts every child from it.
type Spawner struct{ jobs chan spawnJob }

type spawnJob struct {
	cmd  *exec.Cmd
	done chan error
}

// NewSpawner makes a Spawner; its thread lives as long as the process.
func NewSpawner() *Spawner {
	s := &Spawner{jobs: make(chan spawnJob)}
	go func() {
		runtime.LockOSThread()
		for job := range s.jobs {
			job.done <- job.cmd.Start()
		}
	}()
	return s
}

// Part is one running component.
type Part struct {
	Name     string
	ID       ID
	Log      string
	pid      int
	ended    chan struct{}
	result   string
	failed   bool
	stopping atomic.Bool
}

// Start starts a component with its output in a log file. The component leads a new
// process group, so that Ctrl-C on the terminal reaches only the supervisor, which then
// stops the parts in order.
func (s *Spawner) Start(name, log, dir string, env []string, program string, args ...string) (*Part, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, env
	return s.Launch(name, log, cmd)
}

// Launch starts a command in the same way. The command may have attributes set.
func (s *Spawner) Launch(name, log string, cmd *exec.Cmd) (*Part, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write the log of %s: %w", name, err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	job := spawnJob{cmd: cmd, done: make(chan error)}
	s.jobs <- job
	if err := <-job.done; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	p := &Part{Name: name, Log: log, pid: cmd.Process.Pid, ended: make(chan struct{})}
	p.ID, _ = Identify(p.pid) // the child is not waited for yet, so it exists, at worst as a zombie
	go func() {
		err := cmd.Wait()
		p.result = "it ended with status 0"
		if err != nil {
			p.result, p.failed = err.Error(), true
		}
		close(p.ended)
	}()
	return p, nil
}

// Ended is closed when the part is gone.
func (p *Part) Ended() <-chan struct{} { return p.ended }

// Stopping reports whether the part has been asked to end.
func (p *Part) Stopping() bool { return p.stopping.Load() }

// Result returns how the part ended; call it after Ended only.
func (p *Part) Result() string { return p.result }

// Succeeded reports whether the part ended with status 0; call it after Ended only.
func (p *Part) Succeeded() bool { return !p.failed }

// Terminate asks the part to end.
func (p *Part) Terminate() {
	p.stopping.Store(true)
	p.signal(syscall.SIGTERM)
}

// Reap waits for a part that was asked to end, kills it when patience is over, and
// reports whether it had to.
func (p *Part) Reap(patience time.Duration) (killed bool) {
	select {
	case <-p.ended:
		return false
	case <-time.After(patience):
	}
	p.stopping.Store(true)
	p.signal(syscall.SIGKILL)
	<-p.ended
	return true
}

// signal skips a part that has been waited for, because its pid may belong to another
// process by now.
func (p *Part) signal(sig syscall.Signal) {
	select {
	case <-p.ended:
	default:
		_ = syscall.Kill(p.pid, sig)
	}
}

// Tail returns the end of a log file, at most so many lines, indented.
func Tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	if len(data) > 64<<10 {
		data = data[len(data)-64<<10:]
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "  (its log is empty)"
	}
	all := strings.Split(text, "\n")
	all = all[max(0, len(all)-lines):]
	for i, line := range all {
		if len(line) > 400 {
			line = line[:400] + " ..."
		}
		all[i] = "  | " + line
	}
	return strings.Join(all, "\n")
}
