package otlp

import (
	"encoding/json"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
)

// The types are an ExportTraceServiceRequest in the JSON of
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: ids in
// hexadecimal, enumerations as numbers, 64-bit numbers as text.
type (
	request struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []keyValue `json:"attributes,omitempty"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	span struct {
		TraceID           string     `json:"traceId"`
		SpanID            string     `json:"spanId"`
		TraceState        string     `json:"traceState,omitempty"`
		ParentSpanID      string     `json:"parentSpanId,omitempty"`
		Flags             uint32     `json:"flags"`
		Name              string     `json:"name"`
		Kind              int        `json:"kind"`
		StartTimeUnixNano string     `json:"startTimeUnixNano"`
		EndTimeUnixNano   string     `json:"endTimeUnixNano"`
		Attributes        []keyValue `json:"attributes,omitempty"`
		Status            status     `json:"status"`
	}
	status struct {
		Message string `json:"message,omitempty"`
		Code    int    `json:"code,omitempty"`
	}
	keyValue struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		String *string `json:"stringValue,omitempty"`
		Bool   *bool   `json:"boolValue,omitempty"`
		Int    *string `json:"intValue,omitempty"`
		Array  *array  `json:"arrayValue,omitempty"`
	}
	array struct {
		Values []value `json:"values"`
	}
)

// Flags of a span beside those of its context, in trace.proto: whether it is
// known that the parent is of another process, and whether it is.
const (
	flagRemoteKnown = 0x100
	flagRemote      = 0x200
)

// encode is the request for spans of one provider and one tracer. Of values it
// knows those that this program sets: texts, lists of them, truth values and whole
// numbers; what is something else becomes a text. Span events and links, of which
// it sets none, are left out.
func encode(spans []trace.ReadOnlySpan) ([]byte, error) {
	first := spans[0]
	of := scopeSpans{Scope: scope{Name: first.InstrumentationScope().Name, Version: first.InstrumentationScope().Version}}
	for _, s := range spans {
		of.Spans = append(of.Spans, encodeSpan(s))
	}
	return json.Marshal(request{ResourceSpans: []resourceSpans{{
		Resource:   resource{Attributes: encodeAttributes(first.Resource().Attributes())},
		ScopeSpans: []scopeSpans{of},
	}}})
}

func encodeSpan(s trace.ReadOnlySpan) span {
	context, parent := s.SpanContext(), s.Parent()
	out := span{
		TraceID: context.TraceID().String(), SpanID: context.SpanID().String(), TraceState: context.TraceState().String(),
		Flags: uint32(context.TraceFlags()) | flagRemoteKnown,
		Name:  s.Name(), Kind: kindOf(s.SpanKind()),
		StartTimeUnixNano: nanos(s.StartTime()), EndTimeUnixNano: nanos(s.EndTime()),
		Attributes: encodeAttributes(s.Attributes()),
		Status:     status{Message: s.Status().Description, Code: statusOf(s.Status().Code)},
	}
	if parent.HasSpanID() {
		out.ParentSpanID = parent.SpanID().String()
	}
	if parent.IsRemote() {
		out.Flags |= flagRemote
	}
	return out
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// kindOf is a SpanKind of trace.proto, which counts as the API does.
func kindOf(kind api.SpanKind) int { return int(kind) }

// statusOf is a StatusCode of trace.proto, which counts otherwise than the API.
func statusOf(code codes.Code) int {
	switch code {
	case codes.Ok:
		return 1
	case codes.Error:
		return 2
	}
	return 0
}

func encodeAttributes(attributes []attribute.KeyValue) []keyValue {
	all := make([]keyValue, 0, len(attributes))
	for _, a := range attributes {
		all = append(all, keyValue{Key: string(a.Key), Value: encodeValue(a.Value)})
	}
	return all
}

func encodeValue(v attribute.Value) value {
	switch v.Type() {
	case attribute.BOOL:
		b := v.AsBool()
		return value{Bool: &b}
	case attribute.INT64:
		i := strconv.FormatInt(v.AsInt64(), 10)
		return value{Int: &i}
	case attribute.STRINGSLICE:
		list := array{Values: []value{}}
		for _, s := range v.AsStringSlice() {
			list.Values = append(list.Values, value{String: &s})
		}
		return value{Array: &list}
	}
	s := v.Emit()
	return value{String: &s}
}
