package events_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Garbage ends as a dead letter, byte for byte, and nothing waits behind it.
func TestGarbageBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	handler := count(publishes)
	s := b.run(b.options(handler))
	payload := []byte("\x00\xff{not json\r\n")
	b.publish(&nats.Msg{
		Subject: "koji.build.completed.etcd", Data: payload,
		Header: nats.Header{
			"X-lower-Case": {"kept", "twice"},
			"omps-reason":  {"forged"},
			// Obeyed on the way in, these would keep the dead letter out.
			"Nats-Expected-Stream": {"KOJI"},
			"Nats-Msg-Id":          {"the-original"},
		},
	})
	b.publish(&nats.Msg{Subject: "omps.request.push.myorg", Data: []byte("{}")})
	b.announce(nvr(1))

	eventually(t, "published", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	eventually(t, "buried", func() bool { return s.metric("omps_dead_letters_total") == 2 })
	eventually(t, "settled", func() bool { return b.settled("KOJI") && b.settled("OMPS_REQUESTS") })
	s.finish()
	if builds, _ := handler.distinct(); builds != 1 {
		t.Errorf("%d builds were run", builds)
	}
	if got := s.metric("omps_deliveries_total", "outcome=malformed"); got != 2 {
		t.Errorf("%v malformed", got)
	}
	letter := letterOf(t, b, "koji.build.completed.etcd")
	if !bytes.Equal(letter.Data, payload) {
		t.Errorf("payload is %q", letter.Data)
	}
	for name, want := range map[string]string{
		events.HeaderReason: "unreadable-event", events.HeaderTries: "1", events.HeaderStage: "",
		events.HeaderStream: "KOJI", events.HeaderSequence: "1", events.HeaderOmitted: "",
		"X-lower-Case": "kept", "omps-reason": "",
		"Omps-Nats-Msg-Id": "the-original", "Omps-Nats-Expected-Stream": "KOJI", "Nats-Expected-Stream": "",
	} {
		if got := letter.Header.Get(name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	if got := letter.Header.Values("X-lower-Case"); len(got) != 2 {
		t.Errorf("values are %q", got)
	}
	if letter.Header.Get(events.HeaderError) == "" || letter.Header.Get(events.HeaderTime) == "" {
		t.Errorf("headers are %v", letter.Header)
	}
	if got := letter.Header.Get(jetstream.MsgIDHeader); !strings.HasPrefix(got, "dead-KOJI-1-") {
		t.Errorf("message id is %q", got)
	}
	if letter.Subject != "omps.dead-letter.unreadable-event" {
		t.Errorf("on %s", letter.Subject)
	}
}

func letterOf(t *testing.T, b *bus, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	for _, letter := range b.stored("OMPS_DEAD_LETTERS") {
		if letter.Header.Get(events.HeaderSubject) == subject {
			return letter
		}
	}
	t.Fatalf("no dead letter of %s", subject)
	return nil
}

// A message may fill what the server takes in one, and our headers come on top.
func TestDeadLetterThatDoesNotFit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name            string
		payload, header int
		omitted         string
		kept            int // bytes of payload
	}{
		{name: "payload", payload: 1<<20 - 100, omitted: "payload"},
		{name: "headers", payload: 100, header: 64<<10 - 200, omitted: "headers", kept: 100},
		{name: "both", payload: 1<<20 - 64<<10, header: 64<<10 - 200, omitted: "headers", kept: 1<<20 - 64<<10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBus(t)
			s := b.run(b.options(publishes))
			msg := nats.NewMsg("koji.build.completed")
			msg.Data = bytes.Repeat([]byte("x"), tt.payload)
			if tt.header > 0 {
				msg.Header.Set("X-Large", strings.Repeat("y", tt.header))
			}
			b.publish(msg)
			eventually(t, "buried", func() bool { return s.metric("omps_dead_letters_total") == 1 })
			s.finish()
			letter := letterOf(t, b, "koji.build.completed")
			if got := letter.Header.Get(events.HeaderOmitted); got != tt.omitted {
				t.Errorf("omitted %q, not %q", got, tt.omitted)
			}
			if len(letter.Data) != tt.kept {
				t.Errorf("%d bytes kept, not %d", len(letter.Data), tt.kept)
			}
			if letter.Header.Get(events.HeaderSequence) != "1" {
				t.Error("does not say where the original lies")
			}
		})
	}
}

// While the answer cannot be stored, the message stays alive.
func TestPublishThatFailsKeepsTheMessage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, stream, action string
		make                 func(b *bus)
		done                 []string
	}{
		{
			name: "result", stream: "OMPS_RESULTS", action: "publish",
			make: func(b *bus) { b.announce(nvr(1)) }, done: []string{"outcome=published"},
		},
		{
			name: "ledger", stream: "KV_omps-ledger", action: "publish",
			make: func(b *bus) { b.announce(nvr(1)) }, done: []string{"outcome=published"},
		},
		{
			name: "dead letter", stream: "OMPS_DEAD_LETTERS", action: "dead-letter",
			make: func(b *bus) { b.publish(&nats.Msg{Subject: "koji.build.completed", Data: []byte("x")}) },
			done: []string{"outcome=malformed"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBus(t)
			if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
				t.Fatal(err)
			}
			o := b.options(publishes)
			o.Provision.Manage = false
			s := b.run(o)
			eventually(t, "ready", func() bool { return s.Ready() == nil })
			if err := b.js.DeleteStream(t.Context(), tt.stream); err != nil {
				t.Fatal(err)
			}
			tt.make(b)
			eventually(t, "two failures", func() bool {
				return s.metric("omps_settle_errors_total", "action="+tt.action) >= 2
			})
			if b.settled("KOJI") {
				t.Error("settled without an answer")
			}
			if s.Ready() == nil {
				t.Error("ready, though nothing can be stored")
			}
			if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "done", func() bool { return s.metric("omps_deliveries_total", tt.done...) == 1 })
			if err := s.Ready(); err != nil {
				t.Error(err)
			}
			s.finish()
			if got := len(b.stored(tt.stream)); got != 1 {
				t.Errorf("%d messages on %s", got, tt.stream)
			}
		})
	}
}

// Where it may, the service makes again what was lost.
func TestLostStreamOfAnswersIsMadeAgain(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{"OMPS_RESULTS", "KV_omps-ledger"} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			b := newBus(t)
			s := b.run(b.options(publishes))
			eventually(t, "ready", func() bool { return s.Ready() == nil })
			if err := b.js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
			b.announce(nvr(1))
			eventually(t, "done", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
			s.finish()
			if got := len(b.stored(stream)); got != 1 {
				t.Errorf("%d messages on %s", got, stream)
			}
		})
	}
}

// A result that no event can be made of is not lost without a word.
func TestResultThatCannotBeToldIsADeadLetter(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	s := b.run(b.options(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		r := result(tr, nil)
		r[0].NVR.Name = "no\nattribute"
		return r
	})))
	b.announce(nvr(1))
	eventually(t, "buried", func() bool { return s.metric("omps_dead_letters_total", "reason=internal") == 1 })
	s.finish()
	if !b.settled("KOJI") {
		t.Error("not settled")
	}
}
