//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a process that is measured, or stands beside one that is.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   *childLog
	began time.Time
	ended chan struct{} // closed when it is gone
}

// startProcess starts a command, which ends with the test at the latest.
func startProcess(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, log: newChildLog(), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	// The program itself does not notice when the harness is gone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.began = time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.kill)
	return p
}

// startSelf starts the test binary as one of the processes that a test function
// stands for. variable tells that function what to do.
func startSelf(t *testing.T, function, variable, value string, files ...*os.File) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+function+"$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), variable+"="+value)
	cmd.ExtraFiles = files
	return startProcess(t, function, cmd)
}

// kill is kill -9. The process is gone when it returns.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error: it is gone already
	<-p.ended
}

// end asks the process to end, and waits until it has.
func (p *process) end(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("end %s: %v", p.name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s does not end:\n%s", p.name, p.log.tail())
	}
}

// mustLive fails the test when the process has ended by itself.
func (p *process) mustLive(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
		t.Fatalf("%s has ended:\n%s", p.name, p.log.tail())
	default:
	}
}

// clockTick is the unit of times in /proc, proc_pid_stat(5): Linux says 100 Hz
// to programs whatever the kernel's own clock.
const clockTick = 10 * time.Millisecond

// cpu is the processor time that the process has taken.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	p.mustLive(t)
	_, fields, _ := strings.Cut(p.proc(t, "stat"), ") ") // the name before may hold anything
	const user, system = 14 - 3, 15 - 3                  // by the manual page, of which two are cut off
	values := strings.Fields(fields)
	var ticks int
	for _, i := range []int{user, system} {
		n, err := strconv.Atoi(values[i])
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}

// peakRSS is the most memory that the process ever had resident, in MiB.
func (p *process) peakRSS(t *testing.T) float64 {
	t.Helper()
	p.mustLive(t)
	lines := bufio.NewScanner(strings.NewReader(p.proc(t, "status")))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	t.Fatalf("/proc tells no peak of %s", p.name)
	return 0
}

func (p *process) proc(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(data))
}

// idle is the time that the machine's processors have had nothing to do since it
// was started, of all of them together, by proc_stat(5).
func idle(t *testing.T) time.Duration {
	t.Helper()
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	const nothing, waiting = 4, 5 // fields of the first line
	fields := strings.Fields(string(data))
	var ticks int
	for _, i := range []int{nothing, waiting} {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}
