package pipeline

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// longerHosts are the places where a rule replaced what is only a part of a
// host's name. OMPS did so, hence it is done, but told of.
type longerHosts struct {
	count int
	shown []string // the first few
}

// look notes such places among the spans that a rule is about to replace.
func (l *longerHosts) look(path string, data []byte, spans []span) {
	const most = 5
	for _, s := range spans {
		host := longerHost(data, s.start, s.end)
		if host == "" {
			continue
		}
		if l.count++; l.count <= most {
			l.shown = append(l.shown, fmt.Sprintf("%s (%s:%d)", host, path, lines(data, []span{s})[0][0]))
		}
	}
}

func (l longerHosts) String() string {
	places := strings.Join(l.shown, ", ")
	if more := l.count - len(l.shown); more > 0 {
		places += fmt.Sprintf(", and %d more", more)
	}
	return places
}

// hosts are registries as rules name them: a dot or a port tells them from
// other words, as it does for container tools.
var hosts = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?(/\S*)?$`)

// maxHost bounds a host's name, as DNS does.
const maxHost = 253

// longerHost returns the host that the match data[start:end] is only a part of,
// "" where the match is no host or a whole one.
func longerHost(data []byte, start, end int) string {
	if end-start > 2*maxHost {
		return ""
	}
	match := string(data[start:end])
	parts := hosts.FindStringSubmatch(match)
	if parts == nil {
		return ""
	}
	port, path := parts[1], parts[2]
	if name, _, _ := strings.Cut(match, "/"); !strings.ContainsAny(name, ".:") {
		return ""
	}
	before, after := hostBefore(data[:start]), ""
	switch rest := data[end:min(len(data), end+maxHost)]; {
	case path != "":
	case port != "":
		after = string(rest[:len(rest)-len(bytes.TrimLeft(rest, "0123456789"))])
	default:
		after = hostAfter(rest)
	}
	if before == "" && after == "" {
		return ""
	}
	return before + match + after
}

func inHost(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-'
}

// hostAfter is how a host's name goes on at the start of a text. The full stop
// or dash that ends a sentence or a word is no part of it.
func hostAfter(text []byte) string {
	n := 0
	for n < len(text) && inHost(text[n]) {
		n++
	}
	name, _, _ := strings.Cut(string(text[:n]), "..")
	return strings.TrimRight(name, ".-")
}

// hostBefore is how a host's name begins at the end of a text. The letters of
// an escape, such as \n in a quoted string or %2F in a URL, are no part of it.
func hostBefore(text []byte) string {
	at := len(text)
	for at > 0 && len(text)-at < maxHost && inHost(text[at-1]) {
		at--
	}
	name, escape := string(text[at:]), 0
	if at > 0 && name != "" {
		switch {
		case text[at-1] == '%':
			escape = 2
		case text[at-1] == '\\' && name[0] == 'u':
			escape = len("u0000")
		case text[at-1] == '\\' && name[0] == 'x':
			escape = len("x00")
		case text[at-1] == '\\':
			escape = 1
		}
	}
	name = name[min(escape, len(name)):]
	if i := strings.LastIndex(name, ".."); i >= 0 {
		name = name[i+len(".."):]
	}
	return strings.TrimLeft(name, ".-")
}
