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

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// maxBatch is the most that one pull asks for. Larger ones bring little:
	// measured, 10 at a time reach a third of the rate of 500, 2,000 a
	// twentieth more.
	maxBatch = 500
	// pullBytes bounds what one pull brings. It is more than two of the largest
	// messages, whatever the server takes: one that does not fit would never
	// come, nor anything behind it.
	pullBytes = 16 << 20

	// pullWait ends a pull that is not served in full. It bounds how long a
	// large one, asked for while the bus was busy with what is not ours, can
	// draw more to this replica than it has workers for.
	pullWait = 10 * time.Second
	// pullHeartbeat times two without a word from the server ends a pull too.
	pullHeartbeat = 4 * time.Second

	// lull without a message means, at the end, that none is under way.
	lull = 50 * time.Millisecond

	// unhealthyAfter failed pulls in a row it takes a good one to be ready
	// again; before, finding the durable where it was is enough.
	unhealthyAfter = 3

	lastPullRetry = 2 * time.Second
)

// intake pulls from one stream, settles what is not ours and hands on the rest.
// All its fields belong to its one goroutine, but for health.
type intake struct {
	c      *Consumer
	stream string

	durable  jetstream.Consumer // nil: to be bound
	ahead    []*delivery        // held, and not yet with a worker
	others   int                // messages of the last pull that were not ours
	failures int                // pulls in a row

	health health
}

// pull is one request for messages, in progress.
type pull struct {
	batch  jetstream.MessageBatch
	msgs   <-chan jetstream.Msg
	cancel context.CancelFunc
	others int
}

// run pulls until ctx ends and gives back what no worker has by then. Nothing
// is pulled while as many deliveries as there are workers wait for one.
func (in *intake) run(ctx context.Context) {
	status := in.c.opts.Conn.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer in.c.opts.Conn.RemoveStatusListener(status)
	var p pull
	var pause <-chan time.Time
	for {
		if p.batch == nil && pause == nil && len(in.ahead) < in.c.opts.Workers && ctx.Err() == nil {
			var err error
			if p, err = in.pull(ctx); err != nil {
				pause = in.failed(err)
			}
		}
		var out chan<- *delivery
		var next *delivery
		if len(in.ahead) > 0 {
			out, next = in.c.queue, in.ahead[0]
		}
		select {
		case <-ctx.Done():
			in.stop(p)
			return
		case msg, open := <-p.msgs:
			if open {
				in.take(msg, &p)
				break
			}
			pause = in.ended(p)
			p = pull{}
		case out <- next:
			in.ahead[0] = nil
			in.ahead = in.ahead[1:]
		case <-pause:
			pause = nil
		case now := <-status:
			// A pull does not outlive its connection, and would not know.
			switch {
			case now == nats.RECONNECTING && p.batch != nil:
				p.cancel()
			case now == nats.CONNECTED:
				pause = nil
			}
		}
	}
}

// pull asks for as many messages as there is room for, and for twice as many
// more as the last pull brought that were not ours: on a bus of other traffic
// it is at maxBatch within a few pulls, and back when ours begin.
func (in *intake) pull(ctx context.Context) (pull, error) {
	if in.durable == nil {
		durable, err := in.c.bind(ctx, in.stream)
		if err != nil {
			return pull{}, err
		}
		in.durable = durable
		if in.failures < unhealthyAfter {
			in.health.set(nil)
		}
	}
	n := min(max(in.c.opts.Workers-len(in.ahead)+2*in.others, 1), maxBatch)
	// Not a child of ctx: the end of a pull loses what is under way, so stop
	// ends it with care.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	size := max(pullBytes, 3*in.c.opts.Conn.MaxPayload())
	batch, err := in.durable.Fetch(n, jetstream.FetchMaxBytes(int(size)), jetstream.FetchHeartbeat(pullHeartbeat),
		jetstream.FetchContext(serverDeadline{own, time.Now().Add(pullWait)}))
	if err != nil {
		cancel()
		return pull{}, err
	}
	return pull{batch: batch, msgs: batch.Messages(), cancel: cancel}, nil
}

// serverDeadline is when the server ends a pull. It does not end the context:
// messages that are under way by then would be lost to us, and come again only
// after the ack wait.
type serverDeadline struct {
	context.Context //nolint:containedctx // it is a context itself, with another deadline
	at              time.Time
}

func (d serverDeadline) Deadline() (time.Time, bool) { return d.at, true }

// ended closes the books on a pull.
func (in *intake) ended(p pull) <-chan time.Time {
	p.cancel()
	in.others = p.others
	err := p.batch.Error()
	if errors.Is(err, context.Canceled) {
		err = nats.ErrDisconnected // the one reason to cancel, but for stop
	}
	if err != nil {
		return in.failed(err)
	}
	in.healthy()
	return nil
}

func (in *intake) healthy() {
	if in.failures > 0 {
		in.c.log.Info("pulling again", "stream", in.stream)
	}
	in.failures = 0
	in.health.set(nil)
}

// failed notes a failed pull and returns when to try again. The durable is
// looked up anew each time: it may be gone, or have moved to another server.
func (in *intake) failed(err error) <-chan time.Time {
	in.failures++
	in.health.set(fmt.Errorf("pull from %s: %w", in.stream, err))
	in.c.log.Warn("pull failed", "stream", in.stream, "attempt", in.failures, "err", err)
	in.durable = nil
	return time.After(backoff(in.failures, lastPullRetry))
}

// take settles msg if it is not ours, and holds it if it is.
func (in *intake) take(msg jetstream.Msg, p *pull) {
	if in.failures > 0 {
		in.healthy()
	}
	ignored, err := in.c.look(msg)
	if ignored {
		p.others++
		in.c.ignore(msg, err)
		return
	}
	d, metaErr := newDelivery(msg)
	if metaErr != nil {
		// Not from JetStream, so there is nobody to answer.
		in.c.log.Error("message without metadata", "subject", msg.Subject(), "err", metaErr)
		return
	}
	d.err = err
	if in.c.held.hold(d) {
		in.ahead = append(in.ahead, d)
	}
}

// look tells whether a message is not ours, and why. An error on one that is
// ours ends it without work.
func (c *Consumer) look(msg jetstream.Msg) (ignored bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.logPanic(p, "subject", msg.Subject())
			ignored, err = false, errPanic
		}
	}()
	peeked, err := c.opts.Reader.Peek(msg.Subject(), msg.Headers(), msg.Data())
	switch {
	case err != nil:
		return pipeline.ClassOf(err) == pipeline.Ignored, err
	case peeked.Kind == KindOther:
		return true, errOther
	case peeked.Kind == KindRequest:
		return false, nil // whoever asks gets an answer
	}
	if _, err := c.opts.Lookup.Concerns(peeked.Claim); pipeline.ClassOf(err) == pipeline.Ignored {
		return true, err
	}
	return false, nil
}

var (
	errOther = pipeline.Ignore(pipeline.ReasonUnknownType, errors.New("not one of our types"))
	errPanic = pipeline.Retry(pipeline.ReasonPanic, errors.New("the service panicked; its log has the place"))
)

// ignore acknowledges what is not ours, without waiting: lost, the message only
// comes again.
func (c *Consumer) ignore(msg jetstream.Msg, why error) {
	if err := msg.Ack(); err != nil {
		c.settleFailed(ActionAck.String(), err, "subject", msg.Subject())
		return
	}
	reason := pipeline.ReasonOf(why)
	counter, known := c.metrics.ignored[reason]
	if !known {
		counter = c.metrics.ignored[pipeline.ReasonInternal]
	}
	counter.Inc()
	if ctx := context.Background(); c.log.Enabled(ctx, slog.LevelDebug) {
		c.log.DebugContext(ctx, "ignored", "subject", msg.Subject(), "reason", reason, "err", why)
	}
}

// stop ends the pull and then gives back everything: what is given back while
// a pull is open comes straight back through it. A message that is under way
// when a pull ends would have to wait for the ack wait to pass, so the end
// comes when no more arrive.
func (in *intake) stop(p pull) {
	unread := p.rest()
	for _, d := range in.ahead {
		in.c.giveBack(d)
	}
	in.ahead = nil
	for _, msg := range unread {
		if err := msg.Nak(); err != nil {
			in.c.settleFailed(ActionNak.String(), err, "subject", msg.Subject())
		}
	}
}

// rest ends the pull when it has been quiet for a moment, and returns what
// came until then.
func (p pull) rest() []jetstream.Msg {
	if p.batch == nil {
		return nil
	}
	defer p.cancel()
	quiet := time.NewTimer(lull)
	defer quiet.Stop()
	var unread []jetstream.Msg
	for {
		select {
		case msg, open := <-p.msgs:
			if !open {
				return unread
			}
			unread = append(unread, msg)
			quiet.Reset(lull)
		case <-quiet.C:
			p.cancel()
		}
	}
}

// health is the last word of an intake for those who ask from outside.
type health struct {
	mu  sync.Mutex
	err error
}

func (h *health) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

func (h *health) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
