package greenwave

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

var nvr = pipeline.NVR{Name: "int-test-operator-metadata-container", Version: "v0.9.2", Release: "1"}

func newClient(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(Options{
		URL: s.URL + "/greenwave/", Context: "omps_push", ProductVersion: "cvp",
		HTTP: clients.New(clients.Options{Name: "greenwave", Timeout: 10 * time.Second, Hosts: []string{"127.0.0.1"}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// always answers everything with a status and a JSON body.
func always(code int, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		w.Write(body)
	}
}

func capture(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRequest: what is sent means what Greenwave was seen to take.
func TestRequest(t *testing.T) {
	t.Parallel()
	var want map[string]any
	if err := json.Unmarshal(capture(t, "satisfied.request.json"), &want); err != nil {
		t.Fatal(err)
	}
	answer := capture(t, "satisfied.response.json")
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		var got map[string]any
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if r.Method != http.MethodPost || r.URL.Path != "/greenwave/api/v1.0/decision" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		w.Write(answer)
	})
	d, err := client.Decide(t.Context(), nvr)
	want0 := pipeline.Decision{
		Satisfied: true, Policies: []string{"omps_cvp"},
		Summary: "All required tests (1 total) have passed or been waived",
	}
	if diff := cmp.Diff(want0, d); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

// TestGateCaptured takes every captured answer through the gate.
func TestGateCaptured(t *testing.T) {
	t.Parallel()
	const passed = pipeline.Class(255)
	unavailable := pipeline.ReasonGreenwaveUnavailable
	cases := map[string]struct {
		code   int
		class  pipeline.Class
		reason pipeline.Reason
	}{
		"satisfied":                           {200, passed, ""},
		"satisfied-excluded-package":          {200, passed, ""},
		"satisfied-info":                      {200, passed, ""},
		"satisfied-remote-rule":               {200, passed, ""},
		"satisfied-verbose":                   {200, passed, ""},
		"satisfied-waived-failed":             {200, passed, ""},
		"satisfied-waived-missing":            {200, passed, ""},
		"unsatisfied-missing":                 {200, pipeline.Waiting, pipeline.ReasonGateWaiting},
		"unsatisfied-errored":                 {200, pipeline.Waiting, pipeline.ReasonGateWaiting},
		"unsatisfied-incomplete-queued":       {200, pipeline.Waiting, pipeline.ReasonGateWaiting},
		"unsatisfied-incomplete-running":      {200, pipeline.Waiting, pipeline.ReasonGateWaiting},
		"error-remote-rule-build-not-in-koji": {200, pipeline.Waiting, pipeline.ReasonGateWaiting},
		"unsatisfied-failed":                  {200, pipeline.Rejected, pipeline.ReasonGateUnsatisfied},
		"unsatisfied-failed-verbose":          {200, pipeline.Rejected, pipeline.ReasonGateUnsatisfied},
		"unsatisfied-failed-and-missing":      {200, pipeline.Rejected, pipeline.ReasonGateUnsatisfied},
		"unsatisfied-needs-inspection":        {200, pipeline.Rejected, pipeline.ReasonGateUnsatisfied},
		"unsatisfied-one-scenario-failed":     {200, pipeline.Rejected, pipeline.ReasonGateUnsatisfied},
		"unsatisfied-invalid-gating-yaml":     {200, pipeline.Rejected, pipeline.ReasonGateUnsatisfied},
		"unsatisfied-missing-gating-yaml":     {200, pipeline.Rejected, pipeline.ReasonGateUnsatisfied},
		"remote-rule-build-without-source":    {200, pipeline.Rejected, pipeline.ReasonGateUnsatisfied},
		"error-400-no-product-version":        {400, pipeline.Transient, unavailable},
		"error-400-no-subject-identifier":     {400, pipeline.Transient, unavailable},
		"error-400-not-json":                  {400, pipeline.Transient, unavailable},
		"error-wrong-content-type":            {400, pipeline.Transient, unavailable},
		"error-404-path":                      {404, pipeline.Transient, unavailable},
		"error-404-unknown-decision-context":  {404, pipeline.Transient, unavailable},
		"error-404-unknown-product-version":   {404, pipeline.Transient, unavailable},
		"error-404-unknown-subject-type":      {404, pipeline.Transient, unavailable},
		"error-405-get":                       {405, pipeline.Transient, unavailable},
		"error-415-empty-object":              {415, pipeline.Transient, unavailable},
		"error-remote-rule-git-500":           {502, pipeline.Transient, unavailable},
		"error-upstream-500":                  {502, pipeline.Transient, unavailable},
		"about":                               {200, pipeline.Transient, unavailable}, // not a decision
	}
	files, err := filepath.Glob("testdata/*.response.json")
	if err != nil || len(files) != len(cases) {
		t.Errorf("%d captures for %d cases, %v", len(files), len(cases), err)
	}
	for name, c := range cases {
		body := capture(t, name+".response.json")
		gate := pipeline.Gate{Decider: newClient(t, always(c.code, body))}
		approved, err := gate.Do(t.Context(), pipeline.Build{NVR: nvr})
		if c.class == passed {
			if err != nil || approved.Decision == nil || !approved.Decision.Satisfied {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || pipeline.ClassOf(err) != c.class || pipeline.ReasonOf(err) != c.reason {
			t.Errorf("%s: %s %s: %v", name, pipeline.ClassOf(err), pipeline.ReasonOf(err), err)
			continue
		}
		if c.code != 200 {
			var says struct{ Message string }
			if err := json.Unmarshal(body, &says); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(err.Error(), says.Message[:min(len(says.Message), 60)]) || len(err.Error()) > 800 {
				t.Errorf("%s: error does not say why: %v", name, err)
			}
		}
	}
}

func TestRequirements(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]pipeline.Requirement{
		"unsatisfied-failed-and-missing": {
			{Type: "test-result-failed", Testcase: "cvp.default.sanity", ResultID: 38088810},
			{Type: "test-result-missing", Testcase: "cvp.default.operator-metadata"},
		},
		"unsatisfied-errored": {
			{Type: "test-result-errored", Testcase: "cvp.default.sanity", ResultID: 38088805, Details: "CI system out of memory"},
		},
		"unsatisfied-invalid-gating-yaml": {{
			Type: "invalid-gating-yaml", Testcase: "invalid-gating-yaml",
			Details: `Policy 'untitled': Attribute 'rules': expected a sequence node, but found scalar in "<byte string>", line 4, column 8: rules: 5 ^`,
		}},
		"error-remote-rule-build-not-in-koji": {{
			Type: "failed-fetch-gating-yaml", Testcase: "failed-fetch-gating-yaml",
			Details: "Koji build not found for subject_type 'koji_build', subject_identifier 'no-such-container-1.0-1'",
		}},
	} {
		d, err := newClient(t, always(200, capture(t, name+".response.json"))).Decide(t.Context(), nvr)
		if diff := cmp.Diff(want, d.Unsatisfied); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	about := capture(t, "about.response.json")
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/greenwave/api/v1.0/about" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		w.Write(about)
	})
	if err := client.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{`{}`, `{"version":2}`, `null`, `<html>`, ``} {
		if err := newClient(t, always(200, []byte(bad))).Ping(t.Context()); pipeline.ReasonOf(err) != pipeline.ReasonGreenwaveUnavailable {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestEveryStatus: only 200 is a decision, even where the body says so.
func TestEveryStatus(t *testing.T) {
	t.Parallel()
	satisfied := capture(t, "satisfied.response.json")
	code := 0
	client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "40")
		w.WriteHeader(code)
		if code != 204 && code != 304 {
			w.Write(satisfied)
		}
	})
	for code = 200; code <= 599; code++ {
		d, err := client.Decide(t.Context(), nvr)
		if code == 200 {
			if !d.Satisfied || err != nil {
				t.Errorf("%d: %v", code, err)
			}
			continue
		}
		reason := pipeline.ReasonGreenwaveUnavailable
		if code == 401 || code == 403 {
			reason = pipeline.ReasonUnauthorized
		}
		if d.Satisfied || pipeline.ClassOf(err) != pipeline.Transient || pipeline.ReasonOf(err) != reason ||
			pipeline.AfterOf(err) != 40*time.Second {
			t.Errorf("%d: %+v, %s %s %s: %v", code, d, pipeline.ClassOf(err), pipeline.ReasonOf(err), pipeline.AfterOf(err), err)
		}
		if status := (*clients.StatusError)(nil); !errors.As(err, &status) || status.Code != code {
			t.Errorf("%d: %v", code, err)
		}
	}
}

// TestUnusableAnswers: with status 200 and yet no decision.
func TestUnusableAnswers(t *testing.T) {
	t.Parallel()
	good := capture(t, "satisfied.response.json")
	for name, h := range map[string]http.HandlerFunc{
		"empty":             always(200, nil),
		"page":              always(200, []byte("<html><body>Login</body></html>")),
		"null":              always(200, []byte("null")),
		"array":             always(200, []byte(`[{"policies_satisfied":true}]`)),
		"half":              always(200, good[:len(good)/2]),
		"more than one":     always(200, append(good[:len(good):len(good)], good...)),
		"no word on it":     always(200, []byte(`{"applicable_policies":["p"],"unsatisfied_requirements":[]}`)),
		"another case":      always(200, []byte(`{"Policies_Satisfied":true}`)),
		"null for bool":     always(200, []byte(`{"policies_satisfied":null}`)),
		"text for bool":     always(200, []byte(`{"policies_satisfied":"true"}`)),
		"number for bool":   always(200, []byte(`{"policies_satisfied":1}`)),
		"requirements text": always(200, []byte(`{"policies_satisfied":true,"unsatisfied_requirements":"none"}`)),
		"too deep":          always(200, []byte(strings.Repeat("[", 20000))),
		"dropped":           func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(good)))
			w.Write(good[:len(good)/2])
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			blank := []byte(strings.Repeat(" ", 1<<20))
			for range maxAnswer>>20 + 1 {
				w.Write(blank)
			}
		},
	} {
		d, err := newClient(t, h).Decide(t.Context(), nvr)
		if d.Satisfied || pipeline.ClassOf(err) != pipeline.Transient || pipeline.ReasonOf(err) != pipeline.ReasonGreenwaveUnavailable {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
		if errors.Is(err, clients.ErrTooLarge) != (name == "endless") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	client := newClient(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then does the server see the client go
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Decide(ctx, nvr); !errors.Is(err, context.DeadlineExceeded) || pipeline.ClassOf(err) != pipeline.Transient {
		t.Error(err)
	}
}

func TestNewFaultsAndSecrets(t *testing.T) {
	t.Parallel()
	h := clients.New(clients.Options{Hosts: []string{"127.0.0.1"}})
	for _, o := range []Options{
		{URL: "https://u:s3cret/x@h", Context: "c", ProductVersion: "p", HTTP: h},
		{URL: "https://h?token=s3cret", Context: "c", ProductVersion: "p", HTTP: h},
		{URL: "https://u:s3cret@h", ProductVersion: "p", HTTP: h},
		{URL: "https://u:s3cret@h", Context: "c", HTTP: h},
		{URL: "https://u:s3cret@h", Context: "c", ProductVersion: "p"},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		json.NewEncoder(w).Encode(map[string]string{"message": fmt.Sprint(user, password, r.Header)})
	}))
	t.Cleanup(s.Close)
	address := strings.Replace(s.URL, "http://", "http://user-s3cret:pass-s3cret@", 1)
	client, err := New(Options{URL: address, Context: "c", ProductVersion: "p", HTTP: h})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Decide(t.Context(), nvr)
	if pipeline.ReasonOf(err) != pipeline.ReasonUnauthorized || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
	s.Close()
	if _, err := client.Decide(t.Context(), nvr); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}
