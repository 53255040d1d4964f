package events

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// What can go wrong while a delivery is being settled, beside the actions.
const (
	stepPublish    = "publish"
	stepDeadLetter = "dead-letter"
	stepHeartbeat  = "in-progress"
	stepLedger     = "ledger"
)

// noReason is the reason of what was published.
const noReason = "none"

type metrics struct {
	deliveries   *prometheus.CounterVec   // outcome, reason
	age          *prometheus.HistogramVec // outcome
	settleErrors *prometheus.CounterVec   // action
	deadLetters  *prometheus.CounterVec   // reason
	waiting      prometheus.Gauge
	pending      prometheus.Gauge

	ignored map[pipeline.Reason]prometheus.Counter // of deliveries: the hot path
}

// newMetrics registers with reg, every series present from the start. inFlight
// is asked at each scrape.
func newMetrics(reg prometheus.Registerer, inFlight func() float64) *metrics {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_deliveries_total", Help: "Deliveries that were settled or given back, by how and why.",
		}, []string{"outcome", "reason"}),
		age: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "omps_settle_age_seconds", Help: "Age of a message that concerns us when it was settled for good.",
			Buckets: []float64{.05, .1, .5, 1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 86400},
		}, []string{"outcome"}),
		settleErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_settle_errors_total", Help: "Answers to NATS that failed. The message comes again.",
		}, []string{"action"}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_dead_letters_total", Help: "Dead letters published.",
		}, []string{"reason"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "omps_waiting", Help: "Deliveries that wait for their next try or are held by another replica.",
		}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "omps_consumer_pending", Help: "Messages of the input streams that were not delivered yet.",
		}),
		ignored: map[pipeline.Reason]prometheus.Counter{},
	}
	reg.MustRegister(m.deliveries, m.age, m.settleErrors, m.deadLetters, m.waiting, m.pending,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "omps_in_flight", Help: "Deliveries held by this process, queued or in work.",
		}, inFlight))
	m.create()
	return m
}

func (m *metrics) create() {
	m.deliveries.WithLabelValues(string(pipeline.OutcomePublished), noReason)
	m.deliveries.WithLabelValues(string(pipeline.OutcomeDeleted), noReason)
	for _, outcome := range []pipeline.Outcome{
		pipeline.OutcomeRejected, pipeline.OutcomeFailed, pipeline.OutcomeWaiting,
		pipeline.OutcomeIgnored, outcomeRetried, outcomeMalformed,
	} {
		for _, reason := range pipeline.Reasons() {
			m.deliveries.WithLabelValues(string(outcome), string(reason))
		}
	}
	for _, outcome := range []pipeline.Outcome{
		pipeline.OutcomePublished, pipeline.OutcomeDeleted, pipeline.OutcomeRejected, pipeline.OutcomeFailed,
		pipeline.OutcomeIgnored, outcomeMalformed,
	} {
		m.age.WithLabelValues(string(outcome))
	}
	for _, action := range []string{
		ActionAck.String(), ActionDoubleAck.String(), ActionNak.String(), ActionTerm.String(),
		stepPublish, stepDeadLetter, stepHeartbeat, stepLedger,
	} {
		m.settleErrors.WithLabelValues(action)
	}
	for _, reason := range pipeline.Reasons() {
		m.deadLetters.WithLabelValues(string(reason))
		m.ignored[reason] = m.deliveries.WithLabelValues(string(pipeline.OutcomeIgnored), string(reason))
	}
}

func (m *metrics) settled(v Verdict, age time.Duration) {
	reason := string(v.Reason)
	if reason == "" {
		reason = noReason
	}
	m.deliveries.WithLabelValues(string(v.Outcome), reason).Inc()
	if v.Action != ActionNak {
		m.age.WithLabelValues(string(v.Outcome)).Observe(age.Seconds())
	}
}
