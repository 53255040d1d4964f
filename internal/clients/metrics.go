package clients

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// codeNone is the code of a request that got no answer, codeOther that of a
// status which net/http does not know: the label's values are a closed set.
const (
	codeNone  = "error"
	codeOther = "other"
)

// Metrics counts requests and the time that they take. A nil *Metrics counts
// nothing.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewMetrics registers omps_client_requests_total and
// omps_client_request_seconds with reg. They count what really went out: each try
// and each redirect.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_client_requests_total",
			Help: "Requests to outside servers, every try of them, by HTTP status; code error: no answer.",
		}, []string{"client", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "omps_client_request_seconds",
			Help:    "Time until the answer to a request began, or until there was none; without the answer's body.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"client"}),
	}
	reg.MustRegister(m.requests, m.seconds)
	return m
}

// prepare makes the series that alerts look at, so that their rates start at 0.
func (m *Metrics) prepare(client string) {
	if m == nil {
		return
	}
	m.seconds.WithLabelValues(client)
	for _, code := range []string{"200", "401", "403", "404", "429", "500", "502", "503", "504", codeNone} {
		m.requests.WithLabelValues(client, code)
	}
}

func (m *Metrics) count(client, code string, took time.Duration) {
	if m != nil {
		m.requests.WithLabelValues(client, code).Inc()
		m.seconds.WithLabelValues(client).Observe(took.Seconds())
	}
}

func codeLabel(code int) string {
	if http.StatusText(code) == "" {
		return codeOther
	}
	return strconv.Itoa(code)
}
