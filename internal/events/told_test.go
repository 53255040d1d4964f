package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestABuildAnnouncedThriceIsToldOnce(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	b.forgetful()
	s := b.run(p.service(b))
	for i := range 3 {
		b.announceAs(nvr(1), fmt.Sprint(i), fmt.Sprintf("/source/%d", i))
		b.done()
		<-time.After(2 * forgets)
	}
	s.finish()
	if got := p.pushes(""); len(got) != 1 || p.askedFor(nvr(1)) != 1 {
		t.Errorf("pushed %+v, the gate was asked %d times", got, p.askedFor(nvr(1)))
	}
	if diff := cmp.Diff([]string{"myorg:published"}, b.outcomes()); diff != "" {
		t.Error(diff)
	}
	if got := s.metric("omps_deliveries_total", "outcome=published"); got != 3 {
		t.Errorf("%v deliveries published", got)
	}
}

// However many announcements of a build come at the same time, to however many
// replicas, one of them pushes it.
func TestABuildAnnouncedAtTheSameTimeIsPushedOnce(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg", "other")
	var at, most atomic.Int64
	p.hook(func(context.Context, push) error {
		most.Store(max(most.Load(), at.Add(1)))
		<-time.After(200 * time.Millisecond) // as a push takes
		at.Add(-1)
		return nil
	})
	if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b.announceAs(nvr(1), fmt.Sprint(i), fmt.Sprintf("/source/%d", i))
	}
	one, two := b.run(p.service(b)), b.run(p.service(b))
	b.done()
	one.finish()
	two.finish()
	for _, org := range []string{"myorg", "other"} {
		if got := p.pushes(org); len(got) != 1 {
			t.Errorf("pushed %+v", got)
		}
	}
	got := b.outcomes()
	slices.Sort(got)
	if diff := cmp.Diff([]string{"myorg:published", "other:published"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhoAsksIsAnswered(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	s := b.run(p.service(b))
	b.announce(nvr(1))
	b.done()
	for _, request := range []events.PushEvent{
		{ID: "r1", Organization: "myorg", NVR: nvr(1)},
		{ID: "r2", Organization: "myorg", NVR: nvr(1)},
		{ID: "r1", Organization: "myorg", NVR: nvr(1)}, // the same event once more
		{ID: "r3", Organization: "myorg", NVR: nvr(1), Force: true},
	} {
		b.ask(request)
		b.done()
	}
	s.finish()
	type answer struct {
		ID       string
		Outcome  pipeline.Outcome
		Repeated bool
	}
	var got []answer
	for i, d := range b.told() {
		got = append(got, answer{d.Trigger.ID, d.Outcome, d.Repeated})
		for _, name := range []string{"causationid", "correlationid"} {
			if id := b.results()[i].Extensions()[name]; id != d.Trigger.ID {
				t.Errorf("%s of the answer to %s is %v", name, d.Trigger.ID, id)
			}
		}
	}
	if diff := cmp.Diff([]answer{
		{"event-" + nvr(1), pipeline.OutcomePublished, false},
		{"r1", pipeline.OutcomePublished, true}, {"r2", pipeline.OutcomePublished, true}, {"r3", pipeline.OutcomePublished, false},
	}, got); diff != "" {
		t.Error(diff)
	}
	if got := p.pushes(""); !slices.ContainsFunc(got, func(p push) bool { return p.event == "r3" && p.force }) {
		t.Errorf("force is not forced: %+v", got)
	}
	if e := b.entry("myorg", nvr(1)); e.State != events.StatePublished || len(e.Told) != 1 || len(e.Answered) != 3 {
		t.Errorf("entry is %+v", e)
	}
}

func TestOrganizationsAreToldEachOnce(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "down", "up")
	b.forgetful()
	var tries atomic.Int64
	p.hook(func(_ context.Context, asked push) error {
		if asked.organization == "down" && tries.Add(1) < 4 {
			return errQuay
		}
		return nil
	})
	o := p.service(b)
	o.Policy.Delays = []time.Duration{2 * forgets}
	s := b.run(o)
	b.announce(nvr(1))
	eventually(t, "in the ledger as tried again", func() bool {
		e := b.entry("down", nvr(1))
		return e.State == events.StatePublishing && e.Reason == pipeline.ReasonQuayUnavailable && e.Stage == pipeline.StagePush
	})
	if e := b.entry("up", nvr(1)); e.State != events.StatePublished {
		t.Errorf("the other one is %+v", e)
	}
	b.done()
	s.finish()
	if down, up := len(p.pushes("down")), len(p.pushes("up")); down != 4 || up != 1 {
		t.Errorf("pushed %d and %d times", down, up)
	}
	if diff := cmp.Diff([]string{"up:published", "down:published"}, b.outcomes()); diff != "" {
		t.Error(diff)
	}
	if d := b.told()[1]; d.Tries != 4 || d.Repeated {
		t.Errorf("told as %+v", d)
	}
}

// What the ledger knows to be told is not told again, when the stream has long
// forgotten the id.
func TestToldOnceWhateverTheStreamForgets(t *testing.T) {
	t.Parallel()
	refused := pipeline.Reject(pipeline.ReasonBadArchive, errors.New("no zip"))
	for name, err := range map[string]error{"published": nil, "rejected": refused} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBus(t)
			b.forgetful()
			// A handler that does not ask the ledger, as in a run from before.
			s := b.run(b.options(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result { return result(tr, err) })))
			for i := range 3 {
				b.announceAs(nvr(1), fmt.Sprint(i), "/source")
				b.done()
				<-time.After(2 * forgets)
			}
			s.finish()
			if diff := cmp.Diff([]string{"myorg:" + name}, b.outcomes()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWaitingIsToldOnceOverManyRechecks(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	b.forgetful()
	p.says(nvr(1), missing)
	o := p.service(b)
	o.Policy.Recheck = forgets
	s := b.run(o)
	b.announceAs(nvr(1), "1", "/source")
	b.announceAs(nvr(1), "2", "/source")
	eventually(t, "looked at often", func() bool { return p.askedFor(nvr(1)) >= 12 })
	p.says(nvr(1), passed)
	b.done()
	s.finish()
	if diff := cmp.Diff([]string{"myorg:waiting", "myorg:published"}, b.outcomes()); diff != "" {
		t.Error(diff)
	}
	if got := p.pushes(""); len(got) != 1 {
		t.Errorf("pushed %+v", got)
	}
}

// A crash between the event of a result and the ledger, and a ledger that takes
// nothing for a while, leave nothing told twice and nothing untold.
func TestLedgerThatTakesNothing(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg", "other")
	var once sync.Once
	p.hook(func(context.Context, push) error {
		once.Do(func() { b.takes("KV_omps-ledger", 1) })
		return nil
	})
	o := p.service(b)
	s := b.run(o)
	b.announce(nvr(1))
	eventually(t, "told, and not in the ledger", func() bool {
		return len(b.outcomes()) == 1 && s.metric("omps_settle_errors_total", "action=publish") == 1 &&
			s.metric("omps_settle_errors_total", "action=ledger") >= 3 // tries since
	})
	if s.Ready() == nil {
		t.Error("ready, and nothing can be stored")
	}
	if s.metric("omps_deliveries_total", "outcome=published") != 0 {
		t.Error("settled")
	}
	b.takes("KV_omps-ledger", -1)
	b.done()
	s.finish()
	got := b.outcomes()
	slices.Sort(got)
	if diff := cmp.Diff([]string{"myorg:published", "other:published"}, got); diff != "" {
		t.Error(diff)
	}
	for _, org := range []string{"myorg", "other"} {
		if e := b.entry(org, nvr(1)); e.State != events.StatePublished || len(e.Told) != 1 {
			t.Errorf("entry of %s is %+v", org, e)
		}
	}
}

// A ledger that is gone is made again where we may, and waited for where not.
func TestLedgerThatIsGone(t *testing.T) {
	t.Parallel()
	for _, manage := range []bool{true, false} {
		for _, when := range []string{"before the run", "during the push"} {
			t.Run(fmt.Sprintf("manage %t, %s", manage, when), func(t *testing.T) {
				t.Parallel()
				b, p := newBus(t), newPlant(t, "myorg")
				if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
					t.Fatal(err)
				}
				bucket := events.DefaultNames().Ledger
				gone := make(chan struct{})
				drop := func() {
					if err := b.js.DeleteKeyValue(t.Context(), bucket); err != nil {
						t.Error(err)
					}
					close(gone)
				}
				var once sync.Once
				if when == "during the push" {
					p.hook(func(context.Context, push) error { once.Do(drop); return nil })
				}
				o := p.service(b)
				o.Provision.Manage = manage
				s := b.run(o)
				b.announce(nvr(1)) // so that the service has used the bucket
				if when == "before the run" {
					b.done()
					drop()
				}
				b.announce(nvr(2))
				receive(t, "the bucket is gone", gone)
				if !manage {
					eventually(t, "not ready", func() bool { return s.Ready() != nil })
					if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
						t.Fatal(err)
					}
				}
				b.done()
				eventually(t, "ready again", func() bool { return s.Ready() == nil })
				s.finish()
				if diff := cmp.Diff([]string{"myorg:published", "myorg:published"}, b.outcomes()); diff != "" {
					t.Error(diff)
				}
				if e := b.entry("myorg", nvr(2)); e.State != events.StatePublished {
					t.Errorf("entry is %+v", e)
				}
			})
		}
	}
}

// A replica that is killed in the middle of a push leaves the build to another,
// at once for the same event.
func TestCrashInAPush(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
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
	o := p.service(b)
	o.Grace = 0
	dead := b.run(o)
	b.announce(nvr(1))
	receive(t, "the push", pushing)
	if e := b.entry("myorg", nvr(1)); e.State != events.StatePublishing || e.Reason != "" {
		t.Errorf("entry is %+v", e)
	}
	dead.nc.Close()
	close(hang)
	if err := dead.end(); err == nil {
		t.Error("no word of a closed connection")
	}
	// What the dead one held comes again when the ack wait is over; here the
	// same event is sent again.
	alive := b.run(p.service(b))
	start := time.Now()
	b.announce(nvr(1))
	eventually(t, "published", func() bool { return len(b.outcomes()) == 1 })
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	alive.finish()
}

// A build that the hub has not confirmed to be ours leaves no trace: in an
// outage of the hub that may be any build of the bus.
func TestLedgerKeepsOnlyWhatIsOurs(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	o := p.service(b)
	o.Handler = handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		down := pipeline.Result{Trigger: tr, Organization: "myorg", NVR: tr.NVR, Err: &pipeline.StageError{Stage: pipeline.StageLookup, Err: errKoji}}
		return []pipeline.Result{down}
	})
	s := b.run(o)
	b.announce(nvr(1))
	eventually(t, "tried again", func() bool { return s.metric("omps_deliveries_total", "outcome=retried") >= 3 })
	s.finish()
	if e := b.entry("myorg", nvr(1)); e.State != "" {
		t.Errorf("entry is %+v", e)
	}
}
