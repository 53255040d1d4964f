package events

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Handler runs the pipeline for one trigger, with at least one result. ctx
// ends when the build took too long or the service has to go.
type Handler interface {
	Run(ctx context.Context, t pipeline.Trigger) []pipeline.Result
}

// worked is what came of a delivery.
type worked struct {
	cause   event.Event      // zero when it could not be read
	trigger pipeline.Trigger // as far as it could be read
	results []pipeline.Result
	span    trace.Span // of the delivery; to be ended
}

// worker handles deliveries until there are no more. Once ctx has ended it
// gives them back; work is the context of what it does. With again nil it
// leaves later tries to the other workers.
func (c *Consumer) worker(ctx, work context.Context, again <-chan *delivery) {
	for {
		d, open := c.next(again)
		switch {
		case !open:
			return
		case ctx.Err() != nil:
			c.giveBack(d)
		default:
			c.handle(work, d)
		}
	}
}

// next waits for a delivery. Where there are both, first and later tries take
// turns, by chance.
func (c *Consumer) next(again <-chan *delivery) (d *delivery, open bool) {
	select {
	case d, open = <-c.fresh:
	case d, open = <-again:
	}
	return d, open
}

// handle takes one delivery to its end: work, answer, settle. Only what was
// answered is settled for good, so a crash in between repeats work and loses
// nothing.
func (c *Consumer) handle(ctx context.Context, d *delivery) {
	defer func() {
		if p := recover(); p != nil {
			c.logPanic(p, "stream", d.stream, "sequence", d.sequence)
			_ = c.settle(ctx, d, c.postponed(d, errPanic)) // released before: nothing is left to do
		}
	}()
	w := c.work(ctx, d)
	if ctx.Err() != nil && unfinished(w.results) {
		c.giveBack(d) // cut short, which says nothing about the build
		endSpan(w, nil)
		return
	}
	v := Judge(w.results, d.tries, d.age(time.Now()), c.opts.Policy, jitter())

	// What is done is told even when the time for work has run out.
	ctx = context.WithoutCancel(ctx)
	var told *Verdict
	defer func() { endSpan(w, told) }()
	v = c.answer(ctx, d, w, v)
	told = &v
	if err := c.settle(ctx, d, v); err != nil {
		c.settleFailed(v.Action.String(), err, "stream", d.stream, "sequence", d.sequence)
		return
	}
	c.metrics.settled(v, d.age(time.Now()))
	c.report(ctx, d, w, v)
}

// work reads the trigger and runs it, unless the delivery's budget is spent.
func (c *Consumer) work(ctx context.Context, d *delivery) (w worked) {
	w.span = noop.Span{}
	defer c.recovered(&w.trigger, &w.results)
	err := d.err
	if err == nil {
		w.cause, err = Decode(d.msg.Subject(), d.msg.Headers(), d.msg.Data())
	}
	ctx, w.span = c.startSpan(ctx, d, w.cause)
	if err == nil {
		w.trigger, err = c.opts.Reader.Trigger(d.msg.Subject(), w.cause)
		w.trigger.Again = d.tries > 1
	}
	if err == nil {
		err = c.exhausted(ctx, d, w.trigger)
	}
	switch {
	case err != nil:
		w.results = c.concerned(w.trigger, err)
	case w.trigger.Kind == pipeline.DecisionUpdated:
		w.results = c.decide(ctx, w.trigger, d)
	default:
		w.results = c.run(ctx, w.trigger)
	}
	return w
}

// exhausted tells why a delivery is not even worked on, or nil. What is too old
// is looked at once more when the ledger knows it to be waiting, or to have come
// as far as the push: it has come to an end before, however long nobody could
// look. And nobody fails for a build that is, or was, in another event's hands.
func (c *Consumer) exhausted(ctx context.Context, d *delivery, t pipeline.Trigger) error {
	now := time.Now()
	err := c.opts.Policy.exhausted(d.tries, d.age(now))
	if err == nil {
		return nil
	}
	entries, findErr := c.opts.Ledger.Find(ctx, t.NVR.String())
	if findErr != nil {
		return unavailable(findErr)
	}
	old := pipeline.ReasonOf(err) == pipeline.ReasonDeadline
	cause := causeOf(t)
	for _, e := range entries {
		unfinished := e.State == StateWaiting || e.State == StatePublishing
		another := e.State == StatePublished && !e.Trigger.same(cause.shown())
		if old && unfinished || another || e.claimed(cause, now) {
			return nil
		}
	}
	return err
}

// recovered, deferred, turns a panic into results that say whose it was.
func (c *Consumer) recovered(t *pipeline.Trigger, results *[]pipeline.Result) {
	if p := recover(); p != nil {
		c.logPanic(p, "event_id", t.ID, "nvr", t.NVR)
		*results = c.concerned(*t, errPanic)
	}
}

// run runs a build.
func (c *Consumer) run(ctx context.Context, t pipeline.Trigger) (results []pipeline.Result) {
	defer c.recovered(&t, &results)
	ctx, cancel := context.WithTimeout(ctx, c.opts.BuildTimeout)
	defer cancel()
	return c.opts.Handler.Run(ctx, t)
}

// concerned is the results of a trigger that never ran: one for each
// organization that it concerns by its own words.
func (c *Consumer) concerned(t pipeline.Trigger, err error) []pipeline.Result {
	one := pipeline.Result{Trigger: t, Organization: t.Organization, NVR: t.NVR, BuildID: t.BuildID, Err: err}
	if t.NVR.IsZero() || t.Kind != pipeline.BuildAnnounced {
		return []pipeline.Result{one}
	}
	orgs, _ := c.opts.Lookup.Concerns(pipeline.Claim{Package: t.NVR.Name, State: pipeline.StateUnknown})
	if len(orgs) == 0 {
		return []pipeline.Result{one}
	}
	results := make([]pipeline.Result, len(orgs))
	for i, org := range orgs {
		results[i] = one
		results[i].Organization, results[i].Target = org.Name, org.Target
	}
	return results
}

// unfinished tells whether any result is an error that may come from the end
// of the context.
func unfinished(results []pipeline.Result) bool {
	for _, r := range results {
		if r.Err != nil && pipeline.ClassOf(r.Err) == pipeline.Transient {
			return true
		}
	}
	return false
}

// postponed gives a delivery back, whatever its tries and age: it cannot be
// ended while nobody can be told.
func (c *Consumer) postponed(d *delivery, err error) Verdict {
	policy := c.opts.Policy
	again := pipeline.Result{Err: pipeline.Retry(pipeline.ReasonInternal, err)}
	return Judge([]pipeline.Result{again}, min(d.tries, policy.MaxTries-1), 0, policy, jitter())
}

// settle gives the server its answer. What was given back meanwhile is not
// ours to settle.
func (c *Consumer) settle(ctx context.Context, d *delivery, v Verdict) error {
	if !c.held.release(d) {
		return errReleased
	}
	switch v.Action {
	case ActionAck:
		return d.msg.Ack()
	case ActionDoubleAck:
		ctx, cancel := context.WithTimeout(ctx, doubleAckTimeout)
		defer cancel()
		return d.msg.DoubleAck(ctx)
	case ActionTerm:
		return d.msg.TermWithReason(string(v.Reason))
	}
	return d.msg.NakWithDelay(v.Delay)
}

// doubleAckTimeout bounds the wait for the server's confirmation.
const doubleAckTimeout = 5 * time.Second

var errReleased = errors.New("given back already")

// giveBack lets another replica have d at once.
func (c *Consumer) giveBack(d *delivery) {
	if !c.held.release(d) {
		return
	}
	if err := d.msg.Nak(); err != nil {
		c.settleFailed(ActionNak.String(), err, "stream", d.stream, "sequence", d.sequence)
	}
}

func (c *Consumer) settleFailed(action string, err error, more ...any) {
	c.metrics.settleErrors.WithLabelValues(action).Inc()
	c.log.Error("message not settled, it comes again", append(more, "action", action, "err", err)...)
}

func (c *Consumer) logPanic(value any, more ...any) {
	c.log.Error("panic", append(more, "panic", fmt.Sprint(value), "stack", string(debug.Stack()))...)
}

// jitter is even in [-1, 1).
func jitter() float64 { return 2*rand.Float64() - 1 }
