package prometheus

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/template"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

var promParser = parser.NewParser(parser.Options{})

// sample is a value at a time in milliseconds.
type sample struct {
	t int64
	v float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Copy() chunks.Sample           { return s }
func (s sample) Type() chunkType               { return floats }

// series are those of a test, as something that can be asked.
type series []storage.Series

// readSeries reads series in the notation of Prometheus' own tests.
func readSeries(t *testing.T, interval time.Duration, inputs []inputSeries) series {
	t.Helper()
	var all series
	for _, input := range inputs {
		name, values, err := promParser.ParseSeriesDesc(input.Series + " " + input.Values)
		if err != nil {
			t.Fatalf("%s: %v", input.Series, err)
		}
		var samples []chunks.Sample
		for i, value := range values {
			if !value.Omitted {
				samples = append(samples, sample{t: int64(i) * interval.Milliseconds(), v: value.Value})
			}
		}
		all = append(all, storage.NewListSeries(name, samples))
	}
	return all
}

func (s series) Querier(int64, int64) (storage.Querier, error) { return s, nil }

func (s series) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	return &seriesSet{left: s, matchers: matchers}
}

func (s series) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (s series) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (s series) Close() error { return nil }

type seriesSet struct {
	left     series
	matchers []*labels.Matcher
	at       storage.Series
}

func (s *seriesSet) Next() bool {
	for len(s.left) > 0 {
		s.at, s.left = s.left[0], s.left[1:]
		if matches(s.at.Labels(), s.matchers) {
			return true
		}
	}
	return false
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

func (s *seriesSet) At() storage.Series                { return s.at }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// alert is one that fires.
type alert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

// firing evaluates a rule over s every interval up to a time, and returns what
// fires then: what its expression has given without a break for as long as it
// says.
func firing(t *testing.T, engine *promql.Engine, rule rulefmt.Rule, s series, interval, until time.Duration) []alert {
	t.Helper()
	since := map[string]time.Duration{}
	var last promql.Vector
	for at := time.Duration(0); at <= until; at += interval {
		query, err := engine.NewInstantQuery(t.Context(), s, nil, rule.Expr, timestamp.Time(at.Milliseconds()))
		if err != nil {
			t.Fatalf("%s: %v", rule.Alert, err)
		}
		result := query.Exec(t.Context())
		if last, err = result.Vector(); err != nil {
			t.Fatalf("%s: %v", rule.Alert, err)
		}
		now := map[string]time.Duration{}
		for _, one := range last {
			id := one.Metric.String()
			now[id] = at
			if before, active := since[id]; active {
				now[id] = before
			}
		}
		since = now
	}
	var all []alert
	for _, one := range last {
		if until-since[one.Metric.String()] >= time.Duration(rule.For) {
			all = append(all, expand(t, rule, one))
		}
	}
	return all
}

// expand makes labels and annotations as they are sent out.
func expand(t *testing.T, rule rulefmt.Rule, one promql.Sample) alert {
	t.Helper()
	out := alert{Labels: map[string]string{}, Annotations: map[string]string{}}
	one.Metric.Range(func(l labels.Label) {
		if l.Name != labels.MetricName {
			out.Labels[l.Name] = l.Value
		}
	})
	data := template.AlertTemplateData(out.Labels, nil, "", one)
	fill := func(text string) string {
		const names = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
		filled, err := template.NewTemplateExpander(t.Context(), names+text, rule.Alert, data, model.Now(), nil, &url.URL{}, nil).Expand()
		if err != nil {
			t.Errorf("%s: %v", rule.Alert, err)
		}
		return filled
	}
	for name, text := range rule.Annotations {
		out.Annotations[name] = fill(text)
	}
	for name, text := range rule.Labels {
		out.Labels[name] = fill(text)
	}
	return out
}

func (a alert) String() string { return fmt.Sprint(a.Labels, a.Annotations) }
