package events_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestTransientErrorsAreTriedAgainLater(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	var mu sync.Mutex
	var at []time.Time
	o := b.options(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		mu.Lock()
		defer mu.Unlock()
		if at = append(at, time.Now()); len(at) < 3 {
			return result(tr, errKoji)
		}
		return result(tr, nil)
	}))
	var log logBuffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	o.Policy.Delays = []time.Duration{100 * time.Millisecond, 300 * time.Millisecond}
	s := b.run(o)
	b.announce(nvr(1))

	eventually(t, "published", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	s.finish()
	for i, least := range []time.Duration{80 * time.Millisecond, 240 * time.Millisecond} {
		if gap := at[i+1].Sub(at[i]); gap < least {
			t.Errorf("try %d came after %s, before %s", i+2, gap, least)
		}
	}
	data, err := events.DataOf(b.results()[0])
	if err != nil || data.Tries != 3 {
		t.Errorf("result after %d tries, %v", data.Tries, err)
	}
	if got := s.metric("omps_deliveries_total", "outcome=retried", "reason=koji-unavailable"); got != 2 {
		t.Errorf("%v retries", got)
	}
	if lines := log.lines("level=WARN msg=\"to be tried again\""); len(lines) != 2 ||
		!strings.Contains(lines[0], "reason=koji-unavailable") {
		t.Errorf("retries said as %q", lines)
	}
}

func TestWaitingIsSaidOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	waits := pipeline.Wait(pipeline.ReasonGateWaiting, errors.New("test-result-missing"))
	var handler *counted
	handler = count(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		if handler.of(tr.NVR.String()) < 4 {
			return result(tr, waits)
		}
		return result(tr, nil)
	}))
	o := b.options(handler)
	o.Policy.Recheck = 20 * time.Millisecond
	s := b.run(o)
	b.announce(nvr(1))

	eventually(t, "published", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	s.finish()
	var types []string
	for _, e := range b.results() {
		types = append(types, e.Type())
	}
	if len(types) != 2 || types[0] != events.TypeWaiting || types[1] != events.TypePublished {
		t.Errorf("results are %v", types)
	}
}

func TestWhatNeverSucceedsFails(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	handler := count(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result { return result(tr, errKoji) }))
	o := b.options(handler)
	o.Policy.MaxAge = time.Millisecond
	s := b.run(o)
	b.announce(nvr(1))

	eventually(t, "failed", func() bool { return s.metric("omps_deliveries_total", "outcome=failed") == 1 })
	s.finish()
	if got := handler.of(nvr(1)); got != 3 {
		t.Errorf("%d runs, and age alone ends nothing before the third", got)
	}
	if results := b.results(); len(results) != 1 || results[0].Type() != events.TypeFailed {
		t.Errorf("results are %v", results)
	}
	letters := b.stored("OMPS_DEAD_LETTERS")
	if len(letters) != 1 || letters[0].Subject != "omps.dead-letter.koji-unavailable" {
		t.Fatalf("dead letters are %v", letters)
	}
	if got := letters[0].Header.Get(events.HeaderTries); got != "3" {
		t.Errorf("dead letter after %s tries", got)
	}
	if !b.settled("KOJI") {
		t.Errorf("left to do: %+v", b.info("KOJI"))
	}
}

// A message that takes the process down is delivered again and again without
// ever being answered.
func TestCrashLoopEndsWithoutWork(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	handler := count(publishes)
	o := b.options(handler)
	o.Policy.MaxTries = 2
	o.Policy.Recheck = time.Hour // or some of the tries would count as rechecks
	if err := events.Provision(t.Context(), b.js, o.Provision); err != nil {
		t.Fatal(err)
	}
	b.announce(nvr(1))
	durable, err := b.js.Consumer(t.Context(), "KOJI", "omps")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		msg, err := durable.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		if err := msg.Nak(); err != nil {
			t.Fatal(err)
		}
	}

	s := b.run(o)
	eventually(t, "failed", func() bool { return s.metric("omps_deliveries_total", "outcome=failed", "reason=internal") == 1 })
	s.finish()
	if _, runs := handler.distinct(); runs != 0 {
		t.Errorf("%d runs", runs)
	}
	if results := b.results(); len(results) != 1 || results[0].Type() != events.TypeFailed {
		t.Errorf("results are %v", results)
	}
	if letters := b.stored("OMPS_DEAD_LETTERS"); len(letters) != 1 {
		t.Errorf("%d dead letters", len(letters))
	}
}

func TestPanicIsATransientError(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	var handler *counted
	handler = count(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		if handler.of(tr.NVR.String()) == 1 {
			panic("password=hunter2")
		}
		return result(tr, nil)
	}))
	o := b.options(handler)
	var log logBuffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := b.run(o)
	b.announce(nvr(1))
	eventually(t, "published", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	s.finish()
	if got := s.metric("omps_deliveries_total", "outcome=retried", "reason=panic"); got != 1 {
		t.Errorf("%v retries after a panic", got)
	}
	if lines := log.lines("msg=panic"); len(lines) != 1 || !strings.Contains(lines[0], "tries_test.go") {
		t.Errorf("no place of the panic in %q", lines)
	}
}

func TestNoResultIsNoSuccess(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	s := b.run(b.options(handlerFunc(func(context.Context, pipeline.Trigger) []pipeline.Result { return nil })))
	b.announce(nvr(1))
	eventually(t, "retried", func() bool {
		return s.metric("omps_deliveries_total", "outcome=retried", "reason=internal") >= 2
	})
	s.finish()
}

func TestBuildTimeoutEndsTheContext(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	var handler *counted
	handler = count(handlerFunc(func(ctx context.Context, tr pipeline.Trigger) []pipeline.Result {
		if handler.of(tr.NVR.String()) > 1 {
			return result(tr, nil)
		}
		<-ctx.Done()
		return result(tr, pipeline.Retry(pipeline.ReasonDeadline, ctx.Err()))
	}))
	o := b.options(handler)
	o.BuildTimeout = 50 * time.Millisecond
	s := b.run(o)
	b.announce(nvr(1))
	eventually(t, "published", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	if got := s.metric("omps_deliveries_total", "outcome=retried", "reason=deadline"); got != 1 {
		t.Errorf("%v retries", got)
	}
	s.finish()
}

// Heartbeats keep a message ours for as long as it is queued or in work.
func TestWorkLongerThanTheAckWaitRunsOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	const ackWait = time.Second
	handler := count(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		<-time.After(5 * ackWait / 4)
		return result(tr, nil)
	}))
	o := b.options(handler)
	o.Provision.AckWait, o.Workers = ackWait, 1
	s := b.run(o)
	for i := range 2 {
		b.announce(nvr(i)) // the second waits for as long as the first works
	}
	eventually(t, "settled", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 2 })
	s.finish()
	if _, runs := handler.distinct(); runs != 2 {
		t.Errorf("%d runs of 2 builds", runs)
	}
	if info := b.info("KOJI"); info.NumRedelivered != 0 || info.Delivered.Consumer != 2 {
		t.Errorf("delivered %d times", info.Delivered.Consumer)
	}
}
