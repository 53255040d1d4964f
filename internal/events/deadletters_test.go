package events_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func (b *bus) deadLetters() *events.DeadLetters {
	return events.NewDeadLetters(b.js, events.DefaultNames())
}

func (b *bus) provide() {
	b.tb.Helper()
	if err := events.Provision(b.tb.Context(), b.js, provisioned()); err != nil {
		b.tb.Fatal(err)
	}
}

// bury stores a dead letter as the service does, of a message that is not there.
func (b *bus) bury(i int, reason, payload string) {
	b.tb.Helper()
	b.publish(&nats.Msg{Subject: "omps.dead-letter." + reason, Data: []byte(payload), Header: nats.Header{
		"Omps-Reason": {reason}, "Omps-Error": {fmt.Sprintf("error %d", i)}, "Omps-Tries": {"1"}, "Omps-Stream": {"KOJI"},
		"Omps-Sequence": {fmt.Sprint(i)}, "Omps-Subject": {"koji.build.completed"},
	}})
}

// count is how many messages a stream holds.
func (b *bus) count(stream string) uint64 {
	b.tb.Helper()
	s, err := b.js.Stream(b.tb.Context(), stream)
	if err != nil {
		b.tb.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func list(t *testing.T, letters *events.DeadLetters, q events.LetterQuery) (sequences []uint64) {
	t.Helper()
	err := letters.List(t.Context(), q, func(l events.DeadLetter) error {
		sequences = append(sequences, l.Sequence)
		return nil
	})
	if err != nil {
		t.Errorf("%+v: %v", q, err)
	}
	return sequences
}

func TestListDeadLetters(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provide()
	letters := b.deadLetters()
	if got := list(t, letters, events.LetterQuery{}); got != nil {
		t.Errorf("of an empty stream: %v", got)
	}
	b.bury(1, "invalid-event", `{"nvr":"etcd-operator-container-1-1"}`)
	b.bury(2, "internal", `{"specversion":"1.0","id":"i","source":"/s","type":"org.koji.build.completed.v1","data":{"nvr":"etcd-operator-container-2-1"}}`)
	b.bury(3, "internal", "\x00garbage")
	b.bury(4, "unknown-type", `{"build_id":17}`)
	b.bury(5, "internal", "more garbage")
	if err := b.deadLetters().List(t.Context(), events.LetterQuery{NVR: "["}, nil); err == nil {
		t.Error("took a bad pattern")
	}
	if _, err := letters.Drop(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		q    events.LetterQuery
		want []uint64
	}{
		{events.LetterQuery{}, []uint64{5, 4, 2, 1}},
		{events.LetterQuery{Oldest: true}, []uint64{1, 2, 4, 5}},
		{events.LetterQuery{Limit: 2}, []uint64{5, 4}},
		{events.LetterQuery{Limit: 2, Oldest: true}, []uint64{1, 2}},
		{events.LetterQuery{From: 4}, []uint64{4, 2, 1}},
		{events.LetterQuery{From: 3, Limit: 1}, []uint64{2}},
		{events.LetterQuery{From: 99}, []uint64{5, 4, 2, 1}},
		{events.LetterQuery{From: 3, Oldest: true}, []uint64{4, 5}},
		{events.LetterQuery{From: 99, Oldest: true}, nil},
		{events.LetterQuery{Reason: "internal"}, []uint64{5, 2}},
		{events.LetterQuery{Reason: "internal", Oldest: true, From: 3}, []uint64{5}},
		{events.LetterQuery{Reason: "none.*"}, nil},
		{events.LetterQuery{NVR: "etcd-operator-*"}, []uint64{2, 1}},
		{events.LetterQuery{NVR: "etcd-operator-container-2-1"}, []uint64{2}},
		{events.LetterQuery{Text: "garbage"}, []uint64{5}},
		{events.LetterQuery{Text: "error 4"}, []uint64{4}},
		{events.LetterQuery{Text: "koji.build", Limit: 1}, []uint64{5}},
	} {
		if got := list(t, letters, tt.q); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %v, not %v", tt.q, got, tt.want)
		}
	}
	stop := errors.New("stop")
	if err := letters.List(t.Context(), events.LetterQuery{}, func(events.DeadLetter) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("ended with %v", err)
	}
	names, err := consumersOf(t, b, "OMPS_DEAD_LETTERS")
	if err != nil || slices.ContainsFunc(names, func(c *jetstream.ConsumerInfo) bool { return c.Config.Durable != "" }) {
		t.Errorf("left behind %v, %v", names, err)
	}
}

func consumersOf(t *testing.T, b *bus, stream string) (all []*jetstream.ConsumerInfo, err error) {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream)
	if err != nil {
		return nil, err
	}
	consumers := s.ListConsumers(t.Context())
	for info := range consumers.Info() {
		all = append(all, info)
	}
	return all, consumers.Err()
}

// buryMany stores n dead letters of the usual size, in memory: as many syncs
// would take longer than what is looked at.
func (b *bus) buryMany(n int) {
	b.tb.Helper()
	if _, err := b.js.CreateStream(b.tb.Context(), jetstream.StreamConfig{
		Name: "OMPS_DEAD_LETTERS", Subjects: []string{"omps.dead-letter.>"}, Storage: jetstream.MemoryStorage, AllowDirect: true,
	}); err != nil {
		b.tb.Fatal(err)
	}
	filler := strings.Repeat(" ", 1500)
	for i := range n {
		_, err := b.js.PublishMsgAsync(&nats.Msg{
			Subject: "omps.dead-letter.internal", Data: fmt.Appendf(nil, `{"nvr":"a-1-%d"}%s`, i, filler),
			Header: nats.Header{"Omps-Error": {"why"}, "Omps-Stream": {"KOJI"}, "Omps-Subject": {"koji.build.completed"}},
		})
		if err != nil {
			b.tb.Fatal(err)
		}
	}
	receive(b.tb, "all published", b.js.PublishAsyncComplete())
}

func TestListManyDeadLetters(t *testing.T) {
	t.Parallel()
	const n, gone = 2_000, 900 // more than a pull, and than the first windows
	b := newBus(t)
	b.buryMany(n)
	for sequence := range uint64(gone) {
		if sequence%3 == 0 {
			if _, err := b.deadLetters().Drop(t.Context(), sequence+500); err != nil {
				t.Fatal(err)
			}
		}
	}
	forward := list(t, b.deadLetters(), events.LetterQuery{Oldest: true})
	if len(forward) != n-gone/3 || !slices.IsSorted(forward) {
		t.Errorf("%d letters, sorted: %t", len(forward), slices.IsSorted(forward))
	}
	back := list(t, b.deadLetters(), events.LetterQuery{})
	slices.Reverse(back)
	if !slices.Equal(forward, back) {
		t.Errorf("%d forward, %d back", len(forward), len(back))
	}
	if got := list(t, b.deadLetters(), events.LetterQuery{NVR: "a-1-7"}); !slices.Equal(got, []uint64{8}) {
		t.Errorf("%v", got)
	}
}

// One operation is a whole listing.
func BenchmarkListDeadLetters(b *testing.B) {
	const n = 10_000
	bus := newBus(b)
	bus.buryMany(n)
	for name, oldest := range map[string]bool{"oldest": true, "newest": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				count := 0
				err := bus.deadLetters().List(b.Context(), events.LetterQuery{Oldest: oldest}, func(events.DeadLetter) error { count++; return nil })
				if err != nil || count != n {
					b.Fatalf("%d letters: %v", count, err)
				}
			}
		})
	}
}

func TestNoDeadLetter(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provide()
	b.bury(1, "internal", "x")
	for name, do := range map[string]func(uint64) error{
		"get":     func(n uint64) error { _, err := b.deadLetters().Get(t.Context(), n); return err },
		"drop":    func(n uint64) error { _, err := b.deadLetters().Drop(t.Context(), n); return err },
		"redrive": func(n uint64) error { _, err := b.deadLetters().Redrive(t.Context(), n); return err },
	} {
		for _, n := range []uint64{0, 2, 1 << 62} {
			err := do(n)
			if !errors.Is(err, events.ErrNoLetter) || !strings.Contains(err.Error(), "OMPS_DEAD_LETTERS") {
				t.Errorf("%s %d: %v", name, n, err)
			}
		}
	}
	// Where the stream holds more than dead letters, the rest is not ours.
	names := events.DefaultNames()
	names.DeadLetters = "KOJI"
	b.publish(&nats.Msg{Subject: "koji.build.completed", Data: []byte("x")})
	if _, err := events.NewDeadLetters(b.js, names).Drop(t.Context(), 1); !errors.Is(err, events.ErrNoLetter) || b.count("KOJI") != 1 {
		t.Errorf("%v", err)
	}
	names.DeadLetters = "NOT_THERE"
	if err := events.NewDeadLetters(b.js, names).List(t.Context(), events.LetterQuery{}, nil); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("%v", err)
	}
}

// broken fails each build for good until it is mended.
type broken struct{ mended atomic.Bool }

func (h *broken) Run(_ context.Context, t pipeline.Trigger) []pipeline.Result {
	if h.mended.Load() {
		return result(t, nil)
	}
	return result(t, errKoji)
}

// What failed for good is published once its cause is gone and it was redriven:
// the same bytes, the same headers, the same id.
func TestRedrivenIsPublished(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	var handler broken
	o := b.options(&handler)
	o.Policy.MaxTries, o.Policy.Recheck = 2, time.Hour
	s := b.run(o)
	b.announce(nvr(1))
	payload := []byte(`{ "nvr": "` + nvr(2) + `" }` + "\r\n")
	b.publish(&nats.Msg{Subject: "koji.build.completed.etcd", Data: payload, Header: nats.Header{
		"ce-specversion": {"1.0"}, "CE-ID": {"binary-2"}, "ce-Source": {"/by-hand"}, "ce-type": {events.TypeBuildCompleted},
		"X-Twice": {"a", "b"}, "Nats-Msg-Id": {"original-2"}, "Nats-Expected-Last-Subject-Sequence": {"0"},
	}})
	eventually(t, "buried", func() bool { return s.metric("omps_dead_letters_total") == 2 })
	originals := b.stored("KOJI")

	letters := b.deadLetters()
	handler.mended.Store(true)
	for _, sequence := range list(t, letters, events.LetterQuery{Oldest: true}) {
		letter, err := letters.Get(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		original := originals[letter.OriginalSequence-1]
		if letter.Reason != "koji-unavailable" || letter.Stream != "KOJI" || letter.Tries != 2 || letter.Omitted != "" ||
			letter.Subject != original.Subject || !letter.OriginalTime.Equal(original.Time) {
			t.Errorf("%+v", letter)
		}
		if want := []string{"", nvr(1), nvr(2)}[letter.OriginalSequence]; letter.Event.NVR != want || letter.Event.ID == "" || letter.Event.Type != events.TypeBuildCompleted {
			t.Errorf("event %+v", letter.Event)
		}
		sent, err := letters.Redrive(t.Context(), sequence)
		if err != nil || sent.Stream != "KOJI" || sent.Repeated {
			t.Errorf("%+v %v", sent, err)
		}
		redriven := b.stored("KOJI")[sent.Sequence-1]
		if redriven.Subject != original.Subject || !bytes.Equal(redriven.Data, original.Data) {
			t.Errorf("%s %q of %s %q", redriven.Subject, redriven.Data, original.Subject, original.Data)
		}
		if diff := cmp.Diff(headers(original), headers(redriven)); diff != "" {
			t.Error(diff)
		}
		if id := redriven.Header.Get("Nats-Msg-Id"); !strings.HasPrefix(id, "redrive-") || redriven.Header.Get("Nats-Expected-Last-Subject-Sequence") != "" {
			t.Errorf("%v", redriven.Header)
		}
	}
	eventually(t, "published", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 2 })
	s.finish()
	if left := b.count("OMPS_DEAD_LETTERS"); left != 0 {
		t.Errorf("%d letters left", left)
	}
	causes := map[string]int{}
	for _, e := range b.results() {
		if e.Type() == events.TypePublished {
			causes[fmt.Sprint(e.Extensions()["causationid"])]++
		}
	}
	if want := map[string]int{"event-" + nvr(1): 1, "binary-2": 1}; !maps.Equal(causes, want) {
		t.Errorf("published for %v", causes)
	}
}

// headers are those of a message that no server obeys.
func headers(msg *jetstream.RawStreamMsg) nats.Header {
	h := maps.Clone(msg.Header)
	maps.DeleteFunc(h, func(name string, _ []string) bool { return strings.HasPrefix(name, "Nats-") })
	return h
}
