package events_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// A letter that cannot be deleted, as after a crash between publishing and
// deleting, is sent once however often it is redriven.
func TestRedriveTwice(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "OMPS_DEAD_LETTERS", Subjects: []string{"omps.dead-letter.>"}, DenyDelete: true,
	}); err != nil {
		t.Fatal(err)
	}
	b.provide()
	b.bury(1, "internal", "x")
	for _, repeated := range []bool{false, true} {
		sent, err := b.deadLetters().Redrive(t.Context(), 1)
		if !errors.Is(err, events.ErrLetterKept) || !strings.Contains(err.Error(), "still there") {
			t.Fatalf("%v", err)
		}
		if sent.Repeated != repeated || sent.Stream != "KOJI" || sent.Sequence != 1 {
			t.Errorf("%+v", sent)
		}
	}
	if got := b.count("KOJI"); got != 1 {
		t.Errorf("%d messages", got)
	}
	if _, err := b.deadLetters().Drop(t.Context(), 1); err == nil {
		t.Error("dropped what cannot be deleted")
	}
}

// omitted has the service bury a message that does not fit with its headers.
func omitted(t *testing.T, b *bus) (payload []byte) {
	t.Helper()
	s := b.run(b.options(publishes))
	payload = bytes.Repeat([]byte("x"), 1<<20-250)
	b.publish(&nats.Msg{Subject: "koji.build.completed", Data: payload, Header: nats.Header{"X-Kept": {"a", "b"}, "Nats-Msg-Id": {"first"}}})
	eventually(t, "buried", func() bool { return s.metric("omps_dead_letters_total") == 1 })
	s.finish()
	letter, err := b.deadLetters().Get(t.Context(), 1)
	if err != nil || letter.Omitted != "payload" || letter.Bytes != 0 {
		t.Fatalf("%d bytes, omitted %q: %v", letter.Bytes, letter.Omitted, err)
	}
	return payload
}

func TestRedriveTakesWhatIsOmittedFromTheOriginal(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	payload := omitted(t, b)
	sent, err := b.deadLetters().Redrive(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	redriven := b.stored("KOJI")[sent.Sequence-1]
	if !bytes.Equal(redriven.Data, payload) || len(redriven.Header.Values("X-Kept")) != 2 || sent.Sequence != 2 {
		t.Errorf("%d bytes, %v, %+v", len(redriven.Data), redriven.Header, sent)
	}
}

func TestRedriveWithoutTheOriginal(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, want string
		change     func(t *testing.T, b *bus, koji jetstream.Stream)
	}{
		{"gone", "no longer holds message 1", func(t *testing.T, _ *bus, koji jetstream.Stream) {
			if err := koji.DeleteMsg(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}},
		{"made anew", "another one by now", func(t *testing.T, b *bus, _ jetstream.Stream) {
			was, err := b.deadLetters().Get(t.Context(), 1)
			if err != nil || was.OriginalTime.IsZero() {
				t.Fatalf("%v, stored %s", err, was.OriginalTime)
			}
			if err := b.js.DeleteStream(t.Context(), "KOJI"); err != nil {
				t.Fatal(err)
			}
			b.provide()
			// Forged headers must not make it pass for the one that was there.
			b.publish(&nats.Msg{Subject: "koji.build.completed", Data: []byte("other"), Header: nats.Header{
				"Nats-Subject": {"koji.build.completed"}, "Nats-Sequence": {"1"}, "Nats-Time-Stamp": {was.OriginalTime.Format(time.RFC3339Nano)},
			}})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBus(t)
			omitted(t, b)
			koji, err := b.js.Stream(t.Context(), "KOJI")
			if err != nil {
				t.Fatal(err)
			}
			tt.change(t, b, koji)
			if _, err := b.deadLetters().Redrive(t.Context(), 1); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
			if b.count("OMPS_DEAD_LETTERS") != 1 {
				t.Error("the letter is gone")
			}
		})
	}
}

// Whoever may write dead letters may not have others publish just anything.
func TestRedriveOnlyToWhereItCameFrom(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provide()
	for i, tt := range []struct{ stream, subject, want string }{
		{"", "koji.build.completed", "does not say where it comes from"},
		{"KOJI", "", "does not say where it comes from"},
		{"OMPS_RESULTS", "omps.result.published.myorg.etcd", "only these are read"},
		{"KOJI", "omps.request.push.myorg", "takes nothing on"},
		{"KOJI", "$JS.API.STREAM.DELETE.KOJI", "takes nothing on"},
		{"KOJI", "koji.>", "takes nothing on"},
		{"KOJI", "koji.build completed", "takes nothing on"},
		{"KOJI", "koji..build", "takes nothing on"},
	} {
		msg := nats.NewMsg("omps.dead-letter.internal")
		msg.Header.Set("Omps-Stream", tt.stream)
		msg.Header.Set("Omps-Subject", tt.subject)
		b.publish(msg)
		if _, err := b.deadLetters().Redrive(t.Context(), uint64(i+1)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %v", tt.stream, tt.subject, err)
		}
	}
	if n := b.count("KOJI"); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}

// Reading a letter never fails, whatever it holds.
func TestGetGarbage(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.provide()
	deep := strings.Repeat(`{"a":`, 600) + "1" + strings.Repeat("}", 600)
	for i, tt := range []struct {
		data   string
		header nats.Header
		want   events.LetterEvent
	}{
		{"", nil, events.LetterEvent{}},
		{"\xff\xfe\x00", nil, events.LetterEvent{}},
		{"[]", nil, events.LetterEvent{}},
		{deep, nil, events.LetterEvent{}},
		{`{"nvr":17,"build_id":"x"}`, nil, events.LetterEvent{}},
		{`{"build_id":17}`, nil, events.LetterEvent{BuildID: 17}},
		{`{"info":{"name":"a","version":"1","release":"2"}}`, nil, events.LetterEvent{NVR: "a-1-2"}},
		{`{"specversion":"0.3","id":"i","source":"not a\nuri","type":"t","subject":"a-1-2"}`, nil,
			events.LetterEvent{ID: "i", Source: "not a\nuri", Type: "t", NVR: "a-1-2"}},
		{`{"specversion":"1.0","id":17,"type":null,"data_base64":"!"}`, nil, events.LetterEvent{}},
		{`{"specversion":"1.0","id":"i","source":"/s","type":"t","data_base64":"eyJudnIiOiJhLTEtMiJ9"}`, nil,
			events.LetterEvent{ID: "i", Source: "/s", Type: "t", NVR: "a-1-2"}},
		{`{"nvr":"a-1-2"}`, nats.Header{"ce-specversion": {"1.0"}, "CE-ID": {"%69"}}, events.LetterEvent{ID: "i", NVR: "a-1-2"}},
		{`x`, nats.Header{"ce-specversion": {"1.0"}, "ce-subject": {"a-1-2"}, "ce-id": {`"open`}}, events.LetterEvent{NVR: "a-1-2"}},
	} {
		b.publish(&nats.Msg{Subject: "omps.dead-letter.internal", Data: []byte(tt.data), Header: tt.header})
		letter, err := b.deadLetters().Get(t.Context(), uint64(i+1))
		if err != nil || letter.Event != tt.want || letter.Reason != "internal" || string(letter.Data) != tt.data {
			t.Errorf("%q: %+v %v", tt.data, letter, err)
		}
	}
}
