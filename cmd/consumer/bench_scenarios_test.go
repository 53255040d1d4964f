//go:build linux

package main

import (
	"strconv"
	"strings"
	"time"
)

// workers is how many the service has unless a configuration says so.
func workers() int { return DefaultConfig().Intake.Workers }

// published measures builds of small archives when nothing takes time.
func (b *bench) published() {
	small := b.small().first(b.count(publishedBuilds))
	run := func(s starter) load { return b.publish(s, small, 0) }
	ours, bare := b.inTurn(run, b.service(workers()), b.floor(workers(), small.file))
	b.addLoads("published", "builds", ours, bare, atLeast(0.7))
	b.add(figure{name: "rss_mib", unit: "MiB", service: values(ours, func(l load) float64 { return l.rss }), target: below(64)})
}

// scaling measures how throughput grows with workers when each answer from
// outside takes 50 ms. It is to grow with them until it keeps a core busy.
func (b *bench) scaling() {
	const latency, full = 50 * time.Millisecond, 0.95
	small := b.small()
	var eight []float64
	for _, n := range []int{8, 32, mostWorkers} {
		name, some := "published_50ms_"+strconv.Itoa(n), small.first(b.count(n*roundsAt50ms))
		run := func(s starter) load { return b.publish(s, some, latency) }
		ours, bare := b.inTurn(run, b.service(n), b.floor(n, some.file))
		rates := values(ours, func(l load) float64 { return l.rate })
		if eight == nil {
			eight = rates
			b.addLoads(name, "builds", ours, bare, atLeast(0.7))
			continue
		}
		linear := make([]float64, len(eight))
		for i, rate := range eight {
			linear[i] = rate * float64(n) / 8
		}
		b.add(figure{
			name: name, unit: "builds/s", service: rates, floor: linear,
			target: aim{bound: 0.9, of: "linear"}, full: median(values(ours, func(l load) float64 { return l.cores })) >= full,
		})
		b.addLoads(name+" beside floor", "builds", ours, bare, aim{})
	}
}

// latency measures from an event's publish to its result while nothing else
// happens.
func (b *bench) latency() {
	small := b.small().first(b.count(latencyBuilds))
	var ours, bare [2][]float64
	for range b.runs {
		a, f := b.latencies(b.service(workers()), small), b.latencies(b.floor(workers(), small.file), small)
		for i, part := range []float64{0.5, 0.99} {
			ours[i], bare[i] = append(ours[i], percentile(a, part)), append(bare[i], percentile(f, part))
		}
	}
	b.add(figure{name: "latency_p50", unit: "ms", service: ours[0], floor: bare[0], target: atMost(1.5)})
	b.add(figure{name: "latency_p99", unit: "ms", service: ours[1], floor: bare[1], target: atMost(2)})
}

// foreignCount is how many events that are not ours a run sees.
const foreignCount = 100_000

// ignored measures events that are not ours, alone, and while every worker has
// builds whose answers from outside take 50 ms.
func (b *bench) ignored() {
	const latency = 50 * time.Millisecond
	n := b.count(foreignCount)
	busy := b.small().first(b.count(busyBuilds))
	b.bus.reset()
	b.bus.fill(n, foreignEvents(b.t)...)
	service, floor := b.service(workers()), b.floor(workers(), "")
	var ours, working, bare []load
	for range b.runs {
		ours = append(ours, b.acknowledge(service, n, builds{}, 0))
		bare = append(bare, b.acknowledge(floor, n, builds{}, 0))
		working = append(working, b.acknowledge(service, n, busy, latency))
	}
	b.addLoads("ignored", "events", ours, bare, aim{bound: 0.7, with: "ignored while busy"})
	b.addLoads("ignored while busy", "events", working, bare, atLeast(0.7))
}

// otherArchives measures archives that are smaller, larger, or real.
func (b *bench) otherArchives() {
	run := func(name string, all builds) {
		if len(all.scripts) == 0 {
			return
		}
		ours, bare := b.inTurn(func(s starter) load { return b.publish(s, all, 0) }, b.service(workers()), b.floor(workers(), all.file))
		b.addLoads(name, "builds", ours, bare, aim{})
	}
	run("published_tiny", b.record("tiny", benchBuilds(b.t, "tiny", b.count(publishedBuilds), tinyArchive)))
	run("published_large", b.record("large", benchBuilds(b.t, "large", b.count(4), largeArchive)))
	run("published_corpus", b.record("corpus", corpusBuilds(b.t, b.count(16))))
}

// start measures from a process's start to its first pull, where everything it
// needs is there.
func (b *bench) start() {
	var took []float64
	for range 2 * b.runs {
		b.bus.reset()
		took = append(took, float64(b.firstPull())/float64(time.Millisecond))
	}
	b.add(figure{name: "start_ms", unit: "ms", service: took, target: below(200)})
}

// firstPull is how long a service takes from its start to its first pull.
func (r *rig) firstPull() time.Duration {
	r.t.Helper()
	pulled := make(chan time.Time, 1)
	r.listen(func(subject string, _ []byte) {
		if strings.HasPrefix(subject, "$JS.API.CONSUMER.MSG.NEXT.") {
			select {
			case pulled <- time.Now():
			default: // not the first
			}
		}
	})
	p := r.serviceAt(r.tap.url(), workers())
	defer p.kill()
	select {
	case at := <-pulled:
		return at.Sub(p.began)
	case <-p.ended:
	case <-time.After(patience):
	}
	r.t.Fatalf("the service does not pull:\n%s", p.log.tail())
	return 0
}
