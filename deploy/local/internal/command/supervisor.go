package command

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"syscall"
	"time"

	"gantry.invalid/local/internal/instance"
	"gantry.invalid/local/internal/kube"
	"gantry.invalid/local/internal/kubelet"
	"gantry.invalid/local/internal/node"
	"gantry.invalid/local/internal/plane"
	"gantry.invalid/local/internal/ports"
	"gantry.invalid/local/internal/proc"
)

// supervisor runs one cluster: it starts the parts, watches them and ends them.
type supervisor struct {
	options
	begin   time.Time
	record  instance.Record
	plane   plane.Plane
	kubebox string
	client  *kube.Client
	kubelet *kubelet.Server
	node    *node.Node
	spawner *proc.Spawner
	parts   []*proc.Part
	ended   chan *proc.Part
}

func newSupervisor(o options) *supervisor {
	return &supervisor{options: o, begin: time.Now(), spawner: proc.NewSpawner(), ended: make(chan *proc.Part, 16)}
}

// say prints one line with the time since the start.
func (s *supervisor) say(format string, args ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(s.begin).Seconds(), fmt.Sprintf(format, args...))
}

// run starts the cluster and returns when a signal stops it or a part ends.
func (s *supervisor) run(ctx context.Context) int {
	err := s.prepare()
	for attempt := 1; err == nil; attempt++ {
		if err = s.start(ctx); err == nil {
			break
		}
		var end *partEnded
		if !errors.As(err, &end) || !strings.Contains(end.tail, "address already in use") || attempt == 3 {
			break
		}
		s.say("another program has just taken a port of %s; trying again with other ports", end.name)
		s.stop()
		s.record.Base, err = 0, nil
	}
	if err == nil {
		err = s.watch(ctx)
	}
	stopped := ctx.Err() != nil
	if !stopped {
		fmt.Fprintf(os.Stderr, "%s: %v\n", me, err)
	}
	s.record.State = instance.Stopping
	if !stopped {
		s.record.Failure = summary(err)
	}
	s.save()
	if len(s.parts) > 0 {
		s.say("stopping")
		s.stop()
		s.say("stopped")
	}
	if stopped {
		s.record.State = instance.Stopped
		s.save()
		return ok
	}
	s.record.State = instance.Failed
	s.save()
	return failed
}

// prepare ends processes that an earlier run left, empties the folder and records this
// run.
func (s *supervisor) prepare() error {
	last := s.dir.Load()
	left, err := s.dir.EndLeftovers()
	if len(left) > 0 {
		s.say("the last run here did not end in order; ended what was left of it: %s", strings.Join(left, ", "))
	}
	if err != nil {
		return err
	}
	if err := s.dir.Clean(s.keep); err != nil {
		return fmt.Errorf("cannot empty %s: %w", s.dir.Root, err)
	}
	folder, err := programs()
	if err != nil {
		return err
	}
	s.kubebox = folder + "/kubebox"
	self, err := proc.Identify(os.Getpid())
	if err != nil {
		return err
	}
	s.record = instance.Record{State: instance.Starting, Supervisor: self, Program: folder + "/cluster",
		Base: last.Base, Nodes: s.nodes, RealNode: s.realNode, Version: Version, Started: s.begin}
	return s.dir.Save(s.record)
}

// save records the run. Errors are ignored, because watch notices when the folder is
// gone.
func (s *supervisor) save() { _ = s.dir.Save(s.record) }

// launch starts one component and watches for its end.
func (s *supervisor) launch(name string) error {
	part, err := s.spawner.Start(name, s.dir.Log(name), s.dir.Root, s.plane.Environment(), s.kubebox, s.plane.Args(name)...)
	if err != nil {
		return err
	}
	s.adopt(part)
	return nil
}

// adopt records a running part and watches for its end.
func (s *supervisor) adopt(part *proc.Part) {
	s.parts = append(s.parts, part)
	s.record.Parts = append(s.record.Parts, instance.PartID{Name: part.Name, ID: part.ID})
	s.save()
	go func() {
		<-part.Ended()
		s.ended <- part
	}()
}

// partEnded is the error that a part ended unexpectedly.
type partEnded struct{ name, result, log, tail string }

func (e *partEnded) Error() string {
	return fmt.Sprintf("%s ended (%s), so everything is stopped; the end of %s:\n%s", e.name, e.result, e.log, e.tail)
}

// summary returns a failure without the end of the log, for status.
func summary(err error) string {
	var end *partEnded
	if errors.As(err, &end) {
		return fmt.Sprintf("%s ended (%s), so everything was stopped", end.name, end.result)
	}
	return err.Error()
}

func unexpected(p *proc.Part) error {
	return &partEnded{name: p.Name, result: p.Result(), log: p.Log, tail: proc.Tail(p.Log, 15)}
}

// wait polls until a condition holds. It returns early when a part ends or the cluster
// is to stop.
func (s *supervisor) wait(ctx context.Context, what string, limit time.Duration, holds func(context.Context) error) error {
	deadline := time.After(limit)
	var last error
	for {
		if last = holds(ctx); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-s.ended:
			if !p.Stopping() {
				return unexpected(p)
			}
		case <-deadline:
			return fmt.Errorf("%s: not after %v (%v); the logs are in %s", what, limit, last, s.dir.Path("logs"))
		case <-time.After(40 * time.Millisecond):
		}
	}
}

// watch returns when a part ends, the cluster is to stop, or its folder is gone. A
// cluster without its folder must not go on, because no command can find it any more.
func (s *supervisor) watch(ctx context.Context) error {
	inode := func() uint64 {
		info, err := os.Stat(s.dir.Path("lock"))
		if err != nil {
			return 0
		}
		return info.Sys().(*syscall.Stat_t).Ino
	}
	first := inode()
	nodes := s.client.WatchNodes()
	var lastLook time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-s.ended:
			if !p.Stopping() {
				return unexpected(p)
			}
		case <-time.After(time.Second):
			if inode() != first {
				return fmt.Errorf("the folder %s has been removed, so everything is stopped", s.dir.Root)
			}
			if time.Since(lastLook) > 3*time.Second {
				_ = nodes.Look(ctx) // an error passes, or a part has ended, which is noticed above
				lastLook = time.Now()
			}
		}
	}
}

// stop ends the parts in order: first those that no other part needs, etcd last. A part
// that does not end within 4 s is killed.
func (s *supervisor) stop() {
	for _, names := range [][]string{
		{plane.Metrics, node.Part, plane.Kwok, plane.Scheduler, plane.Controllers}, {plane.APIServer}, {plane.Etcd},
	} {
		var group []*proc.Part
		for _, p := range s.parts {
			for _, name := range names {
				if p.Name == name {
					p.Terminate()
					group = append(group, p)
				}
			}
		}
		end := time.Now().Add(4 * time.Second)
		for _, p := range group {
			p.Reap(time.Until(end))
		}
	}
	if s.node != nil {
		s.node.Close()
	}
	if s.kubelet != nil {
		s.kubelet.Close()
	} else if s.plane.Ports.Guard != nil {
		s.plane.Ports.Guard.Close()
	}
	s.node, s.kubelet, s.plane.Ports, s.parts, s.record.Parts = nil, nil, ports.Block{}, nil, nil
	s.save()
}

// errorLog opens the log of the HTTP server that runs inside the supervisor.
func (s *supervisor) errorLog() (*log.Logger, error) {
	f, err := os.OpenFile(s.dir.Log("kubelet"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return log.New(f, "", log.LstdFlags), nil
}
