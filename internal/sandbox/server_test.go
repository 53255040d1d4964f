package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
}

func TestServerKeepsItsAddressOverARestart(t *testing.T) {
	t.Parallel()
	s := serve(t, echo())
	before := s.URL()
	if got := do(t, http.MethodPost, before, "", "one"); got.body != "one" {
		t.Fatalf("answer is %q", got.body)
	}
	if err := s.Restart(); err == nil {
		t.Error("a running server restarts")
	}

	s.Stop()
	s.Stop()
	if _, err := net.Dial("tcp", s.Host()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialing a stopped server: %v, want refused", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if s.URL() != before {
		t.Errorf("URL is %s, was %s", s.URL(), before)
	}
	if got := do(t, http.MethodPost, before, "", "two"); got.body != "two" {
		t.Errorf("answer is %q", got.body)
	}
	if got := len(s.Requests()); got != 2 {
		t.Errorf("%d requests are recorded, want 2", got)
	}
}

func TestStopCutsRequestsInFlight(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	s := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}))
	failed := make(chan error, 1)
	go func() {
		resp, err := http.Get(s.URL())
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	s.Stop()
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
}

func TestServeListensOnLoopbackUnlessTold(t *testing.T) {
	t.Parallel()
	for addr, wantErr := range map[string]bool{
		"": false, ":0": false, "127.0.0.1:0": false, "localhost:": false,
		"127.0.0.1": true, "127.0.0.1:no-such-port": true, "203.0.113.1:0": true,
	} {
		s, err := Serve(echo(), addr)
		if (err != nil) != wantErr {
			t.Errorf("Serve at %q: %v", addr, err)
		}
		if err != nil {
			continue
		}
		s.Stop()
		if host, _, _ := net.SplitHostPort(s.Host()); !net.ParseIP(host).IsLoopback() {
			t.Errorf("Serve at %q listens at %s", addr, s.Host())
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := serve(t, echo())
	s.SetFault(func(r *http.Request) *Answer {
		switch r.URL.Path {
		case "/busy":
			return &Answer{Status: 429, Header: http.Header{"Retry-After": {"7"}}, Body: "slow down"}
		case "/cut":
			return &Answer{}
		}
		return nil
	})
	if got := do(t, http.MethodPost, s.URL()+"/busy", "", "x"); got.status != 429 || got.body != "slow down" || got.header.Get("Retry-After") != "7" {
		t.Errorf("answer is %+v", got)
	}
	if got := do(t, http.MethodPost, s.URL()+"/fine", "", "x"); got.status != 200 || got.body != "x" {
		t.Errorf("answer is %+v", got)
	}
	if resp, err := http.Post(s.URL()+"/cut", "", strings.NewReader("x")); err == nil {
		resp.Body.Close()
		t.Errorf("a cut connection answers %s", resp.Status)
	}
	s.SetFault(nil)
	if got := do(t, http.MethodPost, s.URL()+"/busy", "", "x"); got.status != 200 {
		t.Errorf("without a fault the answer is %+v", got)
	}
}

// A lost answer is one to a request that did its work.
func TestFaultAfterTheWork(t *testing.T) {
	t.Parallel()
	var worked string
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		worked = string(body)
		w.Header().Set("X-Own", "lost")
		w.WriteHeader(http.StatusCreated)
	}))
	s.SetFault(func(r *http.Request) *Answer {
		body, _ := io.ReadAll(r.Body)
		return &Answer{Status: http.StatusBadGateway, Body: string(body), After: true}
	})
	got := do(t, http.MethodPut, s.URL(), "", "work")
	if got.status != http.StatusBadGateway || got.body != "work" || got.header.Get("X-Own") != "" {
		t.Errorf("answer is %+v", got)
	}
	if worked != "work" {
		t.Errorf("the handler saw %q", worked)
	}
}

// Sent is called in the middle of an answer that is announced as longer: the
// client has the first part then, and never gets the rest.
func TestFaultInTheMiddleOfAnAnswer(t *testing.T) {
	t.Parallel()
	s := serve(t, echo())
	sent, read := make(chan struct{}), make(chan struct{})
	s.SetFault(func(*http.Request) *Answer {
		return &Answer{
			Status: http.StatusOK, Header: http.Header{"Content-Length": {"10"}}, Body: "half",
			Sent: func() { close(sent); <-read },
		}
	})
	resp, err := http.Get(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	part := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, part); err != nil || string(part) != "half" {
		t.Errorf("%q came: %v", part, err)
	}
	<-sent
	close(read)
	if rest, err := io.ReadAll(resp.Body); err == nil || len(rest) > 0 {
		t.Errorf("the rest is %q: %v", rest, err)
	}
}

func TestRequestsAreRecordedAndAwaited(t *testing.T) {
	t.Parallel()
	s := serve(t, echo())
	isSecond := func(r Request) bool { return r.Path == "/second" }

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Await(ctx, isSecond); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting without an end: %v", err)
	}
	found := make(chan Request, 1)
	go func() {
		r, err := s.Await(t.Context(), isSecond)
		if err != nil {
			t.Error(err)
		}
		found <- r
	}()
	do(t, http.MethodGet, s.URL()+"/first", "", "")
	long := strings.Repeat("x", 20<<10)
	if got := do(t, http.MethodPut, s.URL()+"/second?a=b", "text/plain", long); got.body != long {
		t.Errorf("the handler saw %d bytes of %d", len(got.body), len(long))
	}
	r := <-found
	if r.Method != http.MethodPut || r.Query.Get("a") != "b" || r.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("recorded is %s %v %v", r.Method, r.Query, r.Header)
	}
	if len(r.Body) != 16<<10 {
		t.Errorf("%d bytes of the body are kept", len(r.Body))
	}
	if _, err := s.Await(t.Context(), isSecond); err != nil {
		t.Errorf("waiting for what came already: %v", err)
	}
}

func TestRecordingIsBoundedAndSafe(t *testing.T) {
	t.Parallel()
	s := serve(t, echo())
	const clients, each = 4, 1100 // more than are kept
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				body := fmt.Sprint(c, " ", i)
				w := httptest.NewRecorder() // without a network: it is the recording that is tested
				s.serve(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
				if w.Body.String() != body {
					t.Errorf("answer is %q, want %q", w.Body, body)
				}
			}
			s.Requests()
			s.SetFault(nil)
		})
	}
	wg.Wait()
	if got, want := len(s.Requests()), clients*each-maxRecorded/2; got != want {
		t.Errorf("%d of %d requests are kept, want %d", got, clients*each, want)
	}
	do(t, http.MethodPost, s.URL()+"/last", "", "")
	if _, err := s.Await(t.Context(), func(r Request) bool { return r.Path == "/last" }); err != nil {
		t.Errorf("the newest request is not kept: %v", err)
	}
}

func TestTooLargeRequestsAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, echo())
	w := httptest.NewRecorder()
	s.serve(w, httptest.NewRequest(http.MethodPost, "/", io.LimitReader(zeros{}, maxRequestBytes+1)))
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("status is %d", w.Code)
	}
	if got := len(s.Requests()); got != 0 {
		t.Errorf("%d requests are recorded", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
