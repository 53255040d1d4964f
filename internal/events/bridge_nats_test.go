package events_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/schemas"
)

// settled counts how a bus was answered.
type settled struct{ accepted, rejected atomic.Int32 }

func (s *settled) Accept(context.Context) error { s.accepted.Add(1); return nil }
func (s *settled) Reject(context.Context) error { s.rejected.Add(1); return nil }

func bridged(id, body string) events.BusMessage {
	return events.BusMessage{ID: id, Topic: "x.build.complete", Header: func(string) string { return "" }, Body: []byte(body)}
}

// bridgeTo is a bridge with a connection of its own.
func bridgeTo(t *testing.T, b *bus) (*events.Bridge, *events.BusSource) {
	t.Helper()
	set, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	bridge := events.NewBridge(events.BridgeOptions{Schemas: set, Registerer: prometheus.NewRegistry()})
	if err := bridge.PublishTo(connect(t, b.URL)); err != nil {
		t.Fatal(err)
	}
	source := bridge.Source("x", "/bus/x")
	source.SetState(nil)
	return bridge, source
}

// TestBridgeNeedsFewRights: three subjects and the inbox, and nothing else.
// What comes twice, by whichever replica, is stored once.
func TestBridgeNeedsFewRights(t *testing.T) {
	t.Parallel()
	b := guardedBus(t, server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"koji.build.completed", "koji.build.promoted", "greenwave.decision.updated"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	})
	b.provision()
	bridge, one := bridgeTo(t, b)
	_, other := bridgeTo(t, b)
	var bus settled
	for _, source := range []*events.BusSource{one, one, other} {
		source.Handle(t.Context(), bridged("1", `{"nvr":"etcd-container-1.0-1"}`), &bus)
	}
	one.Handle(t.Context(), bridged("2", `{"nvr":"etcd-container-1.0-1"}`), &bus)
	if n := b.count("KOJI"); n != 2 || bus.accepted.Load() != 4 {
		t.Errorf("%d stored, %d accepted", n, bus.accepted.Load())
	}
	decision := bridged("3", `{"subject_type":"koji_build","subject_identifier":"etcd-container-1.0-1","policies_satisfied":true}`)
	decision.Topic = "greenwave.decision.update"
	one.Handle(t.Context(), decision, &bus)
	if n := b.count("GREENWAVE"); n != 1 || bridge.Ready() != nil {
		t.Errorf("%d decisions stored, ready: %v", n, bridge.Ready())
	}
}

// TestBridgeShortensWhatIsTooLarge: the server's max_payload and the stream's
// own bound.
func TestBridgeShortensWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KOJI", Subjects: []string{"koji.>"}, MaxMsgSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	_, source := bridgeTo(t, b)
	var bus settled
	for i, size := range []int{100 << 10, 2 << 20} {
		body := make([]byte, size)
		for i := range body {
			body[i] = 'x'
		}
		source.Handle(t.Context(), bridged(string(rune('1'+i)), `{"nvr":"etcd-container-1.0-1","build_id":7,"extra":"`+string(body)+`"}`), &bus)
	}
	if n := b.count("KOJI"); n != 2 || bus.accepted.Load() != 2 {
		t.Fatalf("%d stored, %d accepted", n, bus.accepted.Load())
	}
	for _, msg := range b.stored("KOJI") {
		if string(msg.Data) != `{"nvr":"etcd-container-1.0-1","build_id":7}` || msg.Header.Get("ce-id") == "" {
			t.Errorf("%+v", msg)
		}
	}
}

// TestBridgeHoldsWhileNATSIsAway: nothing is accepted without a stream or a
// server, and everything once there is one.
func TestBridgeHoldsWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	bridge, source := bridgeTo(t, b)
	var bus settled
	done := make(chan struct{})
	go func() {
		defer close(done)
		source.Handle(t.Context(), bridged("1", `{"nvr":"etcd-container-1.0-1"}`), &bus)
	}()
	eventually(t, "no stream is a reason not to be ready", func() bool { return bridge.Ready() != nil })
	b.Stop()
	if bus.accepted.Load() != 0 {
		t.Error("accepted, and nowhere stored")
	}
	b.Restart()
	eventually(t, "the stream", func() bool {
		_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KOJI", Subjects: []string{"koji.>"}})
		return err == nil
	})
	<-done
	if n := b.count("KOJI"); n != 1 || bus.accepted.Load() != 1 || bridge.Ready() != nil {
		t.Errorf("%d stored, %d accepted, ready: %v", n, bus.accepted.Load(), bridge.Ready())
	}
}
