// Package proc starts, watches and ends processes so that none outlives its
// starter, and recognises processes that an earlier run left behind.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ID identifies a process permanently. A pid alone is reused once its process is gone.
// A pid with its start time (in clock ticks since the machine's boot) is not, and the
// id of the boot covers a restart of the machine.
type ID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

// programs are the only programs that this tool starts, and therefore may kill.
var programs = map[string]bool{"kubebox": true, "cluster": true}

// Identify reads the identity of a running process.
func Identify(pid int) (ID, error) {
	start, _, err := stat(pid)
	if err != nil {
		return ID{}, err
	}
	return ID{PID: pid, Start: start, Boot: bootID()}, nil
}

// Here makes the identity of a process of this boot from its pid and start time.
func Here(pid int, start uint64) ID { return ID{PID: pid, Start: start, Boot: bootID()} }

// Alive reports whether exactly this process still runs. A zombie does not.
func (id ID) Alive() bool {
	if id.PID <= 0 || id.Boot != bootID() {
		return false
	}
	start, state, err := stat(id.PID)
	return err == nil && start == id.Start && state != 'Z' && state != 'X'
}

// ours is a second check before a kill: it reports whether the process runs a program
// of this tool.
func (id ID) ours() bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", id.PID))
	if err != nil {
		return false
	}
	return programs[filepath.Base(strings.TrimSuffix(exe, " (deleted)"))]
}

// Signal sends a signal if exactly this process still runs and runs a program of this
// tool.
func (id ID) Signal(sig syscall.Signal) error {
	if !id.Alive() || !id.ours() {
		return os.ErrProcessDone
	}
	return syscall.Kill(id.PID, sig)
}

// Kill ends the process at once and waits until it is gone. It reports whether there
// was a process to end.
func (id ID) Kill(patience time.Duration) (bool, error) {
	if err := id.Signal(syscall.SIGKILL); err != nil {
		if errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH) {
			return false, nil
		}
		return false, fmt.Errorf("cannot end process %d, which an earlier run left: %w", id.PID, err)
	}
	if !id.WaitGone(patience) {
		return true, fmt.Errorf("process %d does not end after SIGKILL; look at it with: ps -o pid,stat,wchan,cmd %d", id.PID, id.PID)
	}
	return true, nil
}

// WaitGone waits until the process is gone and reports whether it is.
func (id ID) WaitGone(patience time.Duration) bool {
	for end := time.Now().Add(patience); id.Alive(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Usage returns the resident memory of a process in bytes, the part of it that is
// shared with no file, and the CPU time.
func (id ID) Usage() (rss, anonymous int64, cpu time.Duration) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id.PID))
	if err != nil {
		return 0, 0, 0
	}
	field := func(name string) int64 {
		_, rest, _ := bytes.Cut(status, []byte("\n"+name+":"))
		words := strings.Fields(string(rest[:min(len(rest), 40)]))
		if len(words) == 0 {
			return 0
		}
		kib, _ := strconv.ParseInt(words[0], 10, 64)
		return kib << 10
	}
	fields, err := statFields(id.PID)
	if err == nil && len(fields) > 12 {
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		cpu = time.Duration(user+system) * 10 * time.Millisecond // 100 ticks a second on Linux
	}
	return field("VmRSS"), field("RssAnon"), cpu
}

// statFields returns the fields of /proc/PID/stat from the third (state) on. The second
// is the program's name in brackets and may hold any character.
func statFields(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return parseStat(string(data))
}

func parseStat(line string) ([]string, error) {
	end := strings.LastIndexByte(line, ')')
	if end < 0 {
		return nil, fmt.Errorf("unexpected content of /proc/PID/stat: %q", line)
	}
	return strings.Fields(line[end+1:]), nil
}

// stat returns a process's start time and its state letter.
func stat(pid int) (start uint64, state byte, err error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, 0, err
	}
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0][0], err
}

func bootID() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data))
}
