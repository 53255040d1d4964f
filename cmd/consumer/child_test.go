package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asProgram in the environment makes the test binary the program itself.
const asProgram = "OMPS_CONSUMER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		go endWithParent()
		main()
	}
	m.Run() // go test takes the exit code from m
}

// endWithParent ends a program whose test is gone: its standard input is a
// pipe that only the test holds.
func endWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	panic("the test that started this program is gone")
}

// child is the service as a process of its own.
type child struct {
	name  string
	log   *childLog
	cmd   *exec.Cmd
	quiet bool          // its log is of no interest when the test fails
	ended chan struct{} // closed when the process is gone
	err   error         // how it ended; to be read after ended
}

// startChild runs `consumer run -c file`. It may not be up yet.
func startChild(t *testing.T, name, file string) *child {
	t.Helper()
	return startCommand(t, name, "run", "-c", file)
}

// startCommand runs a command of the program that stays up.
func startCommand(t *testing.T, name string, args ...string) *child {
	t.Helper()
	c := &child{name: name, log: newChildLog(), ended: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0], args...)
	c.cmd.Env = append(os.Environ(), asProgram+"=1")
	c.cmd.Stderr = io.MultiWriter(append(logFile(t, name), c.log)...)
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		_ = stdin.Close()
		close(c.ended)
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() && !c.quiet {
			t.Logf("the last of %s's log:\n%s", name, c.log.tail())
		}
		if c.log.panicked() {
			t.Errorf("%s panicked", name)
		}
	})
	return c
}

// kill is kill -9. The process is gone when it returns.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // an error: it is gone already
	<-c.ended
}

// logFile is where all of a service's log is kept, if anywhere.
func logFile(t *testing.T, name string) []io.Writer {
	t.Helper()
	dir := os.Getenv("SOAK_LOGS")
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return []io.Writer{file}
}

func (c *child) isGone() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// killed tells whether kill ended a process that is gone.
func (c *child) killed() bool {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// terminate asks the service to end.
func (c *child) terminate(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("end %s: %v", c.name, err)
	}
}

// isUp tells whether the service takes messages, or has done so.
func (c *child) isUp() bool {
	select {
	case <-c.log.started:
		return true
	default:
		return false
	}
}

// awaitStart waits until the service takes messages.
func (c *child) awaitStart(t *testing.T) {
	t.Helper()
	select {
	case <-c.log.started:
		return
	case <-c.ended:
	case <-time.After(patience):
	}
	select {
	case <-c.log.started: // and ended since
	default:
		t.Fatalf("%s did not come up:\n%s", c.name, c.log.tail())
	}
}

// logTail is how much of a log is kept, in bytes.
const logTail = 64 << 10

// childLog reads a service's log, counts in it and keeps its end.
type childLog struct {
	started chan struct{} // closed at the line "started"

	mu        sync.Mutex
	rest      []byte // a line that has not come whole
	kept      []byte
	up        bool
	published int // deliveries that were settled as published
	panics    int
}

func newChildLog() *childLog { return &childLog{started: make(chan struct{})} }

func (l *childLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.line(line)
		l.kept = append(append(l.kept, line...), '\n')
		if over := len(l.kept) - logTail; over > logTail {
			l.kept = append([]byte(nil), l.kept[over:]...)
		}
		l.rest = append([]byte(nil), rest...)
	}
}

func (l *childLog) line(text []byte) {
	var entry struct{ Msg, Outcome string }
	if json.Unmarshal(text, &entry) != nil { // Go's own words at a crash
		if bytes.HasPrefix(text, []byte("panic:")) || bytes.HasPrefix(text, []byte("fatal error:")) {
			l.panics++
		}
		return
	}
	switch {
	case entry.Msg == "panic":
		l.panics++
	case entry.Msg == "settled" && entry.Outcome == "published":
		l.published++
	case entry.Msg == "started" && !l.up:
		l.up = true
		close(l.started)
	}
}

func (l *childLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ToValidUTF8(string(l.kept[max(len(l.kept)-logTail, 0):]), "?")
}

func (l *childLog) settledPublished() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.published
}

func (l *childLog) panicked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.panics > 0
}
