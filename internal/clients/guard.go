package clients

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
)

// guard keeps a Client away from networks that it has no business in, whatever
// a redirect, a token realm, an upload location or a reference names. It looks
// at the very address that is about to be dialled, after the name was resolved,
// so a name that resolves otherwise the next time gains nothing.
//
// A host that the client is meant for is dialled wherever it lies. Any other is
// dialled at public addresses, and at special ones only in a kind of network
// where one of the client's own hosts was found before: where the registry is
// private, its storage may be.
//
// Through a proxy of the environment, only the proxy's address is dialled, which
// the operator has chosen. What lies behind it is the proxy's to guard, except
// for an address that is spelled out, however that is done.
type guard struct {
	hosts    []string // host or host:port, as dialled
	dialer   net.Dialer
	classify func(netip.Addr) network
	proxyFor func(*http.Request) (*url.URL, error)

	mu      sync.Mutex
	found   map[network]bool // where own hosts were found
	proxies map[string]bool  // host:port, as dialled
}

func newGuard(hosts []string) *guard {
	g := &guard{
		dialer:   net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive},
		classify: networkOf, proxyFor: http.ProxyFromEnvironment,
		found: make(map[network]bool), proxies: make(map[string]bool),
	}
	for _, h := range hosts {
		if h != "" {
			g.hosts = append(g.hosts, dialled(h))
		}
	}
	return g
}

// proxy is an http.Transport's Proxy.
func (g *guard) proxy(req *http.Request) (*url.URL, error) {
	proxy, err := g.proxyFor(req)
	if proxy == nil || err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.proxies[dialled(net.JoinHostPort(proxy.Hostname(), port(proxy)))] = true
	g.mu.Unlock()

	host := dialled(req.URL.Hostname())
	addr, spelledOut := addressOf(host)
	switch own := g.isOwn(net.JoinHostPort(host, port(req.URL))); {
	case own && addr.IsValid():
		g.note(addr)
		return proxy, nil
	case own, !spelledOut:
		return proxy, nil
	case !addr.IsValid():
		return proxy, &AddressError{Host: host, Address: host, Network: string(malformed)}
	}
	return proxy, g.check(host, addr)
}

// dial is an http.Transport's DialContext.
func (g *guard) dial(ctx context.Context, protocol, address string) (net.Conn, error) {
	switch {
	case g.isOwn(address):
		conn, err := g.dialer.DialContext(ctx, protocol, address)
		if err != nil {
			return nil, err
		}
		if at, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			g.note(at.AddrPort().Addr())
		}
		return conn, nil
	case g.isProxy(address):
		return g.dialer.DialContext(ctx, protocol, address)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	checked := g.dialer
	checked.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, _ := netip.ParseAddrPort(address) // what is none lies in no network that is dialled
		return g.check(host, at.Addr())
	}
	conn, err := checked.DialContext(ctx, protocol, address)
	if refused := (*AddressError)(nil); errors.As(err, &refused) {
		return nil, refused // which says all that is worth saying
	}
	return conn, err
}

// isOwn tells whether address, host:port, is one that the client is meant for.
func (g *guard) isOwn(address string) bool {
	address = dialled(address)
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	for _, own := range g.hosts {
		if own == address || strings.Trim(own, "[]") == host {
			return true
		}
	}
	return false
}

func (g *guard) isProxy(address string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.proxies[strings.ToLower(address)]
}

// note remembers where one of the client's own hosts was found.
func (g *guard) note(addr netip.Addr) {
	where := g.classify(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.found[where] = true
}

// check fails for an address of host that must not be dialled.
func (g *guard) check(host string, addr netip.Addr) error {
	where := g.classify(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	if where == public || g.found[where] {
		return nil
	}
	return &AddressError{Host: host, Address: addr.WithZone("").Unmap().String(), Network: string(where)}
}
