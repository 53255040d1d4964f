package events_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// blocked is a handler whose runs wait for release and ignore their context.
func blocked(started chan<- string, release <-chan struct{}) handlerFunc {
	return func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		started <- tr.NVR.String()
		<-release
		return result(tr, nil)
	}
}

func TestShutdownLetsWorkEndAndGivesBackTheRest(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	const builds = 40
	started, release := make(chan string, builds), make(chan struct{})
	o := b.options(blocked(started, release))
	o.Workers = 1
	first := b.run(o)
	for i := range builds {
		b.announce(nvr(i))
	}
	worked := receive(t, "work", started)
	eventually(t, "one ahead of the worker", func() bool { return first.metric("omps_in_flight") == 2 })
	first.stop()
	// The one ahead is free at once, while the worker is still busy.
	eventually(t, "given back", func() bool { return first.metric("omps_in_flight") == 1 })

	others := count(publishes)
	second := b.run(b.options(others))
	// The ack wait is 30 s: only what was given back can be here sooner.
	within(t, 10*time.Second, "the rest at the second service", func() bool {
		n, _ := others.distinct()
		return n == builds-1
	})
	close(release)
	if err := receive(t, "end of Run", first.ended); err != nil {
		t.Errorf("Run: %v", err)
	}
	second.finish()
	if others.of(worked) != 0 {
		t.Error("the second service had what the first one worked on")
	}
	if !b.settled("KOJI") {
		t.Errorf("left to do: %+v", b.info("KOJI"))
	}
	if got := len(b.results()); got != builds {
		t.Errorf("%d results of %d builds", got, builds)
	}
}

func TestGraceCutsWorkShort(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	started := make(chan struct{})
	o := b.options(handlerFunc(func(ctx context.Context, tr pipeline.Trigger) []pipeline.Result {
		close(started)
		<-ctx.Done()
		return result(tr, pipeline.Retry(pipeline.ReasonDeadline, ctx.Err()))
	}))
	o.Grace = 50 * time.Millisecond
	o.Policy.MaxTries = 1 // being cut short must not count as a failure
	first := b.run(o)
	b.announce(nvr(1))
	receive(t, "start", started)
	first.finish()

	others := count(publishes)
	o.Handler, o.Policy.MaxTries = others, 500
	second := b.run(o)
	within(t, 10*time.Second, "the build at the second service", func() bool { return others.of(nvr(1)) == 1 })
	second.finish()
	if results := b.results(); len(results) != 1 || !b.settled("KOJI") {
		t.Errorf("results are %v", results)
	}
}

func TestWorkThatDoesNotEndIsGivenBack(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	started, release := make(chan string, 1), make(chan struct{})
	o := b.options(blocked(started, release))
	o.Grace = 10 * time.Millisecond
	first := b.run(o)
	b.announce(nvr(1))
	receive(t, "start", started)
	if err := first.end(); err == nil || !strings.Contains(err.Error(), "1 deliveries did not end") {
		t.Errorf("Run: %v", err)
	}

	others := count(publishes)
	o.Handler = others
	second := b.run(o)
	within(t, 10*time.Second, "the build at the second service", func() bool { return others.of(nvr(1)) == 1 })
	close(release)
	second.finish()
}

func TestIdleServiceStopsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	s := b.run(b.options(publishes))
	eventually(t, "ready", func() bool { return s.Ready() == nil })
	begin := time.Now()
	s.finish()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

// A pull that brings hundreds is stopped on its way: what of it is unread is
// free at once, not after the ack wait.
func TestStopInTheMiddleOfAPull(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	first := b.run(b.options(publishes))
	const others = 3000
	for range others {
		if _, err := b.js.PublishAsync("koji.build.tagged", nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "large pulls", func() bool { return first.metric("omps_deliveries_total", "outcome=ignored") > others/2 })
	first.finish()
	// What is given back must not come straight back through the open pull: a
	// try is counted each time.
	if n := b.info("KOJI").Delivered.Consumer; n > others+600 {
		t.Errorf("%d deliveries of %d messages", n, others)
	}

	second := b.run(b.options(publishes))
	within(t, 15*time.Second, "all of it settled", func() bool { return b.settled("KOJI") })
	second.finish()
}
