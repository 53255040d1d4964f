package clients

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestDoBodyThatCannotBeSentAgain(t *testing.T) {
	t.Parallel()
	url, requests := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	req := post(t.Context(), t, url, "")
	req.Body, req.GetBody = io.NopCloser(strings.NewReader("once")), nil
	resp, err := newClient(Options{Retries: 3}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if requests.Load() != 1 {
		t.Errorf("%d requests", requests.Load())
	}
}

func TestDoRetryAfter(t *testing.T) {
	t.Parallel()
	for header, tries := range map[string]int64{
		"": 3, "0": 3, "-5": 3, "soon": 3, "120": 1, "99999999999999999999": 1,
		"Fri, 31 Dec 1999 23:59:59 GMT": 3, "Fri, 31 Dec 2199 23:59:59 GMT": 1,
	} {
		url, requests := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		client := newClient(Options{Retries: 2})
		resp, err := client.Do(post(t.Context(), t, url, ""))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if requests.Load() != tries {
			t.Errorf("Retry-After %q: %d tries, want %d", header, requests.Load(), tries)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "1.5": 0, "0": 0, "7": 7 * time.Second, "899": 899 * time.Second,
		"901": maxRetryAfter, "2147483647": maxRetryAfter, "99999999999999999999": maxRetryAfter,
		"Sun, 22 Nov 2026 07:01:00 GMT": time.Minute, "Sun, 22 Nov 2026 06:59:00 GMT": 0,
		"Mon, 23 Nov 2026 07:00:00 GMT": maxRetryAfter,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// TestDoKeepsToTheDeadline: a pause that would outlast the deadline is not
// begun, so that the caller still learns the status.
func TestDoKeepsToTheDeadline(t *testing.T) {
	t.Parallel()
	url, requests := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	resp, err := newClient(Options{Retries: 5}).Do(post(ctx, t, url, ""))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if requests.Load() != 1 || ctx.Err() != nil {
		t.Errorf("%d requests, context %v", requests.Load(), ctx.Err())
	}
}

// TestPatience: what took long to fail is left to a later delivery.
func TestPatience(t *testing.T) {
	t.Parallel()
	req := post(t.Context(), t, "http://h/", "")
	down := &http.Response{StatusCode: http.StatusServiceUnavailable}
	for age, want := range map[time.Duration]bool{0: true, patience / 2: true, 2 * patience: false} {
		p := policy{req: req, pause: firstPause, start: time.Now().Add(-age)}
		if again, err := p.check(t.Context(), down, nil); again != want || err != nil {
			t.Errorf("after %v: %v, %v", age, again, err)
		}
	}
}

// TestPause: the pauses grow, spread, and stay within their bounds.
func TestPause(t *testing.T) {
	t.Parallel()
	p := policy{
		req: post(t.Context(), t, "http://h/", ""), log: slog.New(slog.DiscardHandler),
		pause: firstPause, start: time.Now(),
	}
	for try, most := range []time.Duration{firstPause, 2 * firstPause, 4 * firstPause, 8 * firstPause, longestPause, longestPause} {
		if again, _ := p.check(t.Context(), nil, io.EOF); !again {
			t.Errorf("try %d is the last", try+1)
		}
		if wait := p.backoff(0, 0, try, nil); wait < most/2 || wait > most {
			t.Errorf("pause of %v before try %d, want at most %v", wait, try+2, most)
		}
	}
}

func TestPassing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want bool
	}{
		{io.EOF, true},
		{io.ErrUnexpectedEOF, true},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, true},
		{&net.DNSError{Err: "timeout", IsTimeout: true}, false},
		{context.DeadlineExceeded, false},
		{&tls.CertificateVerificationError{Err: errors.New("unknown authority")}, false},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, false},
		{http.ErrSchemeMismatch, false},
		{errRedirect, false},
		{&AddressError{}, false},
	} {
		if got := passing(&CallError{Err: c.err}); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
