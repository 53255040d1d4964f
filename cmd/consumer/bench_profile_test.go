//go:build linux

package main

import (
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"
	"testing"
)

// benchProfiled tells a test binary to be the service under profilers. Its
// value is where the profiles go, without their endings; the configuration is
// beside them.
const benchProfiled = "BENCH_PROFILED"

// The files of a profiled service, behind what benchProfiled holds.
const (
	profiledConfig = ".yaml"
	cpuProfile     = ".cpu.pprof"
	memoryProfile  = ".memory.pprof" // all that was allocated, and what was in use when the end was asked for
)

// TestBenchProfiled is that service. The program itself has no way in for
// profilers.
func TestBenchProfiled(t *testing.T) {
	at := os.Getenv(benchProfiled)
	if at == "" {
		t.Skip("a process that TestBench starts")
	}
	cpu, err := os.Create(at + cpuProfile)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Create(at + memoryProfile)
	if err != nil {
		t.Fatal(err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	written := make(chan struct{})
	go func() {
		defer close(written)
		<-ctx.Done()
		pprof.StopCPUProfile()
		_ = pprof.Lookup("allocs").WriteTo(memory, 0) // a profile that is cut short is seen to be
	}()
	code := run(ctx, []string{"run", "-c", at + profiledConfig}, os.Getenv, io.Discard, os.Stderr)
	stop()
	<-written
	if code != exitDone || cpu.Close() != nil || memory.Close() != nil {
		t.Fatalf("exit code %d", code)
	}
}

// profiled starts the service under profilers, which write into a folder.
func (r *rig) profiled(dir, name string) starter {
	return func() *process {
		r.t.Helper()
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at+profiledConfig, benchConfig(r.upstream, r.bus.url, workers()), 0o600); err != nil {
			r.t.Fatal(err)
		}
		return startSelf(r.t, "TestBenchProfiled", benchProfiled, at)
	}
}

// profile writes profiles of the service into the folder that BENCH_PROFILE
// names, and prints their tops: while it publishes small archives, while it
// publishes tiny ones, and while it sees only events that are not ours.
func (b *bench) profile() {
	b.t.Helper()
	dir, err := filepath.Abs(os.Getenv("BENCH_PROFILE"))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	n := b.count(publishedBuilds)
	b.publish(b.profiled(dir, "published"), b.small().first(n), 0)
	b.top(dir, "published")
	b.publish(b.profiled(dir, "published_tiny"), b.record("tiny", benchBuilds(b.t, "tiny", n, tinyArchive)), 0)
	b.top(dir, "published_tiny")

	n = b.count(foreignCount)
	b.bus.reset()
	b.bus.fill(n, foreignEvents(b.t)...)
	b.acknowledge(b.profiled(dir, "ignored"), n, builds{}, 0)
	b.top(dir, "ignored")
}

// top prints what profiles say costs most.
func (b *bench) top(dir, name string) {
	b.t.Helper()
	at := filepath.Join(dir, name)
	for _, args := range [][]string{
		{at + cpuProfile},
		{"-cum", at + cpuProfile},
		{"-sample_index=alloc_space", at + memoryProfile},
		{"-sample_index=inuse_space", at + memoryProfile},
	} {
		args = append([]string{"tool", "pprof", "-top", "-nodecount=15"}, args...)
		out, err := exec.Command("go", args...).CombinedOutput()
		if err != nil {
			b.t.Fatalf("pprof: %v\n%s", err, out)
		}
		b.t.Logf("%s: go %v\n%s", name, args, out)
	}
}
