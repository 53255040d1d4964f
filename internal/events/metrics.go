package events

import (
	"slices"
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

// noOrganization stands for those that are not configured: anybody can ask for
// one.
const noOrganization = "_"

type metrics struct {
	deliveries   *prometheus.CounterVec   // outcome, reason
	results      *prometheus.CounterVec   // organization, outcome
	lastSuccess  *prometheus.GaugeVec     // organization
	age          *prometheus.HistogramVec // outcome
	settleErrors *prometheus.CounterVec   // action
	deadLetters  *prometheus.CounterVec   // reason
	redeliveries *prometheus.CounterVec   // stream

	ignored map[pipeline.Reason]prometheus.Counter // of deliveries: the hot path
}

// newMetrics registers with reg, every series present from the start. The labels
// organization and stream have the values that are configured, and no other.
func newMetrics(reg prometheus.Registerer, organizations, streams []string) *metrics {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_deliveries_total", Help: "Deliveries that were settled or given back, by how and why.",
		}, []string{"outcome", "reason"}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_results_total", Help: "Result events published; organization _: one that is not configured.",
		}, []string{"organization", "outcome"}),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "omps_last_success_timestamp_seconds", Help: "When this process last published a result that tells of a success; 0: not yet.",
		}, []string{"organization"}),
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
		redeliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_redeliveries_total", Help: "Deliveries of messages that were delivered before: given back, or never answered.",
		}, []string{"stream"}),
		ignored: map[pipeline.Reason]prometheus.Counter{},
	}
	reg.MustRegister(m.deliveries, m.results, m.lastSuccess, m.age, m.settleErrors, m.deadLetters, m.redeliveries)
	m.create(organizations, streams)
	return m
}

func (m *metrics) create(organizations, streams []string) {
	for _, stream := range streams {
		m.redeliveries.WithLabelValues(stream)
	}
	for _, organization := range organizations {
		m.lastSuccess.WithLabelValues(organization)
	}
	for _, organization := range append([]string{noOrganization}, organizations...) {
		for _, outcome := range pipeline.Outcomes() {
			if answered(outcome) {
				m.results.WithLabelValues(organization, string(outcome))
			}
		}
	}
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

// told counts a result event. Which organization it names was checked nowhere.
func (m *metrics) told(a Answer, configured []string, now time.Time) {
	organization := a.Result.Organization
	if !slices.Contains(configured, organization) {
		organization = noOrganization
	}
	m.results.WithLabelValues(organization, string(a.Outcome)).Inc()
	if a.Result.Err == nil && organization != noOrganization {
		m.lastSuccess.WithLabelValues(organization).Set(float64(now.UnixNano()) / 1e9)
	}
}
