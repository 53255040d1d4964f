package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// collected is a span as a collector is given it.
type collected struct {
	TraceID      string `json:"traceId"`
	SpanID       string `json:"spanId"`
	ParentSpanID string `json:"parentSpanId"`
	Name         string `json:"name"`
	Kind         int    `json:"kind"`
	Attributes   []struct {
		Key   string         `json:"key"`
		Value map[string]any `json:"value"`
	} `json:"attributes"`
	Status struct {
		Code int `json:"code"`
	} `json:"status"`
}

func (s collected) attribute(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			for _, v := range a.Value {
				return fmt.Sprint(v)
			}
		}
	}
	return ""
}

// collector stands in for an OpenTelemetry collector.
type collector struct {
	*httptest.Server

	mu    sync.Mutex
	spans []collected
	raw   strings.Builder
	auth  []string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var got struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []collected }
			}
		}
		if err := json.Unmarshal(body, &got); err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(body)
		c.auth = append(c.auth, r.Header.Get("Authorization"))
		for _, rs := range got.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
		_, _ = io.WriteString(w, `{"partialSuccess":{}}`)
	}))
	t.Cleanup(c.Close)
	return c
}

// trace is the spans of a trace, as "parent > name", sorted.
func (c *collector) trace(id string) (tree []string, spans map[string]collected) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spans = make(map[string]collected)
	names := map[string]string{}
	for _, s := range c.spans {
		names[s.SpanID] = s.Name
	}
	for _, s := range c.spans {
		if s.TraceID == id {
			spans[s.Name] = s
			tree = append(tree, names[s.ParentSpanID]+" > "+s.Name)
		}
	}
	slices.Sort(tree)
	return slices.Compact(tree), spans
}

const (
	eventTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	eventSpan  = "00f067aa0ba902b7"
)

// tracedEvent is a structured event with a trace.
func tracedEvent(id, nvr, flags string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/x","type":"org.koji.build.completed.v1",`+
		`"traceparent":"00-%s-%s-%s","tracestate":"vendor=x","data":{"nvr":%q}}`, id, eventTrace, eventSpan, flags, nvr)
}

func (s *system) traced(url string, sample float64) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("Bearer "+secretText), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.config.Tracing = TracingConfig{OTLPURL: url, Sample: sample}
	s.config.Tracing.Authorization.Secret = "Bearer " + secretText
	s.config.Tracing.Authorization.Path = file
}

// resultTrace is the traceparent and tracestate of the last result event.
func (s *system) resultTrace() (parent, state string) {
	s.t.Helper()
	stream, err := s.jetStream().Stream(s.t.Context(), "OMPS_RESULTS")
	if err != nil {
		s.t.Fatal(err)
	}
	var msg *jetstream.RawStreamMsg
	if msg, err = stream.GetMsg(s.t.Context(), stream.CachedInfo().State.LastSeq); err != nil {
		s.t.Fatal(err)
	}
	e, err := events.Decode(msg.Subject, msg.Header, msg.Data)
	if err != nil {
		s.t.Fatal(err)
	}
	parent, _ = e.Extensions()["traceparent"].(string)
	state, _ = e.Extensions()["tracestate"].(string)
	return parent, state
}

// One build is one tree of spans, below the span that its event names; servers
// are told of it, and so are those who read the result.
func TestOneBuildIsOneTrace(t *testing.T) {
	t.Parallel()
	s, c := prepareSystem(t, sandbox.Options{}, ""), newCollector(t)
	s.traced(c.URL, 0) // the event says that it is sampled
	var mu sync.Mutex
	told := map[string]bool{}
	listen := func(name string, server *sandbox.Server) {
		server.SetFault(func(r *http.Request) *sandbox.Answer {
			mu.Lock()
			defer mu.Unlock()
			told[name] = strings.HasPrefix(r.Header.Get("Traceparent"), "00-"+eventTrace+"-") && r.Header.Get("Tracestate") == "vendor=x"
			return nil
		})
	}
	listen("koji", s.world.KojiServer)
	listen("greenwave", s.world.GreenwaveServer)
	listen("registry", s.world.RegistryServer)
	s.start()
	s.watch()
	s.publish("koji.build.completed", tracedEvent("traced", sandbox.SampleNVR, "01"), nil)
	if r := s.next(); r.Outcome != "published" {
		t.Fatalf("%+v", r)
	}
	s.awaitLog(`"msg":"settled"`, `"trace_id":"`+eventTrace+`"`)
	parent, state := s.resultTrace()
	if err := s.stop(); err != nil { // which sends what is left
		t.Fatal(err)
	}
	tree, spans := c.trace(eventTrace)
	want := []string{
		" > process KOJI", "fetch > GET koji-files", "gate > POST greenwave", "lookup > POST koji",
		"process KOJI > answer", "process KOJI > fetch", "process KOJI > gate", "process KOJI > lookup", "process KOJI > prepare", "process KOJI > push",
		"push > GET registry", "push > HEAD registry", "push > POST registry", "push > PUT registry",
	}
	tree = slices.DeleteFunc(tree, func(s string) bool { return s == "push > HEAD registry" })
	want = slices.DeleteFunc(want, func(s string) bool { return s == "push > HEAD registry" })
	if diff := cmp.Diff(want, tree); diff != "" {
		t.Error(diff)
	}
	root := spans["process KOJI"]
	if root.ParentSpanID != eventSpan || root.Kind != 5 || root.Status.Code != 0 {
		t.Errorf("%+v", root)
	}
	for key, value := range map[string]string{
		"nvr": sandbox.SampleNVR, "outcome": "published", "event_id": "traced", "messaging.destination.name": "koji.build.completed", "tries": "1",
		"organization": "map[values:[map[stringValue:myorg]]]",
	} {
		if got := root.attribute(key); got != value {
			t.Errorf("%s is %q", key, got)
		}
	}
	if got := spans["push"].attribute("organization"); got != "myorg" {
		t.Errorf("pushed for %q", got)
	}
	if parent != "00-"+eventTrace+"-"+root.SpanID+"-01" || state != "vendor=x" {
		t.Errorf("the result has %s and %s", parent, state)
	}
	if diff := cmp.Diff(map[string]bool{"koji": true, "greenwave": true, "registry": true}, told); diff != "" {
		t.Errorf("who was told of the trace: %s", diff)
	}
	if strings.Contains(c.raw.String(), secretText) || slices.ContainsFunc(c.auth, func(a string) bool { return a != "Bearer "+secretText }) {
		t.Errorf("a secret in a span, or not as Authorization: %v", c.auth)
	}
}

// The collector is shown what the file holds when spans are sent.
func TestTracingFollowsItsAuthorization(t *testing.T) {
	t.Parallel()
	c, config := newCollector(t), DefaultConfig()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("Bearer rotated\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config.Tracing.OTLPURL = c.URL
	config.Tracing.Authorization = SecretFile{File: File{Path: file}, Secret: "Bearer first"}
	traces, err := newTracing(config, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, span := traces.tracer.Start(t.Context(), "span")
	span.End()
	traces.stop()
	if diff := cmp.Diff([]string{"Bearer rotated"}, c.auth); diff != "" {
		t.Error(diff)
	}
}

// What is not sampled passes its trace on as it came, and nobody collects it.
func TestUnsampledTraceIsPassedOn(t *testing.T) {
	t.Parallel()
	s, c := prepareSystem(t, sandbox.Options{}, ""), newCollector(t)
	s.traced(c.URL, 1)
	s.start()
	s.watch()
	s.publish("koji.build.completed", tracedEvent("unsampled", sandbox.SampleNVR, "00"), nil)
	if r := s.next(); r.Outcome != "published" {
		t.Fatalf("%+v", r)
	}
	if parent, state := s.resultTrace(); parent != "00-"+eventTrace+"-"+eventSpan+"-00" || state != "vendor=x" {
		t.Errorf("the result has %s and %s", parent, state)
	}
	// One without a trace begins one, which is sampled here; refused, it says why.
	s.announce(sandbox.RejectedNVR)
	if r := s.next(); r.Outcome != "rejected" {
		t.Fatalf("%+v", r)
	}
	parent, _ := s.resultTrace()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if tree, _ := c.trace(eventTrace); len(tree) > 0 {
		t.Errorf("collected %q", tree)
	}
	parts := strings.Split(parent, "-")
	if len(parts) != 4 {
		t.Fatalf("traceparent %q", parent)
	}
	_, spans := c.trace(parts[1])
	if root := spans["process KOJI"]; root.attribute("reason") != "gate-unsatisfied" || root.attribute("outcome") != "rejected" || root.Status.Code != 2 {
		t.Errorf("%+v", root)
	}
	if gate := spans["gate"]; gate.attribute("class") != "rejected" || gate.Status.Code != 2 {
		t.Errorf("%+v", gate)
	}
}

// A collector that never answers loses spans, and nothing else: builds go on, and
// the end comes within its bound.
func TestCollectorThatHangsDelaysNothing(t *testing.T) {
	t.Parallel()
	s := prepareSystem(t, sandbox.Options{}, "")
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(release) })
	s.traced(hanging.URL, 1)
	s.start()
	s.watch()
	for _, nvr := range []string{sandbox.SampleNVR, sandbox.UpdateNVR} {
		s.announce(nvr)
		if r := s.next(); r.Outcome != "published" || r.Tries != 1 {
			t.Errorf("%+v", r)
		}
	}
	start := time.Now()
	if err := s.stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if took := time.Since(start); took > patience/2 {
		t.Errorf("the end took %s", took)
	}
	if !strings.Contains(s.log.String(), "spans are lost") {
		t.Error("nobody is told that spans are lost")
	}
}

// Without tracing events pass their trace on untouched, and servers are told of
// none.
func TestNoTracing(t *testing.T) {
	t.Parallel()
	s := prepareSystem(t, sandbox.Options{}, "")
	var told sync.Map
	s.world.KojiServer.SetFault(func(r *http.Request) *sandbox.Answer {
		if r.Header.Get("Traceparent") != "" {
			told.Store("koji", true)
		}
		return nil
	})
	s.start()
	s.watch()
	s.publish("koji.build.completed", tracedEvent("off", sandbox.SampleNVR, "01"), nil)
	if r := s.next(); r.Outcome != "published" {
		t.Fatalf("%+v", r)
	}
	if parent, state := s.resultTrace(); parent != "00-"+eventTrace+"-"+eventSpan+"-01" || state != "vendor=x" {
		t.Errorf("the result has %s and %s", parent, state)
	}
	if _, ok := told.Load("koji"); ok {
		t.Error("Koji was told of a trace")
	}
	if strings.Contains(s.log.String(), "trace_id") {
		t.Error("the log tells of a trace")
	}
}

// Spans that find no room are counted, with those that were sent.
func TestTracingCountsWhatItLoses(t *testing.T) {
	t.Parallel()
	const tooMany = 1000
	registry, config := prometheus.NewRegistry(), DefaultConfig()
	ended := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
	t.Cleanup(slow.Close)
	config.Tracing.OTLPURL, config.Tracing.Sample = slow.URL, 1
	traces, err := newTracing(config, registry, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range spanQueue + tooMany {
		_, span := traces.tracer.Start(t.Context(), "span")
		span.End()
	}
	close(ended)
	traces.stop()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var counts [2]float64 // lost, sent
	for i, m := range families[0].GetMetric() {
		counts[i] = m.GetCounter().GetValue()
	}
	if lost, sent := counts[0], counts[1]; lost+sent != spanQueue+tooMany || lost < tooMany { // more, where the machine stalls
		t.Errorf("%g lost and %g sent", lost, sent)
	}
}
