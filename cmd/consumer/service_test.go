package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// patience bounds every wait of these tests. They wait for events, never for
// time to pass.
const patience = time.Minute

// system is the service with everything around it: a NATS server and the
// stand-ins, each of which can be stopped and brought back.
type system struct {
	t     *testing.T
	world *sandbox.World
	nats  *eventstest.Server
	ops   string
	log   *lockedBuffer
	stop  func() error

	config Config

	results chan events.ResultData
}

// newSystem starts the service on a configuration as a user would write it.
// extra is added to the organization "myorg".
func newSystem(t *testing.T, options sandbox.Options, extra string) *system {
	t.Helper()
	s := prepareSystem(t, options, extra)
	s.start()
	s.watch()
	return s
}

// prepareSystem makes everything but the service.
func prepareSystem(t *testing.T, options sandbox.Options, extra string) *system {
	t.Helper()
	world, err := sandbox.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	s := &system{t: t, world: world, nats: eventstest.Start(t), log: &lockedBuffer{}, results: make(chan events.ResultData, 1000)}
	config, err := ParseConfig("test.yaml", fmt.Appendf(nil, `
nats: {url: %q}
intake: {ack_wait: 3s, recheck: 1s, grace: 10s}
koji: {hub_url: %q, root_url: %q, timeout: 5s}
greenwave: {url: %q, timeout: 5s}
quay: {registry: %q, url: %q, plain_http: true, timeout: 5s}
ops: {listen: "127.0.0.1:0"}
organizations:
  myorg:
    match: ["sample-*", "bad-*"]
    replace_registry: [{old: quay.io, new: registry.example.com}]
%s`, s.nats.URL, world.HubURL(), world.FilesURL(), world.GreenwaveURL(), world.RegistryHost(), world.RegistryURL(), extra),
		func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	s.config = config
	return s
}

// start starts the service. It ends with the test, or before by stop.
func (s *system) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	up, ended := make(chan endpoints, 1), make(chan error, 1)
	go func() { ended <- serve(ctx, s.config, newLogger(s.config.Log, s.log), func(e endpoints) { up <- e }) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	s.stop = stop
	select {
	case e := <-up:
		s.ops = e.Ops
	case err := <-ended:
		s.t.Fatalf("the service ended: %v", err)
	}
	s.t.Cleanup(func() {
		if err := stop(); err != nil {
			s.t.Errorf("the service ended with %v", err)
		}
		if s.t.Failed() {
			s.t.Log(s.log.String())
		}
	})
}

// watch collects result events from the stream, over outages of NATS too.
func (s *system) watch() {
	js := s.jetStream()
	consumer, err := js.OrderedConsumer(s.t.Context(), "OMPS_RESULTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	consume, err := consumer.Consume(func(msg jetstream.Msg) {
		e, err := events.Decode(msg.Subject(), msg.Headers(), msg.Data())
		if err != nil {
			s.t.Errorf("a result that cannot be read: %v", err)
			return
		}
		data, err := events.DataOf(e)
		if err != nil {
			s.t.Errorf("a result without data: %v", err)
		}
		s.results <- data
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(consume.Stop)
}

func (s *system) jetStream() jetstream.JetStream {
	s.t.Helper()
	conn, err := nats.Connect(s.nats.URL, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

// publish sends one message and waits until it is stored.
func (s *system) publish(subject, data string, header nats.Header) {
	s.t.Helper()
	if header == nil {
		header = nats.Header{}
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if _, err := s.jetStream().PublishMsg(ctx, &nats.Msg{Subject: subject, Header: header, Data: []byte(data)}); err != nil {
		s.t.Fatalf("publish to %s: %v", subject, err)
	}
}

// announce publishes a build's completion, as `nats pub` would.
func (s *system) announce(nvr string) {
	s.t.Helper()
	s.publish("koji.build.completed", fmt.Sprintf(
		`{"specversion":"1.0","id":"announce-%[1]s","source":"https://koji.example.com/","type":"org.koji.build.completed.v1","data":{"nvr":%[1]q}}`, nvr), nil)
}

// next waits for the next result event that is not of outcome waiting.
func (s *system) next() events.ResultData {
	s.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case r := <-s.results:
			if r.Outcome != "waiting" {
				return r
			}
		case <-timeout.C:
			s.t.Fatalf("no result within %s", patience)
		}
	}
}

// deadLetter waits for the next message on the dead-letter stream.
func (s *system) deadLetters(n int) []*jetstream.RawStreamMsg {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	consumer, err := s.jetStream().OrderedConsumer(ctx, "OMPS_DEAD_LETTERS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	var letters []*jetstream.RawStreamMsg
	for range n {
		msg, err := consumer.Next(jetstream.FetchContext(ctx))
		if err != nil {
			s.t.Fatalf("%d of %d dead letters: %v", len(letters), n, err)
		}
		letters = append(letters, &jetstream.RawStreamMsg{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()})
	}
	return letters
}

func (s *system) get(path string) (int, string) {
	s.t.Helper()
	resp, err := http.Get(s.ops + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func pull(t *testing.T, reference string) v1.Image {
	t.Helper()
	ref, err := name.NewDigest(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref)
	if err != nil {
		t.Fatalf("pull %s: %v", reference, err)
	}
	return image
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestSandboxOnce(t *testing.T) {
	t.Parallel()
	once := func(args ...string) (int, events.ResultData, string) {
		var stdout, stderr lockedBuffer
		code := run(t.Context(), append([]string{"sandbox", "--once"}, args...), func(string) string { return "" }, &stdout, &stderr)
		var e struct {
			Type string
			Data events.ResultData
		}
		out := stdout.String()
		if strings.Count(out, "\n") != 1 || json.Unmarshal([]byte(out), &e) != nil {
			t.Fatalf("stdout is not one line of JSON: %q\n%s", out, stderr.String())
		}
		return code, e.Data, e.Type
	}
	code, first, eventType := once()
	if code != exitDone || eventType != events.TypePublished {
		t.Errorf("exit %d, %s", code, eventType)
	}
	_, second, _ := once()
	digest := func(r events.ResultData) string {
		_, digest, _ := strings.Cut(r.Bundles[0].Reference, "@")
		return digest
	}
	if digest(first) != digest(second) || !strings.HasPrefix(digest(first), "sha256:") {
		t.Errorf("digests %s and %s", digest(first), digest(second))
	}
	code, refused, eventType := once("--gate", "failed")
	if code != exitFailed || eventType != events.TypeRejected || refused.Error.Reason != "gate-unsatisfied" ||
		len(refused.Decision.Unsatisfied) != 1 || refused.Decision.Unsatisfied[0].Type != "test-result-failed" {
		t.Errorf("exit %d, %s: %+v", code, eventType, refused)
	}
}

func TestSandboxUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"sandbox", "--gate", "ajar"}, {"sandbox", "--archive", "no-such-file.zip"}, {"sandbox", "extra"},
		{"sandbox", "--nats-listen", "nonsense"}, {},
		{"run"}, {"run", "-c", "no-such-file.yaml"}, {"nonsense"}, {"check", "-c"}, {"event"}, {"event", "build"},
		{"event", "build", "--nvr", "nodashes"}, {"event", "push", "--organization", "", "--nvr", "a-1-1"},
		{"event", "push", "--organization", "myorg", "--nvr", "a-1-1", "--repository", "../x"}, {"event", "push", "--nvr", "a-1-1"},
	} {
		var stdout, stderr lockedBuffer
		if code := run(t.Context(), args, func(string) string { return "" }, &stdout, &stderr); code != exitUsage {
			t.Errorf("consumer %s: exit %d: %s", strings.Join(args, " "), code, stderr.String())
		}
		if !strings.Contains(stderr.String(), "consumer: ") {
			t.Errorf("consumer %s says nothing: %q", strings.Join(args, " "), stderr.String())
		}
	}
}

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

// awaitLog waits for a line of the log that holds all of the parts.
func (s *system) awaitLog(parts ...string) {
	s.t.Helper()
	s.await(fmt.Sprintf("a line of the log with %q", parts), func() bool {
		for line := range strings.Lines(s.log.String()) {
			if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
				return true
			}
		}
		return false
	})
}

// await waits until something that sends no signal is true.
func (s *system) await(what string, isTrue func() bool) {
	s.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !isTrue() {
		select {
		case <-tick.C:
		case <-deadline.C:
			s.t.Fatalf("there is not, within %s: %s", patience, what)
		}
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
