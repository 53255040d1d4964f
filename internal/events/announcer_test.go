package events_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/schemas"
)

const hubURL = "https://koji.example.com/kojihub"

func announcerOn(b *bus, stream string) events.Announcer {
	return events.NewAnnouncer(events.AnnouncerOptions{JetStream: b.js, Stream: stream, Source: hubURL})
}

func etcdBuild(release string, id int64) pipeline.CompletedBuild {
	return pipeline.CompletedBuild{
		HubBuild:  pipeline.HubBuild{ID: id, NVR: pipeline.NVR{Name: "etcd.op-container", Version: "1.0", Release: release}, State: pipeline.StateComplete},
		Completed: time.Date(2026, 11, 1, 12, 0, 0, 500_000_000, time.UTC),
	}
}

// An announcement is an event that the service reads as any other.
func TestAnnounceBuilds(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provision()
	a := announcerOn(b, "KOJI")
	first, err := a.Announce(t.Context(), etcdBuild("1", 7))
	if err != nil || first.Stream != "KOJI" || first.Sequence != 1 || first.Repeated || first.Subject != "koji.build.completed.etcd_op-container" {
		t.Fatalf("%+v %v", first, err)
	}
	// Whoever finds the same build missing announces the same event.
	if again, err := announcerOn(b, "KOJI").Announce(t.Context(), etcdBuild("1", 7)); err != nil || !again.Repeated || again.ID != first.ID || again.Sequence != 1 {
		t.Errorf("%+v %v", again, err)
	}
	if other, err := a.Announce(t.Context(), etcdBuild("2", 8)); err != nil || other.Repeated || other.ID == first.ID || other.Sequence != 2 {
		t.Errorf("%+v %v", other, err)
	}
	msg := b.stored("KOJI")[0]
	e, err := events.Decode(msg.Subject, msg.Header, msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	if e.Source() != hubURL || e.ID() != first.ID || e.Type() != events.TypeBuildCompleted || e.Subject() != "etcd.op-container-1.0-1" ||
		!e.Time().Equal(etcdBuild("1", 7).Completed) || e.Extensions()["reconciled"] != true {
		t.Errorf("%v", e)
	}
	set, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	trigger, err := events.Reader{Schemas: set}.Trigger(msg.Subject, e)
	if err != nil || trigger.Kind != pipeline.BuildAnnounced || trigger.BuildID != 7 || trigger.NVR != etcdBuild("1", 7).NVR || !trigger.SaysComplete {
		t.Errorf("%+v %v", trigger, err)
	}
	if backlog, err := a.Backlog(t.Context(), "omps"); err != nil || backlog != 2 {
		t.Errorf("backlog %d %v", backlog, err)
	}
}

func TestAnnounceWhereNobodyListens(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	if _, err := announcerOn(b, "KOJI").Announce(t.Context(), etcdBuild("1", 7)); err == nil {
		t.Error("stored nowhere")
	}
	if _, err := announcerOn(b, "KOJI").Backlog(t.Context(), "omps"); err == nil {
		t.Error("there is no stream")
	}
	b.provision()
	if got, err := announcerOn(b, "BUS").Announce(t.Context(), etcdBuild("1", 7)); err == nil {
		t.Errorf("another stream has it: %+v", got)
	}
	if n := b.count("KOJI"); n != 0 {
		t.Errorf("%d messages", n)
	}
	if _, err := announcerOn(b, "KOJI").Announce(t.Context(), pipeline.CompletedBuild{}); err == nil {
		t.Error("no build was announced")
	}
}

func TestLedgerRecords(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provision()
	l := events.NewLedger(b.js, "omps-ledger")
	kv, err := b.js.KeyValue(t.Context(), "omps-ledger")
	if err != nil {
		t.Fatal(err)
	}
	nvr := etcdBuild("1", 7).NVR
	const key, head = "myorg.etcd.op-container-1.0-1", `{"organization":"myorg","nvr":"etcd.op-container-1.0-1","last":"2026-11-01T12:00:00Z",`
	last := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, value string
		want        pipeline.Record
	}{
		{"nothing", "", pipeline.Record{}},
		{"not JSON", "not JSON", pipeline.Record{}},
		{"of no build", `{"state":"published"}`, pipeline.Record{}},
		{"published", head + `"state":"published"}`, pipeline.Record{Known: true, Last: last}},
		{"rejected", head + `"state":"rejected"}`, pipeline.Record{Known: true, Last: last}},
		{"failed", head + `"state":"failed"}`, pipeline.Record{Known: true, Failed: true, Last: last}},
		{"waiting", head + `"state":"waiting"}`, pipeline.Record{Known: true, Open: true, Last: last}},
		{"publishing", head + `"state":"publishing"}`, pipeline.Record{Known: true, Open: true, Last: last}},
		{"published by request", head + `"state":"published","trigger":{"request":true}}`, pipeline.Record{Known: true, Last: last}},
		{"published elsewhere", head + `"state":"published","trigger":{"request":true,"repository":"other"}}`, pipeline.Record{}},
		{"rejected as a version", head + `"state":"rejected","trigger":{"request":true,"version":"1"}}`, pipeline.Record{}},
		{"in hand elsewhere", head + `"state":"publishing","trigger":{"request":true,"version":"1.0.0"}}`, pipeline.Record{Known: true, Open: true, Last: last}},
	} {
		if tt.value != "" {
			if _, err := kv.PutString(t.Context(), key, tt.value); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := l.Record(t.Context(), "myorg", nvr); got != tt.want || err != nil {
			t.Errorf("%s: %+v %v, want %+v", tt.name, got, err, tt.want)
		}
	}
	if err := kv.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Record(t.Context(), "myorg", nvr); got != (pipeline.Record{}) || err != nil {
		t.Errorf("deleted: %+v %v", got, err)
	}
	if err := b.js.DeleteStream(t.Context(), "KV_omps-ledger"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Record(t.Context(), "myorg", nvr); pipeline.ReasonOf(err) != pipeline.ReasonLedgerUnavailable {
		t.Error(err)
	}
}

// Who announces needs one right more than the service, and no other.
func TestAnnounceWithNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	b := guardedBus(t, needed())
	b.provision()
	announcing := unmanaged()
	announcing.Announce = true
	_, _, err := b.preflight(announcing)
	if faults := faultsOf(err); len(faults) != 1 || !strings.Contains(faults[0].Error(), "no permission to publish to koji.build.completed.* (") {
		t.Errorf("%v", err)
	}

	p := needed()
	p.Publish.Allow = append(p.Publish.Allow, "koji.build.completed.*")
	b = guardedBus(t, p)
	b.provision()
	report, log, err := b.preflight(announcing)
	if err != nil || len(report.Warnings) > 0 || len(log.lines("ermission")) > 0 {
		t.Fatalf("%q %v", report, err)
	}
	if n := b.traces(); n != 0 {
		t.Errorf("the preflight left %d messages", n)
	}
	js, err := jetstream.New(connect(t, b.URL))
	if err != nil {
		t.Fatal(err)
	}
	a := events.NewAnnouncer(events.AnnouncerOptions{JetStream: js, Stream: "KOJI", Source: hubURL})
	if _, err := a.Announce(t.Context(), etcdBuild("1", 7)); err != nil {
		t.Error(err)
	}
	if n, err := a.Backlog(t.Context(), "omps"); n != 1 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if _, err := events.NewLedger(js, "omps-ledger").Record(t.Context(), "myorg", etcdBuild("1", 7).NVR); err != nil {
		t.Error(err)
	}
}
