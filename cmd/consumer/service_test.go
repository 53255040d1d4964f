package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

func TestBuildIsPublished(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	s.announce(sandbox.SampleNVR)
	r := s.next()
	if r.Outcome != "published" || r.Package != "sample-operator" || len(r.Bundles) != 1 || r.Repeated {
		t.Fatalf("%+v", r)
	}
	config, err := pull(t, r.Bundles[0].Reference).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Config.Labels["operators.operatorframework.io.bundle.package.v1"]; got != "sample-operator" {
		t.Errorf("the image says package %q", got)
	}

	s.announce(sandbox.UpdateNVR)
	if r := s.next(); r.Outcome != "published" || len(r.Bundles) != 2 || r.Bundles[1].Version != "1.1.0" {
		t.Errorf("%+v", r)
	}
	if code, body := s.get("/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, _ := s.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	s.await("the second delivery's metric", func() bool {
		_, metrics := s.get("/metrics")
		return strings.Contains(metrics, `omps_deliveries_total{outcome="published",reason="none"} 2`)
	})
	_, metrics := s.get("/metrics")
	for _, want := range []string{
		`omps_deliveries_total{outcome="published",reason="none"} 2`, `omps_stage_seconds_count{class="ok",stage="push"} 2`,
		`omps_client_requests_total{client="koji",code="200"}`, "omps_in_flight 0", "omps_build_info{",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestBothModesAndAllShapes(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	binary := func(id string) nats.Header {
		return nats.Header{
			"ce-specversion": {"1.0"}, "Ce-Id": {id}, "CE-SOURCE": {"/by-hand"},
			"ce-type": {"org.koji.build.completed.v1"}, "ce-datacontenttype": {"application/json"},
		}
	}
	id := sandbox.SampleBuildID
	cases := []struct {
		name, data string
		header     nats.Header
	}{
		{"structured, no headers", `{"specversion":"1.0","id":"s1","source":"/x","type":"org.koji.build.completed.v1","data":{"nvr":"` + sandbox.SampleNVR + `"}}`, nil},
		{"binary, by id", fmt.Sprintf(`{"build_id":%d}`, id), binary("b1")},
		{"the hub plugin's body", fmt.Sprintf(`{"attribute":"state","old":0,"new":1,"info":{"build_id":%d,"id":%d,"nvr":%q,"name":"sample-operator-container","version":"1.0.0","release":"1","state":1}}`, id, id, sandbox.SampleNVR), binary("b2")},
		{"the Fedora body", fmt.Sprintf(`{"attribute":"state","old":0,"new":1,"build_id":%d,"name":"sample-operator-container","version":"1.0.0","release":"1","instance":"primary"}`, id), binary("b3")},
	}
	for i, c := range cases {
		s.publish("koji.build.completed.sample-operator-container", c.data, c.header)
		if i == 0 {
			if r := s.next(); r.Outcome != "published" {
				t.Fatalf("%s: %+v", c.name, r)
			}
			continue
		}
		// The same build again is one result: its id is the same, so the stream
		// drops it. The log tells that it went through.
		s.awaitLog(fmt.Sprintf(`"event_id":"b%d"`, i), `"outcome":"published"`)
	}
}

func TestNothingBlocksBehindGarbage(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	event := func(eventType, data string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":"x","source":"/x","type":%q,"data":%s}`, eventType, data)
	}
	garbage := []struct{ subject, data, reason string }{
		{"koji.build.completed", "this is not JSON", "unreadable-event"},
		{"koji.build.completed", "", "unreadable-event"},
		{"koji.build.completed", "[1,2,3]", "unreadable-event"},
		{"koji.build.completed", event("org.koji.build.completed.v1", `{"nvr":17}`), "invalid-event"},
		{"koji.build.completed", event("org.koji.build.completed.v1", `{}`), "invalid-event"},
		{"koji.build.completed", event("org.koji.build.completed.v1", `{"nvr":"nodashes"}`), "invalid-event"},
		{"koji.build.completed", event("com.example.unheard-of.v1", `{}`), "unknown-type"},
		{"omps.request.push.myorg", event("org.koji.operator-manifests.push-requested.v1", `{"nvr":"a-1-1","organization":"other"}`), "invalid-event"},
	}
	for _, g := range garbage {
		s.publish(g.subject, g.data, nil)
	}
	s.announce(sandbox.SampleNVR)
	if r := s.next(); r.Outcome != "published" {
		t.Errorf("behind garbage: %+v", r)
	}
	want := make(map[string]int)
	for _, g := range garbage {
		want["omps.dead-letter."+g.reason+" "+g.data]++
	}
	for _, letter := range s.deadLetters(len(garbage)) {
		want[letter.Subject+" "+string(letter.Data)]--
		if letter.Header.Get("Omps-Error") == "" || letter.Header.Get("Omps-Subject") == "" {
			t.Errorf("%s says too little: %v", letter.Subject, letter.Header)
		}
	}
	for key, n := range want {
		if n != 0 {
			t.Errorf("dead letters off by %d: %s", n, key)
		}
	}
}

func TestBadBuildsAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	good := sandbox.SampleArchive()
	broken, err := sandbox.Zip([]pipeline.File{{Path: "a.package.yaml", Data: []byte("packageName: [")}})
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		build  sandbox.Build
		reason pipeline.Reason
		says   string
	}{
		{sandbox.Build{NVR: "bad-checksum-container-1-1", Archive: good, WrongChecksum: true}, "bad-archive", "Koji says"},
		{sandbox.Build{NVR: "bad-size-container-1-1", Archive: good, WrongSize: true}, "bad-archive", "Koji says"},
		{sandbox.Build{NVR: "bad-zip-container-1-1", Archive: good[:len(good)/2]}, "bad-archive", "not a zip file"},
		{sandbox.Build{NVR: "bad-yaml-container-1-1", Archive: broken}, "invalid-manifests", "does not parse"},
		{sandbox.Build{NVR: "bad-list-container-1-1", Archive: good, MissingArchive: true}, "archive-not-found", ""},
	}
	for _, c := range cases {
		if _, err := s.world.Koji.AddBuild(c.build); err != nil {
			t.Fatal(err)
		}
		s.announce(c.build.NVR)
	}
	got := make(map[string]events.ResultData)
	for range cases {
		r := s.next()
		got[r.NVR] = r
	}
	for _, c := range cases {
		r := got[c.build.NVR]
		if r.Outcome != "rejected" || r.Error == nil || r.Error.Reason != c.reason || !strings.Contains(r.Error.Message, c.says) {
			t.Errorf("%s: %+v %+v", c.build.NVR, r, r.Error)
		}
	}
	// A request for a build that is not there is answered at once.
	s.publish("omps.request.push.myorg", `{"specversion":"1.0","id":"r1","source":"/me","type":"org.koji.operator-manifests.push-requested.v1","data":{"nvr":"no-such-container-1-1"}}`, nil)
	if r := s.next(); r.Outcome != "rejected" || r.Error.Reason != "build-not-found" {
		t.Errorf("%+v", r)
	}
}

// TestOutagesLoseNothing stops each part in turn while builds come in, and
// brings it back.
func TestOutagesLoseNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	s.announce(sandbox.SampleNVR)
	if r := s.next(); r.Outcome != "published" {
		t.Fatalf("%+v", r)
	}
	n := 0
	newBuild := func() string {
		n++
		nvr := fmt.Sprintf("sample-outage%d-container-1.0.0-1", n)
		if _, err := s.world.Koji.AddBuild(sandbox.Build{NVR: nvr, Archive: sandbox.SampleArchive()}); err != nil {
			t.Fatal(err)
		}
		return nvr
	}
	for _, part := range []struct {
		name   string
		server *sandbox.Server
		reason string
	}{
		{"koji", s.world.KojiServer, "koji-unavailable"},
		{"greenwave", s.world.GreenwaveServer, "greenwave-unavailable"},
		{"registry", s.world.RegistryServer, "quay-unavailable"},
	} {
		part.server.Stop()
		nvr := newBuild()
		s.announce(nvr)
		s.awaitLog(`"nvr":"`+nvr+`"`, `"reason":"`+part.reason+`"`)
		if err := part.server.Restart(); err != nil {
			t.Fatal(err)
		}
		if r := s.next(); r.Outcome != "published" || r.NVR != nvr || r.Tries < 2 {
			t.Errorf("after an outage of %s: %+v", part.name, r)
		}
	}

	// NATS goes down while a build is in work: its result is told afterwards.
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.world.GreenwaveServer.SetFault(func(*http.Request) *sandbox.Answer {
		once.Do(func() { close(held) })
		<-release
		return nil
	})
	nvr := newBuild()
	s.announce(nvr)
	<-held
	s.nats.Stop()
	close(release)
	s.awaitLog(`"event_id":"announce-`+nvr+`"`, "message not settled")
	s.nats.Restart()
	if r := s.next(); r.Outcome != "published" || r.NVR != nvr {
		t.Errorf("after an outage of NATS: %+v", r)
	}
	after := newBuild()
	s.announce(after)
	if r := s.next(); r.Outcome != "published" || r.NVR != after {
		t.Errorf("the first build after it: %+v", r)
	}
}

// Work that the grace cuts short is free for the next process at once, not
// when the ack wait is over.
func TestRestartDuringWork(t *testing.T) {
	t.Parallel()
	s := prepareSystem(t, sandbox.Options{}, "")
	s.config.Intake.Grace, s.config.Intake.AckWait = 50*time.Millisecond, time.Hour
	held := make(chan struct{})
	var once sync.Once
	s.world.KojiServer.SetFault(func(r *http.Request) *sandbox.Answer {
		once.Do(func() { close(held) })
		<-r.Context().Done()
		return nil
	})
	s.start()
	s.watch()
	s.announce(sandbox.SampleNVR)
	<-held
	if err := s.stop(); err != nil {
		t.Errorf("the first service ended with %v", err)
	}
	s.world.KojiServer.SetFault(nil)
	s.start()
	if r := s.next(); r.Outcome != "published" || r.Tries != 2 {
		t.Errorf("%+v", r)
	}
}

func TestRequestIsAnswered(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	s.announce(sandbox.SampleNVR)
	if r := s.next(); r.Outcome != "published" {
		t.Fatalf("%+v", r)
	}
	s.publish("omps.request.push.myorg", `{"specversion":"1.0","id":"r1","source":"/me","type":"org.koji.operator-manifests.push-requested.v1","data":{"nvr":"`+sandbox.SampleNVR+`"}}`, nil)
	if r := s.next(); r.Outcome != "published" || !r.Repeated || r.Trigger.ID != "r1" {
		t.Errorf("%+v", r)
	}
	s.publish("omps.request.push.nobody", `{"specversion":"1.0","id":"r2","source":"/me","type":"org.koji.operator-manifests.push-requested.v1","data":{"nvr":"`+sandbox.SampleNVR+`"}}`, nil)
	if r := s.next(); r.Outcome != "rejected" || r.Error.Reason != "unknown-organization" || r.Organization != "nobody" {
		t.Errorf("%+v", r)
	}
}

func TestGateOpensLater(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	s.announce(sandbox.WaitingNVR)
	first := <-s.results
	if first.Outcome != "waiting" || first.Error.Reason != "gate-waiting" {
		t.Errorf("%+v", first)
	}
	s.world.Greenwave.Set(sandbox.WaitingNVR, sandbox.GatePassed)
	if r := s.next(); r.Outcome != "published" || r.NVR != sandbox.WaitingNVR {
		t.Errorf("%+v", r)
	}
}

// A try of a build ends after build_timeout, whatever it waits for.
func TestBuildTimeout(t *testing.T) {
	t.Parallel()
	s := prepareSystem(t, sandbox.Options{}, "")
	s.config.Intake.BuildTimeout, s.config.Koji.Timeout = 3*time.Second, time.Hour
	var held atomic.Bool
	s.world.KojiServer.SetFault(func(r *http.Request) *sandbox.Answer {
		if held.CompareAndSwap(false, true) {
			<-r.Context().Done()
		}
		return nil
	})
	s.start()
	s.watch()
	s.announce(sandbox.SampleNVR)
	s.awaitLog(`"nvr":"`+sandbox.SampleNVR+`"`, `"stage":"lookup"`, "context deadline exceeded")
	if r := s.next(); r.Outcome != "published" || r.Tries < 2 {
		t.Errorf("%+v", r)
	}
}
