package command

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gantry.invalid/local/internal/instance"
)

// status prints whether the cluster runs, and the memory and CPU time of each part.
func status(o options) int {
	r := o.dir.Load()
	if !r.Supervisor.Alive() {
		return notRunning(o, r)
	}
	fmt.Printf("%s: Kubernetes %s in %s\n", r.State, r.Version, o.dir.Root)
	fmt.Printf("  server      %s\n  kubeconfig  %s\n", r.Server, o.dir.Kubeconfig())
	fmt.Printf("  since       %s", r.Started.Format(time.DateTime))
	if !r.ReadyAt.IsZero() {
		fmt.Printf(", ready after %.1f s", r.ReadyAt.Sub(r.Started).Seconds())
	}
	fmt.Println()
	problem := health(o, r)
	fmt.Printf("\n  %-24s %8s %9s %12s %9s\n", "PART", "PROCESS", "RSS", "OF IT OWN", "CPU")
	parts := append([]instance.PartID{{Name: "supervisor", ID: r.Supervisor}}, r.Parts...)
	for _, p := range parts {
		rss, own, cpu := p.Usage()
		fmt.Printf("  %-24s %8d %6d MB %9d MB %7.1f s\n", p.Name, p.PID, rss>>20, own>>20, cpu.Seconds())
	}
	if problem != nil {
		return complain("not ready: %v; the logs are in %s", problem, o.dir.Path("logs"))
	}
	if r.State != instance.Ready {
		return failed
	}
	return ok
}

// health queries the cluster itself.
func health(o options, r instance.Record) error {
	if r.State != instance.Ready {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := adminClient(o.dir, r.Server)
	if err != nil {
		return err
	}
	if err := client.Get(ctx, "/readyz", nil); err != nil {
		return fmt.Errorf("the API server does not answer: %w", err)
	}
	ready, all, err := client.ReadyNodes(ctx)
	if err != nil {
		return err
	}
	measured, err := client.MeasuredNodes(ctx)
	fmt.Printf("  nodes       %d of %d Ready, metrics of %d\n", ready, all, measured)
	if err != nil {
		return fmt.Errorf("metrics do not answer: %w", err)
	}
	return nil
}

// notRunning prints how the last run ended.
func notRunning(o options, r instance.Record) int {
	switch r.State {
	case "":
		return complain("no cluster in %s; start one: %s", o.dir.Root, o.again("up"))
	case instance.Stopped:
		return complain("the cluster in %s is stopped; start it: %s", o.dir.Root, o.again("up"))
	case instance.Failed:
		return complain("the cluster in %s has failed: %s; the logs are in %s", o.dir.Root, r.Failure, o.dir.Path("logs"))
	}
	return complain("the cluster in %s was %s when its supervisor (process %d) was killed; its parts ended with it; start it again: %s",
		o.dir.Root, r.State, r.Supervisor.PID, o.again("up"))
}

// env prints shell lines for a cluster that runs.
func env(o options) int {
	r := o.dir.Load()
	if _, err := os.Stat(o.dir.Kubeconfig()); err != nil || !r.Supervisor.Alive() {
		return notRunning(o, r)
	}
	fmt.Printf("export KUBECONFIG=%s\n", quote(o.dir.Kubeconfig()))
	fmt.Printf("export PATH=%s:\"$PATH\"\n", quote(filepath.Join(filepath.Dir(r.Program), "bin")))
	return ok
}
