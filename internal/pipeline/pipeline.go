package pipeline

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Pipeline is the way of a build from its announcement to its registry.
type Pipeline struct {
	Lookup  Lookup
	Gate    Gate
	Fetch   Fetch
	Prepare Prepare
	Push    Push
	Delete  Delete

	Ledger  Ledger           // nil: nothing is remembered
	Now     func() time.Time // the caller's clock: the pipeline has none of its own
	Metrics *Metrics
	Tracer  trace.Tracer // nil: no spans
}

// Run takes t through every stage and returns one Result for each organization
// that it concerns. What ends the run before the organizations part ways is in
// each of their results; with no organization known there is one Result. Those
// that an earlier run has served already are left out of the work.
func (p *Pipeline) Run(ctx context.Context, t Trigger) []Result {
	r := newRun(t, p.Lookup)
	if t.Kind == DeleteRequested {
		return p.delete(ctx, r, t)
	}
	build, err := step(ctx, p, r, StageLookup, p.Lookup.Do, t)
	r.saw(build)
	if err != nil {
		return r.end(err)
	}
	build, results := p.recall(ctx, r, build)
	if len(build.Organizations) == 0 {
		return results
	}
	approved, err := step(ctx, p, r, StageGate, p.Gate.Do, build)
	r.common.Decision = approved.Decision
	if err != nil {
		return append(results, r.end(err)...)
	}
	manifests, err := step(ctx, p, r, StageFetch, p.Fetch.Do, approved)
	r.fetched(manifests)
	if err != nil {
		return append(results, r.end(err)...)
	}
	defer manifests.Done()
	for i, org := range build.Organizations {
		m := manifests
		if i == len(build.Organizations)-1 {
			manifests = Manifests{held: m.held} // nobody needs the trees during the last push
		}
		results = append(results, p.publish(ctx, r.forOrganization(org), m, org))
	}
	return results
}

// publish runs the stages that differ from organization to organization.
func (p *Pipeline) publish(ctx context.Context, r *run, m Manifests, org Organization) Result {
	build := m.Build
	release, err := step(ctx, p, r, StagePrepare, p.Prepare.Do, Order{Manifests: m, Organization: org})
	r.prepared(release)
	if err != nil {
		return r.result(err)
	}
	if p.remembers(build) {
		if err := p.Ledger.Begin(ctx, workOf(build, org)); err != nil {
			return r.result(&StageError{Stage: StagePush, Err: err})
		}
	}
	r.common.Publication, err = step(ctx, p, r, StagePush, p.Push.Do, release)
	return r.result(err)
}

// step runs one stage: the only place that times, counts, traces and names them.
func step[In, Out any](ctx context.Context, p *Pipeline, r *run, name StageName,
	do func(context.Context, In) (Out, error), in In,
) (Out, error) {
	ctx, span := p.span(ctx, name, r)
	var err error
	defer func() { endSpan(span, err) }()
	start := p.Now()
	out, err := do(ctx, in)
	took := p.Now().Sub(start)
	r.durations[name] = took
	if err == nil {
		p.Metrics.observe(name, took, "ok")
		return out, nil
	}
	if ctx.Err() != nil && ReasonOf(err) == ReasonInternal {
		err = Retry(ReasonDeadline, err)
	}
	p.Metrics.observe(name, took, ClassOf(err).String())
	return out, &StageError{Stage: name, Err: err}
}
