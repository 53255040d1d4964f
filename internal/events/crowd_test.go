package events_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// inMemory makes the streams beforehand so that no disk has a part in a measure.
func (b *bus) inMemory() {
	b.tb.Helper()
	names := events.DefaultNames()
	for name, subject := range map[string]string{names.Koji: "koji.>", names.Results: events.SubjectResult + ".>"} {
		if _, err := b.js.CreateStream(b.tb.Context(), jetstream.StreamConfig{
			Name: name, Subjects: []string{subject}, Storage: jetstream.MemoryStorage, Duplicates: time.Minute,
		}); err != nil {
			b.tb.Fatal(err)
		}
	}
	if _, err := b.js.CreateKeyValue(b.tb.Context(), jetstream.KeyValueConfig{
		Bucket: names.Ledger, History: 1, Storage: jetstream.MemoryStorage,
	}); err != nil {
		b.tb.Fatal(err)
	}
}

// announceMany publishes build events without waiting for each.
func (b *bus) announceMany(n int, nvr func(int) string) {
	b.tb.Helper()
	for i := range n {
		e, subject, err := events.NewBuildEvent(events.BuildEvent{NVR: nvr(i), Source: "/koji", ID: nvr(i)})
		if err != nil {
			b.tb.Fatal(err)
		}
		header, data, err := events.EncodeStructured(e)
		if err != nil {
			b.tb.Fatal(err)
		}
		if _, err := b.js.PublishMsgAsync(&nats.Msg{Subject: subject, Header: header, Data: data}); err != nil {
			b.tb.Fatal(err)
		}
	}
	<-b.js.PublishAsyncComplete()
}

// TestACrowdThatWaitsDoesNotHoldUpTheRest has as many builds wait as may by
// default, at a gate so slow that looking at them again takes more than all
// workers can do.
func TestACrowdThatWaitsDoesNotHoldUpTheRest(t *testing.T) {
	waiting, fresh, workers := 5000, 200, 8
	if testing.Short() {
		waiting, fresh = 500, 50
	}
	const recheck, slow, work = 5 * time.Second, 150 * time.Millisecond, 20 * time.Millisecond

	b := newBus(t)
	b.inMemory()
	var seen, rechecks atomic.Int64
	notYet := pipeline.Wait(pipeline.ReasonGateWaiting, errors.New("test-result-missing"))
	o := b.options(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		switch {
		case !strings.HasPrefix(tr.NVR.Release, "waits"):
			<-time.After(work)
			return result(tr, nil)
		case seen.Add(1) > int64(waiting): // the first look is quick, so that the test is
			rechecks.Add(1)
			<-time.After(slow)
		}
		return result(tr, notYet)
	}))
	o.Workers, o.Policy.Recheck = workers, recheck
	o.Logger = slog.New(slog.DiscardHandler)
	s := b.run(o)

	published := 0.0
	publishes := func(what string) time.Duration {
		t.Helper()
		start := time.Now()
		b.announceMany(fresh, func(i int) string { return fmt.Sprintf("etcd-operator-%d-%s", i, what) })
		published += float64(fresh)
		within(t, 4*patience, what, func() bool { return s.metric("omps_deliveries_total", "outcome=published") >= published })
		return time.Since(start)
	}
	alone := publishes("alone")
	b.announceMany(waiting, func(i int) string { return fmt.Sprintf("etcd-operator-%d-waits", i) })
	within(t, 4*patience, "all wait", func() bool { return seen.Load() >= int64(waiting) })
	within(t, 4*patience, "all workers are busy with them", func() bool { return rechecks.Load() >= int64(4*workers) })
	before := rechecks.Load()
	beside := publishes("beside")

	if due := float64(waiting) * slow.Seconds() / recheck.Seconds(); due < float64(workers) {
		t.Fatalf("rechecks need %.0f workers of %d", due, workers)
	}
	info := b.info(events.DefaultNames().Koji)
	t.Logf("%d builds alone: %s; beside %d that wait: %s, with %d rechecks meanwhile; %d unsettled of at most %d",
		fresh, alone.Round(time.Millisecond), waiting, beside.Round(time.Millisecond), rechecks.Load()-before,
		info.NumAckPending, info.Config.MaxAckPending)
	if meanwhile := rechecks.Load() - before; meanwhile > int64(waiting)/4 {
		t.Errorf("the crowd went first: %d looks at it meanwhile", meanwhile)
	}
	if info.NumAckPending < waiting {
		t.Errorf("%d of %d still wait", info.NumAckPending, waiting)
	}
	s.finish()
}
