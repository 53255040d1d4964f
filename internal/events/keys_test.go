package events

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// keyRule is that of the client for the key of a value.
var keyRule = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]+$`)

// unescaped takes back what escapeKey does.
func unescaped(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		var c byte
		if _, err := fmt.Sscanf(s[i:], "=%02X", &c); err != nil {
			t.Fatalf("%q: %v", s[i:], err)
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String()
}

// checkKey: the key is one that the bucket takes, and tells both names, so no
// two pairs share one.
func checkKey(t *testing.T, org, nvr string) {
	t.Helper()
	key := entryKey(org, nvr)
	if !keyRule.MatchString(key) || key[0] == '.' || key[len(key)-1] == '.' || strings.Contains(key, "..") {
		t.Fatalf("%q is no key for %q and %q", key, org, nvr)
	}
	first, rest, _ := strings.Cut(key, ".")
	if gotOrg, gotNVR := unescaped(t, first), unescaped(t, rest); gotOrg != org || gotNVR != nvr {
		t.Fatalf("%q is for %q and %q, and says %q and %q", key, org, nvr, gotOrg, gotNVR)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ org, nvr, key string }{
		{"myorg", "etcd-container-1.0-1", "myorg.etcd-container-1.0-1"},
		{"my.org", "a-1-1", "my=2Eorg.a-1-1"},
		{"a", "b.c-1-1", "a.b.c-1-1"},
		{"a.b", "c-1-1", "a=2Eb.c-1-1"},
		{"a", "n-1~rc1+git^2-3.el8", "a.n-1=7Erc1=2Bgit=5E2-3.el8"},
		{"a", ".n-1..0-1.", "a.=2En-1.=2E0-1=2E"},
		{"a", "n-1...0-1", "a.n-1.=2E=2E0-1"},
		{"a", "n=2E-1-1", "a.n=3D2E-1-1"},
		{"a*", "n-1 >-1", "a=2A.n-1=20=3E-1"},
		{"ä", "n-1-1", "=C3=A4.n-1-1"},
	} {
		if got := entryKey(tt.org, tt.nvr); got != tt.key {
			t.Errorf("%q and %q: %s, want %s", tt.org, tt.nvr, got, tt.key)
		}
		checkKey(t, tt.org, tt.nvr)
	}
	for _, tt := range []struct{ org, nvr, filter string }{
		{"", "", ">"}, {"my.org", "", "my=2Eorg.>"}, {"", "a-1.0-1", "*.a-1.0-1"}, {"o", "a-1-1", "o.a-1-1"},
	} {
		if got := entryKeys(tt.org, tt.nvr); got != tt.filter {
			t.Errorf("filter for %q and %q: %s, want %s", tt.org, tt.nvr, got, tt.filter)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("my.org", "etcd-container-1.0-1")
	f.Add("a..b.", ".n-1~^..0+-1.")
	f.Add("=2E", "=3D\x00\xff*>")
	f.Fuzz(func(t *testing.T, org, nvr string) {
		if org == "" || nvr == "" {
			t.Skip("never a name")
		}
		checkKey(t, org, nvr)
	})
}
