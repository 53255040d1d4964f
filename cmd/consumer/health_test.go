package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

func works(context.Context) error { return nil }

func fails(text string) func(context.Context) error {
	return func(context.Context) error { return errors.New(text) }
}

// healthServer serves what the ops server does.
func healthServer(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(opsHandler(opsParts{metrics: prometheus.NewRegistry(), ready: func() error { return nil }, health: h}))
	t.Cleanup(s.Close)
	return s
}

// ask returns an answer with its body.
func ask(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestHealthAnswers(t *testing.T) {
	t.Parallel()
	const ok = `{"ok":true,"details":"It works!"}`
	long := strings.Repeat("x", 1000)
	for name, c := range map[string]struct {
		checks healthChecks
		code   int
		want   string
	}{
		"all well": {
			healthChecks{koji: works, quay: works, greenwave: works}, 200,
			`{"ok":true,"status":200,"services":{"koji":` + ok + `,"quay":` + ok + `,"greenwave":` + ok + `}}`,
		},
		"no gate": {
			healthChecks{koji: works, quay: works}, 200,
			`{"ok":true,"status":200,"services":{"koji":` + ok + `,"quay":` + ok + `,"greenwave":null}}`,
		},
		"koji down": {
			healthChecks{koji: fails("refused"), quay: works}, 503,
			`{"ok":false,"status":503,"services":{"koji":{"ok":false,"details":"refused"},"quay":` + ok + `,"greenwave":null}}`,
		},
		"quay down": {
			healthChecks{koji: works, quay: fails("a\nb\x1b[31m"), greenwave: works}, 503,
			`{"ok":false,"status":503,"services":{"koji":` + ok + `,"quay":{"ok":false,"details":"a b[31m"},"greenwave":` + ok + `}}`,
		},
		"greenwave down": {
			healthChecks{koji: works, quay: works, greenwave: fails(long)}, 503,
			`{"ok":false,"status":503,"services":{"koji":` + ok + `,"quay":` + ok + `,"greenwave":{"ok":false,"details":"` + long[:healthDetails-len("…")] + `…"}}}`,
		},
	} {
		s := healthServer(t, newHealth(t.Context(), c.checks, time.Minute))
		for _, path := range []string{"/health/ping", "/v1/health/ping", "/v2/health/ping"} {
			resp, body := ask(t, http.MethodGet, s.URL+path)
			if resp.StatusCode != c.code || body != c.want+"\n" {
				t.Errorf("%s: %s: %d %s, want %d %s", name, path, resp.StatusCode, body, c.code, c.want)
			}
			wantJSONHeaders(t, path, resp)
			if resp, body := ask(t, http.MethodHead, s.URL+path); resp.StatusCode != c.code || body != "" {
				t.Errorf("%s: HEAD %s: %d %q", name, path, resp.StatusCode, body)
			}
			for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
				if resp, _ := ask(t, method, s.URL+path); resp.StatusCode != http.StatusMethodNotAllowed {
					t.Errorf("%s %s: %d", method, path, resp.StatusCode)
				}
			}
		}
	}
}

func wantJSONHeaders(t *testing.T, path string, resp *http.Response) {
	t.Helper()
	if kind, cache := resp.Header.Get("Content-Type"), resp.Header.Get("Cache-Control"); kind != "application/json" || cache != "no-store" {
		t.Errorf("%s: Content-Type %q, Cache-Control %q", path, kind, cache)
	}
}

func TestAbout(t *testing.T) {
	t.Parallel()
	s := healthServer(t, http.NotFoundHandler())
	v := buildVersion()
	for _, path := range []string{"/about", "/v1/about", "/v2/about"} {
		resp, body := ask(t, http.MethodGet, s.URL+path)
		wantJSONHeaders(t, path, resp)
		var got map[string]string
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if diff := cmp.Diff(map[string]string{"version": v.Version, "revision": v.Revision, "go": v.Go}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	if resp, _ := ask(t, http.MethodPost, s.URL+"/about"); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /about: %d", resp.StatusCode)
	}
}

// The services are asked side by side: each of these waits for the others.
func TestHealthAsksAtOnce(t *testing.T) {
	t.Parallel()
	var begun sync.WaitGroup
	begun.Add(3)
	meet := func(ctx context.Context) error {
		begun.Done()
		all := make(chan struct{})
		go func() { begun.Wait(); close(all) }()
		select {
		case <-all:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	h := newHealth(t.Context(), healthChecks{koji: meet, quay: meet, greenwave: meet}, patience)
	if r, err := h.report(t.Context()); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
}

// A service that does not answer is given up, and the others' health is told.
func TestHealthDeadline(t *testing.T) {
	t.Parallel()
	hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	h := newHealth(t.Context(), healthChecks{koji: hangs, quay: works}, 10*time.Millisecond)
	r, err := h.report(t.Context())
	if err != nil || r.OK || r.Services.Koji.Details != "context deadline exceeded" || !r.Services.Quay.OK {
		t.Errorf("%+v, %v", r, err)
	}
}

// Looks are few however many ask: one at a time, and none while the last is
// young. Who hangs up spoils it for nobody.
func TestHealthLooksOnce(t *testing.T) {
	t.Parallel()
	var looks, now atomic.Int64
	asked, release := make(chan struct{}, 10), make(chan struct{})
	h := newHealth(t.Context(), healthChecks{quay: works, koji: func(ctx context.Context) error {
		looks.Add(1)
		asked <- struct{}{}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}, patience)
	h.now = func() time.Time { return time.Unix(0, now.Load()) }

	first, hangUp := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { _, err := h.report(first); gone <- err }()
	<-asked
	hangUp()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who hung up gets %v", err)
	}
	var others sync.WaitGroup
	for range 50 {
		others.Go(func() {
			if r, err := h.report(t.Context()); err != nil || !r.OK {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	close(release)
	others.Wait()
	now.Add(int64(healthAge) - 1)
	if _, err := h.report(t.Context()); err != nil || looks.Load() != 1 {
		t.Errorf("%d looks, want 1: %v", looks.Load(), err)
	}
	now.Add(1)
	if _, err := h.report(t.Context()); err != nil || looks.Load() != 2 {
		t.Errorf("%d looks once the first is old, want 2: %v", looks.Load(), err)
	}
}

// quayOnly is a configuration of a Quay at the address, for organizations with
// the targets.
func quayOnly(t *testing.T, server *httptest.Server, targets ...string) Config {
	t.Helper()
	text := fmt.Sprintf("quay: {registry: %q, url: %q, plain_http: true}\norganizations:\n  unused: {}\n", server.Listener.Addr(), server.URL)
	if len(targets) > 0 {
		text = strings.Replace(text, "  unused: {}\n", "", 1)
	}
	for i, target := range targets {
		text += fmt.Sprintf("  org%d: {target: %s}\n", i, target)
	}
	return mustParse(t, "config.yaml", text, none)
}

func TestQuayCheck(t *testing.T) {
	t.Parallel()
	var code, asked sync.Map // by path
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Path, true)
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s is asked with credentials", r.URL.Path)
		}
		if c, ok := code.Load(r.URL.Path); ok {
			w.WriteHeader(c.(int))
		}
	}))
	t.Cleanup(server.Close)
	check := func(c Config) error {
		out, err := newOutside(c, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return out.quayCheck(c)(t.Context())
	}
	for paths, c := range map[string]Config{
		"/v2/": quayOnly(t, server, "oci", "oci"), "/v2/ ": quayOnly(t, server),
		"/cnr/version": quayOnly(t, server, "app-registry"), "/v2/ /cnr/version": quayOnly(t, server, "oci", "app-registry"),
	} {
		asked.Clear()
		if err := check(c); err != nil {
			t.Errorf("%s: %v", paths, err)
		}
		for _, path := range []string{"/v2/", "/cnr/version"} {
			if _, ok := asked.Load(path); ok != strings.Contains(paths, path) {
				t.Errorf("%s: %s asked: %v", paths, path, ok)
			}
		}
	}
	c := quayOnly(t, server, "oci", "app-registry")
	for n := 200; n < 600; n++ {
		if n >= 300 && n < 400 || n == 429 || n >= 500 && n != 501 && n != 505 {
			continue // redirects lead nowhere here, and the rest is tried again
		}
		for _, path := range []string{"/v2/", "/cnr/version"} {
			code.Store(path, n)
			if err := check(c); (err == nil) != (n == 200 || n == 401 || n == 403) || err != nil && !strings.Contains(err.Error(), fmt.Sprint(n)) {
				t.Errorf("%s answers %d: %v", path, n, err)
			}
			code.Delete(path)
		}
	}
	code.Store("/v2/", 502)
	if err := check(c); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("502: %v", err)
	}
	server.Close()
	if err := check(c); err == nil || !strings.HasPrefix(err.Error(), "app registry: GET http://") {
		t.Errorf("no server: %v", err)
	}
}

// The service tells of the services around it, and of Koji's end.
func TestServiceHealth(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	code, body := s.get("/v1/health/ping")
	var r healthReport
	if err := json.Unmarshal([]byte(body), &r); err != nil || code != http.StatusOK || !r.OK || r.Services.Greenwave == nil {
		t.Errorf("%d %s (%v)", code, body, err)
	}
	s.world.KojiServer.Stop()
	s.await("the end of Koji", func() bool { code, body = s.get("/health/ping"); return code == http.StatusServiceUnavailable })
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.OK || r.Services.Koji.OK || !r.Services.Quay.OK || !strings.Contains(r.Services.Koji.Details, "connection refused") {
		t.Errorf("%s (%v)", body, err)
	}
	if code, _ := s.get("/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d", code)
	}
}
