package clients

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"go.opentelemetry.io/otel/trace"
)

// Options describe the requests to one server.
type Options struct {
	Name    string         // label of omps_client_requests_total: koji, koji-files, greenwave, quay, registry, images
	Timeout time.Duration  // of one request with its redirects and its body; 0: only the caller's context bounds it
	Retries int            // more tries of a request that may be repeated; 0: none
	RootCAs *x509.CertPool // nil: the system's
	Logger  *slog.Logger   // nil: no log
	Metrics *Metrics       // nil: no metrics
	Tracer  trace.Tracer   // nil: no spans; of requests whose context holds no span there are none either

	// Hosts are what this client is meant for, each as host, with whatever port,
	// or as host:port. They may lie anywhere. Any other that a redirect or a
	// server names has to have a public address, or one in a kind of network
	// where one of Hosts was found before; else the connection is not made, and
	// the error holds an *AddressError. This is looked at whenever a connection is
	// made, after the name was resolved. None: nothing but the internet.
	Hosts []string
}

// Client sends requests to one server. It is safe for concurrent use.
type Client struct {
	name    string
	retries int
	pause   time.Duration // before the second try; doubled for each further one
	log     *slog.Logger
	guard   *guard
	follow  *http.Client // follows redirects
	plain   *http.Client // hands redirects to the caller
}

// New makes a Client with connections of its own. Proxies are taken from the
// environment; where one is used, what a name resolves to is for the proxy to
// judge. TLS is 1.2 or newer, and is never left by a redirect.
func New(o Options) *Client {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Metrics.prepare(o.Name)
	guard := newGuard(o.Hosts)
	transport := &counting{name: o.Name, metrics: o.Metrics, tracer: o.Tracer, guard: guard, next: newTransport(o.RootCAs, guard)}
	return &Client{
		name:    o.Name,
		retries: o.Retries,
		pause:   firstPause,
		log:     o.Logger.With("client", o.Name),
		guard:   guard,
		follow:  &http.Client{Transport: transport, Timeout: o.Timeout, CheckRedirect: checkRedirect},
		plain: &http.Client{
			Transport: transport, Timeout: o.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// NewJSONRequest is a request that asks for JSON, and sends body as such unless it
// is nil. Its error does not repeat the address.
func NewJSONRequest(ctx context.Context, method string, u *url.URL, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("address cannot be asked for")
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// Do sends a request that may be repeated without harm, whatever its method:
// Koji's reads and Greenwave's decision are POSTs. A transport error or a
// status that passes by itself is tried again up to Options.Retries times,
// unless the context is done, the body cannot be sent twice (no GetBody) or
// the server asks for more patience than a short wait. The answer of the last
// try is returned whatever its status; see StatusError. The caller closes its
// body. An error is a *CallError.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.send(c.follow, req)
	if err != nil {
		return nil, c.callError(req, err)
	}
	return resp, nil
}

// RoundTripper is the Client for a library that brings its own http.Client. It
// tries GET and HEAD again as Do does, sends anything else once, and leaves
// redirects to the library, except that it follows none off TLS.
func (c *Client) RoundTripper() http.RoundTripper { return roundTripper{c} }

type roundTripper struct{ client *Client }

func (t roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkHop(req); err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, t.client.callError(req, err)
	}
	send := t.client.plain.Do
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		send = func(req *http.Request) (*http.Response, error) { return t.client.send(t.client.plain, req) }
	}
	resp, err := send(req)
	if err != nil {
		return nil, t.client.callError(req, err)
	}
	return resp, nil
}

// send makes the tries. A retryablehttp.Client is but a few fields, and one
// for each request lets its policy know the request.
func (c *Client) send(via *http.Client, req *http.Request) (*http.Response, error) {
	p := &policy{pause: c.pause, log: c.log, req: req, start: time.Now()}
	tries := retryablehttp.Client{
		HTTPClient:   via,
		RetryMax:     c.retries,
		CheckRetry:   p.check,
		Backoff:      p.backoff,
		PrepareRetry: rewind,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	return tries.Do(&retryablehttp.Request{Request: req})
}

// rewind gives a request its body back. The policy has seen to it that it can.
func rewind(req *http.Request) error {
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return err
	}
	req.Body = body
	return nil
}
