package kubelet

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, annotations, status string) (p pod) {
	t.Helper()
	text := `{"metadata":{"name":"p","namespace":"n","uid":"u","annotations":` + annotations + `},
	 "spec":{"containers":[{"name":"main","image":"web:1"}]},
	 "status":{"containerStatuses":[` + status + `]}}`
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

const crashed = `{"name":"main","restartCount":2,"state":{"waiting":{"reason":"CrashLoopBackOff"}},
 "lastState":{"terminated":{"exitCode":1,"startedAt":"2026-01-01T00:00:00Z","finishedAt":"2026-01-01T00:00:25Z"}}}`

const running = `{"name":"main","restartCount":3,"state":{"running":{"startedAt":"2026-01-01T00:01:00Z"}},
 "lastState":{"terminated":{"exitCode":1,"startedAt":"2026-01-01T00:00:00Z","finishedAt":"2026-01-01T00:00:25Z"}}}`

func text(lines []line) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.text)
	}
	return strings.Join(out, "\n")
}

func TestACrashIsTheEndOfTheLog(t *testing.T) {
	p := parse(t, `{"sim/crash-after":"25s"}`, crashed)
	for _, previous := range []bool{false, true} {
		r, err := p.run("main", previous)
		if err != nil || r.number != 2 {
			t.Fatal(r, err)
		}
		got := text(r.lines(time.Now()))
		if !strings.Contains(got, "panic: simulated crash") || !strings.HasSuffix(got, "exit status 1") || strings.Count(got, "alive") != 2 {
			t.Fatal(got)
		}
	}
}

func TestAfterTheRestartTheCrashIsInThePreviousLog(t *testing.T) {
	p := parse(t, `{"sim/log":"a\nb","sim/crash-log":"FATAL no"}`, running)
	now, err := p.run("main", false)
	if got := text(now.lines(now.started.Add(time.Second))); err != nil || strings.Contains(got, "FATAL") || !strings.HasSuffix(got, "a\nb") {
		t.Fatal(got, err)
	}
	before, err := p.run("main", true)
	if got := text(before.lines(time.Now())); err != nil || before.number != 2 || !strings.HasSuffix(got, "FATAL no") {
		t.Fatal(got, err)
	}
	if r, err := p.runNumber("main", 2); err != nil || r.code != 1 {
		t.Fatal(r, err)
	}
}

func TestAContainerThatWaitsHasNoLog(t *testing.T) {
	p := parse(t, `{}`, `{"name":"main","state":{"waiting":{"reason":"ImagePullBackOff"}}}`)
	if _, err := p.run("main", false); err == nil || !strings.Contains(err.Error(), "trying and failing to pull image") {
		t.Fatal(err)
	}
	if _, err := p.run("other", false); err == nil {
		t.Fatal("a container that is not there")
	}
	if _, err := p.run("main", true); err == nil {
		t.Fatal("a previous run that was not there")
	}
}

func TestOptions(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	lines := []line{{at, "1"}, {at.Add(time.Second), "2"}, {at.Add(2 * time.Second), "3"}}
	for query, want := range map[string]string{
		"": "1\n2\n3", "tailLines=2": "2\n3", "tailLines=0": "", "tailLines=9": "1\n2\n3",
		"sinceSeconds=9": "2\n3", "sinceTime=2026-01-01T00:00:02Z": "3",
	} {
		values, _ := url.ParseQuery(query)
		o, err := readOptions(values, at.Add(10*time.Second))
		if got := text(o.cut(lines)); err != nil || got != want {
			t.Errorf("%q: %q, %v", query, got, err)
		}
	}
	if _, err := readOptions(url.Values{"tailLines": {"x"}}, at); err == nil {
		t.Error("tailLines=x is accepted")
	}
}
