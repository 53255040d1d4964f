package events_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// sequences are those of the results between two, by ReadResults.
func sequences(t *testing.T, r *events.Results, from, to uint64) []uint64 {
	t.Helper()
	found, err := events.ReadResults(t.Context(), r, from, to, func(w events.Watched) uint64 {
		if w.Err == nil != (w.Data.Outcome == "published") {
			t.Errorf("%d: %+v", w.Sequence, w)
		}
		return w.Sequence
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestResults(t *testing.T) {
	t.Parallel()
	for _, direct := range []bool{true, false} {
		b := newBus(t)
		if !direct { // as somebody may have made it
			if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OMPS_RESULTS", Subjects: []string{"omps.result.>"}}); err != nil {
				t.Fatal(err)
			}
		}
		b.provide()
		r := events.NewResults(b.js, "OMPS_RESULTS")
		if bounds, err := r.Bounds(t.Context()); err != nil || bounds.First != 1 || bounds.Last != 0 || bounds.Created.IsZero() {
			t.Errorf("of nothing: %+v, %v", bounds, err)
		}
		for i := range 40 {
			b.tell([]string{"omps.result.published.myorg.etcd", "omps.result.rejected.my_org.a"}[i%2])
		}
		// What a message says of itself is not believed.
		b.publish(&nats.Msg{Subject: "omps.result.failed.myorg.etcd", Data: []byte("nonsense"), Header: nats.Header{
			"Nats-Sequence": {"7"}, "Nats-Subject": {"omps.result.published.a.b"}, "Nats-Time-Stamp": {"1999-01-01T00:00:00Z"},
		}})
		stream, err := b.js.Stream(t.Context(), "OMPS_RESULTS")
		if err != nil {
			t.Fatal(err)
		}
		for _, sequence := range []uint64{1, 20, 21} {
			if err := stream.DeleteMsg(t.Context(), sequence); err != nil {
				t.Fatal(err)
			}
		}
		if bounds, err := r.Bounds(t.Context()); err != nil || bounds.First != 2 || bounds.Last != 41 {
			t.Errorf("bounds %+v, %v", bounds, err)
		}
		for _, c := range []struct {
			from, to uint64
			want     []uint64
		}{{18, 23, []uint64{18, 19, 22, 23}}, {20, 21, []uint64{}}, {41, 50, []uint64{41}}, {5, 4, []uint64{}}} {
			if diff := cmp.Diff(c.want, sequences(t, r, c.from, c.to)); diff != "" {
				t.Errorf("direct %t, from %d to %d: %s", direct, c.from, c.to, diff)
			}
		}
		outcomes, err := events.ReadOutcomes(t.Context(), r, 39, 41)
		got := fmt.Sprint(len(outcomes))
		for _, one := range outcomes {
			got += fmt.Sprintf(" %d %s %t", one.Sequence, one.Outcome, one.Time.Year() > 2000)
		}
		if err != nil || got != "3 39 published true 40 rejected true 41 failed true" {
			t.Errorf("%s, %v", got, err)
		}
	}
}

// What looks like an answer of the server, as anybody can send it, hides no result.
func TestResultsBesidePosers(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provide()
	r := events.NewResults(b.js, "OMPS_RESULTS")
	const told, poser = "omps.result.published.myorg.etcd", "omps.result.poser.a.b"
	b.tell(told)
	b.publish(&nats.Msg{Subject: poser, Header: nats.Header{"Status": {"408"}, "Description": {"Bad Request"}}})
	b.tell(told)
	b.tell(told)
	b.publish(&nats.Msg{Subject: poser, Header: nats.Header{"Nats-Time-Stamp": {"never"}}, Data: []byte("x")})
	b.publish(&nats.Msg{Subject: poser, Header: nats.Header{"Nats-Sequence": {"none"}}, Data: []byte("x")})
	b.tell(told)
	for _, c := range []struct {
		from, to uint64
		want     []uint64
	}{{1, 7, []uint64{1, 3, 4, 7}}, {2, 3, []uint64{3}}, {4, 6, []uint64{4}}, {5, 20, []uint64{7}}} {
		if diff := cmp.Diff(c.want, sequences(t, r, c.from, c.to)); diff != "" {
			t.Errorf("from %d to %d: %s", c.from, c.to, diff)
		}
	}
	for _, all := range [][2]uint64{{2, 2}, {5, 6}} { // an answer, as far as anybody can tell
		if found, err := events.ReadOutcomes(t.Context(), r, all[0], all[1]); err == nil {
			t.Errorf("from %d to %d: %v", all[0], all[1], found)
		}
	}
}

func TestResultsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	r := events.NewResults(b.js, "OMPS_RESULTS")
	if _, err := r.Bounds(t.Context()); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("of no stream: %v", err)
	}
	b.provide() // it is found later
	if _, err := r.Bounds(t.Context()); err != nil {
		t.Error(err)
	}
	b.tell("omps.result.published.myorg.etcd")
	b.Stop()
	if _, err := events.ReadOutcomes(t.Context(), r, 1, 1); err == nil {
		t.Error("read from a server that is away")
	}
	b.Restart()
	eventually(t, "results are read again", func() bool {
		found, err := events.ReadOutcomes(t.Context(), r, 1, 1)
		return err == nil && len(found) == 1
	})
}

func TestNewestLetters(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provide()
	d := events.NewDeadLetters(b.js, events.DefaultNames())
	newest := func(limit int) string {
		t.Helper()
		letters, count, err := d.Newest(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(count, ":")
		for _, l := range letters {
			if l.Data != nil || l.Header != nil || l.Time.IsZero() {
				t.Errorf("%+v", l)
			}
			text += fmt.Sprint(" ", l.Sequence, l.Reason)
		}
		return text
	}
	if got := newest(5); got != "0:" {
		t.Errorf("of none: %s", got)
	}
	for i := range 20 {
		b.bury(i, "deadline", "x")
	}
	// A letter without payload whose headers pose as an answer of the server.
	b.publish(&nats.Msg{Subject: "omps.dead-letter.poser", Header: nats.Header{"Status": {"408"}, "Description": {"Bad Request"}}})
	b.bury(22, "invalid-event", `{"data":{"nvr":"etcd-1-1"}}`)
	stream, err := b.js.Stream(t.Context(), "OMPS_DEAD_LETTERS")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 19); err != nil {
		t.Fatal(err)
	}
	if got := newest(3); got != "21: 22invalid-event 20deadline 18deadline" {
		t.Error(got)
	}
	if letters, _, err := d.Newest(t.Context(), 100); err != nil || len(letters) != 20 || letters[19].Sequence != 1 {
		t.Errorf("%d letters, %v", len(letters), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := d.Newest(ctx, 5); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// These are the rights that Results and Newest name.
func TestReadersRights(t *testing.T) {
	t.Parallel()
	b := guardedBus(t, server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			"$JS.API.STREAM.INFO.OMPS_RESULTS", "$JS.API.DIRECT.GET.OMPS_RESULTS",
			"$JS.API.STREAM.INFO.OMPS_DEAD_LETTERS", "$JS.API.DIRECT.GET.OMPS_DEAD_LETTERS",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	})
	b.provide()
	b.tell("omps.result.published.myorg.etcd")
	b.bury(1, "deadline", "x")
	js, err := jetstream.New(connect(t, b.URL))
	if err != nil {
		t.Fatal(err)
	}
	r := events.NewResults(js, "OMPS_RESULTS")
	if _, err := r.Bounds(t.Context()); err != nil {
		t.Error(err)
	}
	if got := sequences(t, r, 1, 1); len(got) != 1 {
		t.Errorf("%d results", len(got))
	}
	if letters, count, err := events.NewDeadLetters(js, events.DefaultNames()).Newest(t.Context(), 5); err != nil || len(letters) != 1 || count != 1 {
		t.Errorf("%d letters of %d, %v", len(letters), count, err)
	}
}
