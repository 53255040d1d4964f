package events_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// The server goes away in the middle of everything and comes back.
func TestOutageLosesNothing(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	const builds = 100
	half := make(chan struct{}, builds)
	handler := count(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		select {
		case half <- struct{}{}:
		default: // a build more than once
		}
		return result(tr, nil)
	}))
	o := b.options(handler)
	o.Provision.AckWait = 2 * time.Second // what is under way at the outage comes again after it
	s := b.run(o)
	for i := range builds {
		b.announce(nvr(i))
	}
	for range builds / 4 {
		receive(t, "a build in work", half)
	}
	b.Stop()
	eventually(t, "not ready", func() bool { return s.Ready() != nil })
	b.Restart()

	eventually(t, "ready again", func() bool { return s.Ready() == nil })
	eventually(t, "settled", func() bool { return b.settled("KOJI") })
	s.finish()
	if got, runs := handler.distinct(); got != builds {
		t.Errorf("%d builds of %d were run, in %d runs", got, builds, runs)
	}
	published := map[string]int{}
	for _, e := range b.results() {
		published[e.Subject()]++
	}
	if len(published) != builds {
		t.Errorf("%d builds of %d have results", len(published), builds)
	}
	for nvr, n := range published {
		if n != 1 {
			t.Errorf("%s has %d results", nvr, n)
		}
	}
}

// What is still in work after an outage is delivered again, and not run twice.
func TestRedeliveryOfWhatIsInWorkIsNotRun(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	started, goOn := make(chan struct{}), make(chan struct{})
	handler := count(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		close(started) // a second run would panic
		<-goOn
		return result(tr, nil)
	}))
	o := b.options(handler)
	o.Provision.AckWait = time.Second
	s := b.run(o)
	b.announce(nvr(1))
	receive(t, "start", started)
	b.Stop()
	<-time.After(5 * o.Provision.AckWait / 4)
	b.Restart()
	eventually(t, "delivered again", func() bool { return b.info("KOJI").Delivered.Consumer >= 2 })
	close(goOn)
	eventually(t, "published", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	eventually(t, "settled", func() bool { return b.settled("KOJI") })
	s.finish()
	if _, runs := handler.distinct(); runs != 1 {
		t.Errorf("%d runs", runs)
	}
}

func TestConnectionClosedForGoodEndsRun(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	inWork := make(chan struct{})
	s := b.run(b.options(handlerFunc(func(ctx context.Context, tr pipeline.Trigger) []pipeline.Result {
		close(inWork)
		<-ctx.Done()
		return result(tr, ctx.Err())
	})))
	b.announce(nvr(1))
	receive(t, "start", inWork)
	s.nc.Close()
	err := receive(t, "end of Run", s.ended)
	if err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Run: %v", err)
	}
	if s.Ready() == nil {
		t.Error("ready without a connection")
	}
}

func TestLostDurable(t *testing.T) {
	t.Parallel()
	for _, manage := range []bool{true, false} {
		name := map[bool]string{true: "made again when managed", false: "reported when not"}[manage]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBus(t)
			if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
				t.Fatal(err)
			}
			handler := count(publishes)
			o := b.options(handler)
			o.Provision.Manage = manage
			s := b.run(o)
			eventually(t, "ready", func() bool { return s.Ready() == nil })
			if err := b.js.DeleteConsumer(t.Context(), "KOJI", "omps"); err != nil {
				t.Fatal(err)
			}
			b.announce(nvr(1)) // while there is no durable
			if manage {
				eventually(t, "handled", func() bool { return handler.of(nvr(1)) == 1 })
				eventually(t, "ready again", func() bool { return s.Ready() == nil })
			} else {
				eventually(t, "not ready", func() bool {
					err := s.Ready()
					return err != nil && strings.Contains(err.Error(), jetstream.ErrConsumerNotFound.Error())
				})
			}
			s.finish()
		})
	}
}

func TestReadyOnlyWhenBound(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	o := b.options(publishes)
	s := b.run(o)
	eventually(t, "ready", func() bool { return s.Ready() == nil })
	s.finish()

	o.Conn, o.Registerer = s.nc, prometheus.NewRegistry()
	idle, err := events.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := idle.Ready(); err == nil || !strings.Contains(err.Error(), "KOJI") || !strings.Contains(err.Error(), "OMPS_REQUESTS") {
		t.Errorf("ready before Run: %v", err)
	}
}
