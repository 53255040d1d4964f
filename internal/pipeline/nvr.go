package pipeline

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// NVR names a Koji build: name, version and release. The name is the Koji
// package and may hold dashes; version and release never do.
type NVR struct{ Name, Version, Release string }

// maxNVR bounds what is accepted as an NVR. The longest in Fedora and in the
// captured hubs stay below 150 bytes.
const maxNVR = 512

// ParseNVR splits s at its last two dashes. It refuses what could not be a
// build's name in a URL path: empty parts, slashes, blanks, control characters.
func ParseNVR(s string) (NVR, error) {
	if len(s) > maxNVR {
		return NVR{}, fmt.Errorf("nvr of %d bytes is longer than %d", len(s), maxNVR)
	}
	rest, release, ok := cutLast(s)
	if !ok {
		return NVR{}, fmt.Errorf("%q is not name-version-release", s)
	}
	name, version, ok := cutLast(rest)
	if !ok {
		return NVR{}, fmt.Errorf("%q is not name-version-release", s)
	}
	n := NVR{Name: name, Version: version, Release: release}
	return n, n.Validate()
}

// Validate tells why n cannot name a build, or nil.
func (n NVR) Validate() error {
	for _, part := range []string{n.Name, n.Version, n.Release} {
		switch {
		case part == "":
			return fmt.Errorf("nvr %q has an empty part", n.String())
		case part == "." || part == "..":
			return fmt.Errorf("nvr %q has a part that is a path", n.String())
		case !utf8.ValidString(part) || strings.ContainsFunc(part, foreign):
			return fmt.Errorf("nvr %q holds a character that no build name has", n.String())
		}
	}
	if strings.Contains(n.Version, "-") || strings.Contains(n.Release, "-") {
		return fmt.Errorf("nvr %q has a dash in its version or release", n.String())
	}
	return nil
}

// IsZero tells whether n names nothing.
func (n NVR) IsZero() bool { return n == NVR{} }

// String joins the parts with dashes; the zero NVR is the empty string.
func (n NVR) String() string {
	if n.IsZero() {
		return ""
	}
	return n.Name + "-" + n.Version + "-" + n.Release
}

// foreign tells what cannot be in a URL's path, an event's attribute or a line
// of a log.
func foreign(r rune) bool {
	if r > ' ' && r < unicode.MaxASCII { // nearly every one
		return r == '/' || r == '\\'
	}
	return r == '/' || r == '\\' || unicode.IsSpace(r) || unicode.IsControl(r)
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}
