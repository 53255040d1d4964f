package events_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// A run that was slow to hear the gate's no ends after a decision has published
// the build: nobody is told of that no, and nobody waits because of it.
func TestANoBehindAPublication(t *testing.T) {
	t.Parallel()
	for name, no := range map[string]pipeline.Decision{"refused": refused, "missing": missing} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p := newBus(t), newPlant(t, "myorg")
			b.forgetful()
			p.says(nvr(1), missing)
			o := p.gated(b)
			o.Policy.Recheck = time.Second
			asked, answer := p.holdAnswer(o, 2)
			s := b.run(o)
			b.announce(nvr(1))
			b.becomes("myorg:waiting")
			p.says(nvr(1), no)
			receive(t, "the gate is asked again", asked)
			p.says(nvr(1), passed)
			b.decide(nvr(1), true)
			b.becomes("myorg:waiting", "myorg:published")
			b.decided()
			close(answer)
			b.done()
			s.finish()
			if diff := cmp.Diff([]string{"myorg:waiting", "myorg:published"}, b.outcomes()); diff != "" {
				t.Error(diff)
			}
			b.served()
		})
	}
}

// A request may publish the build once more somewhere else. What the
// organization has published itself is known all the same.
func TestARequestWithItsOwnRepositoryIsBesideTheBuild(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	b.forgetful()
	s := b.run(p.service(b))
	b.announce(nvr(1))
	b.done()
	before := b.entry("myorg", nvr(1))
	b.ask(events.PushEvent{ID: "r1", Organization: "myorg", NVR: nvr(1), Repository: "elsewhere"})
	b.done()
	asked, pushed := p.askedFor(nvr(1)), len(p.pushes(""))
	if pushed != 2 {
		t.Fatalf("pushed %+v", p.pushes(""))
	}
	b.announceAs(nvr(1), "again", "/bridge")
	b.done()
	s.finish()
	if p.askedFor(nvr(1)) != asked || len(p.pushes("")) != pushed {
		t.Errorf("the gate was asked %d times, pushed %+v", p.askedFor(nvr(1)), p.pushes(""))
	}
	if diff := cmp.Diff([]string{"myorg:published", "myorg:published"}, b.outcomes()); diff != "" {
		t.Error(diff)
	}
	after := b.entry("myorg", nvr(1))
	if after.State != events.StatePublished || after.Configuration != before.Configuration || !cmp.Equal(after.Digests, before.Digests) {
		t.Errorf("entry was %+v, is %+v", before, after)
	}
}

// The last result that is told names what the registry has, also when it had
// that before.
func TestTheWayBackIsTold(t *testing.T) {
	t.Parallel()
	b, p := newBus(t), newPlant(t, "myorg")
	b.forgetful()
	for _, c := range []struct{ id, configuration string }{{"1", "A"}, {"2", "B"}, {"3", "A"}} {
		p.orgs[0].Fingerprint = c.configuration
		s := b.run(p.service(b))
		b.announceAs(nvr(1), c.id, "/koji")
		b.done()
		<-time.After(2 * forgets)
		s.finish()
	}
	var references []string
	for _, d := range b.told() {
		references = append(references, d.Bundles[0].Reference)
	}
	if len(references) != 3 || references[0] == references[1] || references[2] != references[0] {
		t.Errorf("told of %v", references)
	}
	b.served()
}

// What no event can be made of is in the ledger all the same. A dead letter
// tells of it, and redriven brings the event.
func TestWhatCannotBeToldIsKept(t *testing.T) {
	t.Parallel()
	for want, decision := range map[events.State]pipeline.Decision{events.StatePublished: passed, events.StateRejected: refused} {
		t.Run(string(want), func(t *testing.T) {
			t.Parallel()
			b, p := newBus(t), newPlant(t, "myorg")
			p.says(nvr(1), decision)
			s := b.run(p.gated(b))
			b.takes(events.DefaultNames().Results, 1)
			b.announce(nvr(1))
			eventually(t, "a dead letter", func() bool { return b.count("OMPS_DEAD_LETTERS") == 1 })
			b.done()
			if e := b.entry("myorg", nvr(1)); e.State != want || len(e.Told) != 0 || e.ResultID != "" {
				t.Errorf("entry is %+v", e)
			}
			b.takes(events.DefaultNames().Results, -1)
			if _, err := b.deadLetters().Redrive(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			b.becomes("myorg:" + string(want))
			b.done()
			s.finish()
		})
	}
}
