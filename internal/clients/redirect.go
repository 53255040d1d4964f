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
	case req.URL.Scheme != "https" && (req.URL.Scheme != "http" || last.URL.Scheme != "http"):
		return fmt.Errorf("%w: from %s to %s", errRedirect, redact(last.URL), redact(req.URL))
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

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && a.Hostname() == b.Hostname() && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}
