package clients

import (
	"net"
	"net/netip"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// dialled is host, or host:port, as net/http spells it when it dials: with an
// internationalised name in the letters of DNS. It is in lower case.
func dialled(host string) string {
	if strings.IndexFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) < 0 {
		return strings.ToLower(host)
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, ""
	}
	ascii, err := idna.Lookup.ToASCII(name)
	switch {
	case err != nil:
		return strings.ToLower(host) // net/http leaves it as it is, too
	case port == "":
		return ascii
	}
	return net.JoinHostPort(ascii, port)
}

// addressOf is the address that a host spells out, if it is no name. The address
// is not valid where only some programs would read one, and not all the same.
func addressOf(host string) (addr netip.Addr, spelledOut bool) {
	host = strings.TrimRight(host, ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761 section 6.3
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr, true
	}
	return netip.Addr{}, endsInNumber(host)
}

// endsInNumber tells hosts that inet_aton may take for an address, as 127.1,
// 0177.0.0.1 and 0x7f000001 for 127.0.0.1. No name ends so:
// https://url.spec.whatwg.org/#ends-in-a-number-checker.
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	digits := "0123456789"
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		last, digits = "0"+hex, digits+"abcdef"
	}
	return last != "" && strings.Trim(last, digits) == ""
}
