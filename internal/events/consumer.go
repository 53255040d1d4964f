package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Concerner tells cheaply which organizations want a build. An error of the
// class Ignored means that none does. pipeline.Lookup is one.
type Concerner interface {
	Concerns(c pipeline.Claim) ([]pipeline.Organization, error)
}

// Options make a Consumer. All but BuildTimeout, Tracer and Logger are needed.
type Options struct {
	Conn      *nats.Conn
	Provision ProvisionOptions // what Provision was called with
	Reader    Reader
	Lookup    Concerner
	Handler   Handler
	Ledger    *Ledger
	Source    string // of result events

	Workers      int           // deliveries in work at once
	BuildTimeout time.Duration // for one run; 0: 5 minutes
	Grace        time.Duration // for work to end after Run's context has
	Policy       Policy

	Registerer prometheus.Registerer
	Tracer     trace.Tracer // nil: no spans
	Logger     *slog.Logger // nil: silent
}

const (
	defaultBuildTimeout = 5 * time.Minute
	// minAckWait leaves heartbeats, at a third of it, time to arrive.
	minAckWait = time.Second
)

func (o Options) validate() error {
	var faults []error
	need := func(ok bool, text string) {
		if !ok {
			faults = append(faults, errors.New(text))
		}
	}
	need(o.Conn != nil && o.Lookup != nil && o.Handler != nil && o.Ledger != nil && o.Registerer != nil && o.Reader.Schemas != nil,
		"a part is missing: connection, reader, lookup, handler, ledger or registerer")
	names := o.Provision.Names
	need(names.Koji != "" && names.Requests != "" && names.Durable != "", "a stream or the durable has no name")
	need(o.Source != "", "no source for result events")
	need(o.Workers > 0, "no workers")
	need(o.BuildTimeout >= 0, "the build timeout is negative")
	need(o.Grace >= 0, "the grace is negative")
	need(o.Provision.AckWait >= minAckWait, fmt.Sprintf("the ack wait is below %s", minAckWait))
	need(o.Policy.MaxAge > 0 && o.Policy.MaxTries > 0 && o.Policy.Recheck > 0 && len(o.Policy.Delays) > 0,
		"the policy has no maximum age, no maximum of tries, no recheck or no delays")
	for _, d := range o.Policy.Delays {
		need(d > 0, "a delay is not positive")
	}
	return errors.Join(faults...)
}

// Consumer takes messages from the input streams to their end.
type Consumer struct {
	opts      Options
	log       *slog.Logger
	js        jetstream.JetStream
	publisher publisher
	metrics   *metrics
	gauges    *gauges
	held      *held
	// Unbuffered: an intake holds what no worker has. fresh is for first
	// deliveries, again for later ones, so that what waits or fails again and
	// again does not hold up the rest.
	fresh, again chan *delivery
	intakes      []*intake
	telling      health     // whether what is published gets stored
	restoring    sync.Mutex // one worker at a time makes again what was lost
}

// New makes a Consumer and registers its metrics. It does not talk to NATS.
func New(o Options) (*Consumer, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	if o.BuildTimeout == 0 {
		o.BuildTimeout = defaultBuildTimeout
	}
	js, err := jetstream.New(o.Conn)
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	c := &Consumer{
		opts: o, log: orSilent(o.Logger), js: js, held: newHeld(),
		fresh: make(chan *delivery), again: make(chan *delivery),
		publisher: publisher{js: js, source: o.Source},
	}
	c.metrics = newMetrics(o.Registerer, o.Reader.Organizations, o.Provision.Names.inputs())
	c.gauges = newGauges(o.Registerer, c)
	rebinds := newRebinds(o.Registerer)
	for _, stream := range o.Provision.Names.inputs() {
		in := &intake{
			c: c, stream: stream, fresh: lane{to: c.fresh}, again: lane{to: c.again},
			watch: newWatchdog(c, stream, rebinds), redeliveries: c.metrics.redeliveries.WithLabelValues(stream),
		}
		in.health.set(fmt.Errorf("stream %s: not bound yet", stream))
		c.intakes = append(c.intakes, in)
	}
	return c, nil
}

var errClosed = errors.New("the connection to nats is closed")

// Run works until ctx ends, and returns when nothing is in its hands any more:
// nil after a clean end, an error when work did not end within the grace or
// when the connection is closed for good, for which nothing but a new process
// helps. It runs once.
func (c *Consumer) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	closed := c.opts.Conn.StatusChanged(nats.CLOSED)
	defer c.opts.Conn.RemoveStatusListener(closed)
	go func() {
		select {
		case <-closed:
			stop(errClosed)
		case <-ctx.Done():
		}
	}()
	if c.opts.Conn.IsClosed() {
		return errClosed
	}

	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	ended := c.start(ctx, work)

	beats, endBeats := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { c.held.beat(beats, c.opts.Provision.AckWait/3, c.beatFailed) })
	background.Go(func() { c.gauges.keep(ctx) })
	defer background.Wait()
	defer endBeats()

	<-ctx.Done()
	return c.drain(ended, cut, context.Cause(ctx))
}

// start starts intakes and workers. The chan is closed when all have ended.
func (c *Consumer) start(ctx, work context.Context) <-chan struct{} {
	var intakes, workers sync.WaitGroup
	for _, in := range c.intakes {
		intakes.Go(func() { in.run(ctx) })
	}
	for i := range c.opts.Workers {
		again := c.again
		if i < c.opts.Workers/reservedPart {
			again = nil
		}
		workers.Go(func() { c.worker(ctx, work, again) })
	}
	ended := make(chan struct{})
	go func() {
		intakes.Wait()
		close(c.fresh)
		close(c.again)
		workers.Wait()
		close(ended)
	}()
	return ended
}

// reservedPart is the part of the workers, a fourth, that only takes what was
// never tried: thousands of builds that wait for a slow gate, looked at again
// and again, cannot keep all workers busy.
const reservedPart = 4

const (
	// cutTime is for work to notice that its context has ended.
	cutTime      = 3 * time.Second
	flushTimeout = 5 * time.Second
)

// drain waits for work to end, cuts it after the grace, and gives back what
// does not end even then.
func (c *Consumer) drain(ended <-chan struct{}, cut func(), cause error) error {
	isClosed := errors.Is(cause, errClosed)
	c.log.Info("stopping", "in_flight", c.held.count(), "cause", cause)
	grace := c.opts.Grace
	if isClosed {
		grace = 0 // nothing that is done could be told
	}
	if !within(ended, grace) {
		cut()
		within(ended, cutTime)
	}
	left := c.held.list()
	for _, d := range left {
		c.giveBack(d)
	}
	if isClosed {
		return errors.Join(errClosed, c.opts.Conn.LastError())
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := c.opts.Conn.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if len(left) > 0 {
		return fmt.Errorf("%d deliveries did not end within %s", len(left), c.opts.Grace)
	}
	return nil
}

// within tells whether done is closed before d has passed.
func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

func (c *Consumer) beatFailed(d *delivery, err error) {
	c.metrics.settleErrors.WithLabelValues(stepHeartbeat).Inc()
	c.log.Debug("heartbeat failed", "stream", d.stream, "sequence", d.sequence, "err", err)
}

// bindTimeout bounds a look for a durable: a request that a restart of the
// server has swallowed is to be made again soon.
const bindTimeout = 2 * time.Second

// bind finds our durable on a stream, and provides for it when it is gone.
func (c *Consumer) bind(ctx context.Context, stream string) error {
	names := c.opts.Provision.Names
	look, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	_, err := c.js.Consumer(look, stream, names.Durable)
	gone := errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
	if !gone || !c.opts.Provision.Manage {
		return err
	}
	c.log.Warn("stream or durable is gone, making it again", "stream", stream, "durable", names.Durable)
	return Provision(ctx, c.js, c.opts.Provision)
}

// Ready tells why no messages are being taken, or nil.
func (c *Consumer) Ready() error {
	if status := c.opts.Conn.Status(); status != nats.CONNECTED {
		return fmt.Errorf("nats is %s", status)
	}
	var faults []error
	for _, in := range c.intakes {
		faults = append(faults, in.health.get(), in.watch.health.get())
	}
	return errors.Join(append(faults, c.telling.get())...)
}
