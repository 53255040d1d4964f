package otlp

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
)

var (
	errFull = errors.New("they come faster than the collector takes them")
	errLate = errors.New("they came while the last ones were sent")
)

// QueueOptions bound a Queue. All are needed.
type QueueOptions struct {
	Size     int           // spans that wait or are being sent
	Batch    int           // of these, spans in one request
	Interval time.Duration // between requests with fewer
	Timeout  time.Duration // of a request
}

// Queue has an Exporter send spans that have ended, in batches, and holds nobody
// up: spans that find it full are lost. It is a trace.SpanProcessor: the SDK's own,
// which drops what does not fit without a word, is given no more than fits.
type Queue struct {
	trace.SpanProcessor

	exporter *Exporter
	size     int64
	held     atomic.Int64    // spans that wait or are being sent
	open     context.Context //nolint:containedctx // of all requests: it ends when there is no time left for them
	cut      context.CancelFunc
}

// NewQueue makes the Queue of an Exporter, which is to have one at most. Shutdown
// ends it.
func NewQueue(e *Exporter, o QueueOptions) *Queue {
	q := &Queue{exporter: e, size: int64(o.Size)}
	q.open, q.cut = context.WithCancel(context.Background())
	q.SpanProcessor = trace.NewBatchSpanProcessor(batches{q}, trace.WithMaxQueueSize(o.Size), trace.WithMaxExportBatchSize(o.Batch),
		trace.WithBatchTimeout(o.Interval), trace.WithExportTimeout(o.Timeout))
	return q
}

// OnEnd takes a span, or counts it as lost.
func (q *Queue) OnEnd(s trace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return // as the SDK's would
	}
	if q.held.Add(1) > q.size {
		q.held.Add(-1)
		q.exporter.missed.Add(1)
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// Shutdown sends what is left. What has not been sent when ctx ends is lost, and
// counted, and its error is then that of ctx.
func (q *Queue) Shutdown(ctx context.Context) error {
	defer q.cut()
	inTime := context.AfterFunc(ctx, q.cut)
	err := q.SpanProcessor.Shutdown(context.WithoutCancel(ctx)) // soon after the cut
	q.exporter.tell(0, int(q.held.Swap(0)), errLate)
	if !inTime() {
		return errors.Join(err, ctx.Err())
	}
	return err
}

// batches is the exporter that the SDK's processor is given.
type batches struct{ q *Queue }

func (b batches) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.q.open, cancel)()
	defer b.q.held.Add(-int64(len(spans)))
	return b.q.exporter.ExportSpans(ctx, spans)
}

func (b batches) Shutdown(ctx context.Context) error { return b.q.exporter.Shutdown(ctx) }
