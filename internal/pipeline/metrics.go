package pipeline

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts the time that stages take. A nil *Metrics counts nothing.
type Metrics struct{ stage *prometheus.HistogramVec }

// NewMetrics registers the pipeline's metrics with reg, every series of them
// present from the start.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{stage: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "omps_stage_seconds",
		Help:    "Time a stage took, by how it ended.",
		Buckets: []float64{.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"stage", "class"})}
	reg.MustRegister(m.stage)
	for _, stage := range StageNames() {
		m.stage.WithLabelValues(string(stage), "ok")
		for _, class := range Classes() {
			m.stage.WithLabelValues(string(stage), class.String())
		}
	}
	return m
}

func (m *Metrics) observe(stage StageName, took time.Duration, class string) {
	if m != nil {
		m.stage.WithLabelValues(string(stage), class).Observe(took.Seconds())
	}
}
