package pipeline

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// span starts the span of a stage, for one organization once they part ways. It
// costs nothing without a Tracer.
func (p *Pipeline) span(ctx context.Context, stage StageName, r *run) (context.Context, trace.Span) {
	if p.Tracer == nil {
		return ctx, noop.Span{}
	}
	ctx, span := p.Tracer.Start(ctx, string(stage))
	switch stage {
	case StagePrepare, StagePush, StageDelete:
		span.SetAttributes(attribute.String("organization", r.common.Organization))
	}
	return ctx, span
}

// maxDescription bounds, in bytes, what a span says of an error: that of manifests
// with many faults is long.
const maxDescription = 1024

// endSpan ends the span of a stage with what came of it. A not yet and what is
// not ours are no failures.
func endSpan(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		class := ClassOf(err)
		span.SetAttributes(attribute.String("class", class.String()), attribute.String("reason", string(ReasonOf(err))))
		if class != Waiting && class != Ignored {
			text := err.Error()
			span.SetStatus(codes.Error, strings.ToValidUTF8(text[:min(len(text), maxDescription)], ""))
		}
	}
	span.End()
}
