package clients

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Bounds of the tries of one request. They are for hiccups; what lasts longer
// is left to the redelivery of the event.
const (
	firstPause    = 200 * time.Millisecond
	longestPause  = 3 * time.Second  // also the longest Retry-After that is waited for
	patience      = 10 * time.Second // what took longer to fail is not tried again
	maxRetryAfter = 15 * time.Minute // the longest that is believed and handed up
)

// policy decides over the tries of one request.
type policy struct {
	req   *http.Request
	log   *slog.Logger
	pause time.Duration
	start time.Time

	wait  time.Duration // before the next try
	cause slog.Attr     // why there is a next try
}

// check is a retryablehttp.CheckRetry. It never returns an error: the last
// answer, or what kept it away, goes to the caller as it is.
func (p *policy) check(ctx context.Context, resp *http.Response, err error) (bool, error) {
	again := ctx.Err() == nil && time.Since(p.start) <= patience && repeatable(p.req) && p.hiccup(resp, err)
	return again && p.wait <= longestPause && fits(ctx, p.wait), nil
}

// hiccup tells whether a try failed in a way that may be gone after p.wait,
// which it sets.
func (p *policy) hiccup(resp *http.Response, err error) bool {
	p.wait = jitter(p.pause)
	if err != nil {
		p.cause = slog.String("err", OneLine(inner(err).Error(), maxText))
		return passing(err)
	}
	p.cause = slog.Int("code", resp.StatusCode)
	p.wait = max(p.wait, retryAfter(resp.Header, time.Now()))
	return retryStatus(resp.StatusCode)
}

// fits tells whether a pause ends before the deadline of ctx.
func fits(ctx context.Context, wait time.Duration) bool {
	deadline, bounded := ctx.Deadline()
	return !bounded || wait < time.Until(deadline)
}

// backoff is a retryablehttp.Backoff; it is asked only when there is a next try.
func (p *policy) backoff(_, _ time.Duration, try int, _ *http.Response) time.Duration {
	p.pause = min(2*p.pause, longestPause)
	p.log.LogAttrs(p.req.Context(), slog.LevelDebug, "request is tried again", p.cause,
		slog.String("method", p.req.Method), slog.String("url", redact(p.req.URL)),
		slog.Int("tries", try+1), slog.Duration("wait", p.wait))
	return p.wait
}

// repeatable tells whether the body of req, if any, can be sent again.
func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// retryStatus tells whether a server that answers with code may answer
// otherwise in a moment. 500 is among them: the servers at hand answer so
// while they restart, and report what is wrong with a request by other codes.
func retryStatus(code int) bool {
	switch code {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// passing tells whether a transport error may be gone in a moment. One that
// took a whole timeout, a certificate, a refused redirect and a refused address
// are not.
func passing(err error) bool {
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	var handshake tls.RecordHeaderError
	var refused *AddressError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout(),
		errors.As(err, &certificate), errors.As(err, &handshake), errors.As(err, &refused),
		errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, errRedirect):
		return false
	}
	return true
}

// jitter is between half of d and d, so that workers that failed together do
// not come back together.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

// retryAfter reads a Retry-After header, seconds or a date (RFC 9110 section
// 10.2.3), as the time from now. It is 0 when absent, unreadable or past.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	seconds, err := strconv.ParseUint(value, 10, 31)
	if err == nil || errors.Is(err, strconv.ErrRange) { // out of range it is the largest
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
