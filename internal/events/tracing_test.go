package events

import (
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// headed is a message that has headers and no more.
type headed struct {
	jetstream.Msg

	header nats.Header
}

func (m headed) Headers() nats.Header { return m.header }
func (m headed) Subject() string      { return SubjectBuildCompleted }

// A span joins the trace that the headers of its message name, whatever their
// letter case.
func TestTraceOfHeaders(t *testing.T) {
	t.Parallel()
	const (
		id    = "4bf92f3577b34da6a3ce929d0e0e4736"
		ours  = "00-" + id + "-00f067aa0ba902b7-01"
		other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	)
	c := &Consumer{opts: Options{Tracer: sdk.NewTracerProvider().Tracer("test")}}
	for name, tt := range map[string]struct {
		header nats.Header
		state  string
		joined bool
	}{
		"as W3C writes it":     {nats.Header{"traceparent": {ours}, "tracestate": {"vendor=x"}}, "vendor=x", true},
		"as HTTP writes it":    {nats.Header{"Traceparent": {ours}, "Tracestate": {"vendor=x"}}, "vendor=x", true},
		"capitals":             {nats.Header{"TRACEPARENT": {ours}, "TraceState": {"vendor=x"}}, "vendor=x", true},
		"one of each":          {nats.Header{"Traceparent": {ours}, "tracestate": {"vendor=x"}}, "vendor=x", true},
		"two spellings":        {nats.Header{"Traceparent": {other}, "traceparent": {ours}, "TRACEPARENT": {other}}, "", true},
		"two, one of them bad": {nats.Header{"Traceparent": {"x"}, "traceparent": {ours}}, "", true},
		"an empty one":         {nats.Header{"traceparent": {""}, "Traceparent": {ours}}, "", true},
		"no parent":            {nats.Header{"tracestate": {"vendor=x"}}, "", false},
		"none":                 {nil, "", false},
		"another name":         {nats.Header{"traceparents": {ours}}, "", false},
	} {
		_, span := c.startSpan(t.Context(), &delivery{msg: headed{header: tt.header}}, event.New())
		got := span.SpanContext()
		if joined := got.TraceID().String() == id; joined != tt.joined || got.TraceState().String() != tt.state {
			t.Errorf("%s: joined: %t, state %q", name, joined, got.TraceState())
		}
	}
}
