package clients

import (
	"fmt"
	"net/netip"
)

// network is the kind of network that an address lies in.
type network string

// The networks. All but the first are special: not the internet.
const (
	public      network = "public"
	loopback    network = "loopback"
	linkLocal   network = "link-local"
	private     network = "private"
	shared      network = "behind a carrier's NAT"
	unspecified network = "unspecified"
	multicast   network = "multicast"
	reserved    network = "reserved"
	malformed   network = "malformed" // in none: it spells an address as few programs read it
)

// special are the address blocks that IANA's special-purpose registries (RFC
// 6890) keep apart from the internet, and those that a cloud gives a meaning of
// its own. The first that fits decides.
var special = []struct {
	block netip.Prefix
	network
}{
	{netip.MustParsePrefix("0.0.0.0/32"), unspecified}, // Linux dials this machine
	{netip.MustParsePrefix("0.0.0.0/8"), reserved},
	{netip.MustParsePrefix("10.0.0.0/8"), private},
	{netip.MustParsePrefix("100.64.0.0/10"), shared}, // RFC 6598; clouds number pods from it
	{netip.MustParsePrefix("127.0.0.0/8"), loopback},
	{netip.MustParsePrefix("168.63.129.16/32"), reserved}, // Azure's platform, though the block is public
	{netip.MustParsePrefix("169.254.0.0/16"), linkLocal},  // the metadata of most clouds
	{netip.MustParsePrefix("172.16.0.0/12"), private},
	{netip.MustParsePrefix("192.0.0.0/24"), reserved},
	{netip.MustParsePrefix("192.0.2.0/24"), reserved}, // documentation
	{netip.MustParsePrefix("192.88.99.0/24"), reserved},
	{netip.MustParsePrefix("192.168.0.0/16"), private},
	{netip.MustParsePrefix("198.18.0.0/15"), reserved},   // benchmarks
	{netip.MustParsePrefix("198.51.100.0/24"), reserved}, // documentation
	{netip.MustParsePrefix("203.0.113.0/24"), reserved},  // documentation
	{netip.MustParsePrefix("224.0.0.0/4"), multicast},
	{netip.MustParsePrefix("240.0.0.0/4"), reserved}, // broadcast too

	{netip.MustParsePrefix("::/128"), unspecified},
	{netip.MustParsePrefix("::1/128"), loopback},
	{netip.MustParsePrefix("64:ff9b:1::/48"), private}, // RFC 8215: a NAT64 of one's own
	{netip.MustParsePrefix("2001::/23"), reserved},     // Teredo and other protocols
	{netip.MustParsePrefix("2001:db8::/32"), reserved}, // documentation
	{netip.MustParsePrefix("3fff::/20"), reserved},     // documentation
	{netip.MustParsePrefix("fc00::/7"), private},
	{netip.MustParsePrefix("fe80::/10"), linkLocal},
	{netip.MustParsePrefix("fec0::/10"), private}, // what came before fc00::/7
	{netip.MustParsePrefix("ff00::/8"), multicast},
}

// Blocks of IPv6 that are looked at on their own: what the internet is numbered
// from (RFC 4291), and what holds an address of IPv4.
var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052, in the last four bytes
	sixToFour     = netip.MustParsePrefix("2002::/16")    // RFC 3056, after the first two
)

// networkOf tells in which kind of network an address lies. One of IPv6 that
// stands for one of IPv4 lies where that does.
func networkOf(addr netip.Addr) network {
	addr = addr.WithZone("").Unmap()
	if !addr.IsValid() {
		return reserved
	}
	switch bytes := addr.As16(); {
	case nat64.Contains(addr):
		return networkOf(netip.AddrFrom4([4]byte(bytes[12:])))
	case sixToFour.Contains(addr):
		return networkOf(netip.AddrFrom4([4]byte(bytes[2:6])))
	}
	for _, s := range special {
		if s.block.Contains(addr) {
			return s.network
		}
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return reserved
	}
	return public
}

// AddressError is a connection that was not made, because of where it would
// have led.
type AddressError struct {
	Host    string // that was asked for
	Address string // what it resolves to, or spells out
	Network string // what kind of network that lies in
}

func (e *AddressError) Error() string {
	if e.Host == e.Address {
		return fmt.Sprintf("address %s is %s: not dialled", OneLine(e.Address, maxText), e.Network)
	}
	return fmt.Sprintf("address %s of %s is %s: not dialled", e.Address, OneLine(e.Host, maxText), e.Network)
}
