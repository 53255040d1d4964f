package clients

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetricsCountWhatGoesOut(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	client := newClient(Options{Name: "koji", Retries: 2, Metrics: NewMetrics(reg)})
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			w.Header().Set("Location", "/ok")
			w.WriteHeader(http.StatusFound)
		case "/odd":
			w.WriteHeader(599)
		case "/down":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, address := range []string{url + "/ok", url + "/moved", url + "/odd", url + "/down", gone.URL} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
		}
	}
	want := `
# HELP omps_client_requests_total Requests to outside servers, every try of them, by HTTP status; code error: no answer.
# TYPE omps_client_requests_total counter
omps_client_requests_total{client="koji",code="200"} 2
omps_client_requests_total{client="koji",code="302"} 1
omps_client_requests_total{client="koji",code="401"} 0
omps_client_requests_total{client="koji",code="403"} 0
omps_client_requests_total{client="koji",code="404"} 0
omps_client_requests_total{client="koji",code="429"} 0
omps_client_requests_total{client="koji",code="500"} 0
omps_client_requests_total{client="koji",code="502"} 0
omps_client_requests_total{client="koji",code="503"} 3
omps_client_requests_total{client="koji",code="504"} 0
omps_client_requests_total{client="koji",code="error"} 3
omps_client_requests_total{client="koji",code="other"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "omps_client_requests_total"); err != nil {
		t.Error(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "omps_client_request_seconds" {
			continue
		}
		if got := family.GetMetric()[0].GetHistogram().GetSampleCount(); got != 10 {
			t.Errorf("%d requests were timed, not each of the 10", got)
		}
		return
	}
	t.Error("no request was timed")
}

func TestCodeLabelIsAClosedSet(t *testing.T) {
	t.Parallel()
	labels := make(map[string]bool)
	for code := range 1000 {
		label := codeLabel(code)
		if known := http.StatusText(code) != ""; known == (label == codeOther) {
			t.Errorf("%d: %s", code, label)
		}
		labels[label] = true
	}
	if len(labels) > 70 {
		t.Errorf("%d labels", len(labels))
	}
}
