//go:build linux

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// The stand-ins of an upstream.
const (
	kojiServer      = "koji"
	greenwaveServer = "greenwave"
	registryServer  = "registry"
)

// upstream is Koji, Greenwave and a registry, made to cost little beside what is
// measured: what Koji and Greenwave answer is remembered, so that only the first
// of equal questions is worked on.
type upstream struct {
	koji    *sandbox.Koji
	servers map[string]*httptest.Server // by name
	conns   atomic.Int64                // connections that were ever opened
	latency atomic.Int64                // before each answer, in nanoseconds

	mu        sync.Mutex
	registry  *sandbox.Registry
	known     map[string]*httptest.ResponseRecorder
	requests  int
	first     chan struct{} // closed at the first request
	recording *recording    // nil: nothing is recorded
}

// startUpstream starts one that ends with the test.
func startUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{
		koji: sandbox.NewKoji(), servers: make(map[string]*httptest.Server),
		known: make(map[string]*httptest.ResponseRecorder),
	}
	u.reset()
	greenwave := sandbox.NewGreenwave(sandbox.GatePassed)
	u.serve(t, kojiServer, func(r *http.Request, body []byte) *httptest.ResponseRecorder {
		return u.remember(u.koji, r, body)
	})
	u.serve(t, greenwaveServer, func(r *http.Request, body []byte) *httptest.ResponseRecorder {
		return u.remember(greenwave, r, body)
	})
	u.serve(t, registryServer, func(r *http.Request, body []byte) *httptest.ResponseRecorder {
		u.mu.Lock()
		registry := u.registry
		u.mu.Unlock()
		return answerOf(registry, r, body)
	})
	return u
}

// reset makes the registry empty, and counts from nothing.
func (u *upstream) reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.registry, u.requests, u.first = sandbox.NewRegistry(), 0, make(chan struct{})
}

// counted is how many requests came since the last reset.
func (u *upstream) counted() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.requests
}

// firstRequest is closed when the first request since the last reset comes.
func (u *upstream) firstRequest() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.first
}

// urls are the addresses of the stand-ins.
func (u *upstream) urls() map[string]string {
	urls := make(map[string]string, len(u.servers))
	for name, s := range u.servers {
		urls[name] = s.URL
	}
	return urls
}

func (u *upstream) registryHost() string {
	return strings.TrimPrefix(u.servers[registryServer].URL, "http://")
}

func (u *upstream) serve(t *testing.T, name string, answer func(*http.Request, []byte) *httptest.ResponseRecorder) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // whoever asked is gone
		}
		ended := u.begin(name, r, body)
		u.delay(r.Context())
		a := answer(r, body)
		ended(a.Code, a.Header().Get("Location")) // before the client can know, and ask for more
		for key, values := range a.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(a.Code)
		_, _ = w.Write(a.Body.Bytes()) // as above
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			u.conns.Add(1)
		}
	}
	s.Start()
	u.servers[name] = s
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
}

// begin counts a request, and notes it where requests are recorded. The
// function that it returns takes the answer's status and Location.
func (u *upstream) begin(server string, r *http.Request, body []byte) (ended func(status int, location string)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.requests++; u.requests == 1 {
		close(u.first)
	}
	if u.recording == nil {
		return func(int, string) {}
	}
	rec, i := u.recording, u.recording.begin(server, r, body)
	return func(status int, location string) {
		u.mu.Lock()
		defer u.mu.Unlock()
		rec.end(i, status, location)
	}
}

// record starts a recording. recorded ends it.
func (u *upstream) record() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.recording = &recording{}
}

func (u *upstream) recorded() []exchange {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := u.recording.list
	u.recording = nil
	return list
}

func (u *upstream) delay(ctx context.Context) {
	latency := time.Duration(u.latency.Load())
	if latency == 0 {
		return
	}
	timer := time.NewTimer(latency)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// remember answers a question whose answer never changes.
func (u *upstream) remember(h http.Handler, r *http.Request, body []byte) *httptest.ResponseRecorder {
	key := r.Method + " " + r.URL.RequestURI() + "\n" + string(body)
	u.mu.Lock()
	answer := u.known[key]
	u.mu.Unlock()
	if answer == nil {
		answer = answerOf(h, r, body)
		u.mu.Lock()
		u.known[key] = answer
		u.mu.Unlock()
	}
	return answer
}

func answerOf(h http.Handler, r *http.Request, body []byte) *httptest.ResponseRecorder {
	r.Body = io.NopCloser(bytes.NewReader(body))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
