package events

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// newJetStream is a client of a server of its own.
func newJetStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	s, err := StartServer(ServerOptions{Listen: "127.0.0.1:-1", StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return clientOf(t, s)
}

func clientOf(t *testing.T, s *Server) jetstream.JetStream {
	t.Helper()
	nc, err := Connect(t.Context(), ConnOptions{URL: s.URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func newBucket(t *testing.T, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "ledger", History: 1})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func mustNVR(t testing.TB, text string) pipeline.NVR {
	t.Helper()
	nvr, err := pipeline.ParseNVR(text)
	if err != nil {
		t.Fatal(err)
	}
	return nvr
}

// work is the sample build for an organization, for the event with an id.
func work(t *testing.T, org, id string) pipeline.Work {
	t.Helper()
	nvr := mustNVR(t, operatorNVR)
	return pipeline.Work{
		Trigger:      pipeline.Trigger{ID: id, Source: "/koji", Type: TypeBuildCompleted, NVR: nvr},
		Organization: org, NVR: nvr, BuildID: operatorID,
		Checksum: sampleChecksum, Configuration: "c1",
	}
}

var sampleChecksum = pipeline.Checksum{Algorithm: "md5", Hex: "d41d8cd98f00b204e9800998ecf8427e"}

const sampleDigest = "quay.io/myorg/etcd@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// resultOf is what a run for w gives when it ends with err.
func resultOf(w pipeline.Work, err error) pipeline.Result {
	r := pipeline.Result{
		Trigger: w.Trigger, Organization: w.Organization, NVR: w.NVR, BuildID: w.BuildID, Package: "etcd",
		Archive: pipeline.Archive{Name: "m.zip", Checksum: w.Checksum}, Configuration: w.Configuration, Err: err,
	}
	if err == nil {
		r.Publication.Bundles = []pipeline.PushedBundle{{Reference: sampleDigest}}
	}
	return r
}

// writeResult writes into the ledger that w ended so, told by its result event.
func writeResult(t *testing.T, l *Ledger, w pipeline.Work, outcome pipeline.Outcome, err error) {
	t.Helper()
	r := resultOf(w, err)
	id := ""
	if outcome != outcomeRetried {
		id = resultID(ResultInput{Result: r, Outcome: outcome})
	}
	p, openErr := l.open(t.Context(), w.Organization, w.NVR)
	if openErr != nil {
		t.Fatal(openErr)
	}
	writeErr := l.write(t.Context(), p, func(e *Entry) error {
		e.record(Answer{Result: r, Outcome: outcome}, id, 1, time.Now())
		return nil
	})
	if writeErr != nil {
		t.Fatal(writeErr)
	}
}

func TestLedgerRemembers(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	newBucket(t, js)
	l := NewLedger(js, "ledger")
	first, second := work(t, "myorg", "1"), work(t, "myorg", "2")
	known := func(w pipeline.Work) bool {
		t.Helper()
		p, done, err := l.Published(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if done && (!p.Repeated || len(p.Bundles) != 1 || p.Bundles[0].Reference != sampleDigest) {
			t.Errorf("publication is %+v", p)
		}
		return done
	}
	if known(first) {
		t.Error("known before it was published")
	}
	if err := l.Begin(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if known(first) {
		t.Error("what has begun is not published")
	}
	for name, err := range map[string]error{"Begin": l.Begin(t.Context(), second), "Published": third(l.Published(t.Context(), second))} {
		if pipeline.ClassOf(err) != pipeline.Transient || pipeline.ReasonOf(err) != pipeline.ReasonInProgress || pipeline.AfterOf(err) <= 0 {
			t.Errorf("%s for another event: %v", name, err)
		}
	}
	writeResult(t, l, first, pipeline.OutcomePublished, nil)
	if !known(first) || !known(second) {
		t.Error("not known once it is published")
	}
	if err := l.Begin(t.Context(), second); pipeline.ReasonOf(err) != pipeline.ReasonInProgress {
		t.Errorf("begin of what was published since it was looked at: %v", err)
	}
	asked := second
	asked.Trigger.Kind = pipeline.PushRequested
	if err := l.Begin(t.Context(), asked); err != nil {
		t.Errorf("begin of a request for what is published: %v", err)
	}
	writeResult(t, l, first, pipeline.OutcomePublished, nil)
	for name, change := range map[string]func(*pipeline.Work){
		"checksum":      func(w *pipeline.Work) { w.Checksum.Hex = "0" },
		"no checksum":   func(w *pipeline.Work) { w.Checksum = pipeline.Checksum{} },
		"configuration": func(w *pipeline.Work) { w.Configuration = "c2" },
		"organization":  func(w *pipeline.Work) { w.Organization = "other" },
		"build":         func(w *pipeline.Work) { w.NVR.Release = "2" },
	} {
		other := second
		if change(&other); known(other) {
			t.Errorf("with another %s it is other work", name)
		}
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }

// What was told to a request was not told to the bus.
func TestARequestDoesNotSpeakForAnAnnouncement(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	newBucket(t, js)
	l := NewLedger(js, "ledger")
	w := work(t, "myorg", "1")
	request := w
	request.Trigger.Kind, request.Trigger.Organization = pipeline.PushRequested, "myorg"
	writeResult(t, l, request, pipeline.OutcomePublished, nil)
	if _, done, err := l.Published(t.Context(), w); done || err != nil {
		t.Errorf("done %t, %v", done, err)
	}
	// A push that is about to come does not take back what is published.
	if err := l.Begin(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	writeResult(t, l, request, pipeline.OutcomeFailed, pipeline.Retry(pipeline.ReasonQuayUnavailable, errors.New("quay is down")))
	entries, err := l.Find(t.Context(), operatorNVR)
	if err != nil || len(entries) != 1 || entries[0].State != StatePublished {
		t.Errorf("%+v, %v", entries, err)
	}
}

func TestLedgerWritersDoNotUndoEachOther(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	newBucket(t, js)
	const writers = 16
	l := [2]*Ledger{NewLedger(js, "ledger"), NewLedger(js, "ledger")}
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range writers {
		w := work(t, "myorg", fmt.Sprint(i))
		w.Trigger.Kind, w.Trigger.Organization = pipeline.PushRequested, "myorg"
		all.Go(func() {
			<-start
			writeResult(t, l[i%2], w, pipeline.OutcomePublished, nil)
		})
	}
	close(start)
	all.Wait()
	entries, err := l[0].Find(t.Context(), operatorNVR)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%+v, %v", entries, err)
	}
	if told := slices.Compact(slices.Sorted(slices.Values(entries[0].Answered))); len(told) != writers {
		t.Errorf("%d ids of %d are left", len(told), writers)
	}
}

// Of events that arrive together, one begins.
func TestOneOfManyBegins(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	newBucket(t, js)
	l := NewLedger(js, "ledger")
	start := make(chan struct{})
	errs := make(chan error, 16)
	for i := range cap(errs) {
		w := work(t, "myorg", fmt.Sprint(i))
		go func() {
			<-start
			errs <- l.Begin(t.Context(), w)
		}()
	}
	close(start)
	began := 0
	for range cap(errs) {
		switch err := <-errs; {
		case err == nil:
			began++
		case pipeline.ReasonOf(err) != pipeline.ReasonInProgress:
			t.Error(err)
		}
	}
	if began != 1 {
		t.Errorf("%d began", began)
	}
}

// listed is what List gives, as organization/NVR.
func listed(t *testing.T, l *Ledger, org, nvr string) []string {
	t.Helper()
	var got []string
	if err := l.List(t.Context(), org, nvr, func(e Entry) bool {
		got = append(got, e.Organization+"/"+e.NVR)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

func TestLedgerFindAndList(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	newBucket(t, js)
	l := NewLedger(js, "ledger")
	for _, name := range []struct{ org, nvr string }{
		{"a", "n-1.0-1"}, {"a.b", "n-1.0-1"}, {"c", "n-1.0-1"}, {"a", "n-1.0-1.el8"}, {"a", "x.n-1.0-1"}, {"a", "n-1.0-2"}, {"a", "n-1..0-1."},
	} {
		w := work(t, name.org, "1")
		w.NVR = mustNVR(t, name.nvr)
		writeResult(t, l, w, pipeline.OutcomePublished, nil)
	}
	found, err := l.Find(t.Context(), "n-1.0-1")
	if err != nil {
		t.Fatal(err)
	}
	var orgs []string
	for _, e := range found {
		orgs = append(orgs, e.Organization)
	}
	slices.Sort(orgs)
	if diff := cmp.Diff([]string{"a", "a.b", "c"}, orgs); diff != "" {
		t.Error(diff)
	}
	if found, err := l.Find(t.Context(), "n-1.0-9"); len(found) != 0 || err != nil {
		t.Errorf("%+v, %v", found, err)
	}
	for _, tt := range []struct {
		org, nvr string
		want     []string
	}{
		{"", "", []string{"a.b/n-1.0-1", "a/n-1..0-1.", "a/n-1.0-1", "a/n-1.0-1.el8", "a/n-1.0-2", "a/x.n-1.0-1", "c/n-1.0-1"}},
		{"a", "", []string{"a/n-1..0-1.", "a/n-1.0-1", "a/n-1.0-1.el8", "a/n-1.0-2", "a/x.n-1.0-1"}},
		{"a.b", "", []string{"a.b/n-1.0-1"}},
		{"", "n-1..0-1.", []string{"a/n-1..0-1."}},
		{"a", "n-1.0-1", []string{"a/n-1.0-1"}},
		{"z", "", nil},
	} {
		if diff := cmp.Diff(tt.want, listed(t, l, tt.org, tt.nvr)); diff != "" {
			t.Errorf("%q %q: %s", tt.org, tt.nvr, diff)
		}
	}
	visits := 0
	if err := l.List(t.Context(), "", "", func(Entry) bool { visits++; return visits < 2 }); err != nil || visits != 2 {
		t.Errorf("%d visits, %v", visits, err)
	}
}
