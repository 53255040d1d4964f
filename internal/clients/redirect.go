package clients

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// maxHops is how many redirects a request follows.
const maxHops = 5

// errRedirect is in the chain of every error about a redirect that was not followed.
var errRedirect = errors.New("redirect not followed")

// checkRedirect is an http.Client's CheckRedirect. It follows a few hops, keeps
// the method, never leaves TLS, and takes credentials along only as long as the
// request has never left its origin: net/http itself would send them to another
// port of the same host, and to its subdomains.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first, last := via[0], via[len(via)-1]
	switch {
	case len(via) > maxHops:
		return fmt.Errorf("%w: more than %d hops", errRedirect, maxHops)
	case leavesTLS(last.URL, req.URL):
		return offTLS(last.URL, req.URL)
	case req.Method != first.Method:
		return fmt.Errorf("%w: %s to %s would become %s", errRedirect, first.Method, redact(req.URL), req.Method)
	}
	req.Header.Del("Referer") // holds the query of the address before
	elsewhere := func(hop *http.Request) bool { return !sameOrigin(hop.URL, first.URL) }
	if elsewhere(req) || slices.ContainsFunc(via, elsewhere) {
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
		req.Header.Del("Proxy-Authorization")
	}
	return nil
}

// checkHop fails for a request that somebody else's http.Client makes to follow
// a redirect off TLS.
func checkHop(req *http.Request) error {
	if req.Response == nil || req.Response.Request == nil || !leavesTLS(req.Response.Request.URL, req.URL) {
		return nil
	}
	return offTLS(req.Response.Request.URL, req.URL)
}

// leavesTLS tells whether a hop ends elsewhere than at TLS, though it did not
// start with plain HTTP.
func leavesTLS(from, to *url.URL) bool {
	return to.Scheme != "https" && (to.Scheme != "http" || from.Scheme != "http")
}

func offTLS(from, to *url.URL) error {
	return fmt.Errorf("%w: from %s to %s", errRedirect, redact(from), redact(to))
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && a.Hostname() == b.Hostname() && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
}
