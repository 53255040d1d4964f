package clients

import (
	"net/netip"
	"testing"
)

// TestNetworkOf has the ends of every block, and what lies next to it.
func TestNetworkOf(t *testing.T) {
	t.Parallel()
	for where, addresses := range map[network][]string{
		public: {
			"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
			"168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
			"191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0",
			"198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
			"2000::", "2001:200::", "2001:db7:ffff::", "2001:db9::", "2600:1f18::1", "3ffe:ffff::", "3fff:1000::", "3fff:ffff::",
			"::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
		},
		loopback: {
			"127.0.0.0", "127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::",
		},
		linkLocal: {
			"169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::", "fe80::1%eth0", "febf:ffff::1",
			"::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::",
		},
		private: {
			"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255",
			"fc00::", "fd00:ec2::254", "fdff:ffff::", "fec0::", "feff:ffff::", "64:ff9b:1::a00:1",
			"::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::ac10:1", "2002:c0a8:1::",
		},
		shared:      {"100.64.0.0", "100.100.100.200", "100.127.255.255", "::ffff:100.64.0.1", "64:ff9b::100.64.0.1"},
		unspecified: {"0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::"},
		multicast:   {"224.0.0.0", "239.255.255.255", "ff00::", "ff02::1", "ffff:ffff::", "::ffff:224.0.0.1"},
		reserved: {
			"0.0.0.1", "0.255.255.255", "168.63.129.16", "192.0.0.0", "192.0.0.192", "192.0.0.255", "192.0.2.0", "192.0.2.255",
			"192.88.99.0", "192.88.99.255", "198.18.0.0", "198.19.255.255", "198.51.100.0", "198.51.100.255",
			"203.0.113.0", "203.0.113.255", "240.0.0.0", "255.255.255.255",
			"::2", "::10.0.0.1", "64:ff9b:2::", "100::", "1fff:ffff::", "2001::", "2001:1ff:ffff::", "2001:db8::", "2001:db8:ffff::",
			"3fff::", "3fff:fff::", "4000::", "5f00::", "fbff:ffff::", "fe00::", "fe7f:ffff::",
		},
	} {
		for _, address := range addresses {
			if got := networkOf(netip.MustParseAddr(address)); got != where {
				t.Errorf("%s is %s, want %s", address, got, where)
			}
		}
	}
	if got := networkOf(netip.Addr{}); got == public {
		t.Error("no address is public")
	}
}

func TestAddressErrorText(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*AddressError{
		"address 10.0.0.5 of internal.example is private: not dialled": {"internal.example", "10.0.0.5", "private"},
		"address 10.0.0.5 is private: not dialled":                     {"10.0.0.5", "10.0.0.5", "private"},
		"address ::1 of a b is loopback: not dialled":                  {"a\nb\x00", "::1", "loopback"},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
