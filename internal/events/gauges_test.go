package events_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// What one replica has in work, what waits, and what nobody was given yet are told
// apart, by stream; and a message of others is not the oldest of ours.
func TestGaugesOfStreams(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	release, started := make(chan struct{}), make(chan string, 10)
	o := b.options(blocked(started, release))
	o.Workers, o.Provision.MaxWaiting = 1, 7
	if err := events.Provision(t.Context(), b.js, o.Provision); err != nil {
		t.Fatal(err)
	}
	b.publish(&nats.Msg{Subject: "koji.task.closed", Data: []byte("{}")})
	for i := range 4 {
		b.announce(nvr(i))
	}
	stored := b.stored("KOJI")
	s := b.run(o)
	eventually(t, "the gauges", func() bool {
		return s.metric("omps_consumer_lag", "stream=KOJI") > 0 && s.metric("omps_consumer_ack_pending", "stream=KOJI") > 0
	})
	lag, out := s.metric("omps_consumer_lag", "stream=KOJI"), s.metric("omps_consumer_ack_pending", "stream=KOJI")
	if lag+out != 4 {
		t.Errorf("%v not delivered and %v not settled of 4", lag, out)
	}
	if got := s.metric("omps_consumer_max_ack_pending", "stream=KOJI"); got != 7+1000 {
		t.Errorf("%v may be unsettled", got)
	}
	age := s.metric("omps_oldest_unsettled_seconds", "stream=KOJI")
	if most := time.Since(stored[1].Time).Seconds(); math.IsNaN(age) || age <= 0 || age > most {
		t.Errorf("the oldest is %vs old, not more than 0 and at most %vs", age, most)
	}
	if got := s.metric("omps_oldest_unsettled_seconds", "stream=OMPS_REQUESTS"); got != 0 {
		t.Errorf("a request that is not there is %vs old", got)
	}
	for name, want := range map[string]float64{"omps_nats_connected": 1, "omps_workers": 1, "omps_max_age_seconds": 86400, "omps_nats_reconnects_total": 0} {
		if got := s.metric(name); got != want {
			t.Errorf("%s is %v", name, got)
		}
	}
	close(release)
	s.finish()
}

// A sender can say of a message what only the server knows, and is not believed.
func TestOldestIsAsTheServerSays(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	release, started := make(chan struct{}), make(chan string, 1)
	defer close(release)
	o := b.options(blocked(started, release))
	if err := events.Provision(t.Context(), b.js, o.Provision); err != nil {
		t.Fatal(err)
	}
	e, subject, err := events.NewBuildEvent(events.BuildEvent{NVR: nvr(0), Source: "/koji", ID: nvr(0)})
	if err != nil {
		t.Fatal(err)
	}
	header, data, err := events.EncodeStructured(e)
	if err != nil {
		t.Fatal(err)
	}
	header.Set(jetstream.TimeStampHeaer, "2001-01-01T00:00:00Z")
	header.Set(jetstream.SequenceHeader, "7")
	b.publish(&nats.Msg{Subject: subject, Header: header, Data: data})
	s := b.run(o)
	receive(t, "work", started)
	var age float64
	eventually(t, "an age", func() bool {
		age = s.metric("omps_oldest_unsettled_seconds", "stream=KOJI")
		return age > 0
	})
	if age > patience.Seconds() {
		t.Errorf("%vs old", age)
	}
}

// Without the right to read from the stream, its age alone is not known.
func TestOldestNeedsARight(t *testing.T) {
	t.Parallel()
	p := needed()
	p.Publish.Allow = slices.DeleteFunc(slices.Clone(p.Publish.Allow), shows)
	b := guardedBus(t, p)
	b.provision()
	b.announce(nvr(0))
	release, started := make(chan struct{}), make(chan string, 1)
	defer close(release)
	o := b.options(blocked(started, release))
	o.Provision.Manage = false
	s := b.run(o)
	receive(t, "work", started)
	eventually(t, "the gauges", func() bool {
		return s.metric("omps_consumer_ack_pending", "stream=KOJI")+s.metric("omps_consumer_lag", "stream=KOJI") == 1 &&
			s.metric("omps_oldest_unsettled_seconds", "stream=OMPS_REQUESTS") == 0
	})
	if got := s.metric("omps_oldest_unsettled_seconds", "stream=KOJI"); !math.IsNaN(got) {
		t.Errorf("%v without a right to know", got)
	}
}

// Results are counted by organization when they are told, once; of the
// organizations only those that are configured.
func TestResultsAreCounted(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	s := b.run(p.service(b))
	before := float64(time.Now().Unix())
	b.announce(nvr(0))
	eventually(t, "published", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	b.announce(nvr(0))
	eventually(t, "published again", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 2 })
	b.ask(events.PushEvent{ID: "r1", Organization: "nobody", NVR: nvr(1)})
	eventually(t, "refused", func() bool { return s.metric("omps_deliveries_total", "outcome=rejected") == 1 })
	if got := s.metric("omps_results_total", "organization=myorg", "outcome=published"); got != 1 {
		t.Errorf("%v results of one build", got)
	}
	if got := s.metric("omps_results_total", "organization=_", "outcome=rejected"); got != 1 {
		t.Errorf("%v results for an organization that is not configured", got)
	}
	if got := s.metric("omps_last_success_timestamp_seconds", "organization=myorg"); got < before {
		t.Errorf("the last success was at %v, not after %v", got, before)
	}
}

// A state is told of where it changes: nobody reads a million entries to count
// them.
func TestLedgerChangesAreCounted(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	o := p.service(b)
	tries := 0
	p.hook(func(_ context.Context, _ push) error {
		if tries++; tries < 3 {
			return pipeline.Retry(pipeline.ReasonQuayUnavailable, errors.New("down"))
		}
		return nil
	})
	counted := prometheus.NewRegistry()
	o.Ledger.Register(counted)
	s := b.run(o)
	b.announce(nvr(0))
	eventually(t, "published", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	if got := s.metric("omps_redeliveries_total", "stream=KOJI"); got != 2 {
		t.Errorf("%v redeliveries", got)
	}
	s.registry = counted
	if got := s.metric("omps_ledger_changes_total"); got != 2 {
		t.Errorf("%v changes", got)
	}
	for _, change := range [][]string{{"from=none", "to=publishing"}, {"from=publishing", "to=published"}} {
		if got := s.metric("omps_ledger_changes_total", change...); got != 1 {
			t.Errorf("%v: %v", change, got)
		}
	}
}
