package clients

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// userAgent names the service to the servers it calls.
const userAgent = "omps-consumer"

// Bounds of the parts of a request. Options.Timeout bounds the whole.
const (
	dialTimeout           = 10 * time.Second
	keepAlive             = 30 * time.Second
	tlsHandshakeTimeout   = 10 * time.Second
	responseHeaderTimeout = 2 * time.Minute // for a Client without a Timeout
	idleConnTimeout       = 90 * time.Second
	pingTimeout           = 15 * time.Second // a silent HTTP/2 connection is probed, then closed
	maxResponseHeader     = 256 << 10
	maxIdleConnsPerHost   = 128 // a worker each at the largest sensible setting
)

func newTransport(roots *x509.CertPool, g *guard) *http.Transport {
	return &http.Transport{
		Proxy:                  g.proxy,
		DialContext:            g.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    tlsHandshakeTimeout,
		ResponseHeaderTimeout:  responseHeaderTimeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        idleConnTimeout,
		MaxIdleConnsPerHost:    maxIdleConnsPerHost,
		MaxResponseHeaderBytes: maxResponseHeader,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingTimeout, PingTimeout: pingTimeout},
	}
}

// counting is the transport of a Client. It has no CloseIdleConnections on
// purpose: retryablehttp calls that after each failed request, which would cut
// the connections that other requests are about to use.
type counting struct {
	name    string
	metrics *Metrics
	tracer  trace.Tracer // nil: no spans
	guard   *guard
	next    http.RoundTripper
}

func (t *counting) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("User-Agent") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", userAgent)
	}
	req, span := t.traced(req)
	start := time.Now()
	resp, err := t.next.RoundTrip(req)
	endSpan(span, resp, err)
	if err != nil {
		t.metrics.count(t.name, codeNone, time.Since(start))
		return nil, err
	}
	t.metrics.count(t.name, codeLabel(resp.StatusCode), time.Since(start))
	return checkLocation(resp)
}

// checkLocation fails for a redirect to an address that cannot be read:
// net/http would put that address, query included, into its error.
func checkLocation(resp *http.Response) (*http.Response, error) {
	if resp.StatusCode/100 != 3 {
		return resp, nil
	}
	if _, err := url.Parse(resp.Header.Get("Location")); err != nil {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w: %d with an unreadable Location", errRedirect, resp.StatusCode)
	}
	return resp, nil
}
