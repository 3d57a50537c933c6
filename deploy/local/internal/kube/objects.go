package kube

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
)

// Object is any Kubernetes object, as JSON.
type Object = map[string]any

// SimulatedNode is the annotation of the nodes that KWOK simulates. KWOK ignores nodes
// without it.
const (
	SimulatedNode = "kwok.x-k8s.io/node"
	simulated     = "fake"
	// SimulatedNodes is the same as a selector for KWOK.
	SimulatedNodes = SimulatedNode + "=" + simulated
)

var zones = []string{"zone-a", "zone-b", "zone-c"}

// NodeName is the name of the nth node, from 0.
func NodeName(n int) string { return "node-" + strconv.Itoa(n+1) }

// Node returns the nth simulated node. The nodes are spread over the zones in turn.
func Node(n int) Object {
	name := NodeName(n)
	return Object{
		"apiVersion": "v1", "kind": "Node",
		"metadata": Object{
			"name": name,
			"labels": Object{
				"kubernetes.io/hostname":        name,
				"kubernetes.io/os":              "linux",
				"kubernetes.io/arch":            runtime.GOARCH,
				"topology.kubernetes.io/region": "local",
				"topology.kubernetes.io/zone":   zones[n%len(zones)],
			},
			"annotations": Object{
				SimulatedNode: simulated,
				// The path that metrics-server reads on the node's port, where KWOK
				// serves the metrics of all nodes.
				"metrics.k8s.io/resource-metrics-path": "/metrics/nodes/" + name + "/metrics/resource",
			},
		},
	}
}

// ApplyNode makes the nth node. A node preserved from an earlier run gets the port of
// this run.
func (c *Client) ApplyNode(ctx context.Context, n, kubeletPort int) error {
	if err := c.Apply(ctx, "/api/v1/nodes/"+NodeName(n), Node(n)); err != nil {
		return fmt.Errorf("cannot make %s: %w", NodeName(n), err)
	}
	port := Object{"daemonEndpoints": Object{"kubeletEndpoint": Object{"Port": kubeletPort}}}
	return c.Merge(ctx, "/api/v1/nodes/"+NodeName(n)+"/status", Object{"status": port})
}

// ApplyMetricsAPI registers metrics.k8s.io with the API server, served by a
// metrics-server outside the cluster. The Service has an external name, so it needs no
// kube-proxy. The name is an address, so it needs no name server.
func (c *Client) ApplyMetricsAPI(ctx context.Context, port int, caBundle []byte) error {
	err := c.Apply(ctx, "/api/v1/namespaces/kube-system/services/metrics-server", Object{
		"apiVersion": "v1", "kind": "Service",
		"metadata": Object{"name": "metrics-server", "namespace": "kube-system"},
		"spec": Object{"type": "ExternalName", "externalName": "127.0.0.1",
			"ports": []Object{{"name": "https", "port": port, "protocol": "TCP"}}},
	})
	if err != nil {
		return fmt.Errorf("cannot make the metrics service: %w", err)
	}
	err = c.Apply(ctx, "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io", Object{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": Object{"name": "v1beta1.metrics.k8s.io"},
		"spec": Object{"group": "metrics.k8s.io", "version": "v1beta1",
			"service":              Object{"name": "metrics-server", "namespace": "kube-system", "port": port},
			"caBundle":             caBundle,
			"groupPriorityMinimum": 100, "versionPriority": 100},
	})
	if err != nil {
		return fmt.Errorf("cannot register the metrics API: %w", err)
	}
	return nil
}

type nodeList struct {
	Items []struct {
		Spec struct {
			Taints []struct{ Key, Effect string }
		}
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
}

// ReadyNodes counts the nodes that are Ready and accept pods. The taint of a new node
// is removed a moment after the node becomes Ready.
func (c *Client) ReadyNodes(ctx context.Context) (ready, all int, err error) {
	var list nodeList
	if err := c.Get(ctx, "/api/v1/nodes", &list); err != nil {
		return 0, 0, err
	}
	for _, node := range list.Items {
		ok := false
		for _, condition := range node.Status.Conditions {
			ok = ok || condition.Type == "Ready" && condition.Status == "True"
		}
		for _, taint := range node.Spec.Taints {
			ok = ok && taint.Key != "node.kubernetes.io/not-ready"
		}
		if ok {
			ready++
		}
	}
	return ready, len(list.Items), nil
}

// MeasuredNodes counts the nodes whose usage the metrics API reports.
func (c *Client) MeasuredNodes(ctx context.Context) (int, error) {
	var list struct {
		Items []struct{ Usage map[string]string }
	}
	err := c.Get(ctx, "/apis/metrics.k8s.io/v1beta1/nodes", &list)
	count := 0
	for _, node := range list.Items {
		if node.Usage["cpu"] != "" && node.Usage["memory"] != "" {
			count++
		}
	}
	return count, err
}
