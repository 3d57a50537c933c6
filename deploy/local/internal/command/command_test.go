package command

import (
	"errors"
	"flag"
	"testing"
)

func TestParse(t *testing.T) {
	o, err := parse("up", []string{"--dir", "a b", "--nodes", "3", "--detach", "--real-node", "--apiserver-arg=--v=4"})
	if err != nil || !o.realNode || o.nodes != 3 || !o.nodesSet || !o.detach || o.keep || o.extra["kube-apiserver"][0] != "--v=4" {
		t.Fatal(o, err)
	}
	if got := o.again("down"); got != me+" down --dir 'a b'" {
		t.Fatal(got)
	}
	if o, err = parse("up", nil); err != nil || o.nodes != 10 || o.nodesSet || o.realNode || o.dir.Root == "" {
		t.Fatal(o, err)
	}
	for name, args := range map[string][]string{"down": {"--nodes", "3"}, "status": {"extra"}, "up": {"--nodes", "0"}} {
		if _, err := parse(name, args); err == nil {
			t.Errorf("%s %q is accepted", name, args)
		}
	}
	if _, err := parse("env", []string{"--help"}); !errors.Is(err, flag.ErrHelp) {
		t.Error(err)
	}
}

func TestQuote(t *testing.T) {
	if got := quote(`it's $HOME`); got != `'it'\''s $HOME'` {
		t.Fatal(got)
	}
	if got := quoteIfNeeded("/plain/path-1"); got != "/plain/path-1" {
		t.Fatal(got)
	}
}

func TestSummaryLeavesOutTheLog(t *testing.T) {
	err := &partEnded{name: "kwok", result: "signal: killed", log: "/x", tail: "  | secret"}
	if got := summary(err); got != "kwok ended (signal: killed), so everything was stopped" {
		t.Fatal(got)
	}
}
