package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// crash is one row of the matrix: where the service is killed on its first,
// second, … run.
type crash struct {
	name   string
	points []point
	sample bool // one of those for a quick look
}

// scene is what happens around the crashes, and what has to come of it.
type scene struct {
	recheck string
	start   func(f *fleet) // once the first service is up
	then    func(f *fleet) // once the last one is
	// settled tells when nothing more is to come.
	settled func(ctx context.Context, f *fleet) bool
	builds  []wanted
	letters []string // payloads of dead letters

	crashes []crash
}

func at(p ...point) []point { return p }

const (
	published = pipeline.OutcomePublished
	rejected  = pipeline.OutcomeRejected
	waiting   = pipeline.OutcomeWaiting

	garbage = "this is no event"
)

// publishing is a build that has nothing against it: an archive of two bundles,
// for two organizations, with two tags each.
func publishing() scene {
	const nvr = sandbox.UpdateNVR
	return scene{
		start:  func(f *fleet) { f.announce(nvr, "announced") },
		builds: []wanted{want(nvr, published)},
		crashes: []crash{
			{name: "event decoded", points: at(atHub)},
			{name: "looked up", points: at(atGreenwave)},
			{name: "gate passed", points: at(atDownload), sample: true},
			{name: "half of the archive", points: at(amidDownload(1, 2))},
			{name: "archive fetched", points: at(amidDownload(1, 1))},
			{name: "prepared", points: at(atRegistry(alpha))},
			{name: "first layer", points: at(afterBlob(alpha, "layer", 1))},
			{name: "first config", points: at(afterBlob(alpha, "config", 1)), sample: true},
			{name: "first bundle's build tag", points: at(afterTag(alpha, nvr+"-1.0.0")), sample: true},
			{name: "first bundle's version tag", points: at(afterTag(alpha, "1.0.0"))},
			{name: "second layer", points: at(afterBlob(alpha, "layer", 2))},
			{name: "second config", points: at(afterBlob(alpha, "config", 2))},
			{name: "second bundle's build tag", points: at(afterTag(alpha, nvr+"-1.1.0"))},
			{name: "second bundle's version tag", points: at(afterTag(alpha, "1.1.0"))},
			{name: "first organization pushed", points: at(atRegistry(beta))},
			{name: "second organization's first tag", points: at(afterTag(beta, nvr+"-1.0.0"))},
			{name: "second organization's last tag", points: at(afterTag(beta, "1.1.0"))},
			{name: "nothing told", points: at(before(result(published, alpha)))},
			{name: "first result stored", points: at(after(result(published, alpha))), sample: true},
			{name: "first result heard of", points: at(before(ledgerEntry(published, alpha)))},
			{name: "first entry stored", points: at(after(ledgerEntry(published, alpha)))},
			{name: "first entry heard of", points: at(before(result(published, beta)))},
			{name: "second result stored", points: at(after(result(published, beta)))},
			{name: "second result heard of", points: at(before(ledgerEntry(published, beta)))},
			{name: "second entry stored", points: at(after(ledgerEntry(published, beta)))},
			{name: "not acknowledged", points: at(before(settling("+ACK"))), sample: true},
			{name: "acknowledged", points: at(after(settling("+ACK")))},
			{name: "tag, then tag", points: at(afterTag(alpha, nvr+"-1.0.0"), afterTag(alpha, "1.0.0"))},
			{name: "archive, then result", points: at(atDownload, after(result(published, alpha)))},
			{name: "organization, then ack", points: at(atRegistry(beta), before(settling("+ACK")))},
			{name: "result, then result", points: at(after(result(published, alpha)), after(result(published, beta)))},
		},
	}
}

// refusing is a build whose test failed.
func refusing() scene {
	return scene{
		start:  func(f *fleet) { f.announce(sandbox.RejectedNVR, "announced") },
		builds: []wanted{want(sandbox.RejectedNVR, rejected)},
		crashes: []crash{
			{name: "nothing told", points: at(before(result(rejected, alpha)))},
			{name: "result stored", points: at(after(result(rejected, alpha)))},
			{name: "result heard of", points: at(before(ledgerEntry(rejected, alpha)))},
			{name: "entries stored", points: at(after(ledgerEntry(rejected, beta)))},
			{name: "not acknowledged", points: at(before(settling("+ACK")))},
			{name: "acknowledged", points: at(after(settling("+ACK")))},
		},
	}
}

// holding is a build whose test has no result yet, and passes after the crash.
func holding() scene {
	return scene{
		start:  func(f *fleet) { f.announce(sandbox.WaitingNVR, "announced") },
		then:   openGate,
		builds: []wanted{want(sandbox.WaitingNVR, published, waiting)},
		crashes: []crash{
			{name: "nothing told", points: at(before(result(waiting, alpha)))},
			{name: "result stored", points: at(after(result(waiting, alpha)))},
			{name: "result heard of", points: at(before(ledgerEntry(waiting, alpha)))},
			{name: "entries stored", points: at(after(ledgerEntry(waiting, beta)))},
			{name: "not given back", points: at(before(settling("-NAK"))), sample: true},
		},
	}
}

// openGate lets the waiting build pass once everybody was told that it waits.
func openGate(f *fleet) {
	f.t.Helper()
	f.eventually("a waiting result for each organization", func(context.Context) bool { return f.isTold(waiting) })
	f.world.Greenwave.Set(sandbox.WaitingNVR, sandbox.GatePassed)
}

// isTold tells whether each organization has a result of that outcome.
func (f *fleet) isTold(outcome pipeline.Outcome) bool {
	f.t.Helper()
	said := make(map[string]bool)
	for _, r := range f.results() {
		if r.data.Outcome == outcome {
			said[r.data.Organization] = true
		}
	}
	return said[alpha] && said[beta]
}

// deciding is a build that waits for an hour, unless a decision comes before.
func deciding() scene {
	return scene{
		recheck: "1h",
		start: func(f *fleet) {
			f.announce(sandbox.WaitingNVR, "announced")
			openGate(f)
			f.decide(sandbox.WaitingNVR, "decided")
		},
		// The announcement goes on waiting for its hour.
		settled: func(ctx context.Context, f *fleet) bool {
			n, err := f.unsettled(ctx, events.DefaultNames().Greenwave)
			return err == nil && n == 0 && f.isTold(published)
		},
		builds: []wanted{want(sandbox.WaitingNVR, published, waiting)},
		crashes: []crash{
			{name: "gate passed", points: at(atDownload)},
			{name: "result stored", points: at(after(result(published, alpha))), sample: true},
			{name: "not acknowledged", points: at(before(settling("+ACK")))},
		},
	}
}

// asking is a request for one organization.
func asking() scene {
	return scene{
		start: func(f *fleet) {
			f.publish(message{subject: events.SubjectPushRequest + "." + beta, id: "asked", data: fmt.Sprintf(
				`{"specversion":"1.0","id":"asked","source":"/me","type":%q,"data":{"nvr":%q}}`,
				events.TypePushRequested, sandbox.UpdateNVR)})
		},
		builds: []wanted{{nvr: sandbox.UpdateNVR, orgs: []string{beta}, final: published}},
		crashes: []crash{
			{name: "result stored", points: at(after(result(published, beta)))},
			{name: "not acknowledged", points: at(before(settling("+ACK")))},
		},
	}
}

// discarding is a message that is no event.
func discarding() scene {
	return scene{
		start: func(f *fleet) {
			f.publish(message{subject: events.SubjectBuildCompleted, id: "garbage", data: garbage})
		},
		letters: []string{garbage},
		crashes: []crash{
			{name: "no dead letter", points: at(before(deadLetter))},
			{name: "dead letter stored", points: at(after(deadLetter)), sample: true},
			{name: "not ended", points: at(before(settling("+TERM")))},
		},
	}
}

// TestCrashMatrix kills the service, as kill -9 does, at every boundary
// between two steps, and starts it again: nothing is lost, nothing is told
// twice, and the registry holds what it would hold without the crash.
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	// More at once than there are processors: most of a row is the wait until
	// the dead service's message is given to the next one.
	var rows errgroup.Group
	rows.SetLimit(8)
	for _, s := range []struct {
		name string
		scene
	}{
		{"published", publishing()}, {"rejected", refusing()}, {"waiting", holding()},
		{"decided", deciding()}, {"requested", asking()}, {"garbage", discarding()},
	} {
		for _, c := range s.crashes {
			rows.Go(func() error {
				t.Run(s.name+": "+c.name, func(t *testing.T) {
					if testing.Short() && !c.sample {
						t.Skip("only a sample with -short")
					}
					s.play(t, c.points)
				})
				return nil
			})
		}
	}
	_ = rows.Wait()
}

// play runs a service for each point, which kills it, and one more.
func (s scene) play(t *testing.T, points []point) {
	recheck := "1s"
	if s.recheck != "" {
		recheck = s.recheck
	}
	f := newFleet(t, "ack_wait: 3s, recheck: "+recheck, true)
	for i, p := range points {
		doomed := f.doom(p)
		doomed.awaitStart(t)
		if i == 0 {
			s.start(f)
		}
		f.eventually("a crash at point "+strconv.Itoa(i+1), func(context.Context) bool { return doomed.isGone() })
		if !doomed.killed() {
			t.Fatalf("the service ended by itself: %v", doomed.err)
		}
		f.calmDown()
	}
	f.start()
	if s.then != nil {
		s.then(f)
	}
	settled := s.settled
	if settled == nil {
		settled = func(ctx context.Context, f *fleet) bool {
			n, err := f.unsettled(ctx, inputs()...)
			return err == nil && n == 0
		}
	}
	f.eventually("an end of all work", func(ctx context.Context) bool { return settled(ctx, f) })
	f.report(f.audit(s.builds, s.letters))
}

// doom starts a service that is killed at p.
func (f *fleet) doom(p point) *child {
	f.t.Helper()
	var service *child
	var once sync.Once
	ready := make(chan struct{})
	p(f, func() {
		once.Do(func() { <-ready; service.kill() })
	})
	service = f.launch()
	close(ready)
	return service
}
