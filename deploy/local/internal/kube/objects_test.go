package kube

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func answering(t *testing.T, status int, body string) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return &Client{Server: server.URL, http: server.Client()}
}

func TestANodeWithTheTaintOfANewOneIsNotReady(t *testing.T) {
	c := answering(t, 200, `{"items":[
	 {"spec":{},"status":{"conditions":[{"type":"Ready","status":"True"}]}},
	 {"spec":{"taints":[{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"}]},"status":{"conditions":[{"type":"Ready","status":"True"}]}},
	 {"spec":{},"status":{"conditions":[{"type":"Ready","status":"False"}]}},
	 {"spec":{},"status":{}}]}`)
	ready, all, err := c.ReadyNodes(context.Background())
	if ready != 1 || all != 4 || err != nil {
		t.Fatal(ready, all, err)
	}
}

func TestAnErrorHasItsStatus(t *testing.T) {
	c := answering(t, 503, "later")
	var status *StatusError
	if _, err := c.MeasuredNodes(context.Background()); !errors.As(err, &status) || status.Code != 503 {
		t.Fatal(err)
	}
}

func TestNodesGoRoundTheZones(t *testing.T) {
	count := map[any]int{}
	for n := range 10 {
		labels := Node(n)["metadata"].(Object)["labels"].(Object)
		count[labels["topology.kubernetes.io/zone"]]++
	}
	if count["zone-a"] != 4 || count["zone-b"] != 3 || count["zone-c"] != 3 {
		t.Fatal(count)
	}
}
