package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// soakBuild is a build of the plan.
type soakBuild struct {
	sandbox.Build
	pkg  string
	gate sandbox.Gate
	id   int64 // once the hub knows it
}

// planBuilds plans builds of a dozen packages, in three versions each, of every
// kind that there is. Ids rise with time; what is published when does not.
func (s *soak) planBuilds() {
	kinds := []struct {
		weight int
		plan   func(at time.Duration, b *soakBuild)
	}{
		{50, s.plain}, {12, s.announcedThrice}, {14, s.gated}, {8, s.waived}, {5, s.refused}, {4, s.damaged}, {5, s.noOperator},
		{2, s.discarded},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	for i := range int(s.length / buildPace) {
		b := &soakBuild{pkg: fmt.Sprintf("soak-%02d", s.rng.IntN(12))}
		b.Build = sampleBuild(b.pkg, fmt.Sprintf("1.%d.0", s.rng.IntN(3)), i+1)
		at := s.between(0, s.length)
		n := s.rng.IntN(total)
		for _, k := range kinds {
			if n -= k.weight; n < 0 {
				k.plan(at, b)
				break
			}
		}
	}
}

// built plans that the hub has the build, and that its end is told at once.
// Without a final outcome nothing is to come of it.
func (s *soak) built(at time.Duration, b *soakBuild, w wanted) {
	s.plan(at, func() bool {
		if b.id == 0 {
			s.world.Greenwave.Set(b.NVR, b.gate)
			b.id = s.addBuild(b.Build)
		}
		return s.send(announcement(b.NVR, b.NVR))
	})
	if w.final != "" {
		s.builds = append(s.builds, w)
	}
}

func (s *soak) plain(at time.Duration, b *soakBuild) {
	s.built(at, b, want(b.NVR, published))
}

// announcedThrice is told of by three events in three forms.
func (s *soak) announcedThrice(at time.Duration, b *soakBuild) {
	s.built(at, b, want(b.NVR, published))
	s.plan(at+s.between(time.Millisecond, 10*time.Second), func() bool {
		return b.id != 0 && s.send(message{
			subject: events.SubjectBuildCompleted + "." + b.pkg, id: b.NVR + "-binary",
			header: nats.Header{
				"ce-specversion": {"1.0"}, "ce-id": {b.NVR + "-binary"}, "ce-source": {"/bridge"},
				"ce-type": {events.TypeBuildCompleted}, "ce-datacontenttype": {"application/json"},
			},
			data: fmt.Sprintf(`{"build_id":%d}`, b.id),
		})
	})
	s.plan(at+s.between(time.Millisecond, 20*time.Second), func() bool {
		return b.id != 0 && s.send(message{
			subject: events.SubjectBuildCompleted, id: b.NVR + "-plugin",
			data: fmt.Sprintf(`{"specversion":"1.0","id":"%s-plugin","source":"/hub","type":%q,"data":`+
				`{"attribute":"state","old":0,"new":1,"info":{"build_id":%d,"nvr":%q,"state":1}}}`,
				b.NVR, events.TypeBuildCompleted, b.id, b.NVR),
		})
	})
}

// gated waits for a test, which passes; the news of that may come or not.
func (s *soak) gated(at time.Duration, b *soakBuild) {
	w := want(b.NVR, published)
	w.maybe = append(w.maybe, waiting)
	b.gate = sandbox.GateMissing
	s.built(at, b, w)
	news := s.rng.IntN(2) == 0
	s.plan(at+s.between(time.Second, 20*time.Second), func() bool {
		if b.id == 0 {
			return false
		}
		s.world.Greenwave.Set(b.NVR, sandbox.GatePassed)
		return !news || s.send(decision(b.NVR, b.NVR+"-decided"))
	})
}

// waived fails a test and is waived once that was told. What runs it again is
// Greenwave's news of it or another announcement.
func (s *soak) waived(at time.Duration, b *soakBuild) {
	b.gate = sandbox.GateFailed
	s.built(at, b, want(b.NVR, published, rejected))
	m := decision(b.NVR, b.NVR+"-waived")
	if s.rng.IntN(3) == 0 {
		m = announcement(b.NVR, b.NVR+"-again")
	}
	thinks := s.between(time.Second, 5*time.Second)
	s.plan(at, func() bool {
		if !s.saw(b.NVR, rejected) {
			return false
		}
		s.after(thinks, func() bool {
			s.world.Greenwave.Set(b.NVR, sandbox.GateWaived)
			return s.send(m)
		})
		return true
	})
}

func (s *soak) refused(at time.Duration, b *soakBuild) {
	b.gate = sandbox.GateFailed
	s.built(at, b, want(b.NVR, rejected))
}

// damaged has an archive that is not what the hub says.
func (s *soak) damaged(at time.Duration, b *soakBuild) {
	b.WrongChecksum = true
	s.built(at, b, want(b.NVR, rejected))
}

// noOperator is a build that nothing is to come of.
func (s *soak) noOperator(at time.Duration, b *soakBuild) {
	b.Form = sandbox.FormNone
	s.built(at, b, wanted{})
}

// discarded is no build at all.
func (s *soak) discarded(at time.Duration, b *soakBuild) {
	payload := "garbage instead of " + b.NVR
	s.garbage = append(s.garbage, payload)
	s.plan(at, s.sending(message{subject: events.SubjectBuildCompleted, id: payload, data: payload}))
}

// planOutages plans failures of everything that the service asks.
func (s *soak) planOutages() {
	s.outages = make(map[string]int)
	w := s.world
	s.each(15*time.Second, func(at time.Duration) {
		fault := s.registryFault()
		s.plan(at, once(func() { s.bursts++; w.RegistryServer.SetFault(fault) }))
		s.plan(at+s.between(500*time.Millisecond, 3*time.Second), once(func() { w.RegistryServer.SetFault(nil) }))
	})
	s.each(50*time.Second, func(at time.Duration) {
		s.outage(at, "koji", w.KojiServer, func() { w.Koji.SetOffline("database outage") }, func() { w.Koji.SetOffline("") })
	})
	s.each(50*time.Second, func(at time.Duration) {
		refuse := func() {
			w.GreenwaveServer.SetFault(s.sometimes(sandbox.Answer{Status: http.StatusBadGateway, Body: "{}"}))
		}
		s.outage(at, "greenwave", w.GreenwaveServer, refuse, func() { w.GreenwaveServer.SetFault(nil) })
	})
}

// outage stops a server for some seconds, or has it refuse.
func (s *soak) outage(at time.Duration, name string, server *sandbox.Server, refuse, relent func()) {
	end := at + s.between(500*time.Millisecond, 8*time.Second)
	stop := s.rng.IntN(2) == 0
	s.plan(at, once(func() {
		s.outages[name]++
		if stop {
			server.Stop()
			return
		}
		refuse()
	}))
	s.plan(end, once(func() {
		relent()
		if !stop {
			return
		}
		if err := server.Restart(); err != nil {
			s.t.Errorf("restart %s: %v", name, err)
		}
	}))
}

// registryFault is one of the ways in which Quay fails.
func (s *soak) registryFault() sandbox.Fault {
	answers := []sandbox.Answer{
		{Status: http.StatusInternalServerError, Body: `{"errors":[{"code":"UNKNOWN"}]}`},
		{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}},
		{Status: 0},              // the connection is cut
		{Status: 0, After: true}, // it is cut when the work is done
		{Status: http.StatusOK, Body: "Healthcheck requested"}, // as Quay's front end has been seen to
		{Status: http.StatusBadGateway, After: true, Body: "<html>502</html>"},
	}
	return s.sometimes(answers[s.rng.IntN(len(answers))])
}

// sometimes gives half of the requests that answer.
func (s *soak) sometimes(answer sandbox.Answer) sandbox.Fault {
	return func(*http.Request) *sandbox.Answer {
		s.chaosMu.Lock()
		defer s.chaosMu.Unlock()
		if s.chaos.IntN(2) == 0 {
			return nil
		}
		s.faults.Add(1)
		return &answer
	}
}
