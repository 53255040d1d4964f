package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// atOnce is how soon a decision has to be acted on. Without it a build that
// waits is looked at again after ten seconds, and then after an hour.
const atOnce = 5 * time.Second

// refusesFirst runs a service, and waits until the gate has refused it build 1.
func (p *plant) refusesFirst(b *bus, o events.Options) *service {
	b.tb.Helper()
	p.says(nvr(1), refused)
	s := b.run(o)
	b.announce(nvr(1))
	var rejected []string
	for _, org := range p.orgs {
		rejected = append(rejected, org.Name+":rejected")
	}
	b.becomes(rejected...)
	b.done()
	return s
}

func TestADecisionPublishesWhatWaits(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	p.says(nvr(1), missing)
	s := b.run(p.gated(b))
	b.announce(nvr(1))
	b.becomes("myorg:waiting")
	p.says(nvr(1), passed)
	b.decide(nvr(1), true)
	took := b.becomes("myorg:waiting", "myorg:published")
	t.Logf("published %s after the decision", took.Round(time.Millisecond))
	if took > atOnce {
		t.Errorf("published only after %s", took)
	}
	b.decided()
	e, d := b.results()[1], b.told()[1]
	if want := (events.TriggerData{ID: "event-" + nvr(1), Source: "https://koji.example.com/kojihub", Type: events.TypeBuildCompleted}); d.Trigger != want {
		t.Errorf("told to %+v", d.Trigger)
	}
	if ext := e.Extensions(); ext["causationid"] != "decision-on-"+nvr(1) || ext["correlationid"] != "event-"+nvr(1) {
		t.Errorf("caused by %v", ext)
	}
	// Its own message finds that later, and says nothing more.
	s.finish()
	if got := p.pushes(""); len(got) != 1 {
		t.Errorf("pushed %+v", got)
	}
	if e := b.entry("myorg", nvr(1)); e.State != events.StatePublished || len(e.Waiters) != 0 {
		t.Errorf("entry is %+v", e)
	}
}

// The message of a build that waits ends when its turn comes.
func TestADecisionAndARecheckTellOnce(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	b.forgetful()
	p.says(nvr(1), missing)
	o := p.gated(b)
	o.Policy.Recheck = time.Second
	s := b.run(o)
	b.announce(nvr(1))
	b.becomes("myorg:waiting")
	p.says(nvr(1), passed)
	b.decide(nvr(1), true)
	b.becomes("myorg:waiting", "myorg:published")
	b.done()
	b.decided()
	s.finish()
	if got := b.outcomes(); len(got) != 2 || len(p.pushes("")) != 1 {
		t.Errorf("told %v, pushed %+v", got, p.pushes(""))
	}
}

func TestADecisionEndsWhatWaits(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	p.says(nvr(1), missing)
	s := b.run(p.gated(b))
	b.announce(nvr(1))
	b.becomes("myorg:waiting")
	eventually(t, "the ledger has it", func() bool { return b.entry("myorg", nvr(1)).State == events.StateWaiting })
	p.says(nvr(1), refused)
	b.decide(nvr(1), false)
	if took := b.becomes("myorg:waiting", "myorg:rejected"); took > atOnce {
		t.Errorf("rejected only after %s", took)
	}
	b.decided()
	s.finish()
}

func TestAWaiverPublishesWhatWasRejected(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg", "other")
	s := p.refusesFirst(b, p.gated(b))
	b.decide(nvr(1), false) // still no: nobody is asked again
	b.decided()
	if got := p.askedFor(nvr(1)); got != 1 {
		t.Errorf("the gate is asked %d times", got)
	}
	p.says(nvr(1), passed)
	b.decide(nvr(1), true)
	if took := b.becomes("myorg:rejected", "other:rejected", "myorg:published", "other:published"); took > atOnce {
		t.Errorf("published only after %s", took)
	}
	b.decided()
	s.finish()
	if got := p.askedFor(nvr(1)); got != 2 {
		t.Errorf("the gate is asked %d times: an announcement runs once for all its organizations", got)
	}
}

func TestDecisionsThatConcernNobody(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	s := b.run(p.gated(b))
	b.announce(nvr(1))
	b.becomes("myorg:published")
	b.decide(nvr(2), false)         // of a build that nobody knows
	b.decide(nvr(1), false)         // of one that does not wait
	b.decide("kernel-6.1-1", false) // of no operator
	b.decision("other", `{"subject_type":"koji_build","subject_identifier":"`+nvr(1)+`","decision_context":"x","policies_satisfied":true}`)
	b.decided()
	s.finish()
	if got := s.metric("omps_deliveries_total", "outcome=ignored", "reason=nothing-waits"); got != 4 {
		t.Errorf("%v ignored", got)
	}
	if len(b.outcomes()) != 1 || len(p.pushes("")) != 1 || b.entry("myorg", nvr(2)).State != "" {
		t.Errorf("told %v, pushed %+v", b.outcomes(), p.pushes(""))
	}
}

func TestDecisionsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	s := b.run(p.gated(b))
	eventually(t, "durable", func() bool { return s.Ready() == nil })
	b.decision("1", `{"subject_type":"koji_build","subject_identifier":"x","policies_satisfied":true}`)
	b.publish(&nats.Msg{Subject: events.SubjectDecisionUpdated, Data: []byte("<xml>")})
	eventually(t, "dead letters", func() bool { return len(b.stored("OMPS_DEAD_LETTERS")) == 2 })
	b.decided()
	s.finish()
	if len(b.outcomes()) != 0 {
		t.Errorf("told %v", b.outcomes())
	}
}

// A decision that comes while the gate is still being asked finds nobody who
// waits. The build is looked at again soon all the same.
func TestADecisionDuringARun(t *testing.T) {
	t.Parallel()
	for _, satisfied := range []bool{true, false} { // false: another requirement is left, for a moment
		t.Run(fmt.Sprint(satisfied), func(t *testing.T) {
			t.Parallel()
			b, p := newBus(t), newPlant(t, "myorg")
			p.says(nvr(1), missing)
			o := p.gated(b)
			asked, answer := p.holdAnswer(o, 1)
			s := b.run(o)
			b.announce(nvr(1))
			receive(t, "the gate is asked", asked)
			p.says(nvr(1), passed)
			b.decide(nvr(1), satisfied)
			eventually(t, "nobody is found", func() bool { return s.metric("omps_deliveries_total", "reason=nothing-waits") > 0 })
			close(answer)
			took := b.becomes("myorg:waiting", "myorg:published")
			t.Logf("published %s later", took.Round(100*time.Millisecond))
			s.finish()
		})
	}
}

// The message of a build that was rejected is settled: what is waived is carried
// by the decision until it is published, whatever goes wrong.
func TestAWaivedBuildIsCarriedByItsDecision(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg", "other")
	s := p.refusesFirst(b, p.gated(b))
	var down atomic.Bool
	down.Store(true)
	p.hook(func(_ context.Context, asked push) error {
		if asked.organization == "myorg" && down.Load() {
			return errQuay
		}
		return nil
	})
	p.says(nvr(1), passed)
	b.decide(nvr(1), true)
	eventually(t, "tried again and again", func() bool { return len(p.pushes("myorg")) >= 4 })
	eventually(t, "the entry of a build that is tried again", func() bool {
		e := b.entry("myorg", nvr(1))
		return e.State == events.StatePublishing && e.Reason == pipeline.ReasonQuayUnavailable && len(e.Waiters) == 1
	})
	down.Store(false)
	b.becomes("myorg:rejected", "other:rejected", "other:published", "myorg:published")
	b.decided()
	s.finish()
	if got := p.pushes("other"); len(got) != 1 {
		t.Errorf("pushed to the other %+v", got)
	}
}

// The gate may be behind its own word. Then the decision waits for what has no
// message of its own, and leaves what has one alone.
func TestAGateBehindItsDecision(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	p.says(nvr(1), refused)
	p.says(nvr(2), missing)
	o := p.gated(b)
	o.Policy.Recheck = 300 * time.Millisecond
	s := b.run(o)
	b.announce(nvr(1))
	b.becomes("myorg:rejected")
	p.says(nvr(1), missing)
	b.decide(nvr(1), true)
	b.becomes("myorg:rejected", "myorg:waiting")
	if b.settled("GREENWAVE") {
		t.Error("nobody carries the build any more")
	}
	p.says(nvr(1), passed)
	b.becomes("myorg:rejected", "myorg:waiting", "myorg:published")
	b.decided()

	b.announce(nvr(2))
	b.becomes("myorg:rejected", "myorg:waiting", "myorg:published", "myorg:waiting")
	b.decide(nvr(2), true)
	b.decided() // its own message goes on waiting
	if b.settled("KOJI") {
		t.Error("settled")
	}
	p.says(nvr(2), passed)
	b.becomes("myorg:rejected", "myorg:waiting", "myorg:published", "myorg:waiting", "myorg:published")
	s.finish()
}

func TestCrashInTheRunOfADecision(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	p.says(nvr(1), refused)
	options := func() events.Options {
		o := p.gated(b)
		o.Grace, o.Provision.AckWait = 0, time.Second
		return o
	}
	dead := b.run(options())
	b.announce(nvr(1))
	b.becomes("myorg:rejected")
	b.done()
	pushing, hang := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	p.hook(func(ctx context.Context, _ push) error {
		if first.CompareAndSwap(false, true) {
			close(pushing)
			<-hang
			return ctx.Err()
		}
		return nil
	})
	p.says(nvr(1), passed)
	b.decide(nvr(1), true)
	receive(t, "the push", pushing)
	dead.nc.Close()
	close(hang)
	if err := dead.end(); err == nil {
		t.Error("no word of a closed connection")
	}
	alive := b.run(options())
	took := b.becomes("myorg:rejected", "myorg:published")
	t.Logf("published %s after the crash, ack wait included", took.Round(100*time.Millisecond))
	b.decided()
	alive.finish()
}

// Whoever asks is answered with an id of their own, and not only for the sake of
// an announcement, when the decision comes; also when the gate had refused, and
// the request's own message is long settled.
func TestADecisionAnswersRequests(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]pipeline.Decision{"waiting": missing, "rejected": refused} {
		for _, announced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, announced %t", name, announced), func(t *testing.T) {
				t.Parallel()
				b, p := newBus(t), newPlant(t, "myorg")
				p.says(nvr(1), before)
				s := b.run(p.gated(b))
				want := []string{"myorg:" + name, "myorg:" + name}
				if announced {
					b.announce(nvr(1))
					b.becomes("myorg:" + name)
					want = append(want, "myorg:"+name)
				}
				b.ask(events.PushEvent{ID: "r1", Organization: "myorg", NVR: nvr(1)})
				b.ask(events.PushEvent{ID: "r2", Organization: "myorg", NVR: nvr(1), Repository: "elsewhere"})
				b.becomes(want...)
				p.says(nvr(1), passed)
				b.decide(nvr(1), true)
				start := time.Now()
				b.decided()
				took := time.Since(start)
				t.Logf("all are answered after %s", took.Round(time.Millisecond))
				if took > atOnce {
					t.Errorf("answered only after %s", took)
				}
				s.finish()
				var ids []string
				for _, d := range b.told()[len(want):] {
					if d.Outcome != pipeline.OutcomePublished {
						t.Errorf("%s is told %s", d.Trigger.ID, d.Outcome)
					}
					ids = append(ids, d.Trigger.ID)
				}
				slices.Sort(ids)
				wantIDs := []string{"r1", "r2"}
				if announced {
					wantIDs = []string{"event-" + nvr(1), "r1", "r2"}
				}
				if diff := cmp.Diff(wantIDs, ids); diff != "" {
					t.Error(diff)
				}
				if e := b.entry("myorg", nvr(1)); e.State != events.StatePublished || len(e.Waiters) != 0 {
					t.Errorf("entry is %+v", e)
				}
			})
		}
	}
}

// A waiver lets a build through to an image that is not there yet: the decision's
// message waits for it, and publishes the build once it is there.
func TestAWaivedBuildWaitsForItsImage(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	var there atomic.Bool
	var pushes atomic.Int32
	p.onPush = func(context.Context, push) error {
		pushes.Add(1)
		if there.Load() {
			return nil
		}
		return pipeline.Wait(pipeline.ReasonImageUnavailable, errors.New("no such image"))
	}
	o := p.gated(b)
	o.Policy.Recheck = time.Second
	s := p.refusesFirst(b, o)
	p.says(nvr(1), passed)
	b.decide(nvr(1), true)
	b.becomes("myorg:rejected", "myorg:waiting")
	eventually(t, "it is looked at again", func() bool { return pushes.Load() > 1 })
	there.Store(true)
	b.becomes("myorg:rejected", "myorg:waiting", "myorg:published")
	b.decided()
	s.finish()
	if e := b.entry("myorg", nvr(1)); e.State != events.StatePublished || len(e.Waiters) != 0 {
		t.Errorf("entry is %+v", e)
	}
}
