package events_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// deleterFunc is a Deleter.
type deleterFunc func(ctx context.Context, d pipeline.Deletion) ([]string, error)

func (f deleterFunc) Delete(ctx context.Context, d pipeline.Deletion) ([]string, error) {
	return f(ctx, d)
}

// byHand is the options of a service at the plant that takes archives by hand
// for myorg out of the bus, and deletes by delete.
func (p *plant) byHand(b *bus, del deleterFunc) events.Options {
	b.tb.Helper()
	p.orgs[0].AcceptArchives = true
	o := p.gated(b)
	line, ok := o.Handler.(*pipeline.Pipeline)
	if !ok {
		b.tb.Fatal("no pipeline")
	}
	line.Fetch.Objects = events.NewObjects(b.js)
	line.Delete.Deleters = map[string]pipeline.Deleter{"myorg": del}
	return o
}

// remove publishes a request to delete.
func (b *bus) remove(d events.DeleteEvent) {
	b.tb.Helper()
	d.Source = "/release-engineer"
	b.send(events.NewDeleteEvent(d))
}

func TestArchivesByHand(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg", "other")
	newStore(b).put("etcd.zip", p.archive)
	s := b.run(p.byHand(b, nil))
	for _, request := range []events.PushEvent{
		{ID: "1", Organization: "myorg", Object: "uploads/etcd.zip"},
		{ID: "2", Organization: "myorg", Inline: p.archive},
		{ID: "2", Organization: "myorg", Inline: p.archive}, // the same event once more
		{ID: "3", Organization: "myorg", Object: "uploads/etcd.zip", Force: true},
		{ID: "4", Organization: "myorg", Inline: p.archive, Repository: "else"},
		{ID: "5", Organization: "other", Object: "uploads/etcd.zip"},
		{ID: "6", Organization: "myorg", Inline: p.archive[:100]},
		{ID: "7", Organization: "nobody", Inline: p.archive},
		{ID: "8", Organization: "myorg", Object: "up.loads/etcd.zip"},
	} {
		b.ask(request)
		b.done()
	}
	s.finish()

	type answer struct {
		ID, Organization string
		Outcome          pipeline.Outcome
		Repeated         bool
		Archive          string
		Reason           pipeline.Reason
	}
	var got []answer
	for i, d := range b.told() {
		a := answer{ID: d.Trigger.ID, Organization: d.Organization, Outcome: d.Outcome, Repeated: d.Repeated}
		if d.Archive != nil {
			a.Archive = d.Archive.Name
		}
		if d.Error != nil {
			a.Reason = d.Error.Reason
		} else if d.Archive.Bytes != int64(len(p.archive)) || len(d.Archive.Checksum) != len("sha256:")+64 || len(d.Bundles) != 1 {
			t.Errorf("%+v %+v", d.Archive, d.Bundles)
		}
		if d.NVR != "" || d.BuildID != 0 || d.Decision != nil || b.results()[i].Subject() != "" {
			t.Errorf("the answer to %s is about a build: %+v", d.Trigger.ID, d)
		}
		got = append(got, a)
	}
	const object = "uploads/etcd.zip"
	if diff := cmp.Diff([]answer{
		{ID: "1", Organization: "myorg", Outcome: "published", Archive: object},
		{ID: "2", Organization: "myorg", Outcome: "published", Repeated: true, Archive: "inline"},
		{ID: "3", Organization: "myorg", Outcome: "published", Archive: object},
		{ID: "4", Organization: "myorg", Outcome: "published", Repeated: true, Archive: "inline"},
		{ID: "5", Organization: "other", Outcome: "rejected", Archive: object, Reason: pipeline.ReasonArchiveNotAccepted},
		{ID: "6", Organization: "myorg", Outcome: "rejected", Archive: "inline", Reason: pipeline.ReasonBadArchive},
		{ID: "7", Organization: "nobody", Outcome: "rejected", Reason: pipeline.ReasonUnknownOrganization},
		{ID: "8", Organization: "myorg", Outcome: "rejected", Archive: "up.loads/etcd.zip", Reason: pipeline.ReasonArchiveNotFound},
	}, got); diff != "" {
		t.Error(diff)
	}
	if asked := p.askedFor(""); asked != 0 {
		t.Errorf("the gate was asked %d times", asked)
	}
	if n := b.count("OMPS_DEAD_LETTERS") + b.count("KV_omps-ledger"); n != 0 {
		t.Errorf("%d dead letters and entries of the ledger", n)
	}
}

// The event may be there before the object can be seen.
func TestAnArchiveMayComeAfterItsRequest(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	store := newStore(b)
	s := b.run(p.byHand(b, nil))
	b.ask(events.PushEvent{ID: "1", Organization: "myorg", Object: "uploads/etcd.zip"})
	eventually(t, "looked for", func() bool {
		return s.metric("omps_deliveries_total", "outcome=retried", "reason=archive-not-found") > 0
	})
	store.put("etcd.zip", p.archive)
	b.done()
	s.finish()
	if diff := cmp.Diff([]string{"myorg:published"}, b.outcomes()); diff != "" {
		t.Error(diff)
	}
}

func TestDeletions(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	var calls atomic.Int64
	s := b.run(p.byHand(b, func(_ context.Context, d pipeline.Deletion) ([]string, error) {
		switch {
		case d.Organization.Name != "myorg":
			return nil, errors.New("not for us")
		case d.Repository == "myorg/away":
			return nil, pipeline.Reject(pipeline.ReasonPackageNotFound, errors.New("no such package"))
		case d.Repository == "myorg/half":
			return []string{"1.0.0"}, pipeline.Reject(pipeline.ReasonQuayRefused, errors.New("enough"))
		case calls.Add(1) == 1:
			return nil, errQuay
		case d.Version == "":
			return []string{"1.0.0", "2.0.0"}, nil
		}
		return []string{d.Version}, nil
	}))
	for _, request := range []events.DeleteEvent{
		{ID: "1", Organization: "myorg", Repository: "etcd", Version: "3.0.0"}, // after one try
		{ID: "2", Organization: "myorg", Repository: "etcd"},
		{ID: "2", Organization: "myorg", Repository: "etcd"}, // the same event once more
		{ID: "3", Organization: "myorg", Repository: "away"},
		{ID: "4", Organization: "myorg", Repository: "half"},
		{ID: "5", Organization: "nobody", Repository: "etcd"},
	} {
		b.remove(request)
		b.done()
	}
	s.finish()

	type answer struct {
		ID, Type, Repository string
		Deleted              []string
		Reason               pipeline.Reason
		Stage                pipeline.StageName
	}
	var got []answer
	for i, d := range b.told() {
		a := answer{ID: d.Trigger.ID, Type: b.results()[i].Type(), Repository: d.Repository, Deleted: d.Deleted}
		if d.Error != nil {
			a.Reason, a.Stage = d.Error.Reason, d.Error.Stage
		}
		got = append(got, a)
	}
	if diff := cmp.Diff([]answer{
		{ID: "1", Type: events.TypeDeleted, Repository: "myorg/etcd", Deleted: []string{"3.0.0"}},
		{ID: "2", Type: events.TypeDeleted, Repository: "myorg/etcd", Deleted: []string{"1.0.0", "2.0.0"}},
		{ID: "3", Type: events.TypeRejected, Repository: "myorg/away", Reason: pipeline.ReasonPackageNotFound, Stage: "delete"},
		{ID: "4", Type: events.TypeRejected, Repository: "myorg/half", Deleted: []string{"1.0.0"}, Reason: pipeline.ReasonQuayRefused, Stage: "delete"},
		{ID: "5", Type: events.TypeRejected, Reason: pipeline.ReasonUnknownOrganization},
	}, got); diff != "" {
		t.Error(diff)
	}
	var subjects []string
	for _, msg := range b.stored("OMPS_RESULTS") {
		subjects = append(subjects, msg.Subject)
	}
	if diff := cmp.Diff([]string{
		"omps.result.deleted.myorg.etcd", "omps.result.deleted.myorg.etcd", "omps.result.rejected.myorg.away",
		"omps.result.rejected.myorg.half", "omps.result.rejected.nobody._",
	}, subjects); diff != "" {
		t.Error(diff)
	}
	if got := s.metric("omps_deliveries_total", "outcome=deleted"); got != 3 {
		t.Errorf("%v deliveries deleted", got)
	}
	if got := p.pushes(""); len(got) != 0 {
		t.Errorf("pushed %+v", got)
	}
}
