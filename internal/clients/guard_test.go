package clients

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// Addresses of this machine that stand for networks that tests cannot reach.
const (
	internet = "127.0.0.1"
	inside   = "127.0.0.2"
	cloud    = "127.0.0.3" // link-local
)

func pretend(addr netip.Addr) network {
	switch addr.Unmap().String() {
	case internet:
		return public
	case inside:
		return private
	case cloud:
		return linkLocal
	}
	return networkOf(addr)
}

func guarded(o Options) *Client {
	c := New(o)
	c.guard.classify = pretend
	return c
}

// listen starts a server at an address of this machine; port 0 is any.
func listen(t *testing.T, address string, h http.HandlerFunc) (s *httptest.Server, requests *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("not every address of 127.0.0.0/8 can be listened at here: %v", err)
	}
	requests = new(atomic.Int64)
	s = &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		h(w, r)
	})}}
	s.Start()
	t.Cleanup(s.Close)
	return s, requests
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func to(address string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, address+"?signature=s3cret", http.StatusTemporaryRedirect)
	}
}

// both asks by Do, and by a library's client over the RoundTripper.
func both(c *Client) map[string]func(*http.Request) (*http.Response, error) {
	return map[string]func(*http.Request) (*http.Response, error){
		"following": c.Do, "plain": (&http.Client{Transport: c.RoundTripper()}).Do,
	}
}

func ask(t *testing.T, do func(*http.Request) (*http.Response, error), address string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := ReadBody(resp.Body, 100); string(body) != "hello" {
		t.Errorf("%s: %q, %v", address, body, err)
	}
	return nil
}

func wantRefused(t *testing.T, err error, host, address, where string) {
	t.Helper()
	var refused *AddressError
	if !errors.As(err, &refused) || *refused != (AddressError{Host: host, Address: address, Network: where}) {
		t.Errorf("error %v (%+v), want one about %s %s, %s", err, refused, host, address, where)
		return
	}
	var call *CallError
	if !errors.As(err, &call) || strings.Contains(call.Error(), "s3cret") || !strings.HasSuffix(call.Error(), refused.Error()) {
		t.Errorf("error %v", call)
	}
}

// TestGuardRedirects: where a redirect leads decides, and where the client's own
// hosts are.
func TestGuardRedirects(t *testing.T) {
	t.Parallel()
	target, reached := listen(t, inside+":0", hello)
	metadata, leaked := listen(t, cloud+":0", hello)
	outer, _ := listen(t, internet+":0", to(target.URL))
	inner, _ := listen(t, inside+":0", to(target.URL))
	innerToCloud, _ := listen(t, inside+":0", to(metadata.URL))
	innerToOuter, _ := listen(t, inside+":0", to(outer.URL))
	host := func(s *httptest.Server) string { return s.Listener.Addr().String() }

	for name, c := range map[string]struct {
		hosts []string
		from  *httptest.Server
		where string // "": it is followed
	}{
		"public to private":              {[]string{host(outer)}, outer, "private"},
		"to private, without hosts":      {nil, outer, "private"},
		"own private host not found yet": {[]string{host(outer), host(inner)}, outer, "private"},
		"to a listed host":               {[]string{host(outer), host(target)}, outer, ""},
		"to a listed host with any port": {[]string{host(outer), inside}, outer, ""},
		"private to private":             {[]string{host(inner)}, inner, ""},
		"private to public to private":   {[]string{host(innerToOuter)}, innerToOuter, ""},
		"private to link-local":          {[]string{host(innerToCloud)}, innerToCloud, "link-local"},
	} {
		for _, kind := range []string{"following", "plain"} {
			do := both(guarded(Options{Hosts: c.hosts, Retries: 2}))[kind]
			before := reached.Load()
			err := ask(t, do, c.from.URL)
			switch {
			case c.where == "" && (err != nil || reached.Load() != before+1):
				t.Errorf("%s, %s: %v", name, kind, err)
			case c.where == "private":
				wantRefused(t, err, inside, inside, c.where)
			case c.where == "link-local":
				wantRefused(t, err, cloud, cloud, c.where)
			}
			if c.where != "" && reached.Load() != before {
				t.Errorf("%s, %s: the target was asked", name, kind)
			}
		}
	}
	if leaked.Load() > 0 {
		t.Error("the metadata was asked")
	}
}

// TestGuardProxy: the operator's proxy may lie anywhere, and nothing else does
// because of it.
func TestGuardProxy(t *testing.T) {
	t.Parallel()
	proxy, proxied := listen(t, inside+":0", hello)
	other, reached := listen(t, inside+":0", hello)
	_, port, _ := net.SplitHostPort(other.Listener.Addr().String())
	through := func(hosts ...string) *Client {
		c := guarded(Options{Hosts: hosts})
		c.guard.proxyFor = func(req *http.Request) (*url.URL, error) {
			if req.URL.Host == "direct.example:"+port {
				return nil, nil //nolint:nilnil // as http.ProxyFromEnvironment says "none"
			}
			return url.Parse(proxy.URL)
		}
		c.guard.dialer.Resolver = resolver(t, []string{inside})
		return c
	}
	c := through()
	if err := ask(t, c.Do, "http://behind.example/"); err != nil || proxied.Load() != 1 {
		t.Errorf("a name: %v, %d requests", err, proxied.Load())
	}
	wantRefused(t, ask(t, c.Do, other.URL), inside, inside, "private")
	wantRefused(t, ask(t, c.Do, "http://direct.example:"+port), "direct.example", inside, "private")
	if reached.Load() != 0 || proxied.Load() != 1 {
		t.Errorf("%d and %d requests", reached.Load(), proxied.Load())
	}

	c = through("10.0.0.5:5000")
	wantRefused(t, ask(t, c.Do, "http://10.0.0.6/"), "10.0.0.6", "10.0.0.6", "private")
	for _, address := range []string{"http://10.0.0.5:5000/", "http://10.0.0.6/", "http://8.8.8.8/"} {
		if err := ask(t, c.Do, address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	wantRefused(t, ask(t, c.Do, "http://169.254.169.254/"), "169.254.169.254", "169.254.169.254", "link-local")
}

// TestGuardKeepsConnections: a checked connection is used again.
func TestGuardKeepsConnections(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := guarded(Options{})
	for range 10 {
		if err := ask(t, c.Do, s.URL); err != nil {
			t.Fatal(err)
		}
	}
	if opened.Load() != 1 {
		t.Errorf("%d connections", opened.Load())
	}
}

// TestRedirectOffTLS: nor does a library get there.
func TestRedirectOffTLS(t *testing.T) {
	t.Parallel()
	plain, requests := listen(t, internet+":0", hello)
	s := httptest.NewTLSServer(to(plain.URL))
	t.Cleanup(s.Close)
	back, _ := listen(t, internet+":0", to(s.URL))
	c := newClient(Options{RootCAs: poolOf(t, s.Certificate()), Retries: 2})
	for kind, do := range both(c) {
		for _, from := range []string{s.URL, back.URL} {
			if err := ask(t, do, from); !errors.Is(err, errRedirect) {
				t.Errorf("%s from %s: %v", kind, from, err)
			}
		}
	}
	if requests.Load() != 0 {
		t.Errorf("%d requests", requests.Load())
	}
}
