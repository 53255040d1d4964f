package events

import "github.com/prometheus/client_golang/prometheus"

type bridgeMetrics struct {
	messages  *prometheus.CounterVec // source, outcome
	errors    *prometheus.CounterVec // source, step
	connected *prometheus.GaugeVec   // source
	held      *prometheus.GaugeVec   // source
	last      *prometheus.GaugeVec   // source
}

// sourceMetrics are those of one bus.
type sourceMetrics struct {
	published, repeated, ignored, unreadable   prometheus.Counter
	connectErrors, publishErrors, settleErrors prometheus.Counter
	connected, held, last                      prometheus.Gauge
}

func newBridgeMetrics(reg prometheus.Registerer) *bridgeMetrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"source"})
	}
	m := &bridgeMetrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_bridge_messages_total", Help: "Messages of other buses, by what became of them.",
		}, []string{"source", "outcome"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_bridge_errors_total", Help: "What failed on a bridge and is tried again.",
		}, []string{"source", "step"}),
		connected: gauge("omps_bridge_connected", "1 while messages of a bus can come."),
		held:      gauge("omps_bridge_held", "Messages in hand that the bus has no answer for yet."),
		last:      gauge("omps_bridge_last_message_timestamp_seconds", "When the last message of a bus came, of any kind."),
	}
	reg.MustRegister(m.messages, m.errors, m.connected, m.held, m.last)
	return m
}

// of makes every series of a bus.
func (m *bridgeMetrics) of(source string) sourceMetrics {
	outcome := func(word string) prometheus.Counter { return m.messages.WithLabelValues(source, word) }
	step := func(word string) prometheus.Counter { return m.errors.WithLabelValues(source, word) }
	return sourceMetrics{
		published: outcome("published"), repeated: outcome("repeated"), ignored: outcome("ignored"), unreadable: outcome("unreadable"),
		connectErrors: step("connect"), publishErrors: step("publish"), settleErrors: step("settle"),
		connected: m.connected.WithLabelValues(source), held: m.held.WithLabelValues(source), last: m.last.WithLabelValues(source),
	}
}
