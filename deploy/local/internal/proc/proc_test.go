package proc

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseStatWithBracketsInTheName(t *testing.T) {
	fields, err := parseStat("42 (a (b) c) S 1 42 42 0")
	if err != nil || fields[0] != "S" || fields[1] != "1" {
		t.Fatal(fields, err)
	}
	if _, err := parseStat("rubbish"); err == nil {
		t.Fatal("no error")
	}
}

// sleeper starts a copy of sleep under a name.
func sleeper(t *testing.T, name string) ID {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no sleep")
	}
	program := filepath.Join(t.TempDir(), name)
	in, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, in, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if exe, _ := os.Readlink("/proc/" + strconv.Itoa(id.PID) + "/exe"); exe == program {
			break // exec is through
		}
	}
	return id
}

func TestKillEndsOurProgramsOnly(t *testing.T) {
	ours := sleeper(t, "kubebox")
	if killed, err := ours.Kill(5 * time.Second); !killed || err != nil || ours.Alive() {
		t.Fatal("not ended", killed, err)
	}
	if killed, err := ours.Kill(time.Second); killed || err != nil {
		t.Fatal("ended twice", killed, err)
	}
	foreign := sleeper(t, "something-else")
	if killed, _ := foreign.Kill(time.Second); killed || !foreign.Alive() {
		t.Fatal("somebody else's process was ended")
	}
}

func TestAReusedPidIsNotTheSameProcess(t *testing.T) {
	id := sleeper(t, "kubebox")
	later := id
	later.Start++
	if later.Alive() {
		t.Fatal("another start time passes for the same process")
	}
	elsewhere := id
	elsewhere.Boot = "another boot"
	if elsewhere.Alive() {
		t.Fatal("another boot passes for the same process")
	}
	if killed, _ := later.Kill(time.Second); killed || !id.Alive() {
		t.Fatal("the wrong process was ended")
	}
}

// TestPartsDieWithTheirStarter kills a starter with SIGKILL. The test program starts
// itself as that starter.
func TestPartsDieWithTheirStarter(t *testing.T) {
	if dir := os.Getenv("PROC_TEST_STARTER"); dir != "" {
		part, err := NewSpawner().Start("part", filepath.Join(dir, "log"), dir, nil, "/bin/sleep", "60")
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(strconv.Itoa(part.ID.PID) + "\n")
		time.Sleep(time.Minute)
	}
	starter := exec.Command(os.Args[0], "-test.run=TestPartsDieWithTheirStarter")
	starter.Env = append(os.Environ(), "PROC_TEST_STARTER="+t.TempDir())
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, err := io.ReadAtLeast(out, line, 2)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	part, err := Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	_ = starter.Process.Kill()
	_ = starter.Wait()
	if !part.WaitGone(5 * time.Second) {
		t.Fatal("the part outlives its starter")
	}
}

func TestReapKillsWhatDoesNotEnd(t *testing.T) {
	dir := t.TempDir()
	s := NewSpawner()
	deaf, err := s.Start("deaf", filepath.Join(dir, "log"), dir, os.Environ(), "/bin/sh", "-c", "trap '' TERM; echo here; while :; do sleep 0.1; done")
	if err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(Tail(deaf.Log, 5), "here") {
		time.Sleep(5 * time.Millisecond)
	}
	deaf.Terminate()
	if !deaf.Reap(200*time.Millisecond) || !deaf.Stopping() {
		t.Fatal("was not killed")
	}
	polite, err := s.Start("polite", filepath.Join(dir, "log2"), dir, os.Environ(), "/bin/sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	polite.Terminate()
	if polite.Reap(5 * time.Second) {
		t.Fatal("had to be killed")
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("1\n2\n3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Tail(path, 2); got != "  | 2\n  | 3" {
		t.Fatalf("%q", got)
	}
}
