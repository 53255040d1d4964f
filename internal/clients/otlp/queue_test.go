package otlp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// queueOf has room for eight spans, and sends four at once.
func queueOf(e *Exporter) *Queue {
	return NewQueue(e, QueueOptions{Size: 8, Batch: 4, Interval: time.Hour, Timeout: 10 * time.Second})
}

func end(p trace.SpanProcessor, n int) {
	for range n {
		p.OnEnd(stubs().Snapshots()[0])
	}
}

// A collector that is slow holds nobody up. What finds no room meanwhile is
// counted, and the log tells of it.
func TestQueueCountsWhatItHasNoRoomFor(t *testing.T) {
	t.Parallel()
	answer := make(chan struct{})
	e, log, registry := exporterTo(t, "", func(w http.ResponseWriter, _ *http.Request) {
		<-answer
		_, _ = io.WriteString(w, "{}")
	})
	q := queueOf(e)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() { end(q, 4) })
	}
	all.Wait()
	close(answer)
	if err := q.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	compare(t, registry, 8, 12)
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, `msg="spans are lost" lost=12 err="they come faster`) || !strings.Contains(text, "spans arrive again") {
		t.Errorf("log has %s", text)
	}
}

// There is room again for as many as were sent.
func TestQueueHasRoomAgain(t *testing.T) {
	t.Parallel()
	e, log, registry := exporterTo(t, "", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	q := queueOf(e)
	for range 5 {
		end(q, 4)
		if err := q.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	end(q, 3)
	q.OnEnd(tracetest.SpanStub{Name: "not sampled"}.Snapshot())
	if err := q.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	compare(t, registry, 23, 0)
	if log.Len() > 0 {
		t.Errorf("log has %s", log)
	}
}

// When there is no time left, what has not been sent is lost, and counts.
func TestQueueIsCutShort(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	e, log, registry := exporterTo(t, "", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not see its client go
		asked <- struct{}{}
		<-r.Context().Done()
	})
	q := queueOf(e)
	end(q, 7)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := q.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	compare(t, registry, 0, 7)
	if strings.Count(log.String(), "spans are lost") != 1 {
		t.Errorf("log has %s", log)
	}
}

// What ends while the last spans are sent is lost, and counts.
func TestQueueCountsWhatIsLate(t *testing.T) {
	t.Parallel()
	e, log, registry := exporterTo(t, "", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	q := queueOf(e)
	end(q, 2)
	if err := q.SpanProcessor.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	end(q, 3)
	if err := q.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	compare(t, registry, 2, 3)
	if !strings.Contains(log.String(), "lost=3") {
		t.Errorf("log has %s", log)
	}
}
