package sandbox

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync"
)

// Gate is how Greenwave decides about a build.
type Gate string

// The gates. Those up to GateUnknownType are decisions, the rest are errors.
const (
	GatePassed       Gate = "passed"
	GateWaived       Gate = "waived"        // failed, and a waiver lets it pass
	GateExcluded     Gate = "excluded"      // no test is required of this package
	GateMissing      Gate = "missing"       // no result yet
	GateIncomplete   Gate = "incomplete"    // a result, queued or running; its type is still test-result-missing
	GateFailed       Gate = "failed"        // a test failed
	GateErrored      Gate = "errored"       // a test could not run
	GateMixed        Gate = "mixed"         // one test failed, another has no result
	GateFetchFailed  Gate = "fetch-failed"  // the build's own rules could not be read
	GateInvalidRules Gate = "invalid-rules" // the build's own rules are no rules
	GateMissingRules Gate = "missing-rules" // the build has no rules of its own and needs some
	GateUnknownType  Gate = "unknown-type"  // a requirement of a type that nobody has heard of
	GateNoPolicy     Gate = "no-policy"     // 404: no policy covers the question
	GateUpstream     Gate = "upstream"      // 502: Greenwave could not reach what it asks
)

// Gates lists every gate.
func Gates() []Gate {
	return []Gate{
		GatePassed, GateWaived, GateExcluded, GateMissing, GateIncomplete, GateFailed, GateErrored, GateMixed,
		GateFetchFailed, GateInvalidRules, GateMissingRules, GateUnknownType, GateNoPolicy, GateUpstream,
	}
}

// The question that a Greenwave has a policy for: what the configuration asks
// by default.
const (
	DecisionContext = "omps_push"
	ProductVersion  = "cvp"
	subjectType     = "koji_build"
	policyName      = "sandbox_policy"
)

// Greenwave stands in for Greenwave 2.3. It has one policy, for
// DecisionContext, ProductVersion and koji_build subjects. Its methods are safe
// for concurrent use.
type Greenwave struct {
	mu        sync.Mutex
	byDefault Gate
	byNVR     map[string]Gate
}

// NewGreenwave makes one that decides byDefault about every build.
func NewGreenwave(byDefault Gate) *Greenwave {
	return &Greenwave{byDefault: byDefault, byNVR: map[string]Gate{}}
}

// SetDefault changes the gate of the builds that have none of their own.
func (g *Greenwave) SetDefault(gate Gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byDefault = gate
}

// Set gives one build a gate of its own; "" takes it away.
func (g *Greenwave) Set(nvr string, gate Gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byNVR[nvr] = gate
}

func (g *Greenwave) gate(nvr string) Gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if own := g.byNVR[nvr]; own != "" {
		return own
	}
	return g.byDefault
}

// ServeHTTP serves /api/v1.0/decision and /api/v1.0/about.
func (g *Greenwave) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	allowed := map[string]string{"/api/v1.0/decision": http.MethodPost, "/api/v1.0/about": http.MethodGet}
	switch method, ok := allowed[r.URL.Path]; {
	case !ok:
		refuse(w, http.StatusNotFound, "The requested URL was not found on the server. "+
			"If you entered the URL manually please check your spelling and try again.")
	case r.Method != method:
		w.Header().Set("Allow", method+", OPTIONS")
		refuse(w, http.StatusMethodNotAllowed, "The method is not allowed for the requested URL.")
	case method == http.MethodGet:
		writeJSON(w, http.StatusOK, map[string]string{"version": "2.3.0"})
	default:
		g.decide(w, r)
	}
}

func (g *Greenwave) decide(w http.ResponseWriter, r *http.Request) {
	asked, status, complaint := readQuestion(r)
	if complaint != "" {
		refuse(w, status, complaint)
		return
	}
	gate := g.gate(asked.subject)
	if !asked.covered() || gate == GateNoPolicy {
		refuse(w, http.StatusNotFound, fmt.Sprintf("Found no applicable policies for %s subjects at gating point(s) %s in %s",
			asked.kind, strings.Join(asked.contexts, ", "), asked.product))
		return
	}
	if gate == GateUpstream {
		refuse(w, http.StatusBadGateway, `Got unexpected status code 504 for http://resultsdb.example.com/api/v2.0/results/latest: `+
			`{"message": "Max retries exceeded with url: /api/v2.0/results/latest (Caused by ResponseError('too many 500 error responses'))"}`)
		return
	}
	decision, ok := decisionOf(gate, asked.subject)
	if !ok {
		refuse(w, http.StatusInternalServerError, fmt.Sprintf("the sandbox has no gate %q", gate))
		return
	}
	if asked.verbose {
		decision["results"], decision["waivers"] = []any{}, []any{}
	}
	writeJSON(w, http.StatusOK, decision)
}

// question is what a request for a decision asks.
type question struct {
	contexts               []string
	product, kind, subject string
	verbose                bool
}

// covered tells whether the policy is about it.
func (q question) covered() bool {
	for _, context := range q.contexts {
		if context == DecisionContext {
			return q.product == ProductVersion && q.kind == subjectType
		}
	}
	return false
}

// readQuestion reads a request, or says with which status and words Greenwave
// refuses it.
func readQuestion(r *http.Request) (q question, status int, complaint string) {
	const unreadable = "The browser (or proxy) sent a request that this server could not understand."
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // one that is none is not JSON either
	var data map[string]any
	if media != "application/json" || json.NewDecoder(r.Body).Decode(&data) != nil {
		return q, http.StatusBadRequest, unreadable
	}
	if len(data) == 0 {
		return q, http.StatusUnsupportedMediaType, "No JSON payload in request"
	}
	q.product, _ = data["product_version"].(string)
	q.verbose, _ = data["verbose"].(bool)
	if q.product == "" {
		return q, http.StatusBadRequest, "Missing required product version"
	}
	switch contexts := data["decision_context"].(type) {
	case string:
		q.contexts = []string{contexts}
	case []any:
		for _, c := range contexts {
			q.contexts = append(q.contexts, fmt.Sprint(c))
		}
	}
	if len(q.contexts) == 0 {
		return q, http.StatusBadRequest, "Either decision_context or rules is required."
	}
	q.kind, _ = data["subject_type"].(string)
	q.subject, _ = data["subject_identifier"].(string)
	for _, missing := range []struct{ name, value string }{{"subject_type", q.kind}, {"subject_identifier", q.subject}} {
		if missing.value == "" {
			return q, http.StatusBadRequest, fmt.Sprintf("Missing required %q parameter", missing.name)
		}
	}
	return q, 0, ""
}

func refuse(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"message": message})
}

// writeJSON writes v with its keys sorted and without spaces, as Flask does.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // the client may be gone
}
