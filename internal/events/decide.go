package events

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// gateLag is how long the gate may say no although its decision was yes: it
	// is more than one process, and answers out of caches.
	gateLag = time.Minute
	// noteLag is how long after a yes a build may come to be noted as refused:
	// the gate was asked before.
	noteLag = 30 * time.Second
)

// decide runs the builds that a changed decision t may let through: those that
// wait for the gate, and when it says yes also those that the gate has refused.
// Each runs for the event that once asked for it, whose answer is still due.
func (c *Consumer) decide(ctx context.Context, t pipeline.Trigger, d *delivery) []pipeline.Result {
	var run []asked
	var results []pipeline.Result
	for {
		entries, err := c.opts.Ledger.Find(ctx, t.NVR.String())
		if err != nil {
			return append(results, pipeline.Result{Trigger: t, NVR: t.NVR, Err: unavailable(err)})
		}
		before := len(run)
		for _, next := range helped(entries, t.SaysSatisfied) {
			if slices.ContainsFunc(run, next.covered) {
				continue
			}
			run = append(run, next)
			for _, r := range c.rerun(ctx, next) {
				r.Err = afterDecision(r.Err, t, next.cause, d.tries)
				results = append(results, r)
			}
		}
		switch {
		case len(run) > before: // meanwhile others may have come to wait
		case len(results) > 0:
			return results
		default:
			age := d.age(time.Now())
			if !c.mayBeInWork(t.NVR, entries) {
				age = noteLag
			}
			return []pipeline.Result{{Trigger: t, NVR: t.NVR, Err: nothingWaits(t, age)}}
		}
	}
}

// asked is an event that asked for the build of an entry.
type asked struct {
	cause Cause
	entry Entry
}

// covered tells whether the run for other is that for a too: an announcement
// runs for all its organizations.
func (a asked) covered(other asked) bool {
	return a.cause.same(other.cause) && (!a.cause.Request || a.entry.Organization == other.entry.Organization)
}

func helped(entries []Entry, satisfied bool) []asked {
	var all []asked
	for _, e := range entries {
		for _, cause := range e.helped(satisfied) {
			all = append(all, asked{cause, e})
		}
	}
	return all
}

// mayBeInWork tells whether some organization wants a build, and the ledger has
// no end of it: it may be before the gate at this moment.
func (c *Consumer) mayBeInWork(nvr pipeline.NVR, entries []Entry) bool {
	orgs, err := c.opts.Lookup.Concerns(pipeline.Claim{Package: nvr.Name, State: pipeline.StateUnknown})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(orgs, func(org pipeline.Organization) bool {
		at := slices.IndexFunc(entries, func(e Entry) bool { return e.Organization == org.Name })
		return at < 0 || entries[at].State == StatePublishing
	})
}

// afterDecision is what an error means in the run for a decision. A build that
// waits has a message of its own, which goes on waiting; one whose message is
// settled has only this one. A no that follows a yes may be an old one.
func afterDecision(err error, t pipeline.Trigger, cause Cause, tries uint64) error {
	switch {
	case pipeline.ClassOf(err) == pipeline.Waiting && !cause.Settled && tries == 1:
		return pipeline.Ignore(pipeline.ReasonOf(err), err)
	case t.SaysSatisfied && pipeline.ReasonOf(err) == pipeline.ReasonGateUnsatisfied:
		return pipeline.Doubtful(pipeline.ReasonGateUnsatisfied, gateLag, err)
	}
	return err
}

// nothingWaits ignores a decision that helps nobody. A yes is looked at again
// for a while, each time after twice as long: it may have come between the
// gate's no to a build and the ledger's note of it.
func nothingWaits(t pipeline.Trigger, age time.Duration) error {
	err := errors.New("no build waits for this decision")
	if t.SaysSatisfied && age < noteLag {
		return pipeline.RetryAfter(pipeline.ReasonNothingWaits, max(age, time.Second), err)
	}
	return pipeline.Ignore(pipeline.ReasonNothingWaits, err)
}

// rerun runs a build for the event that once asked for it.
func (c *Consumer) rerun(ctx context.Context, a asked) []pipeline.Result {
	t, err := a.cause.trigger(a.entry)
	if err != nil {
		return []pipeline.Result{{Trigger: t, Organization: a.entry.Organization, Err: pipeline.Ignore(pipeline.ReasonInternal, err)}}
	}
	return c.run(ctx, t)
}
