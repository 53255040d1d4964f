package events_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const watchedResult = `{"specversion":"1.0","id":"i","source":"/s","type":"org.koji.operator-manifests.published.v1","data":{"outcome":"published"}}`

// tell stores a result by hand.
func (b *bus) tell(subject string) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.tb.Context(), patience)
	defer cancel()
	for { // a server that has just started may need a moment
		_, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: []byte(watchedResult)})
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			b.tb.Fatal(err)
		}
	}
}

// watch watches with a connection of its own until the test ends.
func (b *bus) watch(o events.WatchOptions) <-chan events.Watched {
	b.tb.Helper()
	o.Stream = "OMPS_RESULTS"
	js, err := jetstream.New(connect(b.tb, b.URL))
	if err != nil {
		b.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	seen, ended := make(chan events.Watched, 100), make(chan error, 1)
	go func() {
		ended <- events.Watch(ctx, js, o, func(w events.Watched) error { seen <- w; return nil })
	}()
	b.tb.Cleanup(func() {
		cancel()
		if err := receive(b.tb, "end of Watch", ended); err != nil {
			b.tb.Errorf("Watch: %v", err)
		}
	})
	return seen
}

func (b *bus) watched() {
	b.tb.Helper()
	eventually(b.tb, "watching", func() bool {
		s, err := b.js.Stream(b.tb.Context(), "OMPS_RESULTS")
		return err == nil && s.CachedInfo().State.Consumers > 0
	})
}

func TestWatchOverARestart(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provide()
	b.tell("omps.result.published.myorg.old")
	seen := b.watch(events.WatchOptions{})
	b.watched()
	// Before anything was seen, too: a consumer of what is new would begin anew.
	for i := range 3 {
		b.Stop()
		b.Restart()
		b.tell("omps.result.published.myorg.after")
		b.tell("omps.result.published.myorg.after")
		for j := range 2 {
			w := receive(t, "a result", seen)
			if want := uint64(2 + 2*i + j); w.Sequence != want || w.Err != nil || w.Data.Outcome != "published" {
				t.Fatalf("%+v, not %d", w, want)
			}
		}
	}
	if len(seen) != 0 {
		t.Errorf("%d too many", len(seen))
	}
}

func TestWatchChooses(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provide()
	subjects := []string{
		"omps.result.published.myorg.etcd", "omps.result.rejected.myorg._", "omps.result.published.my_org.etcd", "omps.result.failed.other._",
	}
	for _, subject := range subjects {
		b.tell(subject)
	}
	since := time.Now().Add(-time.Hour)
	for _, tt := range []struct {
		o    events.WatchOptions
		want []int
	}{
		{events.WatchOptions{Since: since}, []int{0, 1, 2, 3}},
		{events.WatchOptions{Since: since, Outcomes: []pipeline.Outcome{"published"}}, []int{0, 2}},
		{events.WatchOptions{Since: since, Outcomes: []pipeline.Outcome{"failed", "rejected", "failed"}}, []int{1, 3}},
		{events.WatchOptions{Since: since, Organizations: []string{"my.org"}}, []int{2}},
		{events.WatchOptions{Since: since, Organizations: []string{"myorg", "other"}, Outcomes: []pipeline.Outcome{"failed", "published"}}, []int{0, 3}},
	} {
		seen := b.watch(tt.o)
		for _, i := range tt.want {
			if w := receive(t, "a result", seen); w.Subject != subjects[i] {
				t.Errorf("%+v: %s, not %s", tt.o, w.Subject, subjects[i])
			}
		}
	}
}

func TestWatchTellsWhatIsNoResult(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provide()
	seen := b.watch(events.WatchOptions{Since: time.Now().Add(-time.Hour)})
	b.publish(&nats.Msg{Subject: "omps.result.published.myorg.x", Data: []byte("garbage")})
	b.publish(&nats.Msg{Subject: "omps.result.published.myorg.x", Data: []byte(`{"specversion":"1.0","id":"i","source":"/s","type":"other"}`)})
	b.tell("omps.result.published.myorg.x")
	var got []bool
	for range 3 {
		got = append(got, receive(t, "a message", seen).Err != nil)
	}
	if !slices.Equal(got, []bool{true, true, false}) {
		t.Errorf("%v", got)
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	options := events.WatchOptions{Stream: "OMPS_RESULTS", Since: time.Now().Add(-time.Hour)}
	if err := events.Watch(t.Context(), b.js, options, nil); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without a stream: %v", err)
	}
	b.provide()
	b.tell("omps.result.published.myorg.x")
	enough := errors.New("enough")
	if err := events.Watch(t.Context(), b.js, options, func(events.Watched) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := events.Watch(ctx, b.js, options, nil); err != nil {
		t.Errorf("%v", err)
	}
	nc := connect(t, b.URL)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- events.Watch(context.Background(), js, events.WatchOptions{Stream: "OMPS_RESULTS"}, func(events.Watched) error { return nil })
	}()
	b.watched()
	nc.Close()
	if err := receive(t, "end of Watch", ended); err == nil {
		t.Error("no error of a closed connection")
	}
}
