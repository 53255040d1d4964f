package pipeline

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestWithoutTracerSpansCostNothing(t *testing.T) {
	p, r := &Pipeline{}, &run{}
	if n := testing.AllocsPerRun(100, func() {
		_, span := p.span(context.Background(), StagePush, r)
		endSpan(span, nil)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a span says of an error is its class, its reason and a bounded text; a not
// yet is no failure.
func TestSpanOfAStage(t *testing.T) {
	t.Parallel()
	long := errors.New(strings.Repeat("é", maxDescription))
	for _, c := range []struct {
		err  error
		want codes.Code
	}{
		{nil, codes.Unset},
		{Wait(ReasonGateWaiting, long), codes.Unset},
		{Ignore(ReasonDraft, long), codes.Unset},
		{Reject(ReasonInvalidManifests, long), codes.Error},
		{Retry(ReasonQuayUnavailable, long), codes.Error},
		{Malform(ReasonInvalidEvent, long), codes.Error},
	} {
		recorder := tracetest.NewSpanRecorder()
		p := &Pipeline{Tracer: sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)).Tracer("test")}
		r := &run{}
		r.common.Organization = "myorg"
		_, span := p.span(t.Context(), StagePush, r)
		endSpan(span, c.err)
		got := recorder.Ended()[0]
		if got.Name() != "push" || got.Status().Code != c.want {
			t.Errorf("%v: %s %v", c.err, got.Name(), got.Status())
		}
		if text := got.Status().Description; len(text) > maxDescription || !utf8.ValidString(text) || (text != "") != (c.want == codes.Error) {
			t.Errorf("%d bytes of text", len(text))
		}
		attributes := 1 // the organization
		if c.err != nil {
			attributes += 2
		}
		if len(got.Attributes()) != attributes {
			t.Errorf("%v: %v", c.err, got.Attributes())
		}
	}
}

// A stage that panics has a span that ends, so that it is seen.
func TestSpanOfAPanic(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	w := newSampleWorld(t)
	w.Tracer = sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)).Tracer("test")
	w.Fetch.Opener = panickyOpener{}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		w.Run(t.Context(), Trigger{NVR: sampleNVR})
	}()
	var names []string
	for _, span := range recorder.Ended() {
		names = append(names, span.Name())
	}
	if got := strings.Join(names, " "); got != "lookup gate fetch" {
		t.Errorf("spans of %q", got)
	}
}
