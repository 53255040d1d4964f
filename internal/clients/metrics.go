package clients

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// codeNone is the code of a request that got no answer, codeOther that of a
// status which net/http does not know: the label's values are a closed set.
const (
	codeNone  = "error"
	codeOther = "other"
)

// Metrics counts requests. A nil *Metrics counts nothing.
type Metrics struct{ requests *prometheus.CounterVec }

// NewMetrics registers omps_client_requests_total with reg. It counts what
// really went out: each try and each redirect.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "omps_client_requests_total",
		Help: "Requests to outside servers, every try of them, by HTTP status; code error: no answer.",
	}, []string{"client", "code"})}
	reg.MustRegister(m.requests)
	return m
}

// prepare makes the series that alerts look at, so that their rates start at 0.
func (m *Metrics) prepare(client string) {
	if m == nil {
		return
	}
	for _, code := range []string{"200", "401", "403", "404", "429", "500", "502", "503", "504", codeNone} {
		m.requests.WithLabelValues(client, code)
	}
}

func (m *Metrics) count(client, code string) {
	if m != nil {
		m.requests.WithLabelValues(client, code).Inc()
	}
}

func codeLabel(code int) string {
	if http.StatusText(code) == "" {
		return codeOther
	}
	return strconv.Itoa(code)
}
