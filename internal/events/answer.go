package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// answer tells what v says, first by result events, then in the ledger, then
// by a dead letter, and returns the verdict to settle by: without the server's
// word that all of it is stored, the delivery stays alive.
func (c *Consumer) answer(ctx context.Context, d *delivery, w worked, v Verdict) Verdict {
	span := c.childSpan(ctx, w, "answer")
	defer span.End()
	for _, a := range v.Answers {
		err := c.tell(ctx, d, w, a)
		if err == nil {
			continue
		}
		c.settleFailed(stepPublish, err, "event_id", w.trigger.ID, "organization", a.Result.Organization)
		if final := errors.As(err, new(*unpublishable)); !final {
			return c.untold(ctx, d, fmt.Errorf("results cannot be stored: %w", err))
		}
		if v.Action != ActionNak {
			// Nobody would ever hear of it: let a person look. The other
			// organizations are told all the same.
			v = Verdict{
				Action: ActionTerm, DeadLetter: true,
				Outcome: pipeline.OutcomeFailed, Reason: pipeline.ReasonInternal, Err: err,
			}
		}
	}
	for _, a := range v.Retried {
		if err := c.note(ctx, d, a); err != nil {
			c.settleFailed(stepLedger, err, "event_id", w.trigger.ID, "organization", a.Result.Organization)
			c.restore(ctx, fmt.Errorf("the ledger cannot be written: %w", err))
		}
	}
	if v.DeadLetter {
		if err := c.publisher.deadLetter(ctx, d, v, time.Now()); err != nil {
			c.settleFailed(stepDeadLetter, err, "stream", d.stream, "sequence", d.sequence)
			return c.untold(ctx, d, fmt.Errorf("dead letters cannot be stored: %w", err))
		}
		c.metrics.deadLetters.WithLabelValues(string(v.Reason)).Inc()
	}
	if len(v.Answers) > 0 || v.DeadLetter {
		c.telling.set(nil)
	}
	return v
}

// tell publishes the event of a result, unless the ledger knows that it was
// told, and notes the result in the ledger.
func (c *Consumer) tell(ctx context.Context, d *delivery, w worked, a Answer) error {
	in := ResultInput{Result: a.Result, Outcome: a.Outcome, Tries: d.tries, Cause: w.cause, Span: w.span.SpanContext(), Time: time.Now()}
	if !c.kept(a.Result) {
		return c.publishResult(ctx, in)
	}
	p, err := c.opts.Ledger.open(ctx, a.Result.Organization, a.Result.NVR)
	if err != nil {
		return err
	}
	id := resultID(in)
	var refused *unpublishable // nobody can be told, and that is noted
	switch {
	case p.entry.late(a):
		id = ""
	case p.entry.told(id):
	default:
		err := c.publishResult(ctx, in)
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		if refused != nil {
			id = ""
		}
	}
	err = c.opts.Ledger.write(ctx, p, func(e *Entry) error {
		e.record(a, id, d.tries, time.Now())
		return nil
	})
	if err == nil && refused != nil {
		return refused
	}
	return err
}

func (c *Consumer) publishResult(ctx context.Context, in ResultInput) error {
	err := c.publisher.result(ctx, in)
	if err == nil {
		c.metrics.told(Answer{in.Result, in.Outcome}, c.opts.Reader.Organizations, in.Time)
	}
	return err
}

// note keeps in the ledger how far a build is that is tried again.
func (c *Consumer) note(ctx context.Context, d *delivery, a Answer) error {
	r := a.Result
	if !c.kept(r) || pipeline.ReasonOf(r.Err) == pipeline.ReasonInProgress {
		return nil // the entry is that of the event which is in work
	}
	p, err := c.opts.Ledger.open(ctx, r.Organization, r.NVR)
	if err != nil {
		return err
	}
	if p.revision == 0 && r.Trigger.Kind == pipeline.BuildAnnounced && r.Archive.Name == "" {
		return nil // most builds are none of ours, and this may yet turn out to be one of them
	}
	return c.opts.Ledger.write(ctx, p, func(e *Entry) error {
		e.record(a, "", d.tries, time.Now())
		return nil
	})
}

// kept tells whether the ledger keeps results like r: what names a build and
// one of our organizations.
func (c *Consumer) kept(r pipeline.Result) bool {
	return !r.NVR.IsZero() && slices.Contains(c.opts.Reader.Organizations, r.Organization)
}

// untold keeps the delivery alive whose answer err keeps from being stored.
func (c *Consumer) untold(ctx context.Context, d *delivery, err error) Verdict {
	c.restore(ctx, err)
	return c.postponed(d, err)
}

// restoreTimeout bounds making something again: a server that shuts down looks
// like one that has lost it, and then answers no more.
const restoreTimeout = 3 * time.Second

// restore notes that err keeps something from being stored, and makes again what
// was lost, unless another worker is at it.
func (c *Consumer) restore(ctx context.Context, err error) {
	c.telling.set(err)
	// Of a bucket that is gone, reading a key says no more than that nobody answers.
	gone := errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstream.ErrBucketNotFound) ||
		errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrNoResponders)
	if gone && c.opts.Provision.Manage && c.opts.Conn.IsConnected() && c.restoring.TryLock() {
		defer c.restoring.Unlock()
		ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
		defer cancel()
		if err := Provision(ctx, c.js, c.opts.Provision); err != nil {
			c.log.Warn("streams and buckets were not found or made again", "err", err)
		}
	}
}
