package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/schemas"
)

const (
	// settleTimeout bounds one answer to a bus.
	settleTimeout = 5 * time.Second

	// readsAtOnce bounds the memory that reading takes, which can be many times a
	// message's. Two are read as fast as a NATS server stores a few hundred.
	readsAtOnce = 2
)

// Settler answers a bus for one message. One that is answered by neither comes
// again.
type Settler interface {
	// Accept: it is stored elsewhere, or of no use.
	Accept(context.Context) error
	// Reject: nobody can do anything with it.
	Reject(context.Context) error
}

// messagePublisher is the part of jetstream.JetStream that a bridge needs.
type messagePublisher interface {
	PublishMsg(context.Context, *nats.Msg, ...jetstream.PublishOpt) (*jetstream.PubAck, error)
}

// BridgeOptions are what a bridge needs from the start.
type BridgeOptions struct {
	Schemas    *schemas.Set // what the service takes
	Registerer prometheus.Registerer
	Logger     *slog.Logger // nil: silent
}

// Bridge publishes the messages of other buses as events.
type Bridge struct {
	reader  Reader
	reads   chan struct{} // places of messages that are being read
	metrics *bridgeMetrics
	log     *slog.Logger

	mu      sync.Mutex
	js      messagePublisher
	conn    func() error // why there is no connection to NATS
	sources []*BusSource
	held    map[string]int   // on each subject, what waits to be stored
	failing map[string]error // of the last publish on each subject; nil: it was stored, or nothing waits
}

// NewBridge makes a bridge without sources, which publishes nowhere yet.
func NewBridge(o BridgeOptions) *Bridge {
	return &Bridge{
		reader: Reader{Schemas: o.Schemas}, reads: make(chan struct{}, readsAtOnce), metrics: newBridgeMetrics(o.Registerer), log: orSilent(o.Logger),
		conn: func() error { return errors.New("not connected to nats yet") }, held: make(map[string]int), failing: make(map[string]error),
	}
}

// PublishTo says where events go, before the first of them comes. conn needs the
// rights to publish on SubjectBuildCompleted, SubjectBuildPromoted and
// SubjectDecisionUpdated and to read its inbox, and no others.
func (b *Bridge) PublishTo(conn *nats.Conn) error {
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	b.publishTo(js, func() error {
		if !conn.IsConnected() {
			return errors.New("not connected to nats")
		}
		return nil
	})
	return nil
}

func (b *Bridge) publishTo(js messagePublisher, conn func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.js, b.conn = js, conn
}

// publisher is where events go.
func (b *Bridge) publisher() messagePublisher {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.js
}

// BusSource is one bus.
type BusSource struct {
	bridge  *Bridge
	name    string
	source  string
	metrics sourceMetrics
	log     *slog.Logger

	mu    sync.Mutex
	state error                    // why no messages come
	told  map[pipeline.Reason]bool // of what is unreadable
}

// Source adds a bus by its name in logs and metrics. Its events have the
// CloudEvents source eventSource.
func (b *Bridge) Source(name, eventSource string) *BusSource {
	s := &BusSource{
		bridge: b, name: name, source: eventSource, metrics: b.metrics.of(name), log: b.log.With("bus", name),
		state: errors.New("not connected yet"), told: make(map[pipeline.Reason]bool),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sources = append(b.sources, s)
	return s
}

// Ready says why messages are not passed on, or nil.
func (b *Bridge) Ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.conn(); err != nil {
		return err
	}
	var faults []error
	for _, subject := range slices.Sorted(maps.Keys(b.failing)) {
		faults = append(faults, b.failing[subject])
	}
	for _, s := range b.sources {
		s.mu.Lock()
		if s.state != nil {
			faults = append(faults, fmt.Errorf("bus %s: %w", s.name, s.state))
		}
		s.mu.Unlock()
	}
	return errors.Join(faults...)
}

// SetState notes why no messages come from the bus, or with nil that they can.
func (s *BusSource) SetState(err error) {
	s.mu.Lock()
	s.state = err
	s.mu.Unlock()
	if err != nil {
		s.metrics.connected.Set(0)
		s.metrics.connectErrors.Inc()
		return
	}
	s.metrics.connected.Set(1)
}

// Handle passes on one message and answers the bus for it: once JetStream has
// stored the event, so that no crash loses it. While NATS does not take it, the
// message stays with us and is tried again until ctx ends, and is then left to
// the bus, which sends it again. What is none of ours is accepted, and what
// should be and cannot be read is rejected.
func (s *BusSource) Handle(ctx context.Context, m BusMessage, settler Settler) {
	s.metrics.held.Inc()
	defer s.metrics.held.Dec()
	s.metrics.last.SetToCurrentTime()
	b, err := s.read(m)
	switch {
	case err == nil:
		if s.pass(ctx, b) {
			s.settle(ctx, settler.Accept)
		}
	case pipeline.ClassOf(err) == pipeline.Ignored:
		s.metrics.ignored.Inc()
		s.settle(ctx, settler.Accept)
	default:
		s.metrics.unreadable.Inc()
		s.tell(m, err)
		s.settle(ctx, settler.Reject)
	}
}

// read is busEvent, for which a panic is one more message that cannot be read.
func (s *BusSource) read(m BusMessage) (b bridged, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = pipeline.Malform(pipeline.ReasonPanic, fmt.Errorf("panic: %v", p))
		}
	}()
	s.bridge.reads <- struct{}{}
	defer func() { <-s.bridge.reads }()
	return s.bridge.reader.busEvent(s.source, m)
}

// tell logs what cannot be read, loudly for the first of its kind: a sender
// that goes wrong does so with every message.
func (s *BusSource) tell(m BusMessage, err error) {
	reason, level := pipeline.ReasonOf(err), slog.LevelDebug
	s.mu.Lock()
	if !s.told[reason] {
		s.told[reason], level = true, slog.LevelWarn
	}
	s.mu.Unlock()
	s.log.Log(context.Background(), level, "message of the bus cannot be read and is rejected; more of its kind are logged as debug",
		"reason", reason, "topic", cut(m.Topic, 200), "message", cut(m.ID, 200), "err", oneLine(err, maxErrorBytes))
}

// pass publishes until it is stored, and tells whether it is.
func (s *BusSource) pass(ctx context.Context, b bridged) bool {
	log := s.log.With("event_id", b.id, "nvr", b.nvr, "subject", b.msg.Subject)
	if b.refused != nil {
		log.Warn("message is not what the service takes and is passed on shortened", "err", oneLine(b.refused, maxErrorBytes))
	}
	s.bridge.hold(b.msg.Subject)
	defer s.bridge.release(b.msg.Subject)
	for attempt := 1; ; attempt++ {
		ack, err := s.publish(ctx, &b)
		s.bridge.published(b.msg.Subject, err)
		switch {
		case err == nil && ack.Duplicate:
			s.metrics.repeated.Inc()
			log.Info("passed on before")
			return true
		case err == nil:
			s.metrics.published.Inc()
			log.Info("passed on", "stream", ack.Stream, "sequence", ack.Sequence)
			return true
		}
		s.metrics.publishErrors.Inc()
		log.Debug("not passed on yet", "attempt", attempt, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(backoff(attempt, lastWait)):
		}
	}
}

func (b *Bridge) hold(subject string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held[subject]++
}

// release forgets how the last publish went when nothing more waits for one: what
// is left to the bus another replica may pass on, and this one would never know.
func (b *Bridge) release(subject string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[subject]--; b.held[subject] > 0 {
		return
	}
	delete(b.held, subject)
	if b.failing[subject] != nil {
		b.log.Info("what nats did not take is left to the bus", "subject", subject)
	}
	delete(b.failing, subject)
}

// published notes how a publish on a subject went, and logs when that changes.
func (b *Bridge) published(subject string, err error) {
	b.mu.Lock()
	before := b.failing[subject]
	b.failing[subject] = err
	b.mu.Unlock()
	switch {
	case err != nil && before == nil:
		b.log.Warn("nats does not take events; messages are held until it does", "subject", subject, "err", err)
	case err == nil && before != nil:
		b.log.Info("nats takes events again", "subject", subject)
	}
}

// publish publishes the event, shortened from the first time on that it is too
// large for a message. What it has begun it ends, whatever becomes of ctx.
func (s *BusSource) publish(ctx context.Context, b *bridged) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	js := s.bridge.publisher()
	ack, err := js.PublishMsg(ctx, &b.msg)
	if tooLarge(err) && b.shortened != nil {
		s.log.Warn("message is too large for nats and is passed on shortened", "event_id", b.id, "nvr", b.nvr, "bytes", len(b.msg.Data))
		b.msg.Data, b.shortened = b.shortened, nil
		ack, err = js.PublishMsg(ctx, &b.msg)
	}
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", b.msg.Subject, err)
	}
	return ack, nil
}

// settle answers the bus. Where that fails the message comes again, and is
// known by its id.
func (s *BusSource) settle(ctx context.Context, answer func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := answer(ctx); err != nil {
		s.metrics.settleErrors.Inc()
		s.log.Warn("the bus was not answered, so the message comes again", "err", oneLine(err, maxErrorBytes))
	}
}
