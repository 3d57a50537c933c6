package kubelet

import (
	"fmt"
	"strings"
	"time"
)

// heartbeat is the interval at which a running container logs a line.
const heartbeat = 10 * time.Second

// pod holds the fields of a Pod that its logs depend on.
type pod struct {
	Metadata struct {
		Name, Namespace, UID string
		Annotations          map[string]string
	}
	Spec   struct{ Containers []container }
	Status struct{ ContainerStatuses []status }
}

type container struct {
	Name, Image string
	Ports       []struct{ ContainerPort int }
}

type status struct {
	Name         string
	RestartCount int
	State        state
	LastState    state
}

type state struct {
	Waiting    *struct{ Reason, Message string }
	Running    *struct{ StartedAt time.Time }
	Terminated *terminated
}

type terminated struct {
	ExitCode              int
	Reason                string
	StartedAt, FinishedAt time.Time
}

// run is one run of a container, from start to end.
type run struct {
	container   container
	annotations map[string]string
	number      int // its restart count
	started     time.Time
	ended       time.Time // zero while it runs
	code        int
}

type line struct {
	at   time.Time
	text string
}

// run returns the run of a container that "kubectl logs" shows, or with previous the
// one before it. Between a crash and the restart both are the run that ended.
func (p pod) run(name string, previous bool) (run, error) {
	c, s, err := p.find(name)
	if err != nil {
		return run{}, err
	}
	r := run{container: c, annotations: p.Metadata.Annotations, number: s.RestartCount}
	end := func(t *terminated) (run, error) {
		r.started, r.ended, r.code = t.StartedAt, t.FinishedAt, t.ExitCode
		return r, nil
	}
	switch {
	case previous && s.LastState.Terminated != nil:
		if s.State.Running != nil {
			r.number--
		}
		return end(s.LastState.Terminated)
	case previous:
		return r, fmt.Errorf("previous terminated container %q in pod %q not found", name, p.Metadata.Name)
	case s.State.Running != nil:
		r.started = s.State.Running.StartedAt
		return r, nil
	case s.State.Terminated != nil:
		return end(s.State.Terminated)
	case s.LastState.Terminated != nil:
		return end(s.LastState.Terminated)
	}
	reason := "ContainerCreating"
	if s.State.Waiting != nil {
		reason = s.State.Waiting.Reason
	}
	switch reason {
	case "ErrImagePull":
		reason = "image can't be pulled"
	case "ImagePullBackOff":
		reason = "trying and failing to pull image"
	}
	return r, fmt.Errorf("container %q in pod %q is waiting to start: %s", name, p.Metadata.Name, reason)
}

// runNumber returns the run with a given restart count, if it is still known.
func (p pod) runNumber(name string, number int) (run, error) {
	current, err := p.run(name, false)
	if err == nil && current.number == number {
		return current, nil
	}
	if previous, e := p.run(name, true); e == nil && previous.number == number {
		return previous, nil
	}
	return current, fmt.Errorf("container %q in pod %q has gone on: %w", name, p.Metadata.Name, err)
}

func (p pod) find(name string) (container, status, error) {
	for _, c := range p.Spec.Containers {
		if c.Name != name {
			continue
		}
		for _, s := range p.Status.ContainerStatuses {
			if s.Name == name {
				return c, s, nil
			}
		}
		return c, status{}, nil
	}
	return container{}, status{}, fmt.Errorf("container %q in pod %q is not available", name, p.Metadata.Name)
}

// lines returns all lines that the container has printed up to a time.
func (r run) lines(now time.Time) []line {
	return append(r.life(now), r.lastWords()...)
}

// life returns the lines up to a time, without the final ones.
func (r run) life(now time.Time) []line {
	port := 8080
	if len(r.container.Ports) > 0 && r.container.Ports[0].ContainerPort > 0 {
		port = r.container.Ports[0].ContainerPort
	}
	out := []line{
		{r.started, fmt.Sprintf("INFO starting %s, image %s (simulated)", r.container.Name, r.container.Image)},
		{r.started.Add(20 * time.Millisecond), fmt.Sprintf("INFO listening on :%d", port)},
	}
	for i, text := range split(r.annotations["sim/log"]) {
		out = append(out, line{r.started.Add(time.Duration(21+i) * time.Millisecond), text})
	}
	end := now
	if !r.ended.IsZero() {
		end = r.ended
	}
	return append(out, r.heartbeats(end)...)
}

func (r run) heartbeats(end time.Time) (out []line) {
	text := "INFO alive, serving"
	if unready := r.annotations["sim/unready"]; unready != "" && unready != "false" {
		text = "WARN not ready: a dependency does not answer"
	}
	n := int(end.Sub(r.started) / heartbeat)
	for i := 1; i <= n; i++ {
		if at := r.started.Add(time.Duration(i) * heartbeat); at.Before(end) {
			out = append(out, line{at, fmt.Sprintf("%s, up %v", text, time.Duration(i)*heartbeat)})
		}
	}
	return out
}

// lastWords returns the final lines of a container that has ended.
func (r run) lastWords() (out []line) {
	if r.ended.IsZero() {
		return nil
	}
	for i, text := range r.farewell() {
		out = append(out, line{r.ended.Add(time.Duration(i) * time.Millisecond), text})
	}
	return out
}

func (r run) farewell() []string {
	if own := split(r.annotations["sim/crash-log"]); len(own) > 0 && r.code != 0 {
		return own
	}
	switch r.code {
	case 0:
		return []string{"INFO done"}
	case 137: // SIGKILL leaves no line, so the hint comes before it
		return []string{"WARN the heap grows: 97 % of the memory limit is in use"}
	case 143:
		return []string{"INFO got SIGTERM, stopping"}
	}
	return []string{
		"ERROR cannot go on: simulated crash",
		"panic: simulated crash (annotation sim/crash-after: " + r.annotations["sim/crash-after"] + ")",
		"",
		"goroutine 1 [running]:",
		"main.serve(...)",
		"\t/src/main.go:42",
		"main.main()",
		"\t/src/main.go:17 +0x1d",
		fmt.Sprintf("exit status %d", r.code),
	}
}

func split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimRight(text, "\n"), "\n")
}
