//go:build linux

package main

import (
	"cmp"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// TestBench measures the program whose path is in BENCH against floors: bare
// loops that make the same requests and the same JetStream calls, with the same
// bytes, and nothing else. Both run in turn, as processes of their own; NATS is a
// third, and the stand-ins are in this one.
//
//	BENCH=$PWD/bin/consumer go test -run 'TestBench$' -timeout 30m -v ./cmd/consumer
//
// BENCH_RUNS is how often each side runs, BENCH_ONLY a regular expression for
// the scenarios, BENCH_JSON a file for the figures. BENCH_QUICK=1 takes one short
// run, whose figures mean nothing. With BENCH_PROFILE, a folder, it only takes
// profiles of the service.
func TestBench(t *testing.T) {
	binary := os.Getenv("BENCH")
	if binary == "" {
		t.Skip("BENCH names the program to measure")
	}
	b := newBench(t, binary)
	if os.Getenv("BENCH_PROFILE") != "" {
		b.profile()
		return
	}
	for _, scenario := range []struct {
		name string
		run  func()
	}{
		{"start", b.start},
		{"micro", b.micro},
		{"published", b.published},
		{"published_50ms", b.scaling},
		{"latency", b.latency},
		{"ignored", b.ignored},
		{"other_archives", b.otherArchives},
		{"requests", b.requests},
	} {
		if b.only.MatchString(scenario.name) {
			began := time.Now()
			scenario.run()
			t.Logf("%s took %s", scenario.name, time.Since(began).Round(time.Second))
		}
	}
	t.Logf("medians of %d runs, with the least and the most of them:\n%s", b.runs, table(b.figures))
	if file := os.Getenv("BENCH_JSON"); file != "" {
		writeFigures(t, file, b.figures)
	}
}

// bench collects the figures of a program.
type bench struct {
	*rig
	runs    int
	quick   bool
	only    *regexp.Regexp
	figures []figure

	recorded builds // small archives; see small
}

func newBench(t *testing.T, binary string) *bench {
	t.Helper()
	runs, err := strconv.Atoi(cmp.Or(os.Getenv("BENCH_RUNS"), "5"))
	if err != nil || runs < 1 {
		t.Fatalf("BENCH_RUNS: %v", err)
	}
	only, err := regexp.Compile(os.Getenv("BENCH_ONLY"))
	if err != nil {
		t.Fatalf("BENCH_ONLY: %v", err)
	}
	b := &bench{rig: newRig(t, binary), runs: runs, quick: os.Getenv("BENCH_QUICK") != "", only: only}
	if b.quick {
		b.runs = 1
	}
	return b
}

// count is how many of something a run takes.
func (b *bench) count(n int) int {
	if b.quick {
		return max(n/20, 2)
	}
	return n
}

func (b *bench) add(f figure) { b.figures = append(b.figures, f) }

// Of the small builds, all scenarios take the first so many.
const (
	publishedBuilds = 200
	latencyBuilds   = 110
	busyBuilds      = 200
	roundsAt50ms    = 8 // builds of each worker: all begin at once, and take a while to get out of step
	mostAt50ms      = 384
	mostWorkers     = 128
)

// small is the recorded builds of small archives.
func (b *bench) small() builds {
	b.t.Helper()
	if len(b.recorded.scripts) == 0 {
		n := b.count(max(publishedBuilds, mostAt50ms))
		b.recorded = b.record("small", benchBuilds(b.t, "small", n, smallArchive))
	}
	return b.recorded
}

// inTurn runs both sides in turn, as often as there are runs.
func (b *bench) inTurn(run func(starter) load, service, floor starter) (ours, bare []load) {
	for range b.runs {
		ours = append(ours, run(service))
		bare = append(bare, run(floor))
	}
	return ours, bare
}

// values is one thing of each load.
func values(loads []load, of func(load) float64) []float64 {
	list := make([]float64, len(loads))
	for i, l := range loads {
		list[i] = of(l)
	}
	return list
}

// addLoads adds what two sides did as figures. Only the rate has a target, and
// is the figure that the scenario is named for.
func (b *bench) addLoads(name, what string, ours, bare []load, goal aim) {
	both := func(suffix, unit string, goal aim, of func(load) float64) {
		b.add(figure{name: name + suffix, unit: unit, service: values(ours, of), floor: values(bare, of), target: goal})
	}
	both("", what+"/s", goal, func(l load) float64 { return l.rate })
	both(": cpu", "s/1,000", aim{}, func(l load) float64 { return l.cpu })
	both(": cores", "used", aim{}, func(l load) float64 { return l.cores })
	both(": peak rss", "MiB", aim{}, func(l load) float64 { return l.rss })
	if ours[0].requests > 0 {
		both(": requests", "each", aim{}, func(l load) float64 { return l.requests })
	}
	b.add(figure{name: name + ": cores", unit: "idle", service: values(ours, func(l load) float64 { return l.idle })})
}
