package otlp

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// defaultPath is where a collector takes spans:
// https://opentelemetry.io/docs/specs/otlp/#otlphttp-request.
const defaultPath = "/v1/traces"

// maxAnswer bounds a collector's answer, which is a number and a text.
const maxAnswer = 64 << 10

// Options make an Exporter. All but Authorization are needed.
type Options struct {
	URL           string             // of a collector, http or https; without a path, defaultPath is added
	Authorization clients.Credential // sent whole as Authorization; nil: none
	HTTP          *clients.Client
	Metrics       *Metrics
	Logger        *slog.Logger
}

// Exporter sends spans in the JSON form of OTLP over HTTP. It is a
// trace.SpanExporter, and is called by one goroutine at a time.
//
// The form is ours: OpenTelemetry's own exporter brings gRPC into the program,
// which would make it 5 MB larger, for a call of one kind.
type Exporter struct {
	url     *url.URL
	o       Options
	missed  atomic.Int64 // spans that a Queue had no room for, and that nobody was told of
	failing bool         // by the last word in the log
}

var _ trace.SpanExporter = (*Exporter)(nil)

// New makes an Exporter. It sends nothing yet.
func New(o Options) (*Exporter, error) {
	u, err := clients.ParseURL(o.URL)
	if err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = defaultPath
	}
	return &Exporter{url: u, o: o}, nil
}

// ExportSpans sends spans, and loses those that the collector does not take. The
// log says so when it begins and when it ends; there is no error, since the SDK
// would have nobody to give it to.
func (e *Exporter) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	lost, err := e.send(ctx, spans)
	e.tell(len(spans)-lost, lost, err)
	return nil
}

// tell counts spans, and those that a Queue had no room for meanwhile.
func (e *Exporter) tell(sent, lost int, err error) {
	if missed := int(e.missed.Swap(0)); missed > 0 {
		if lost == 0 {
			err = errFull
		}
		lost += missed
	}
	e.o.Metrics.count(sent, lost)
	switch {
	case lost > 0 && !e.failing:
		e.failing = true
		e.o.Logger.Warn("spans are lost", "lost", lost, "err", err)
	case lost == 0 && sent > 0 && e.failing:
		e.failing = false
		e.o.Logger.Info("spans arrive again")
	}
}

// Shutdown has nothing to end: nothing is kept here.
func (e *Exporter) Shutdown(context.Context) error { return nil }

// send sends spans and tells how many are lost, and why.
func (e *Exporter) send(ctx context.Context, spans []trace.ReadOnlySpan) (lost int, err error) {
	body, err := encode(spans)
	if err != nil {
		return len(spans), fmt.Errorf("otlp: %w", err)
	}
	req, err := clients.NewJSONRequest(ctx, http.MethodPost, e.url, body)
	if err != nil {
		return len(spans), fmt.Errorf("otlp: %w", err)
	}
	if authorization := clients.SecretOf(e.o.Authorization); authorization != "" {
		req.Header.Set("Authorization", authorization.Reveal())
	}
	resp, err := e.o.HTTP.Do(req)
	if err != nil {
		return len(spans), fmt.Errorf("otlp: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return len(spans), fmt.Errorf("otlp: %w", e.o.HTTP.StatusError(resp))
	}
	defer resp.Body.Close()
	answer, err := clients.ReadBody(resp.Body, maxAnswer)
	if err != nil {
		return 0, nil // they were taken, whatever else it has to say
	}
	refused, why := refusedIn(answer, len(spans))
	if refused > 0 {
		err = fmt.Errorf("otlp: the collector refuses some: %s", cmp.Or(clients.Told(why, req), "it does not say why"))
	}
	return refused, err
}

// refusedIn is how many of so many spans an answer says were refused, and why.
// The number comes as a text or as a number.
func refusedIn(answer []byte, of int) (refused int, why string) {
	var partial struct {
		PartialSuccess struct {
			RejectedSpans json.RawMessage `json:"rejectedSpans"`
			ErrorMessage  any             `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if json.Unmarshal(answer, &partial) != nil {
		return 0, ""
	}
	text := string(partial.PartialSuccess.RejectedSpans)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	refused, _ = strconv.Atoi(text)
	why, _ = partial.PartialSuccess.ErrorMessage.(string)
	return min(max(refused, 0), of), why
}

// Metrics counts spans. A nil *Metrics counts nothing.
type Metrics struct{ spans *prometheus.CounterVec }

// NewMetrics registers omps_spans_total with reg, whether or not anything is
// traced.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{spans: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "omps_spans_total", Help: "Spans that the collector has taken, and that were lost on the way to it.",
	}, []string{"result"})}
	reg.MustRegister(m.spans)
	m.count(0, 0)
	return m
}

func (m *Metrics) count(sent, lost int) {
	if m != nil {
		m.spans.WithLabelValues("sent").Add(float64(sent))
		m.spans.WithLabelValues("lost").Add(float64(lost))
	}
}
