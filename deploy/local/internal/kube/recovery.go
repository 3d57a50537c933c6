package kube

import (
	"context"
	"net/url"
	"time"
)

// NodeWatch sets a node's pods to not ready when the node goes down, and back when the
// node is up again. On a real cluster the node lifecycle controller does the first,
// after it has missed a kubelet's heartbeats for a minute, and the kubelet does the
// second. KWOK can do neither, because its stages see one object at a time.
type NodeWatch struct {
	client *Client
	down   map[string]bool
}

// WatchNodes starts with all nodes up.
func (c *Client) WatchNodes() *NodeWatch { return &NodeWatch{client: c, down: map[string]bool{}} }

type condition struct{ Type, Status, Reason string }

func isReady(conditions []condition) bool {
	for _, c := range conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// Look compares the nodes with those of the last call.
func (w *NodeWatch) Look(ctx context.Context) error {
	var list struct {
		Items []struct {
			Metadata struct {
				Name        string
				Annotations map[string]string
			}
			Status struct{ Conditions []condition }
		}
	}
	if err := w.client.Get(ctx, "/api/v1/nodes?resourceVersion=0", &list); err != nil {
		return err
	}
	for _, node := range list.Items {
		if node.Metadata.Annotations[SimulatedNode] != simulated {
			continue // a real node has a kubelet for this
		}
		name := node.Metadata.Name
		down := !isReady(node.Status.Conditions)
		if down == w.down[name] {
			continue
		}
		if err := w.client.setPodsReady(ctx, name, !down); err != nil {
			return err
		}
		w.down[name] = down
	}
	return nil
}

// setPodsReady sets the Ready condition of a node's pods whose containers are ready.
func (c *Client) setPodsReady(ctx context.Context, node string, ready bool) error {
	var list struct {
		Items []struct {
			Metadata struct{ Name, Namespace, DeletionTimestamp string }
			Status   struct {
				Conditions        []condition
				ContainerStatuses []struct{ Ready bool }
			}
		}
	}
	if err := c.Get(ctx, "/api/v1/pods?fieldSelector=spec.nodeName%3D"+url.QueryEscape(node), &list); err != nil {
		return err
	}
	status, reason := "True", ""
	if !ready {
		status, reason = "False", "NodeNotReady"
	}
	for _, pod := range list.Items {
		runs := len(pod.Status.ContainerStatuses) > 0 && pod.Metadata.DeletionTimestamp == ""
		for _, container := range pod.Status.ContainerStatuses {
			runs = runs && container.Ready
		}
		if !runs || isReady(pod.Status.Conditions) == ready {
			continue
		}
		err := c.strategic(ctx, "/api/v1/namespaces/"+pod.Metadata.Namespace+"/pods/"+pod.Metadata.Name+"/status",
			Object{"status": Object{"conditions": []Object{{
				"type": "Ready", "status": status, "reason": reason, "message": "",
				"lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
			}}}})
		if err != nil {
			return err
		}
	}
	return nil
}
