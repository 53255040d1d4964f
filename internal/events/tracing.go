package events

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// startSpan starts the span of a delivery, in the trace that its event names by
// the CloudEvents extension for distributed tracing, or else its message by the
// header of that name. It costs nothing without a Tracer.
func (c *Consumer) startSpan(ctx context.Context, d *delivery, cause event.Event) (context.Context, trace.Span) {
	if c.opts.Tracer == nil {
		return ctx, noop.Span{}
	}
	parent := propagation.MapCarrier{extTraceParent: extension(cause, extTraceParent), extTraceState: extension(cause, extTraceState)}
	if header := d.msg.Headers(); parent[extTraceParent] == "" {
		parent = propagation.MapCarrier{extTraceParent: headerOf(header, extTraceParent), extTraceState: headerOf(header, extTraceState)}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, parent)
	ctx, span := c.opts.Tracer.Start(ctx, "process "+d.stream, trace.WithSpanKind(trace.SpanKindConsumer))
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("messaging.system", "nats"), attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.destination.name", d.msg.Subject()),
			attribute.String("stream", d.stream), attribute.Int64("sequence", int64(d.sequence)),
			attribute.Int64("tries", int64(d.tries)),
		)
	}
	return ctx, span
}

// headerOf is the value of a header whose name has any letter case. NATS tells
// them apart, and a carrier for HTTP writes Traceparent.
func headerOf(header nats.Header, name string) string {
	if value := header.Get(name); value != "" {
		return value
	}
	for _, key := range slices.Sorted(maps.Keys(header)) {
		if strings.EqualFold(key, name) {
			return header.Get(key)
		}
	}
	return ""
}

// childSpan starts a span below that of a delivery.
func (c *Consumer) childSpan(ctx context.Context, w worked, name string) trace.Span {
	if c.opts.Tracer == nil {
		return noop.Span{}
	}
	_, span := c.opts.Tracer.Start(trace.ContextWithSpan(ctx, w.span), name)
	return span
}

// endSpan ends the span of a delivery with what it was about and what came of
// it, in the words of the log. v is nil for one that is not told of: it was given back
// unfinished, or the service panicked.
func endSpan(w worked, v *Verdict) {
	defer w.span.End()
	if !w.span.IsRecording() {
		return
	}
	nvr, id := w.trigger.NVR, w.trigger.BuildID
	var organizations []string
	for _, r := range w.results {
		nvr, id = r.NVR, r.BuildID
		if r.Organization != "" {
			organizations = append(organizations, r.Organization)
		}
	}
	w.span.SetAttributes(
		attribute.String("event_id", w.trigger.ID), attribute.String("nvr", nvr.String()), attribute.Int64("build_id", id),
		attribute.StringSlice("organization", organizations),
	)
	if v == nil {
		w.span.SetStatus(codes.Error, "cut short")
		return
	}
	w.span.SetAttributes(attribute.String("outcome", string(v.Outcome)), attribute.String("reason", string(v.Reason)))
	switch v.Outcome {
	case pipeline.OutcomeRejected, pipeline.OutcomeFailed, outcomeRetried, outcomeMalformed:
		w.span.SetStatus(codes.Error, oneLine(v.Err, maxErrorBytes))
	}
}

// traceOf is the extensions that join what is told to its cause: those of the
// span, where there is one that gets reported, or else the event's own.
func traceOf(in ResultInput) (parent, state string) {
	if !in.Span.IsSampled() {
		return extension(in.Cause, extTraceParent), extension(in.Cause, extTraceState)
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), in.Span), carrier)
	return carrier[extTraceParent], carrier[extTraceState]
}
