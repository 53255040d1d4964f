package events_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// However old an event is, and however often it has found its build in another
// one's hands: that one may yet fail, and then somebody has to go on.
func TestABuildInOtherHandsIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, spend := range map[string]func(*events.Policy){
		"longer than it may take":  func(p *events.Policy) { p.MaxAge = time.Second },
		"oftener than it is tried": func(p *events.Policy) { p.MaxTries = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p := newBus(t), newPlant(t, "myorg")
			release := make(chan struct{})
			p.hook(func(ctx context.Context, _ push) error {
				select {
				case <-release:
				case <-ctx.Done():
				}
				return ctx.Err()
			})
			o := p.service(b)
			spend(&o.Policy)
			s := b.run(o)
			b.announceAs(nvr(1), "1", "/koji")
			eventually(t, "being pushed", func() bool { return len(p.pushes("")) == 1 })
			b.announceAs(nvr(1), "2", "/bridge")
			eventually(t, "tried over and over", func() bool {
				return s.metric("omps_deliveries_total", "outcome=failed") > 0 ||
					s.metric("omps_deliveries_total", "outcome=retried", "reason=in-progress") >= 5
			})
			close(release)
			b.done()
			s.finish()
			if diff := cmp.Diff([]string{"myorg:published"}, b.outcomes()); diff != "" {
				t.Error(diff)
			}
			if letters := b.count("OMPS_DEAD_LETTERS"); letters != 0 {
				t.Errorf("%d dead letters", letters)
			}
			if got := p.pushes(""); len(got) != 1 {
				t.Errorf("pushed %+v", got)
			}
			b.served()
		})
	}
}

// A push that panics is over: whoever else asks for the build need not wait
// until the one that panicked is tried again.
func TestAPanicLetsGoOfTheBuild(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*bus, *plant){
		"an announcement": func(b *bus, _ *plant) { b.announce(nvr(1)) },
		"a request":       func(b *bus, _ *plant) { b.ask(events.PushEvent{ID: "r1", Organization: "myorg", NVR: nvr(1)}) },
		"a decision": func(b *bus, p *plant) {
			p.says(nvr(1), refused)
			b.announce(nvr(1))
			b.becomes("myorg:rejected")
			b.done() // told comes first, and then it is noted who waits
			p.says(nvr(1), passed)
			b.decide(nvr(1), true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p := newBus(t), newPlant(t, "myorg")
			var once atomic.Bool
			p.hook(func(context.Context, push) error {
				if once.CompareAndSwap(false, true) {
					panic("once")
				}
				return nil
			})
			o := p.gated(b)
			o.Policy.Delays = []time.Duration{time.Hour}
			s := b.run(o)
			start(b, p)
			eventually(t, "a panic", func() bool { return s.metric("omps_deliveries_total", "outcome=retried", "reason=panic") == 1 })
			b.ask(events.PushEvent{ID: "r2", Organization: "myorg", NVR: nvr(1)})
			within(t, atOnce, "published", func() bool {
				told := b.told()
				return len(told) > 0 && told[len(told)-1].Trigger.ID == "r2" && told[len(told)-1].Outcome == "published"
			})
			s.finish()
		})
	}
}
