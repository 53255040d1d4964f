package clients

import (
	"net"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// traced starts the span of a request that belongs to a trace, named by the
// method and the client, and tells a server that the client is meant for which
// trace that is: no other is told anything. The request is a copy then.
func (t *counting) traced(req *http.Request) (*http.Request, trace.Span) {
	if t.tracer == nil || !trace.SpanContextFromContext(req.Context()).IsValid() {
		return req, noop.Span{}
	}
	ctx, span := t.tracer.Start(req.Context(), req.Method+" "+t.name, trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("http.request.method", req.Method), attribute.String("url.full", redact(req.URL)),
			attribute.String("server.address", req.URL.Hostname()), attribute.String("server.port", port(req.URL)),
		)
	}
	req = req.Clone(ctx)
	if t.guard.isOwn(net.JoinHostPort(req.URL.Hostname(), port(req.URL))) {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header))
	}
	return req, span
}

// endSpan ends the span of a request with the beginning of its answer, or what
// kept that away.
func endSpan(span trace.Span, resp *http.Response, err error) {
	defer span.End()
	switch {
	case !span.IsRecording():
	case err != nil:
		span.SetStatus(codes.Error, OneLine(inner(err).Error(), maxText))
	default:
		span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
		if resp.StatusCode >= http.StatusBadRequest {
			span.SetStatus(codes.Error, "")
		}
	}
}
