package pipeline

import (
	"syscall"
	"testing"
	"time"
)

// threadTime is the processor time that the caller's thread has taken, whatever
// else the machine does.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	const rusageThread = 1 // getrusage(2), RUSAGE_THREAD
	var usage syscall.Rusage
	if err := syscall.Getrusage(rusageThread, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
