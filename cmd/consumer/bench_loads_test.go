//go:build linux

package main

import (
	"slices"
	"time"
)

// load is what a process did with messages that had been waiting for it.
type load struct {
	rate     float64 // a second
	cpu      float64 // seconds for 1,000
	cores    float64 // kept busy
	idle     float64 // cores of the machine that nothing kept busy
	rss      float64 // MiB, the peak
	requests float64 // HTTP, for each message
}

// publish lets a process publish builds that all wait for it.
func (r *rig) publish(start starter, b builds, latency time.Duration) load {
	r.t.Helper()
	r.upstream.reset()
	r.bus.reset()
	r.upstream.latency.Store(int64(latency))
	defer r.upstream.latency.Store(0)
	r.bus.fill(len(b.scripts), b.announcements()...)
	results, stop := r.bus.results()
	defer stop()
	first := r.upstream.firstRequest()

	p := start()
	select {
	case <-first:
	case <-p.ended:
		r.t.Fatalf("%s has ended:\n%s", p.name, p.log.tail())
	case <-time.After(patience):
		r.t.Fatalf("%s asks for nothing:\n%s", p.name, p.log.tail())
	}
	began, before, rested := time.Now(), p.cpu(r.t), idle(r.t)
	var last arrival
	for range b.scripts {
		last = r.publication(p, results)
	}
	r.bus.settled(r.bus.needs.Names.Koji)
	took, n := last.at.Sub(began).Seconds(), float64(len(b.scripts))
	cpu := (p.cpu(r.t) - before).Seconds()
	l := load{
		rate: n / took, cpu: cpu / n * 1000, cores: cpu / took, idle: (idle(r.t) - rested).Seconds() / took,
		rss: p.peakRSS(r.t), requests: float64(r.upstream.counted()) / n,
	}
	p.end(r.t)
	return l
}

// publication waits for the next result, which has to tell of a publication.
func (r *rig) publication(p *process, results <-chan arrival) arrival {
	r.t.Helper()
	a := r.next(p, results)
	if !isPublished(a.msg) {
		r.t.Fatalf("%s of %s: %s\n%s", a.msg.Subject, p.name, a.msg.Data, p.log.tail())
	}
	return a
}

func (b builds) announcements() []message {
	list := make([]message, len(b.scripts))
	for i, s := range b.scripts {
		list[i] = announcement(s.NVR, s.ID)
	}
	return list
}

const (
	// idlePause lies between a result and the next event, while nothing happens.
	idlePause = 10 * time.Millisecond
	// warmUp events open connections, and do not count.
	warmUp = 10
)

// latencies are the times from an event's publish to its result, each while
// nothing else happens, sorted.
func (r *rig) latencies(start starter, b builds) []time.Duration {
	r.t.Helper()
	r.upstream.reset()
	r.bus.reset()
	results, stop := r.bus.results()
	defer stop()
	p := start()
	defer p.kill()
	took := make([]time.Duration, len(b.scripts))
	for i, m := range b.announcements() {
		began := time.Now()
		r.bus.publish(m)
		took[i] = r.publication(p, results).at.Sub(began)
		<-time.After(idlePause)
	}
	took = took[min(warmUp, len(took)/2):]
	slices.Sort(took)
	return took
}

// percentile is the time that so much of all is not above, in milliseconds.
func percentile(sorted []time.Duration, part float64) float64 {
	i := min(int(part*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[i]) / float64(time.Millisecond)
}

// acknowledge lets a process see to messages of the Koji stream that are not
// ours, n of them, which the stream holds. busy are builds that are asked for
// meanwhile, more than can be done in that time.
func (r *rig) acknowledge(start starter, n int, busy builds, latency time.Duration) load {
	r.t.Helper()
	r.upstream.reset()
	names := r.bus.needs.Names
	r.bus.reset(names.Koji)
	r.upstream.latency.Store(int64(latency))
	defer r.upstream.latency.Store(0)
	if len(busy.scripts) > 0 {
		requests := make([]message, len(busy.scripts))
		for i, s := range busy.scripts {
			requests[i] = benchRequest(s.NVR)
		}
		r.bus.fill(len(requests), requests...)
	}
	p := start()
	left := r.awaitFewer(p, n)
	began, before, rested := time.Now(), p.cpu(r.t), idle(r.t)
	r.awaitFewer(p, 1)
	took := time.Since(began).Seconds()
	cpu := (p.cpu(r.t) - before).Seconds()
	if len(busy.scripts) > 0 && (r.bus.unsettled(names.Requests) == 0 || r.upstream.counted() == 0) {
		r.t.Fatal("the workers were not busy all the time")
	}
	l := load{
		rate: float64(left) / took, cpu: cpu / float64(left) * 1000, cores: cpu / took, idle: (idle(r.t) - rested).Seconds() / took,
		rss: p.peakRSS(r.t),
	}
	p.end(r.t)
	return l
}

// awaitFewer waits until fewer than n messages of the Koji stream are left, and
// tells how many.
func (r *rig) awaitFewer(p *process, n int) int {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if left := r.bus.unsettled(r.bus.needs.Names.Koji); left < n {
			return left
		}
		select {
		case <-tick.C:
		case <-p.ended:
			r.t.Fatalf("%s has ended:\n%s", p.name, p.log.tail())
		case <-limit.C:
			r.t.Fatalf("%s leaves %d messages or more:\n%s", p.name, n, p.log.tail())
		}
	}
}
