package clients

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// newClient is a Client for this machine whose tries follow each other at once.
func newClient(o Options) *Client {
	o.Hosts = append(o.Hosts, "127.0.0.1")
	c := New(o)
	c.pause = time.Microsecond
	return c
}

// serve starts a server that counts its requests.
func serve(t *testing.T, h http.HandlerFunc) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

func post(ctx context.Context, t *testing.T, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// TestDoEveryStatus: the last answer is handed over whatever its status, after
// as many tries as the status deserves, each with the whole body.
func TestDoEveryStatus(t *testing.T) {
	t.Parallel()
	const retries = 2
	passing := map[int]bool{429: true, 500: true, 502: true, 503: true, 504: true}
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != "the question" || r.ContentLength != int64(len(body)) {
			t.Errorf("body %q of length %d", body, r.ContentLength)
		}
		if got := r.Header.Get("User-Agent"); got != userAgent {
			t.Errorf("User-Agent %q", got)
		}
		code, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(code)
	})
	client := newClient(Options{Name: "test", Retries: retries, Timeout: 10 * time.Second})
	for code := 200; code <= 599; code++ {
		before := requests.Load()
		resp, err := client.Do(post(t.Context(), t, url+"/"+strconv.Itoa(code), "the question"))
		if err != nil {
			t.Fatalf("%d: %v", code, err)
		}
		resp.Body.Close()
		if resp.StatusCode != code {
			t.Errorf("%d: got %d", code, resp.StatusCode)
		}
		want := int64(1)
		if passing[code] {
			want += retries
		}
		if got := requests.Load() - before; got != want {
			t.Errorf("%d: %d tries, want %d", code, got, want)
		}
	}
	for code := 100; code < 200; code++ {
		if retryStatus(code) {
			t.Errorf("%d is tried again", code)
		}
	}
}

func TestDoSecondTrySucceeds(t *testing.T) {
	t.Parallel()
	first := true
	url, requests := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if first {
			first = false
			panic(http.ErrAbortHandler) // cuts the connection
		}
		io.WriteString(w, "answer")
	})
	resp, err := newClient(Options{Retries: 1}).Do(post(t.Context(), t, url, "question"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := ReadBody(resp.Body, 100); string(body) != "answer" || err != nil {
		t.Errorf("answer %q, %v", body, err)
	}
	if requests.Load() != 2 {
		t.Errorf("%d requests", requests.Load())
	}
}

func TestDoStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url, requests := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	client := newClient(Options{Retries: 5})
	if resp, err := client.Do(post(ctx, t, url, "")); err == nil {
		resp.Body.Close() // the answer came before the end of the context was seen
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if requests.Load() != 1 {
		t.Errorf("%d requests", requests.Load())
	}
	if _, err := client.Do(post(ctx, t, url, "")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

// TestDoTimeout: a request that took its whole time is not tried again, be it
// spent before the answer or in its body.
func TestDoTimeout(t *testing.T) {
	t.Parallel()
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	client := newClient(Options{Retries: 3, Timeout: 100 * time.Millisecond})
	_, err := client.Do(post(t.Context(), t, url+"/header", ""))
	if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("error %v is no timeout", err)
	}
	if requests.Load() != 1 {
		t.Errorf("%d requests", requests.Load())
	}
	resp, err := client.Do(post(t.Context(), t, url+"/body", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := ReadBody(resp.Body, 100); err == nil {
		t.Error("the body has no end and no error")
	}
}

func TestDoNoServer(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	_, err := newClient(Options{Name: "gone", Retries: 2}).Do(post(t.Context(), t, closed.URL, "x"))
	call := (*CallError)(nil)
	if !errors.As(err, &call) || call.Client != "gone" || call.Method != http.MethodPost || call.URL != closed.URL {
		t.Errorf("error %#v", err)
	}
}

func TestDoTLS(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	s.Config.ErrorLog = quietLog()
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	pool := poolOf(t, s.Certificate())

	resp, err := newClient(Options{RootCAs: pool}).Do(post(t.Context(), t, s.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()

	certificate := (*tls.CertificateVerificationError)(nil)
	if _, err := newClient(Options{Retries: 1}).Do(post(t.Context(), t, s.URL, "")); !errors.As(err, &certificate) {
		t.Errorf("a server with an unknown certificate: %v", err)
	}
	s.TLS.MaxVersion = tls.VersionTLS11
	if _, err := newClient(Options{RootCAs: pool}).Do(post(t.Context(), t, s.URL, "")); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
	if requests.Load() != 1 {
		t.Errorf("%d requests", requests.Load())
	}
}

// TestRoundTripper: reads are tried again, anything else is sent once, and
// redirects are the library's own.
func TestRoundTripper(t *testing.T) {
	t.Parallel()
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	})
	rt := newClient(Options{Retries: 2}).RoundTripper()
	for method, want := range map[string]int64{"GET": 3, "HEAD": 3, "PUT": 1, "POST": 1, "PATCH": 1, "DELETE": 1} {
		before := requests.Load()
		req, _ := http.NewRequestWithContext(t.Context(), method, url+"/blob", strings.NewReader("content"))
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := requests.Load() - before; got != want || resp.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: %d requests, want %d; status %d", method, got, want, resp.StatusCode)
		}
		req, _ = http.NewRequestWithContext(t.Context(), method, url+"/moved", nil)
		resp, err = rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusTemporaryRedirect || resp.Header.Get("Location") != "/elsewhere" {
			t.Errorf("%s: status %d", method, resp.StatusCode)
		}
	}
}

// TestConnectionsAreKept: a failing answer does not cut the connections that
// other requests wait to use.
func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	client := newClient(Options{Retries: 1})
	for range 10 {
		resp, err := client.Do(post(t.Context(), t, s.URL, "question"))
		if err != nil {
			t.Fatal(err)
		}
		_ = client.StatusError(resp)
	}
	if opened.Load() != 1 {
		t.Errorf("%d connections for requests that follow each other", opened.Load())
	}
}
