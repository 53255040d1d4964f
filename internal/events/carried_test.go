package events_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// served checks that the first build is published, and that nobody is left who
// waits for it.
func (b *bus) served() {
	b.tb.Helper()
	if e := b.entry("myorg", nvr(1)); e.State != events.StatePublished || len(e.Waiters) != 0 {
		b.tb.Errorf("entry is %+v", e)
	}
}

// The gate's decision may be yes while its API still says no.
func TestARefusalThatOutlivesItsWaiver(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(*bus){
		"announced": func(b *bus) { b.announce(nvr(1)) },
		"requested": func(b *bus) { b.ask(events.PushEvent{ID: "r1", Organization: "myorg", NVR: nvr(1)}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p := newBus(t), newPlant(t, "myorg")
			p.says(nvr(1), refused)
			s := b.run(p.gated(b))
			ask(b)
			b.becomes("myorg:rejected")
			b.done()
			b.decide(nvr(1), true)
			eventually(t, "refused again and again", func() bool { return p.askedFor(nvr(1)) >= 4 })
			p.says(nvr(1), passed)
			b.becomes("myorg:rejected", "myorg:published")
			b.decided()
			s.finish()
			b.served()
		})
	}
}

// A waiver whose build then fails for good can be redriven like any dead letter.
func TestARedrivenWaiver(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	o := p.gated(b)
	o.Policy.MaxTries = 5
	s := p.refusesFirst(b, o)
	p.hook(func(context.Context, push) error { return errQuay })
	p.says(nvr(1), passed)
	b.decide(nvr(1), true)
	b.becomes("myorg:rejected", "myorg:failed")
	b.decided()

	p.hook(nil)
	if _, err := b.deadLetters().Redrive(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	b.becomes("myorg:rejected", "myorg:failed", "myorg:published")
	b.decided()
	s.finish()
	b.served()
	if left := b.count("OMPS_DEAD_LETTERS"); left != 0 {
		t.Errorf("%d letters left", left)
	}
}

// A waiver that comes while the gate is still being asked finds nobody whom it
// could help, and looks for them again.
func TestAWaiverDuringARun(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	p.says(nvr(1), refused)
	o := p.gated(b)
	o.Policy.Delays = events.DefaultPolicy().Delays
	asked, answer := p.holdAnswer(o, 1)
	s := b.run(o)
	b.announce(nvr(1))
	receive(t, "the gate is asked", asked)
	p.says(nvr(1), passed)
	b.decide(nvr(1), true)
	eventually(t, "looked for again", func() bool { return s.metric("omps_deliveries_total", "reason=nothing-waits") >= 2 })
	close(answer)
	took := b.becomes("myorg:rejected", "myorg:published")
	t.Logf("published %s later", took.Round(100*time.Millisecond))
	b.done()
	b.decided()
	s.finish()
	b.served()
}

type deciderFunc func(context.Context, pipeline.NVR) (pipeline.Decision, error)

func (f deciderFunc) Decide(ctx context.Context, n pipeline.NVR) (pipeline.Decision, error) {
	return f(ctx, n)
}

// holdAnswer keeps the gate's nth answer, given when asked is closed, from
// arriving until answer is.
func (p *plant) holdAnswer(o events.Options, nth int64) (asked, answer chan struct{}) {
	asked, answer = make(chan struct{}), make(chan struct{})
	var n atomic.Int64
	line := o.Handler.(*pipeline.Pipeline)
	line.Gate.Decider = deciderFunc(func(ctx context.Context, nvr pipeline.NVR) (pipeline.Decision, error) {
		mine := n.Add(1) == nth
		d, err := p.Decide(ctx, nvr)
		if mine {
			close(asked)
			<-answer
		}
		return d, err
	})
	return asked, answer
}

// An announcement that was refused has no message any more, also when a request
// for the same build, which has one, waits.
func TestADecisionForTheRefusedAndTheWaiting(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	o := p.gated(b)
	o.Policy.Recheck = time.Second
	s := p.refusesFirst(b, o)
	p.says(nvr(1), missing) // the test is run again
	b.ask(events.PushEvent{ID: "r1", Organization: "myorg", NVR: nvr(1), Repository: "elsewhere"})
	b.becomes("myorg:rejected", "myorg:waiting")
	b.decide(nvr(1), true)
	b.becomes("myorg:rejected", "myorg:waiting", "myorg:waiting") // the gate is behind its decision
	p.says(nvr(1), passed)
	eventually(t, "both are told more", func() bool { return len(b.told()) >= 5 })
	b.done()
	s.finish()
	var ids []string
	for _, d := range b.told()[3:] {
		if d.Outcome != pipeline.OutcomePublished {
			t.Errorf("%s is told %s", d.Trigger.ID, d.Outcome)
		}
		ids = append(ids, d.Trigger.ID)
	}
	slices.Sort(ids)
	if diff := cmp.Diff([]string{"event-" + nvr(1), "r1"}, ids); diff != "" {
		t.Error(diff)
	}
	b.served()
}

// A yes that helps nobody is looked at again for a while, and is never more than
// that: few decisions of the bus are about builds of ours.
func TestAYesThatConcernsNobody(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	o := p.gated(b)
	o.Policy.MaxTries = 2
	s := b.run(o)
	b.announce(nvr(1))
	b.becomes("myorg:published")
	eventually(t, "the ledger has it", func() bool { return b.entry("myorg", nvr(1)).State == events.StatePublished })
	b.decide(nvr(2), true)         // of a build that nobody knows
	b.decide(nvr(1), true)         // of one that does not wait
	b.decide("kernel-6.1-1", true) // of no operator
	eventually(t, "each is looked at until it is let go, or oftener than it may be tried", func() bool {
		return s.metric("omps_deliveries_total", "outcome=failed") > 0 || b.caughtUp("GREENWAVE") && b.settled("GREENWAVE") ||
			s.metric("omps_deliveries_total", "reason=nothing-waits") >= 9
	})
	s.finish()
	if got := s.metric("omps_deliveries_total", "reason=nothing-waits"); got != 4 {
		t.Errorf("%v looks at three, not two at the one that may be in work", got)
	}
	if letters := b.count("OMPS_DEAD_LETTERS"); letters != 0 {
		t.Errorf("%d dead letters", letters)
	}
	if len(b.outcomes()) != 1 || len(p.pushes("")) != 1 || p.askedFor(nvr(1)) != 1 || b.entry("myorg", nvr(2)).State != "" {
		t.Errorf("told %v, pushed %+v", b.outcomes(), p.pushes(""))
	}
}
