package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// maxBatch is the most that one pull asks for. Larger ones bring little:
	// measured, 10 at a time reach a third of the rate of 500, 2,000 a
	// twentieth more.
	maxBatch = 500
	// pullBytes bounds what one pull brings; see pullSize.
	pullBytes = 16 << 20

	// pullWait ends a pull that is not served in full. It bounds how long a
	// large one, asked for while the bus was busy with what is not ours, can
	// draw more to this replica than it has workers for.
	pullWait = 10 * time.Second
	// pullHeartbeat times two without a word from the server ends a pull too.
	pullHeartbeat = 4 * time.Second

	// unhealthyAfter failed pulls in a row it takes a good one to be ready
	// again; before, finding the durable where it was is enough.
	unhealthyAfter = 3

	lastPullRetry = 2 * time.Second

	// putOffPace lies between two deliveries that were put off: 200 a second
	// cost a few percent of a core.
	putOffPace = 5 * time.Millisecond
)

// intake pulls from one stream, settles what is not ours and hands on the rest.
// All its fields belong to its one goroutine, but for health.
type intake struct {
	c      *Consumer
	stream string

	bound    bool // the durable is there, by the last look
	puller   *puller
	fresh    lane // first deliveries that no worker has yet
	again    lane // later ones
	others   int  // messages of this pull that nobody works on
	failures int  // pulls in a row

	comesBack time.Time // the delivery that was put off last

	watch        *watchdog
	redeliveries prometheus.Counter
	health       health
}

// lane is deliveries that are held, and not yet with a worker, in order.
type lane struct {
	list  []*delivery
	bytes int
	to    chan<- *delivery
}

func (l *lane) add(d *delivery) {
	l.list = append(l.list, d)
	l.bytes += len(d.msg.Data())
}

// next is the first delivery and where it goes; both are nil when there is none.
func (l *lane) next() (to chan<- *delivery, d *delivery) {
	if len(l.list) == 0 {
		return nil, nil
	}
	return l.to, l.list[0]
}

func (l *lane) drop() {
	l.bytes -= len(l.list[0].msg.Data())
	l.list[0] = nil
	l.list = l.list[1:]
}

func (l *lane) full() bool { return len(l.list) >= maxBatch || l.bytes >= pullBytes }

// run pulls until ctx ends and gives back what no worker has by then. Nothing
// is pulled while as many first deliveries as there are workers wait for one.
// Later ones do not count: the server hands them out before any new message,
// and that must not stop the new ones.
func (in *intake) run(ctx context.Context) {
	conn := in.c.opts.Conn
	status := conn.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer conn.RemoveStatusListener(status)
	var err error
	if in.puller, err = newPuller(conn, in.stream, in.c.opts.Provision.Names.Durable); err != nil {
		in.health.set(fmt.Errorf("pull from %s: %w", in.stream, err)) // the connection is closed for good
		return
	}
	defer in.stop()
	var pause <-chan time.Time
	for {
		if pause == nil && !in.puller.asking() && len(in.fresh.list) < in.c.opts.Workers && ctx.Err() == nil {
			pause = in.pull(ctx)
		}
		toFresh, fresh := in.fresh.next()
		toAgain, again := in.again.next()
		select {
		case <-ctx.Done():
			return
		case msg := <-in.puller.in:
			pause = in.read(ctx, msg, pause)
		case <-in.puller.silence():
			pause = in.failed(errSilent)
		case toFresh <- fresh:
			in.fresh.drop()
		case toAgain <- again:
			in.again.drop()
		case <-pause:
			pause = nil
		case now := <-status:
			// A request does not outlive its connection, and would not know.
			switch {
			case now == nats.RECONNECTING && in.puller.asking():
				pause = in.failed(nats.ErrDisconnected)
			case now == nats.CONNECTED:
				pause = nil
			}
		}
	}
}

// pull asks for as many messages as there is room for, and for twice as many
// more as the last pull brought that nobody works on: on a bus of other traffic
// it is at maxBatch within a few pulls, and back when ours begin.
func (in *intake) pull(ctx context.Context) (pause <-chan time.Time) {
	if !in.bound {
		if err := in.c.bind(ctx, in.stream); err != nil {
			return in.failed(err)
		}
		in.bound = true
		if in.failures < unhealthyAfter {
			in.health.set(nil)
		}
	}
	n := min(max(in.c.opts.Workers-len(in.fresh.list)+2*in.others, 1), maxBatch)
	in.others = 0
	if err := in.puller.ask(n, pullSize(in.c.opts.Conn.MaxPayload()), in.heartbeat()); err != nil {
		return in.failed(err)
	}
	return nil
}

// heartbeat is how often the server is to say that it has our request: soon,
// after one that failed, since that is what makes us ready again.
func (in *intake) heartbeat() time.Duration {
	if in.failures > 0 {
		return pullHeartbeat / 4
	}
	return pullHeartbeat
}

// pullSize is more than two of the largest messages that a server takes: one
// that does not fit would never come, nor anything behind it.
func pullSize(maxPayload int64) int64 { return max(pullBytes, 3*maxPayload) }

// read takes a message, or the server's word on the pull. pause is what it was.
func (in *intake) read(ctx context.Context, msg *nats.Msg, pause <-chan time.Time) <-chan time.Time {
	m, ended, err := in.puller.read(msg)
	if m != nil {
		in.take(m)
	}
	switch {
	case err != nil:
		return in.failed(err)
	case m == nil && !ended && msg.Subject == in.puller.answers(): // a heartbeat: the server has our request
		in.healthy()
	case ended:
		in.healthy()
		if in.watch.ended(ctx, time.Now()) {
			in.bound = false
		}
	}
	return pause
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
	in.puller.giveUp()
	in.failures++
	in.health.set(fmt.Errorf("pull from %s: %w", in.stream, err))
	level := slog.LevelWarn
	if in.failures > 1 && !in.c.opts.Conn.IsConnected() {
		level = slog.LevelDebug // said once; the rest is the connection's to say
	}
	in.c.log.Log(context.Background(), level, "pull failed", "stream", in.stream, "attempt", in.failures, "err", err)
	in.bound = false
	return time.After(backoff(in.failures, lastPullRetry))
}

// take settles msg if it is not ours, and holds it if it is.
func (in *intake) take(msg jetstream.Msg) {
	in.watch.message()
	if in.failures > 0 {
		in.healthy()
	}
	ignored, err := in.c.look(msg)
	if ignored {
		in.others++
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
	if d.tries > 1 {
		in.redeliveries.Inc()
	}
	switch held := in.c.held.hold(d); {
	case !held: // here already
	case d.tries <= 1:
		in.fresh.add(d)
	case in.again.full():
		in.others++
		in.putOff(d, time.Now())
	default:
		in.again.add(d)
	}
}

// putOff gives back a later try of which there are more than can be worked on.
// They come back one after the other, never as a crowd: whatever is due the
// server hands out before any new message.
func (in *intake) putOff(d *delivery, now time.Time) {
	if !in.c.held.release(d) {
		return
	}
	soonest := now.Add(in.c.opts.Policy.putOff())
	if in.comesBack.Before(soonest) {
		in.comesBack = soonest
	}
	in.comesBack = in.comesBack.Add(putOffPace)
	if err := d.msg.NakWithDelay(in.comesBack.Sub(now)); err != nil {
		in.c.settleFailed(ActionNak.String(), err, "stream", d.stream, "sequence", d.sequence)
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
	case peeked.Kind == KindDecision:
		return false, nil // the ledger knows whether anything waits for it
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
// a pull is open comes straight back through it.
func (in *intake) stop() {
	unread := in.puller.close()
	for _, d := range slices.Concat(in.fresh.list, in.again.list) {
		in.c.giveBack(d)
	}
	in.fresh.list, in.again.list = nil, nil
	for _, msg := range unread {
		if err := msg.Nak(); err != nil {
			in.c.settleFailed(ActionNak.String(), err, "subject", msg.Subject())
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
