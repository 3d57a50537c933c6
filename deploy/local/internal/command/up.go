package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"gantry.invalid/local/internal/instance"
	"gantry.invalid/local/internal/kube"
)

// patience is how long "up --detach" waits for a cluster that another command is
// starting, and how long the supervisor itself may take.
const patience = 3 * time.Minute

func up(o options) int {
	if err := o.dir.Create(); err != nil {
		return complain("%v", err)
	}
	release, status, done := hold(o)
	if done {
		return status
	}
	if o.detach {
		release() // the supervisor takes it
		return detach(o)
	}
	defer release()

	// The first signal stops the cluster in order. A second one ends this process at
	// once, and then the kernel ends every part.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(130)
	}()
	return newSupervisor(o).run(ctx)
}

// hold takes the folder's lock. If a cluster runs in the folder, or another start is
// under way, it waits as far as that makes sense and reports in done that the command
// is finished.
func hold(o options) (release func(), status int, done bool) {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		release, held, err := o.dir.Lock()
		if err != nil {
			return nil, complain("%v", err), true
		}
		if held {
			return release, 0, false
		}
		r := o.dir.Load()
		switch {
		case !r.Supervisor.Alive(): // it has just begun or is about to end
		case r.State == instance.Stopping:
		case !o.detach && !o.detached:
			return nil, complain("a cluster already runs in %s (process %d, since %s); stop it first: %s",
				o.dir.Root, r.Supervisor.PID, r.Started.Format(time.DateTime), o.again("down")), true
		case r.State == instance.Ready:
			return nil, reuse(o, r), true
		}
		if time.Now().After(end) {
			return nil, complain("another command holds %s and does not finish; see %s", o.dir.Root, o.again("status")), true
		}
	}
}

// reuse answers "up --detach" for a cluster that already runs.
func reuse(o options, r instance.Record) int {
	if o.nodesSet && r.Nodes != o.nodes {
		return complain("a cluster with %d nodes already runs in %s, not with %d; stop it first: %s",
			r.Nodes, o.dir.Root, o.nodes, o.again("down"))
	}
	if o.realNode && !r.RealNode {
		return complain("a cluster without a real node already runs in %s; stop it first: %s", o.dir.Root, o.again("down"))
	}
	client, err := adminClient(o.dir, r.Server)
	if err == nil {
		err = client.Get(context.Background(), "/readyz", nil)
	}
	if err != nil {
		return complain("a cluster already runs in %s but does not answer (%v); stop it first: %s", o.dir.Root, err, o.again("down"))
	}
	fmt.Printf("already runs in %s (process %d, since %s), Kubernetes %s, %d nodes\n",
		o.dir.Root, r.Supervisor.PID, r.Started.Format(time.DateTime), r.Version, r.Nodes)
	return ok
}

// adminClient makes a client with the cluster administrator's certificate.
func adminClient(dir instance.Dir, server string) (*kube.Client, error) {
	var pem [3][]byte
	for i, name := range []string{"pki/ca.crt", "pki/admin.crt", "pki/admin.key"} {
		data, err := os.ReadFile(dir.Path(name))
		if err != nil {
			return nil, err
		}
		pem[i] = data
	}
	return kube.New(server, pem[0], pem[1], pem[2])
}

// detach starts the supervisor in a new session, prints its output and returns once the
// cluster is ready or the supervisor has ended.
func detach(o options) int {
	self, err := os.Executable()
	if err != nil {
		return complain("%v", err)
	}
	path := o.dir.Path("supervisor.log")
	output, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return complain("cannot write the supervisor's log: %v", err)
	}
	defer output.Close()
	arguments := []string{"up", "--detached"}
	for _, a := range o.arguments {
		if a != "--detach" && a != "-detach" && a != "--detach=true" && a != "-detach=true" {
			arguments = append(arguments, a)
		}
	}
	cmd := exec.Command(self, arguments...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return complain("cannot start the supervisor: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)

	log := &follower{file: output}
	for {
		select {
		case <-signals:
			_ = cmd.Process.Signal(syscall.SIGTERM)
			<-ended
			log.copy()
			return 130
		case err := <-ended:
			log.copy()
			switch r := o.dir.Load(); {
			case err != nil:
				return failed // it has said why
			case r.State == instance.Ready && r.Supervisor.Alive():
				return ok // another start was faster
			}
			return complain("the supervisor ended before the cluster was ready; see %s", path)
		case <-time.After(50 * time.Millisecond):
			// Read the record first, so that the log holds all lines before "ready".
			r := o.dir.Load()
			log.copy()
			if r.State == instance.Ready && r.Supervisor.PID == cmd.Process.Pid {
				return ok
			}
		}
	}
}

// follower copies new content of a file to the output.
type follower struct {
	file   *os.File
	offset int64
}

func (f *follower) copy() {
	n, _ := io.Copy(os.Stdout, io.NewSectionReader(f.file, f.offset, 1<<20))
	f.offset += n
}
