package main

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// buildPace and killPace make 2,400 builds and 80 kills of ten minutes.
	buildPace = 250 * time.Millisecond
	killPace  = 7500 * time.Millisecond

	// settleTime is longer than the longest delay before another try.
	settleTime = 12 * time.Minute
)

// TestSoak lets three replicas work for a time in which everything around
// them, and they themselves, fail at random, and counts what came of it.
//
//	SOAK=10m SOAK_SEED=7 go test -run TestSoak -timeout 40m -v ./cmd/consumer
//
// The seed gives the same plan again, not the same run. With SOAK_LOGS naming a
// folder, each replica's log is kept there.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("SOAK"), "0"))
	if err != nil || length <= 0 {
		t.Skip("SOAK says for how long, such as 10m")
	}
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SOAK_SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64)
	if err != nil {
		t.Fatalf("SOAK_SEED: %v", err)
	}
	t.Logf("SOAK=%s SOAK_SEED=%d", length, seed)
	s := &soak{
		fleet: newFleet(t, "ack_wait: 3s, recheck: 5s, grace: 5s, workers: 4", false),
		rng:   rand.New(rand.NewPCG(seed, 0)), length: length, seen: make(map[place]map[pipeline.Outcome]bool),
		chaos: rand.New(rand.NewPCG(seed, 1)),
	}
	s.planBuilds()
	s.planCrashes()
	s.planOutages()
	for i := range s.replicas {
		s.replicas[i] = s.start()
	}
	s.watch()
	s.began = time.Now()
	s.run()
	s.calm()
	calm := time.Now()
	s.settled()
	settling := time.Since(calm)
	got := s.audit(s.builds, s.garbage)
	s.table(got, seed, settling)
	s.report(got)
}

// soak is a plan and its execution, all in the test's own goroutine.
type soak struct {
	*fleet
	rng    *rand.Rand // of the plan
	length time.Duration
	steps  steps
	began  time.Time

	replicas [3]*child // nil: down until its step comes
	down     bool      // NATS
	builds   []wanted
	garbage  []string // payloads

	sent, kills, natsRestarts, bursts int
	exits                             int // replicas that ended by themselves
	outages                           map[string]int
	faults                            atomic.Int64 // requests that met one

	chaosMu sync.Mutex
	chaos   *rand.Rand // of the faults

	seenMu sync.Mutex
	seen   map[place]map[pipeline.Outcome]bool
}

// step is something to do at a time since the beginning. It is false when the
// time has not come yet.
type step struct {
	at time.Duration
	do func() bool
}

// steps is a heap of them by time.
type steps []step

func (s steps) Len() int           { return len(s) }
func (s steps) Less(i, j int) bool { return s[i].at < s[j].at }
func (s steps) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *steps) Push(x any)        { *s = append(*s, x.(step)) }
func (s *steps) Pop() any {
	old := *s
	last := old[len(old)-1]
	*s = old[:len(old)-1]
	return last
}

func (s *soak) plan(at time.Duration, do func() bool) { heap.Push(&s.steps, step{at, do}) }

// once is a step that is done with its first try.
func once(do func()) func() bool { return func() bool { do(); return true } }

// after plans a step for a while after the present one.
func (s *soak) after(wait time.Duration, do func() bool) { s.plan(time.Since(s.began)+wait, do) }

// between is a random time of that range.
func (s *soak) between(from, to time.Duration) time.Duration {
	return from + time.Duration(s.rng.Int64N(int64(to-from)))
}

// run takes the steps in order.
func (s *soak) run() {
	s.t.Helper()
	const again = 250 * time.Millisecond
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.steps.Len() > 0 {
		now := time.Since(s.began)
		if now > s.length+settleTime {
			s.t.Fatalf("%d steps have not come to pass", s.steps.Len())
		}
		if s.steps[0].at > now {
			s.supervise()
			<-tick.C
			continue
		}
		next := heap.Pop(&s.steps).(step)
		if !next.do() {
			next.at = now + again
			heap.Push(&s.steps, next)
		}
	}
}

// supervise starts a replica again that has ended by itself, as whatever runs
// the service would.
func (s *soak) supervise() {
	for i, r := range s.replicas {
		if r == nil || !r.isGone() {
			continue
		}
		s.exits++
		var exit *exec.ExitError
		if errors.As(r.err, &exit) && exit.ExitCode() != exitFailed {
			s.t.Errorf("%s ended by itself with %v", r.name, r.err)
		}
		s.t.Logf("%s ended by itself: %v", r.name, r.err)
		s.replicas[i] = s.launch()
	}
}

// send publishes a message, at another time when NATS is down.
func (s *soak) send(m message) bool {
	if s.down || s.tryPublish(s.t.Context(), m) != nil {
		return false
	}
	s.sent++
	return true
}

// sending is a step of its own that publishes a message.
func (s *soak) sending(m message) func() bool { return func() bool { return s.send(m) } }

// watch notes which outcomes are told, over restarts of NATS too.
func (s *soak) watch() {
	s.t.Helper()
	consumer, err := s.js.OrderedConsumer(s.t.Context(), events.DefaultNames().Results, jetstream.OrderedConsumerConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	consume, err := consumer.Consume(func(msg jetstream.Msg) {
		e, err := events.Decode(msg.Subject(), msg.Headers(), msg.Data())
		if err != nil {
			return // the audit says so
		}
		data, err := events.DataOf(e)
		if err != nil {
			return
		}
		s.seenMu.Lock()
		defer s.seenMu.Unlock()
		at := place{data.NVR, data.Organization}
		if s.seen[at] == nil {
			s.seen[at] = make(map[pipeline.Outcome]bool)
		}
		s.seen[at][data.Outcome] = true
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(consume.Stop)
}

// saw tells whether each organization was told of the outcome.
func (s *soak) saw(nvr string, outcome pipeline.Outcome) bool {
	s.seenMu.Lock()
	defer s.seenMu.Unlock()
	return s.seen[place{nvr, alpha}][outcome] && s.seen[place{nvr, beta}][outcome]
}

// calm ends every failure, and waits until all replicas are up.
func (s *soak) calm() {
	s.t.Helper()
	s.calmDown()
	s.world.Koji.SetOffline("")
	s.eventually("three replicas", func(context.Context) bool {
		s.supervise()
		up := 0
		for _, r := range s.replicas {
			if r != nil && r.isUp() {
				up++
			}
		}
		return up == len(s.replicas)
	})
}

// settled waits until nothing is left to be done. When that does not come, the
// audit tells what is missing.
func (s *soak) settled() {
	s.t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < settleTime; <-tick.C {
		s.supervise()
		if n, err := s.unsettled(s.t.Context(), inputs()...); err == nil && n == 0 {
			return
		}
	}
	s.t.Errorf("not all is settled within %s", settleTime)
}

// planCrashes plans kills of replicas and restarts of NATS.
func (s *soak) planCrashes() {
	for range int(s.length / killPace) {
		at, i, down := s.between(0, s.length), s.rng.IntN(len(s.replicas)), s.between(0, 4*time.Second)
		s.plan(at, func() bool { return s.kill(i, down) })
	}
	s.each(75*time.Second, func(at time.Duration) {
		s.plan(at, once(func() { s.nats.Stop(); s.down = true; s.natsRestarts++ }))
		s.plan(at+s.between(200*time.Millisecond, 5*time.Second), once(func() { s.nats.Restart(); s.down = false }))
	})
}

// kill ends a replica, whatever it is doing, and has it started again after a
// while. It is false while the replica is down already.
func (s *soak) kill(i int, down time.Duration) bool {
	r := s.replicas[i]
	if r == nil {
		return false
	}
	r.kill()
	r.quiet, s.replicas[i] = true, nil
	s.kills++
	s.after(down, once(func() { s.replicas[i] = s.launch() }))
	return true
}

// each calls plan with one time out of each period: what takes less than
// a fifth of the period never overlaps.
func (s *soak) each(period time.Duration, plan func(at time.Duration)) {
	n := max(int(s.length/period), 1)
	slot := s.length / time.Duration(n)
	for i := range n {
		plan(time.Duration(i)*slot + s.between(0, slot*4/5))
	}
}

// table shows the figures of a run.
func (s *soak) table(got figures, seed uint64, settling time.Duration) {
	var text string
	row := func(name string, value any) { text += fmt.Sprintf("\n  %-34s %v", name, value) }
	row("seed", seed)
	row("duration", s.length)
	row("settled after", settling.Round(time.Second))
	row("builds with an outcome", len(s.builds))
	row("messages published", s.sent)
	row("kill -9", s.kills)
	row("replicas that ended by themselves", s.exits)
	row("restarts of NATS", s.natsRestarts)
	row("bursts of registry faults", s.bursts)
	for _, name := range []string{"koji", "greenwave"} {
		row("outages of "+name, s.outages[name])
	}
	row("requests that met a fault", s.faults.Load())
	row("results", got.results)
	row("dead letters", fmt.Sprintf("%d of %d", got.deadLetters, len(s.garbage)))
	row("lost", got.lost)
	row("repeated", got.repeated)
	row("stray", got.stray)
	row("wrong", got.wrong)
	s.t.Log(text)
}
