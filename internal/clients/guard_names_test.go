package clients

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// TestGuardNames: what is asked for without a redirect is judged alike.
func TestGuardNames(t *testing.T) {
	t.Parallel()
	s, requests := listen(t, internet+":0", hello)
	for address, where := range map[string]string{
		s.URL: "127.0.0.1", strings.Replace(s.URL, internet, "localhost", 1): "127.0.0.1",
		strings.Replace(s.URL, internet, "[::ffff:127.0.0.1]", 1): "127.0.0.1",
	} {
		err := ask(t, New(Options{Retries: 2}).Do, address)
		var refused *AddressError
		if !errors.As(err, &refused) || refused.Network != string(loopback) || refused.Address != where && refused.Address != "::1" {
			t.Errorf("%s: %v", address, err)
		}
	}
	if requests.Load() != 0 {
		t.Errorf("%d requests", requests.Load())
	}
}

func TestGuardKnowsItsHosts(t *testing.T) {
	t.Parallel()
	g := newGuard([]string{"quay.example", "bücher.example", "Registry.Example:5000", "[::1]:5000", "fd00::1", "[fd00::2]", ""})
	for address, want := range map[string]bool{
		"quay.example:443": true, "QUAY.example:8443": true, "registry.example:5000": true, "registry.example:443": false,
		"x.quay.example:443": false, "quay.example.:443": false, "[::1]:5000": true, "[::1]:443": false,
		"bücher.example:443": true, "BÜCHER.example:443": true, "xn--bcher-kva.example:443": true, "bucher.example:443": false,
		"[fd00::1]:443": true, "[fd00::2]:443": true, "[fd00::3]:443": false, "quay.example": false, ":443": false,
	} {
		if got := g.isOwn(address); got != want {
			t.Errorf("%s is own: %v", address, got)
		}
	}
}

// resolver answers every question for addresses of IPv4 with the next of answers,
// each a list of addresses.
func resolver(t *testing.T, answers ...[]string) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		question := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(question)
			if err != nil {
				return
			}
			answer, asked := answerOf(question[:n], answers[0])
			if asked && len(answers) > 1 {
				answers = answers[1:]
			}
			_, _ = server.WriteTo(answer, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// answerOf makes a DNS answer (RFC 1035 section 4.1) and tells whether the
// question was for addresses of IPv4; there are no others.
func answerOf(question []byte, addresses []string) (answer []byte, asked bool) {
	const header, typeA = 12, 1
	end := header
	for question[end] != 0 {
		end += 1 + int(question[end])
	}
	end += 1 + 4 // the root, the type and the class
	asked = binary.BigEndian.Uint16(question[end-4:]) == typeA
	if !asked {
		addresses = nil
	}
	answer = append(answer, question[0], question[1], 0x81, 0x80, 0, 1, 0, byte(len(addresses)), 0, 0, 0, 0)
	answer = append(answer, question[header:end]...)
	for _, a := range addresses {
		ip := netip.MustParseAddr(a).As4()
		answer = append(answer, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4)
		answer = append(answer, ip[:]...)
	}
	return answer, asked
}

// twins are two servers with one port, at different addresses.
func twins(t *testing.T) (outer *httptest.Server, secret *atomic.Int64, port string) {
	t.Helper()
	outer, _ = listen(t, internet+":0", hello)
	_, port, _ = net.SplitHostPort(outer.Listener.Addr().String())
	_, secret = listen(t, inside+":"+port, hello)
	return outer, secret, port
}

// TestGuardRebinding: a name that was public a moment ago is looked at anew with
// each connection.
func TestGuardRebinding(t *testing.T) {
	t.Parallel()
	outer, secret, port := twins(t)
	c := guarded(Options{})
	c.guard.dialer.Resolver = resolver(t, []string{internet}, []string{inside})
	if err := ask(t, c.Do, "http://rebind.example:"+port); err != nil {
		t.Fatal(err)
	}
	outer.CloseClientConnections()
	wantRefused(t, ask(t, c.Do, "http://rebind.example:"+port), "rebind.example", inside, "private")
	if secret.Load() != 0 {
		t.Error("the private server was asked")
	}
}

// TestGuardSomeAddresses: of several addresses, those that may be are dialled.
func TestGuardSomeAddresses(t *testing.T) {
	t.Parallel()
	_, secret, port := twins(t)
	c := guarded(Options{})
	c.guard.dialer.Resolver = resolver(t, []string{inside, internet, cloud})
	if err := ask(t, c.Do, "http://mixed.example:"+port); err != nil {
		t.Error(err)
	}
	if secret.Load() != 0 {
		t.Error("the private server was asked")
	}
}

// TestGuardSpellings: what a proxy may read as an address is judged as one.
func TestGuardSpellings(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]AddressError{
		"127.0.0.1": {"127.0.0.1", "127.0.0.1", "loopback"}, "127.0.0.1.": {"127.0.0.1.", "127.0.0.1", "loopback"},
		"[::1]": {"::1", "::1", "loopback"}, "[fe80::1%25eth0]": {"fe80::1%eth0", "fe80::1", "link-local"},
		"169.254.169.254.":   {"169.254.169.254.", "169.254.169.254", "link-local"},
		"169.254.169.254:80": {"169.254.169.254", "169.254.169.254", "link-local"},
		"LocalHost":          {"localhost", "127.0.0.1", "loopback"}, "localhost.": {"localhost.", "127.0.0.1", "loopback"},
		"registry.localhost": {"registry.localhost", "127.0.0.1", "loopback"},
		"１２７。０.0.1":          {"127.0.0.1", "127.0.0.1", "loopback"},
		"127.1":              {"127.1", "127.1", "malformed"}, "2130706433": {"2130706433", "2130706433", "malformed"},
		"2130706433.": {"2130706433.", "2130706433.", "malformed"}, "0177.0.0.1": {"0177.0.0.1", "0177.0.0.1", "malformed"},
		"0X7F000001": {"0x7f000001", "0x7f000001", "malformed"}, "0x7f.1": {"0x7f.1", "0x7f.1", "malformed"},
		"127.0x1": {"127.0x1", "127.0x1", "malformed"}, "0x": {"0x", "0x", "malformed"}, "8.8.8.8.8": {"8.8.8.8.8", "8.8.8.8.8", "malformed"},
		"8.8.8.8": {}, "quay.example": {}, "quay.example.": {}, "10.example": {}, "0xa.example0": {}, "x.0xg": {}, "nolocalhost": {}, "localhost.example": {},
		"b%C3%BCcher.example": {},
	} {
		u, err := url.Parse("http://" + host + "/")
		if err != nil {
			t.Fatal(err)
		}
		proxied := func(hosts ...string) error {
			g := newGuard(hosts)
			g.proxyFor = func(*http.Request) (*url.URL, error) { return url.Parse("http://proxy.example:3128") }
			_, err := g.proxy(&http.Request{URL: u})
			return err
		}
		var refused *AddressError
		switch err := proxied("192.168.0.1"); {
		case want == (AddressError{}) && err != nil, want != (AddressError{}) && (!errors.As(err, &refused) || *refused != want):
			t.Errorf("%s: %v, want %+v", host, err, want)
		}
		if err := proxied(u.Hostname()); err != nil {
			t.Errorf("%s is the client's own: %v", host, err)
		}
	}
}

// TestGuardInternationalNames: a host and a proxy are known by the names that
// people give them.
func TestGuardInternationalNames(t *testing.T) {
	t.Parallel()
	s, requests := listen(t, inside+":0", hello)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for _, host := range []string{"bücher.internal", "BÜCHER.internal:" + port, "xn--bcher-kva.internal"} {
		c := guarded(Options{Hosts: []string{host}})
		c.guard.dialer.Resolver = resolver(t, []string{inside})
		if err := ask(t, c.Do, "http://bücher.internal:"+port); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	c := guarded(Options{})
	c.guard.dialer.Resolver = resolver(t, []string{inside})
	c.guard.proxyFor = func(*http.Request) (*url.URL, error) { return url.Parse("http://tür.internal:" + port) }
	if err := ask(t, c.Do, "http://behind.example/"); err != nil {
		t.Errorf("a proxy: %v", err)
	}
	if requests.Load() != 4 {
		t.Errorf("%d requests", requests.Load())
	}
}
