package otlp

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkresource "go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

const secret = "Bearer hunter2-of-the-collector"

func stubs() tracetest.SpanStubs {
	traceID := api.TraceID{0x4b, 0xf9, 1}
	at := func(span byte, flags api.TraceFlags, remote bool) api.SpanContext {
		state, _ := api.ParseTraceState("vendor=x")
		return api.NewSpanContext(api.SpanContextConfig{TraceID: traceID, SpanID: api.SpanID{span}, TraceFlags: flags, Remote: remote, TraceState: state})
	}
	start := time.Unix(1_700_000_000, 5)
	of := sdkresource.NewSchemaless(attribute.String("service.name", "omps-consumer"))
	return tracetest.SpanStubs{
		{
			Name: "process KOJI", SpanContext: at(2, api.FlagsSampled, false), Parent: at(1, api.FlagsSampled, true), SpanKind: api.SpanKindConsumer,
			StartTime: start, EndTime: start.Add(time.Second), Resource: of,
			Attributes: []attribute.KeyValue{
				attribute.String("nvr", "a-1-1"), attribute.Int64("build_id", 1<<60), attribute.Bool("repeated", true),
				attribute.StringSlice("organization", []string{"a", "b"}), attribute.Float64("odd", .5),
			},
		},
		{
			Name: "push", SpanContext: at(3, api.FlagsSampled, false), Parent: at(2, api.FlagsSampled, false), SpanKind: api.SpanKindInternal,
			StartTime: start, EndTime: start, Resource: of, Status: trace.Status{Code: codes.Error, Description: "no"},
		},
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	got, err := encode(stubs().Snapshots())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"omps-consumer"}}]},` +
		`"scopeSpans":[{"scope":{"name":""},"spans":[` +
		`{"traceId":"4bf90100000000000000000000000000","spanId":"0200000000000000","traceState":"vendor=x","parentSpanId":"0100000000000000","flags":769,` +
		`"name":"process KOJI","kind":5,"startTimeUnixNano":"1700000000000000005","endTimeUnixNano":"1700000001000000005","attributes":[` +
		`{"key":"nvr","value":{"stringValue":"a-1-1"}},{"key":"build_id","value":{"intValue":"1152921504606846976"}},` +
		`{"key":"repeated","value":{"boolValue":true}},` +
		`{"key":"organization","value":{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b"}]}}},` +
		`{"key":"odd","value":{"stringValue":"0.5"}}],"status":{}},` +
		`{"traceId":"4bf90100000000000000000000000000","spanId":"0300000000000000","traceState":"vendor=x","parentSpanId":"0200000000000000","flags":257,` +
		`"name":"push","kind":1,"startTimeUnixNano":"1700000000000000005","endTimeUnixNano":"1700000000000000005","status":{"message":"no","code":2}}` +
		`]}]}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// exporterTo is an Exporter for a collector that answers so, what it logs and
// its metrics.
func exporterTo(t *testing.T, path string, answer http.HandlerFunc) (*Exporter, *bytes.Buffer, *prometheus.Registry) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	e, err := New(Options{
		URL: server.URL + path, Authorization: clients.Secret(secret), Metrics: NewMetrics(registry),
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		HTTP:   clients.New(clients.Options{Name: "otlp", Timeout: 10 * time.Second, Hosts: []string{strings.TrimPrefix(server.URL, "http://")}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, &log, registry
}

func TestExporterSends(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"": "/v1/traces", "/": "/v1/traces", "/otlp/v1/traces": "/otlp/v1/traces"} {
		asked := make(chan *http.Request, 1)
		var body []byte
		e, log, registry := exporterTo(t, path, func(w http.ResponseWriter, r *http.Request) {
			body, _ = io.ReadAll(r.Body)
			asked <- r
			_, _ = io.WriteString(w, "{}")
		})
		if err := e.ExportSpans(t.Context(), stubs().Snapshots()); err != nil {
			t.Fatal(err)
		}
		r := <-asked
		if r.Method != http.MethodPost || r.URL.Path != want || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != secret {
			t.Errorf("%q: %s %s %v", path, r.Method, r.URL, r.Header)
		}
		if r.Header.Get("Traceparent") != "" {
			t.Error("the export is traced")
		}
		if encoded, _ := encode(stubs().Snapshots()); !bytes.Equal(body, encoded) {
			t.Errorf("sent %s", body)
		}
		compare(t, registry, 2, 0)
		if log.Len() > 0 {
			t.Errorf("log has %s", log)
		}
	}
}

func compare(t *testing.T, registry *prometheus.Registry, sent, lost int) {
	t.Helper()
	want, _ := json.Marshal(map[string]int{"lost": lost, "sent": sent})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, m := range families[0].GetMetric() {
		got[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
	}
	if have, _ := json.Marshal(got); !bytes.Equal(have, want) {
		t.Errorf("counted %s, not %s", have, want)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// Whatever the collector answers is no error to the SDK, which would print it;
// the log says once that spans are lost, and once that they arrive again, and
// never the secret.
func TestExporterLoses(t *testing.T) {
	t.Parallel()
	var status int
	var text string
	e, log, registry := exporterTo(t, "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.ReplaceAll(text, "ECHO", r.Header.Get("Authorization")))
	})
	sent, lost := 0, 0
	for _, answer := range []struct {
		status int
		text   string
		lost   int
	}{
		{200, `{}`, 0},
		{200, `{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}`, 1},
		{200, `{"partialSuccess":{"rejectedSpans":2}}`, 2},
		{200, `{"partialSuccess":{"rejectedSpans":"99"}}`, 2},
		{200, `{"partialSuccess":{"rejectedSpans":-1}}`, 0},
		{200, `not JSON`, 0},
		{202, ``, 0},
		{200, strings.Repeat(" ", 2*maxAnswer), 0},
		{401, "who is ECHO", 2},
		{404, ``, 2},
		{500, ``, 2},
	} {
		status, text = answer.status, answer.text
		if err := e.ExportSpans(t.Context(), stubs().Snapshots()); err != nil {
			t.Errorf("%v: %v", answer, err)
		}
		sent, lost = sent+2-answer.lost, lost+answer.lost
		compare(t, registry, sent, lost)
	}
	if warned, again := strings.Count(log.String(), "spans are lost"), strings.Count(log.String(), "spans arrive again"); warned != 2 || again != 1 {
		t.Errorf("said %d and %d times: %s", warned, again, log)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the log has the secret: %s", log)
	}
	if said := `err="otlp: the collector refuses some: too old"`; !strings.Contains(log.String(), said) {
		t.Errorf("the log does not say why: %s", log)
	}
	if err := e.ExportSpans(t.Context(), nil); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.ExportSpans(ctx, stubs().Snapshots()); err != nil {
		t.Error(err)
	}
	compare(t, registry, sent, lost+2)
	if _, err := New(Options{URL: "localhost:4318"}); err == nil {
		t.Error("took an address without a scheme")
	}
}

// What a collector says of spans that it refuses is one line in the log, of
// bounded length, and without what it was shown.
func TestExporterSaysWhySpansAreRefused(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"partialSuccess":{"rejectedSpans":"1","errorMessage":"span\n too\u0007 old"}}`:           `refuses some: span too old"`,
		`{"partialSuccess":{"rejectedSpans":1,"errorMessage":"no place for ECHO"}}`:                `refuses some: no place for ***"`,
		`{"partialSuccess":{"rejectedSpans":1,"errorMessage":"` + strings.Repeat("a", 400) + `"}}`: `refuses some: ` + strings.Repeat("a", 297) + `…"`,
		`{"partialSuccess":{"rejectedSpans":1}}`:                                                   `refuses some: it does not say why"`,
		`{"partialSuccess":{"rejectedSpans":1,"errorMessage":7}}`:                                  `refuses some: it does not say why"`,
		`{"partialSuccess":{"rejectedSpans":0,"errorMessage":"clocks differ"}}`:                    "",
	} {
		e, log, _ := exporterTo(t, "", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.ReplaceAll(answer, "ECHO", r.Header.Get("Authorization")))
		})
		if err := e.ExportSpans(t.Context(), stubs().Snapshots()); err != nil {
			t.Error(err)
		}
		if want == "" && log.Len() > 0 || !strings.Contains(log.String(), want) {
			t.Errorf("%s: log has %s", answer, log)
		}
	}
}
