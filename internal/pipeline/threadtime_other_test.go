//go:build !linux

package pipeline

import (
	"testing"
	"time"
)

var started = time.Now()

// threadTime is the time on the clock where a thread's own is not known.
func threadTime(*testing.T) time.Duration { return time.Since(started) }
