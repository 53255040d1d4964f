package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// fakeBus is both ends of a bridge, and notes what happens in which order.
type fakeBus struct {
	done    []string
	answers []error // of the next publishes; after them all succeed
	repeat  bool    // the stream has it already
	data    []byte  // of the last publish
	during  func()  // called while one is published
	settles error
}

func (f *fakeBus) PublishMsg(ctx context.Context, msg *nats.Msg, _ ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if f.during != nil {
		f.during()
	}
	if _, bounded := ctx.Deadline(); !bounded || ctx.Err() != nil {
		return nil, errors.New("no time to publish")
	}
	f.data = msg.Data
	if len(f.answers) > 0 && f.answers[0] != nil {
		err := f.answers[0]
		f.answers = f.answers[1:]
		f.done = append(f.done, "refused")
		return nil, err
	}
	f.done = append(f.done, "stored "+msg.Subject)
	return &jetstream.PubAck{Stream: "KOJI", Duplicate: f.repeat}, nil
}

func (f *fakeBus) Accept(ctx context.Context) error { return f.settle(ctx, "accepted") }
func (f *fakeBus) Reject(ctx context.Context) error { return f.settle(ctx, "rejected") }

func (f *fakeBus) settle(ctx context.Context, word string) error {
	if _, bounded := ctx.Deadline(); !bounded || ctx.Err() != nil {
		return errors.New("no time to settle")
	}
	f.done = append(f.done, word)
	return f.settles
}

// fakeBridge is a bridge of one bus.
func fakeBridge(t *testing.T, f *fakeBus) (*BusSource, *prometheus.Registry, *bytes.Buffer) {
	t.Helper()
	registry, log := prometheus.NewRegistry(), &bytes.Buffer{}
	b := NewBridge(BridgeOptions{Schemas: newReader(t).Schemas, Registerer: registry, Logger: slog.New(slog.NewTextHandler(log, nil))})
	b.publishTo(f, func() error { return nil })
	return b.Source("x", "/bus/x"), registry, log
}

var errOutage = errors.New("nats is away")

func busMessage(topic, body string) BusMessage {
	return BusMessage{ID: "1", Topic: topic, Header: headers(), Body: []byte(body)}
}

// TestSettledAfterStored is the promise of the bridge: a message is accepted
// when its event is stored, and not before.
func TestSettledAfterStored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bus     fakeBus
		m       BusMessage
		want    string
		metrics string
	}{
		"build": {
			m:    busMessage("x.build.complete", hubBody),
			want: "stored koji.build.completed, accepted", metrics: "published 1",
		},
		"decision": {
			m:    busMessage("x.greenwave.decision.update", decisionBody),
			want: "stored greenwave.decision.updated, accepted", metrics: "published 1",
		},
		"known already": {
			bus: fakeBus{repeat: true}, m: busMessage("x.build.promote", promoteBody),
			want: "stored koji.build.promoted, accepted", metrics: "repeated 1",
		},
		"outage": {
			bus: fakeBus{answers: []error{errOutage, errOutage, errOutage}}, m: busMessage("x.build.complete", hubBody),
			want: "refused, refused, refused, stored koji.build.completed, accepted", metrics: "published 1, publish 3",
		},
		"too large": {
			bus: fakeBus{answers: []error{nats.ErrMaxPayload}}, m: busMessage("x.build.complete", hubBody),
			want: "refused, stored koji.build.completed, accepted", metrics: "published 1",
		},
		"too large, in an outage": {
			bus: fakeBus{answers: []error{nats.ErrMaxPayload, errOutage, errOutage}}, m: busMessage("x.build.complete", hubBody),
			want: "refused, refused, refused, stored koji.build.completed, accepted", metrics: "published 1, publish 2",
		},
		"bus gone": {
			bus: fakeBus{settles: errors.New("gone")}, m: busMessage("x.build.complete", hubBody),
			want: "stored koji.build.completed, accepted", metrics: "published 1, settle 1",
		},
		"not ours":   {m: busMessage("x.build.tag", "{}"), want: "accepted", metrics: "ignored 1"},
		"unreadable": {m: busMessage("x.build.complete", "{"), want: "rejected", metrics: "unreadable 1"},
		"panic": {
			m:    BusMessage{Topic: "x.build.complete", Body: []byte(hubBody)}, // no headers: nobody makes such a one
			want: "rejected", metrics: "unreadable 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, registry, log := fakeBridge(t, &c.bus)
				s.Handle(t.Context(), c.m, &c.bus)
				if got := strings.Join(c.bus.done, ", "); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				if got := counted(t, registry); got != c.metrics {
					t.Errorf("counted %s, want %s", got, c.metrics)
				}
				if !strings.HasPrefix(name, "too large") {
					return
				}
				if n := strings.Count(log.String(), "passed on shortened"); n != 1 || string(c.bus.data) != `{"nvr":"etcd-container-1.0-1","build_id":7}` {
					t.Errorf("shortened to %s, told %d times", c.bus.data, n)
				}
			})
		})
	}
}

// counted lists the counters that are not 0, those of messages first.
func counted(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	words := map[string][]string{} // by family
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if n := m.GetCounter().GetValue(); n > 0 && label.GetName() != "source" {
					words[family.GetName()] = append(words[family.GetName()], fmt.Sprint(label.GetValue(), " ", n))
				}
			}
		}
	}
	list := slices.Concat(words["omps_bridge_messages_total"], words["omps_bridge_errors_total"])
	return strings.Join(list, ", ")
}

// TestLeftToTheBus: a message that NATS does not take before its connection has
// ended, or the bridge is to end, is not settled.
func TestLeftToTheBus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bus := &fakeBus{answers: slices.Repeat([]error{errOutage}, 1000)}
		s, registry, log := fakeBridge(t, bus)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() {
			<-time.After(30 * time.Second)
			s.SetState(nil)
			if err := s.bridge.Ready(); !errors.Is(err, errOutage) {
				t.Errorf("ready: %v", err)
			}
			if n := testutil.ToFloat64(s.metrics.held); n != 1 {
				t.Errorf("%v held", n)
			}
		}()
		s.Handle(ctx, busMessage("x.build.complete", hubBody), bus)
		if len(bus.done) < 10 || slices.ContainsFunc(bus.done, func(word string) bool { return word != "refused" }) {
			t.Errorf("%v", bus.done)
		}
		if n := strings.Count(log.String(), "does not take events"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log)
		}
		if n := testutil.ToFloat64(s.metrics.held); n != 0 {
			t.Errorf("%v held", n)
		}
		// Nothing waits for NATS any more, and another replica may have it.
		if err := s.bridge.Ready(); err != nil || strings.Count(log.String(), "left to the bus") != 1 {
			t.Errorf("ready: %v\n%s", err, log)
		}
		if n, err := testutil.GatherAndCount(registry, "omps_bridge_messages_total"); err != nil || n != 4 {
			t.Errorf("%d outcomes, %v", n, err)
		}
	})
}

// TestReadyAgain: of two messages one is left to the bus, and the other stored.
func TestReadyAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bus := &fakeBus{answers: slices.Repeat([]error{errOutage}, 20)}
		s, _, log := fakeBridge(t, bus)
		s.SetState(nil)
		stored := make(chan struct{})
		go func() {
			defer close(stored)
			s.Handle(t.Context(), busMessage("x.build.complete", hubBody), bus)
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		bus.during = cancel
		s.Handle(ctx, busMessage("x.build.complete", hubBody), bus)
		if err := s.bridge.Ready(); !errors.Is(err, errOutage) {
			t.Errorf("ready while one waits: %v", err)
		}
		<-stored
		if err := s.bridge.Ready(); err != nil || strings.Contains(log.String(), "left to the bus") || strings.Count(log.String(), "takes events again") != 1 {
			t.Errorf("ready: %v\n%s", err, log)
		}
	})
}

// TestEndWhilePublishing: what is begun is ended, and the bus answered.
func TestEndWhilePublishing(t *testing.T) {
	t.Parallel()
	bus := &fakeBus{}
	s, _, _ := fakeBridge(t, bus)
	ctx, cancel := context.WithCancel(t.Context())
	bus.during = cancel
	s.Handle(ctx, busMessage("x.build.complete", hubBody), bus)
	if got := strings.Join(bus.done, ", "); got != "stored koji.build.completed, accepted" {
		t.Error(got)
	}
}

func TestUnreadableIsToldOnceForEachKind(t *testing.T) {
	t.Parallel()
	bus := &fakeBus{}
	s, _, log := fakeBridge(t, bus)
	for range 3 {
		s.Handle(t.Context(), busMessage("x.build.complete", "no JSON"), bus)
		s.Handle(t.Context(), busMessage("x.build.complete", `{"nvr":"x\u001b"}`), bus)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 2 || strings.Count(log.String(), "\n") != 2 || strings.Contains(log.String(), "\x1b") {
		t.Errorf("%d warnings in\n%s", n, log)
	}
}

// TestSubjectsFailApart: what goes through on one subject says nothing of another,
// such as decisions that no stream holds.
func TestSubjectsFailApart(t *testing.T) {
	t.Parallel()
	s, _, log := fakeBridge(t, &fakeBus{})
	s.SetState(nil)
	for range 3 {
		s.bridge.published(SubjectDecisionUpdated, errOutage)
		s.bridge.published(SubjectBuildCompleted, nil)
	}
	if err := s.bridge.Ready(); !errors.Is(err, errOutage) || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("ready: %v\n%s", err, log)
	}
}

func TestReadyNamesEveryBus(t *testing.T) {
	t.Parallel()
	bus := &fakeBus{}
	s, _, _ := fakeBridge(t, bus)
	other := s.bridge.Source("other", "/bus/other")
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "bus x: not connected yet\nbus other: not connected yet"},
		{func() { s.SetState(nil) }, "bus other: not connected yet"},
		{func() { other.SetState(nil) }, ""},
		{func() { s.SetState(errOutage) }, "bus x: nats is away"},
		{func() { s.bridge.conn = func() error { return errors.New("not connected") } }, "not connected"},
	} {
		step.do()
		got := ""
		if err := s.bridge.Ready(); err != nil {
			got = err.Error()
		}
		if got != step.want {
			t.Errorf("ready: %q, want %q", got, step.want)
		}
	}
	if testutil.ToFloat64(s.metrics.connected) != 0 || testutil.ToFloat64(other.metrics.connected) != 1 || testutil.ToFloat64(s.metrics.connectErrors) != 1 {
		t.Error("the metrics do not say which bus is connected")
	}
}
