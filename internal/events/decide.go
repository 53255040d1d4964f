package events

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// decide runs the builds that a changed decision t may let through: those that
// wait for the gate, and when it says yes also those that the gate has refused.
// Each runs for the event that once asked for it, whose answer is still due.
func (c *Consumer) decide(ctx context.Context, t pipeline.Trigger, tries uint64) []pipeline.Result {
	entries, err := c.opts.Ledger.Find(ctx, t.NVR.String())
	if err != nil {
		return []pipeline.Result{{Trigger: t, NVR: t.NVR, Err: unavailable(err)}}
	}
	// A build that waits has a message of its own, which goes on waiting; one
	// that was refused has only this one.
	carried := tries == 1
	var run []Cause
	var results []pipeline.Result
	for _, e := range entries {
		for _, cause := range e.helped(t.SaysSatisfied) {
			carried = carried && e.State == StateWaiting
			if !cause.Request && slices.ContainsFunc(run, cause.same) {
				continue // an announcement runs for all its organizations
			}
			run = append(run, cause)
			results = append(results, c.rerun(ctx, cause, e)...)
		}
	}
	if len(results) == 0 {
		return []pipeline.Result{{Trigger: t, NVR: t.NVR, Err: nothingWaits(t, tries)}}
	}
	for i, r := range results {
		if carried && pipeline.ClassOf(r.Err) == pipeline.Waiting {
			results[i].Err = pipeline.Ignore(pipeline.ReasonGateWaiting, r.Err)
		}
	}
	return results
}

// nothingWaits ignores a decision that helps nobody. A yes is looked at twice:
// it may have come between the gate's no to a build and the ledger's note of it.
func nothingWaits(t pipeline.Trigger, tries uint64) error {
	err := errors.New("no build waits for this decision")
	if t.SaysSatisfied && tries == 1 {
		return pipeline.RetryAfter(pipeline.ReasonNothingWaits, time.Second, err)
	}
	return pipeline.Ignore(pipeline.ReasonNothingWaits, err)
}

// rerun runs the build of e for the event that once asked for it.
func (c *Consumer) rerun(ctx context.Context, cause Cause, e Entry) []pipeline.Result {
	t, err := cause.trigger(e)
	if err != nil {
		return []pipeline.Result{{Trigger: t, Organization: e.Organization, Err: pipeline.Ignore(pipeline.ReasonInternal, err)}}
	}
	return c.run(ctx, t)
}
