package koji

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tokens takes XML apart that has elements without attributes, and text: no
// comments, sections, instructions or declarations, and none but the five
// entities that need no declaration. What is not read so is an error.
type tokens struct {
	left   []byte
	closed []byte // the name of an element that ends where it began
}

var (
	errNoTag     = errors.New("no tag where one has to be")
	errText      = errors.New("text that XML does not allow")
	errReference = errors.New("a reference to what is not known")
)

// blanks passes over what XML calls white space.
func (t *tokens) blanks() { t.left = bytes.TrimLeft(t.left, " \t\r\n") }

// more tells whether something comes before the element ends.
func (t *tokens) more() bool {
	t.blanks()
	return t.closed == nil && !bytes.HasPrefix(t.left, []byte("</"))
}

// tag reads the start or the end of an element, after blanks.
func (t *tokens) tag() (name []byte, end bool, err error) {
	if name = t.closed; name != nil {
		t.closed = nil
		return name, true, nil
	}
	t.blanks()
	stop := bytes.IndexByte(t.left, '>')
	if stop < 0 || t.left[0] != '<' {
		return nil, false, errNoTag
	}
	name, t.left = t.left[1:stop], t.left[stop+1:]
	if len(name) > 0 && name[0] == '/' {
		return name[1:], true, nil
	}
	if empty, ok := bytes.CutSuffix(name, []byte("/")); ok {
		name = bytes.TrimRight(empty, " \t\r\n")
		t.closed = name
	}
	return name, false, nil
}

// text reads up to the next tag.
func (t *tokens) text() (string, error) {
	if t.closed != nil {
		return "", nil
	}
	stop := bytes.IndexByte(t.left, '<')
	if stop < 0 {
		return "", errNoTag
	}
	raw := string(t.left[:stop])
	t.left = t.left[stop:]
	if !allowed(raw) || strings.Contains(raw, "]]>") {
		return "", errText
	}
	return unescape(endLines(raw))
}

// endLines makes one newline of each end of a line.
func endLines(s string) string {
	if !strings.Contains(s, "\r") {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// unescape puts in what references stand for.
func unescape(s string) (string, error) {
	before, s, found := strings.Cut(s, "&")
	if !found {
		return before, nil
	}
	var b strings.Builder
	for b.WriteString(before); found; b.WriteString(before) {
		var name string
		if name, s, found = strings.Cut(s, ";"); !found {
			return "", errReference
		}
		char, err := referred(name)
		if err != nil {
			return "", err
		}
		b.WriteString(char)
		before, s, found = strings.Cut(s, "&")
	}
	return b.String(), nil
}

// referred is what &name; stands for.
func referred(name string) (string, error) {
	switch name {
	case "lt":
		return "<", nil
	case "gt":
		return ">", nil
	case "amp":
		return "&", nil
	case "quot":
		return `"`, nil
	case "apos":
		return "'", nil
	}
	digits, base := strings.TrimPrefix(name, "#"), 10
	if digits == name {
		return "", errReference
	}
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 31)
	if char := string(rune(n)); err == nil && utf8.ValidRune(rune(n)) && allowed(char) {
		return char, nil
	}
	return "", errReference
}

// allowed tells whether s is made of the characters that XML allows.
func allowed(s string) bool {
	for i, c := range s {
		switch {
		case c >= ' ' && c < utf8.RuneError, c > 0xFFFF, c == '\t', c == '\n', c == '\r':
		case c == utf8.RuneError && strings.HasPrefix(s[i:], "\uFFFD"):
		default:
			return false
		}
	}
	return true
}
