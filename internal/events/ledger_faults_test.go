package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestLedgerGarbage(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	kv := newBucket(t, js)
	l := NewLedger(js, "ledger")
	w := work(t, "myorg", "1")
	key := entryKey("myorg", operatorNVR)
	for _, garbage := range []string{"", "\x00\xff", "null", "[]", "7", `{"told":5}`, `{"state":"published","first":"soon"}`, `{"nvr":"` + strings.Repeat("x", 100_000)} {
		if _, err := kv.Put(t.Context(), key, []byte(garbage)); err != nil {
			t.Fatal(err)
		}
		if _, done, err := l.Published(t.Context(), w); done || err != nil {
			t.Errorf("%.20q: done %t, %v", garbage, done, err)
		}
		if found, err := l.Find(t.Context(), operatorNVR); len(found) != 0 || err != nil {
			t.Errorf("%.20q: found %+v, %v", garbage, found, err)
		}
		if err := l.Begin(t.Context(), w); err != nil {
			t.Fatalf("%.20q: %v", garbage, err)
		}
		if found, err := l.Find(t.Context(), operatorNVR); len(found) != 1 || err != nil {
			t.Errorf("%.20q: not written anew: %+v, %v", garbage, found, err)
		}
	}
}

func TestLedgerDeletionMarks(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	kv := newBucket(t, js)
	l := NewLedger(js, "ledger")
	w := work(t, "myorg", "1")
	for _, remove := range []func(context.Context, string, ...jetstream.KVDeleteOpt) error{kv.Delete, kv.Purge} {
		writeResult(t, l, w, pipeline.OutcomePublished, nil)
		if err := remove(t.Context(), entryKey("myorg", operatorNVR)); err != nil {
			t.Fatal(err)
		}
		if _, done, err := l.Published(t.Context(), w); done || err != nil {
			t.Errorf("done %t, %v", done, err)
		}
		if found, err := l.Find(t.Context(), operatorNVR); len(found) != 0 || err != nil {
			t.Errorf("found %+v, %v", found, err)
		}
		if got := listed(t, l, "", ""); len(got) != 0 {
			t.Errorf("listed %v", got)
		}
	}
	writeResult(t, l, w, pipeline.OutcomePublished, nil)
	if _, done, err := l.Published(t.Context(), w); !done || err != nil {
		t.Errorf("written behind a mark: done %t, %v", done, err)
	}
}

// Half a list is an error, not a list.
func TestListIsWholeOrAnError(t *testing.T) {
	t.Parallel()
	s, err := StartServer(ServerOptions{Listen: "127.0.0.1:-1", StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	js := clientOf(t, s)
	kv := newBucket(t, js)
	for i := range 2000 { // more than the client reads ahead
		if _, err := kv.Put(t.Context(), entryKey("a", fmt.Sprintf("n-%d-1", i)), []byte(`{"nvr":"x"}`)); err != nil {
			t.Fatal(err)
		}
	}
	visits := 0
	err = NewLedger(js, "ledger").List(t.Context(), "", "", func(Entry) bool {
		if visits++; visits == 1 {
			js.Conn().Close()
		}
		return true
	})
	if err == nil {
		t.Errorf("%d visits and no error", visits)
	}
}

// TestEntriesAreBounded: whatever comes from outside, the server takes it.
func TestEntriesAreBounded(t *testing.T) {
	t.Parallel()
	var e Entry
	long := strings.Repeat("\x01<\u2028é", 1<<10)
	w := work(t, strings.Repeat("o", 255), "")
	w.NVR = pipeline.NVR{Name: strings.Repeat("n", 400), Version: strings.Repeat("1", 50), Release: strings.Repeat("1", 50)}
	for i := range 100 {
		w.Trigger = pipeline.Trigger{
			ID: fmt.Sprint(i, long), Source: long, Type: TypePushRequested, Correlation: long, Kind: pipeline.PushRequested,
			Organization: w.Organization, Repository: long, Version: long,
		}
		if i%2 == 0 { // just short enough to be remembered as a waiter
			w.Trigger = pipeline.Trigger{ID: fmt.Sprint(i, strings.Repeat("\x01", maxCause-100)), Kind: pipeline.PushRequested, Source: "/x"}
		}
		r := resultOf(w, pipeline.Wait(pipeline.ReasonGateWaiting, errors.New(long)))
		r.Package = long
		e.record(Answer{Result: r, Outcome: pipeline.OutcomeWaiting}, fmt.Sprintf("%032d", i), 1, time.Now())
		r.Trigger.Kind = pipeline.BuildAnnounced
		e.record(Answer{Result: r, Outcome: pipeline.OutcomeWaiting}, fmt.Sprintf("%032d", i), 1, time.Now())
	}
	r := resultOf(w, nil)
	for range 2000 {
		r.Publication.Bundles = append(r.Publication.Bundles, pipeline.PushedBundle{
			Reference: "registry.example.com/" + strings.Repeat("r", 255) + "@sha256:" + strings.Repeat("0", 64),
		})
	}
	e.Digests = digestsOf(r.Publication)
	data, err := encodeJSON(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d waiters, %d told, %d answered, %d digests", len(data), len(e.Waiters), len(e.Told), len(e.Answered), len(e.Digests))
	if len(data) > 512<<10 {
		t.Errorf("%d bytes", len(data))
	}
	for _, list := range [][]string{e.Told, e.Answered} {
		if len(list) != maxTold || list[maxTold-1] != fmt.Sprintf("%032d", 99) {
			t.Errorf("remembers %v", list)
		}
	}
	if len(e.Waiters) != maxWaiters {
		t.Errorf("%d waiters", len(e.Waiters))
	}
}

// Everything that the ledger cannot do is a reason to try again.
func TestLedgerThatIsNotThere(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	// A server that loses its last stream clears the folder of all streams away,
	// after its answer: a bucket made anew meanwhile would be refused.
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "leases"}); err != nil {
		t.Fatal(err)
	}
	l := NewLedger(js, "ledger")
	w := work(t, "myorg", "1")
	check := func(what string, err error) {
		t.Helper()
		if err == nil || pipeline.ClassOf(err) != pipeline.Transient || pipeline.ReasonOf(err) != pipeline.ReasonLedgerUnavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	missing := func() {
		t.Helper()
		_, _, err := l.Published(t.Context(), w)
		check("Published", err)
		check("Begin", l.Begin(t.Context(), w))
		if _, err := l.Find(t.Context(), operatorNVR); err == nil {
			t.Error("Find finds nothing in nothing")
		}
	}
	missing()
	newBucket(t, js)
	writeResult(t, l, w, pipeline.OutcomePublished, nil) // no word of it is remembered
	if err := js.DeleteKeyValue(t.Context(), "ledger"); err != nil {
		t.Fatal(err)
	}
	missing()
	newBucket(t, js)
	if err := l.Begin(t.Context(), w); err != nil {
		t.Errorf("made again: %v", err)
	}
	js.Conn().Close()
	missing()
}
