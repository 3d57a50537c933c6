package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"gantry.invalid/local/internal/instance"
	"gantry.invalid/local/internal/kube"
	"gantry.invalid/local/internal/kubelet"
	"gantry.invalid/local/internal/pki"
	"gantry.invalid/local/internal/plane"
	"gantry.invalid/local/internal/ports"
	"gantry.invalid/local/internal/sim"
)

// limit is how long a step may take. On an idle machine steps are far shorter.
const limit = time.Minute

// start starts all parts and returns when the nodes are Ready and metrics answer.
func (s *supervisor) start(ctx context.Context) error {
	if err := s.files(); err != nil {
		return err
	}
	for _, name := range []string{plane.Etcd, plane.APIServer} {
		if err := s.launch(name); err != nil {
			return err
		}
		if err := s.healthy(ctx, name); err != nil {
			return err
		}
		s.say("%s answers", name)
	}
	if err := s.startRest(ctx); err != nil {
		return err
	}
	if err := s.wait(ctx, "all nodes Ready", limit, s.nodesReady); err != nil {
		return err
	}
	s.say("%d nodes are Ready", s.allNodes())
	// metrics-server reads at its start and every 10 s, and needs two readings. So it
	// starts only when the first reading can succeed.
	if err := s.launch(plane.Metrics); err != nil {
		return err
	}
	if err := s.controlPlane(ctx); err != nil {
		return err
	}
	s.say("controllers and scheduler answer; metrics need two readings, 10 s apart")
	if err := s.wait(ctx, "metrics of all nodes", limit, s.measured); err != nil {
		return err
	}
	s.say("metrics answer")
	s.record.State, s.record.ReadyAt = instance.Ready, time.Now()
	s.say("ready: Kubernetes %s, %d nodes in %d zones, %s", Version, s.allNodes(), min(3, s.nodes), s.dir.Root)
	fmt.Printf("\n  eval \"$(%s)\"\n  %s\n\n", s.again("env"), s.again("down"))
	return s.dir.Save(s.record)
}

// files reserves ports and writes all files that the components read.
func (s *supervisor) files() error {
	block, err := ports.Take(s.record.Base)
	if err != nil {
		return err
	}
	certificates, err := pki.NewCluster(s.dir.PKI())
	if err != nil {
		block.Guard.Close()
		return fmt.Errorf("cannot make certificates: %w", err)
	}
	s.plane = plane.Plane{Dir: s.dir, PKI: certificates, Ports: block, Extra: s.extra}
	s.record.Base, s.record.Server = block.Base, s.plane.Server()
	s.save()
	server := s.plane.Server()
	err = errors.Join(
		certificates.WriteKubeconfig(s.dir.Kubeconfig(), server, "admin", certificates.Admin),
		certificates.WriteKubeconfig(s.dir.Component("controller-manager"), server, "controller-manager", certificates.Controllers),
		certificates.WriteKubeconfig(s.dir.Component("scheduler"), server, "scheduler", certificates.Scheduler),
		os.WriteFile(s.dir.Path("kwok.yaml"), []byte(sim.Configuration(Version)), 0o600))
	if err != nil {
		return fmt.Errorf("cannot write the components' files: %w", err)
	}
	if s.client, err = kube.New(server, certificates.CA.CertPEM, certificates.Admin.CertPEM, certificates.Admin.KeyPEM); err != nil {
		return err
	}
	errorLog, err := s.errorLog()
	if err != nil {
		return err
	}
	s.kubelet, err = kubelet.Serve(block.Guard, certificates, s.client, block.Address(ports.Kwok), errorLog)
	return err
}

// startRest starts the components that need the API server, and makes the nodes
// meanwhile.
func (s *supervisor) startRest(ctx context.Context) error {
	for _, name := range []string{plane.Kwok, plane.Controllers, plane.Scheduler} {
		if err := s.launch(name); err != nil {
			return err
		}
	}
	if s.realNode {
		if err := s.startNode(); err != nil {
			return fmt.Errorf("no real node: %w", err)
		}
	}
	results := make(chan error, s.nodes+1)
	var work sync.WaitGroup
	slots := make(chan struct{}, 8)
	for n := range s.nodes {
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results <- s.client.ApplyNode(ctx, n, s.plane.Ports.Port(ports.Kubelet))
		})
	}
	work.Go(func() {
		results <- s.client.ApplyMetricsAPI(ctx, s.plane.Ports.Port(ports.Metrics), s.plane.PKI.CA.CertPEM)
	})
	work.Wait()
	close(results)
	var failed error
	for err := range results {
		if failed == nil {
			failed = err
		}
	}
	return failed
}

// healthy waits until a component says that it works.
func (s *supervisor) healthy(ctx context.Context, name string) error {
	client, path := s.client, ""
	server, path := s.plane.Health(name)
	var err error
	switch name {
	case plane.APIServer:
	case plane.Etcd:
		c := s.plane.PKI
		client, err = kube.New(server, c.EtcdCA.CertPEM, c.EtcdClient.CertPEM, c.EtcdClient.KeyPEM)
	default:
		c := s.plane.PKI
		client, err = kube.New(server, c.CA.CertPEM, c.Admin.CertPEM, c.Admin.KeyPEM)
	}
	if err != nil {
		return err
	}
	return s.wait(ctx, name, limit, func(ctx context.Context) error { return client.Get(ctx, path, nil) })
}

// controlPlane waits for the controllers and the scheduler, and for the default service
// account, without which the default namespace accepts no pods.
func (s *supervisor) controlPlane(ctx context.Context) error {
	for _, name := range []string{plane.Controllers, plane.Scheduler} {
		if err := s.healthy(ctx, name); err != nil {
			return err
		}
	}
	return s.wait(ctx, "service account default/default", limit, func(ctx context.Context) error {
		return s.client.Get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
	})
}

func (s *supervisor) nodesReady(ctx context.Context) error {
	ready, _, err := s.client.ReadyNodes(ctx)
	if err == nil && ready < s.allNodes() {
		err = fmt.Errorf("%d of %d", ready, s.allNodes())
	}
	return err
}

func (s *supervisor) measured(ctx context.Context) error {
	n, err := s.client.MeasuredNodes(ctx)
	if err == nil && n < s.allNodes() {
		err = fmt.Errorf("%d of %d", n, s.allNodes())
	}
	return err
}
