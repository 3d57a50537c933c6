package command

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"gantry.invalid/local/internal/instance"
	"gantry.invalid/local/internal/node"
)

// down stops a cluster and waits until every part has ended. If its supervisor is gone
// it ends the processes that the supervisor may have left.
func down(o options) int {
	if !o.dir.Exists() {
		fmt.Printf("nothing runs in %s\n", o.dir.Root)
		return ok
	}
	r := o.dir.Load()
	begin := time.Now()
	runs := r.Supervisor.Alive()
	if runs {
		if err := r.Supervisor.Signal(syscall.SIGTERM); err != nil && r.Supervisor.Alive() {
			return complain("cannot stop the supervisor (process %d): %v", r.Supervisor.PID, err)
		}
		if !r.Supervisor.WaitGone(20 * time.Second) {
			fmt.Fprintf(os.Stderr, "%s: the supervisor (process %d) does not end in 20 s, so it is killed\n", me, r.Supervisor.PID)
			if _, err := r.Supervisor.Kill(5 * time.Second); err != nil {
				return complain("%v", err)
			}
		}
	}
	// The lock prevents that a cluster that starts now is ended as a leftover.
	release, held, err := o.dir.Lock()
	if err != nil {
		return complain("%v", err)
	}
	if !held {
		return complain("a new cluster is being started in %s", o.dir.Root)
	}
	defer release()
	left, err := o.dir.EndLeftovers()
	if err != nil {
		return complain("%v", err)
	}
	node.Sweep()
	if r = o.dir.Load(); r.State == instance.Starting || r.State == instance.Ready || r.State == instance.Stopping {
		r.State, r.Parts = instance.Stopped, nil
		if err := o.dir.Save(r); err != nil {
			return complain("%v", err)
		}
	}
	switch {
	case len(left) > 0:
		fmt.Printf("ended what was left in %s: %s\n", o.dir.Root, strings.Join(left, ", "))
	case runs:
		fmt.Printf("stopped in %.1f s\n", time.Since(begin).Seconds())
	default:
		fmt.Printf("nothing runs in %s\n", o.dir.Root)
	}
	return ok
}
