package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const (
	decisionPath = "/api/v1.0/decision"
	greenwaveDir = "greenwave-master-8bde5e8/"
	capturedNVR  = "int-test-operator-metadata-container-v0.9.2-1"
)

func questionOf(nvr string) string {
	return fmt.Sprintf(`{"decision_context": %q, "product_version": %q, "subject_type": "koji_build", "subject_identifier": %q}`,
		DecisionContext, ProductVersion, nvr)
}

// Every gate answers as the real Greenwave did in the same case: the same
// status, keys, types and requirement types.
func TestGatesAnswerAsTheRealGreenwave(t *testing.T) {
	t.Parallel()
	captureDir(t)
	g := NewGreenwave(GatePassed)
	s := serve(t, g)
	for gate, name := range map[Gate]string{
		GatePassed:       "satisfied",
		GateWaived:       "satisfied-waived-failed",
		GateExcluded:     "satisfied-excluded-package",
		GateMissing:      "unsatisfied-missing",
		GateIncomplete:   "unsatisfied-incomplete-running",
		GateFailed:       "unsatisfied-failed",
		GateErrored:      "unsatisfied-errored",
		GateMixed:        "unsatisfied-failed-and-missing",
		GateFetchFailed:  "error-remote-rule-build-not-in-koji",
		GateInvalidRules: "unsatisfied-invalid-gating-yaml",
		GateMissingRules: "unsatisfied-missing-gating-yaml",
		GateNoPolicy:     "error-404-unknown-decision-context",
		GateUpstream:     "error-upstream-500",
	} {
		t.Run(string(gate), func(t *testing.T) {
			g.Set(capturedNVR, gate)
			got := do(t, http.MethodPost, s.URL()+decisionPath, "application/json", questionOf(capturedNVR))
			if want := capturedStatus(t, name); got.status != want {
				t.Errorf("status is %d, want %d", got.status, want)
			}
			if got.header.Get("Content-Type") != "application/json" {
				t.Errorf("content type is %q", got.header.Get("Content-Type"))
			}
			var gotValue, wantValue any
			decodeJSON(t, got.body, &gotValue)
			decodeJSON(t, string(capture(t, greenwaveDir+name+".response.json")), &wantValue)
			if got, want := jsonShape("", gotValue), jsonShape("", wantValue); got != want {
				t.Errorf("shape is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Each refused request that was captured is refused in the same words.
func TestGreenwaveRefusesAsTheRealOne(t *testing.T) {
	t.Parallel()
	captureDir(t)
	url := serve(t, NewGreenwave(GatePassed)).URL()
	for name, tc := range map[string]struct{ method, path, contentType string }{
		"about":                              {http.MethodGet, "/api/v1.0/about", ""},
		"error-404-path":                     {http.MethodPost, "/api/v1.0/no-such", "application/json"},
		"error-405-get":                      {http.MethodGet, decisionPath, ""},
		"error-400-no-product-version":       {http.MethodPost, decisionPath, "application/json"},
		"error-400-no-subject-identifier":    {http.MethodPost, decisionPath, "application/json"},
		"error-400-not-json":                 {http.MethodPost, decisionPath, "application/json"},
		"error-415-empty-object":             {http.MethodPost, decisionPath, "application/json"},
		"error-wrong-content-type":           {http.MethodPost, decisionPath, "text/plain"},
		"error-404-unknown-decision-context": {http.MethodPost, decisionPath, "application/json"},
		"error-404-unknown-product-version":  {http.MethodPost, decisionPath, "application/json"},
		"error-404-unknown-subject-type":     {http.MethodPost, decisionPath, "application/json; charset=utf-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := ""
			if tc.method == http.MethodPost {
				body = string(capture(t, greenwaveDir+name+".request.json"))
			}
			got := do(t, tc.method, url+tc.path, tc.contentType, body)
			if want := capturedStatus(t, name); got.status != want {
				t.Errorf("status is %d, want %d", got.status, want)
			}
			if want := string(capture(t, greenwaveDir+name+".response.json")); got.body != want {
				t.Errorf("body is %s, want %s", got.body, want)
			}
		})
	}
}

func TestGatesChangeWhileServing(t *testing.T) {
	t.Parallel()
	g := NewGreenwave(GateMissing)
	s := serve(t, g)
	satisfied := func(nvr string) bool {
		var decision struct {
			Satisfied bool `json:"policies_satisfied"`
		}
		decodeJSON(t, do(t, http.MethodPost, s.URL()+decisionPath, "application/json", questionOf(nvr)).body, &decision)
		return decision.Satisfied
	}
	g.Set("a-1-1", GatePassed)
	if !satisfied("a-1-1") || satisfied("b-1-1") {
		t.Error("a build's own gate does not go before the default")
	}
	g.SetDefault(GatePassed)
	g.Set("a-1-1", GateFailed)
	if satisfied("a-1-1") || !satisfied("b-1-1") {
		t.Error("the gates did not change")
	}
	g.Set("a-1-1", "")
	if !satisfied("a-1-1") {
		t.Error("the build's own gate is still there")
	}
	if r := s.Requests()[0]; string(r.Body) != questionOf("a-1-1") {
		t.Errorf("recorded is %q", r.Body)
	}
}

func TestGreenwaveAnswersEveryGate(t *testing.T) {
	t.Parallel()
	for _, gate := range Gates() {
		got := do(t, http.MethodPost, serve(t, NewGreenwave(gate)).URL()+decisionPath, "application/json", questionOf("a-1-1"))
		if got.status == http.StatusInternalServerError || !strings.HasPrefix(got.body, "{") {
			t.Errorf("gate %s answers %d %s", gate, got.status, got.body)
		}
	}
	verbose := strings.Replace(questionOf("a-1-1"), "{", `{"verbose": true, `, 1)
	listed := strings.Replace(questionOf("a-1-1"), `"omps_push"`, `["other", "omps_push"]`, 1)
	url := serve(t, NewGreenwave(GatePassed)).URL() + decisionPath
	if got := do(t, http.MethodPost, url, "application/json", verbose); !strings.Contains(got.body, `"waivers":[]`) {
		t.Errorf("verbosely it answers %s", got.body)
	}
	if got := do(t, http.MethodPost, url, "application/json", listed); got.status != 200 {
		t.Errorf("asked in two contexts it answers %s", got.body)
	}
	none := `{"product_version": "cvp"}`
	if got := do(t, http.MethodPost, url, "application/json", none); got.status != 400 {
		t.Errorf("asked in no context it answers %d %s", got.status, got.body)
	}
	if got := do(t, http.MethodPost, serve(t, NewGreenwave("ajar")).URL()+decisionPath, "application/json", questionOf("a-1-1")); got.status != 500 {
		t.Errorf("a gate that is none answers %d", got.status)
	}
}

// jsonShape is a value without texts and numbers, but for the types of
// requirements and the verdict.
func jsonShape(key string, v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, k+":"+jsonShape(k, v[k]))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, jsonShape("", e))
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	if key == "type" || key == "policies_satisfied" {
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("%T", v)
}

func capturedStatus(t *testing.T, name string) (status int) {
	t.Helper()
	if _, err := fmt.Sscanf(string(capture(t, greenwaveDir+name+".response.headers")), "HTTP/1.1 %d", &status); err != nil {
		t.Fatal(err)
	}
	return status
}

func decodeJSON(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
