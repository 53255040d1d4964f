package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// yaml.v3 tells where a node starts and not where it ends. What follows finds a
// scalar's bytes well enough for every style; whoever edits them proves by the
// tree that comes out that they were the right ones.

var errNotWhereItShouldBe = errors.New("is not to be found in the file")

// lineBreak is the length of the line break at a place of data, 0 where there is
// none. Lines end as YAML 1.1 has them end, since yaml.v3 counts by it.
func lineBreak(data []byte, at int) int {
	switch rest := data[at:]; rest[0] {
	case '\n':
		return 1
	case '\r':
		if len(rest) > 1 && rest[1] == '\n' {
			return 2
		}
		return 1
	case 0xc2:
		if bytes.HasPrefix(rest, []byte("\u0085")) {
			return 2
		}
	case 0xe2:
		if bytes.HasPrefix(rest, []byte("\u2028")) || bytes.HasPrefix(rest, []byte("\u2029")) {
			return 3
		}
	}
	return 0
}

// lineEnd is the place of the first line break from at on, or the data's end.
func lineEnd(data []byte, at int) int {
	for at < len(data) && lineBreak(data, at) == 0 {
		at++
	}
	return at
}

// locator finds where nodes are written. It goes on from the node before, so that
// many of them are fast to find when asked for as they are written.
type locator struct {
	data             []byte
	at, line, column int
}

func newLocator(data []byte) *locator {
	l := &locator{data: data, line: 1, column: 1}
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		l.at = len("\ufeff")
	}
	return l
}

// offset is the place in data at which a node starts.
func offset(data []byte, n *yaml.Node) (int, error) { return newLocator(data).offset(n) }

// offset is the place at which a node starts. yaml.v3's columns count characters,
// and a byte order mark before the first is not one.
func (l *locator) offset(n *yaml.Node) (int, error) {
	if n.Line < l.line || n.Line == l.line && n.Column < l.column {
		*l = *newLocator(l.data)
	}
	for ; l.line < n.Line; l.line, l.column = l.line+1, 1 {
		if l.at = lineEnd(l.data, l.at); l.at == len(l.data) {
			return 0, fmt.Errorf("line %d: %w", n.Line, errNotWhereItShouldBe)
		}
		l.at += lineBreak(l.data, l.at)
	}
	for ; l.column < n.Column; l.column++ {
		_, size := utf8.DecodeRune(l.data[l.at:])
		if size == 0 {
			return 0, fmt.Errorf("line %d: %w", n.Line, errNotWhereItShouldBe)
		}
		l.at += size
	}
	return l.at, nil
}

// extent finds the bytes of a scalar, as the locator's does.
func extent(data []byte, n *yaml.Node, indent int) (start, end int, err error) {
	return newLocator(data).extent(n, indent)
}

// extent finds the bytes of a scalar, its quotes or block header included.
// indent is that of the block mapping it is a value of.
func (l *locator) extent(n *yaml.Node, indent int) (start, end int, err error) {
	data := l.data
	start, err = l.offset(n)
	if err != nil {
		return 0, 0, err
	}
	start = behindProperties(data, start, n)
	first := byte(0)
	if start < len(data) {
		first = data[start]
	}
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0 && first == '"':
		end = quoteEnd(data, start)
	case n.Style&yaml.SingleQuotedStyle != 0 && first == '\'':
		end = quoteEnd(data, start)
	case n.Style&yaml.LiteralStyle != 0 && first == '|', n.Style&yaml.FoldedStyle != 0 && first == '>':
		end = blockEnd(data, start, indent)
	case n.Style&^yaml.TaggedStyle == 0:
		end = plainEnd(data, start, n.Value)
	}
	if end == 0 {
		return 0, 0, fmt.Errorf("line %d: %w", n.Line, errNotWhereItShouldBe)
	}
	return start, end, nil
}

// behindProperties is where a node's content starts, behind its anchor and tag.
func behindProperties(data []byte, at int, n *yaml.Node) int {
	if n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 {
		return at
	}
	for at < len(data) && (data[at] == '&' || data[at] == '!') {
		rest := data[at:]
		word := bytes.IndexAny(rest, " \t\r\n")
		if word < 0 {
			return at
		}
		at += len(rest) - len(bytes.TrimLeft(rest[word:], " \t\r\n"))
	}
	return at
}

// quoteEnd is the place behind the closing quote of a scalar whose opening one
// is at start, 0 where there is none.
func quoteEnd(data []byte, start int) int {
	quote := data[start]
	for at := start + 1; at < len(data); at++ {
		switch {
		case quote == '"' && data[at] == '\\':
			at++
		case data[at] != quote:
		case quote == '\'' && at+1 < len(data) && data[at+1] == quote:
			at++
		default:
			return at + 1
		}
	}
	return 0
}

// plainEnd is the place behind a plain scalar that starts at start and reads as
// value, 0 where the text is another. In a plain scalar a line break reads as a
// space, and of several in a row each but the first as itself.
func plainEnd(data []byte, start int, value string) int {
	at := start
	for value != "" {
		if at == len(data) {
			return 0
		}
		breaks, next := breaksAt(data, at)
		next = max(next, at+1)
		reads := string(data[at:next])
		switch breaks {
		case 0:
		case 1:
			reads = " "
		default:
			reads = strings.Repeat("\n", breaks-1)
		}
		var ok bool
		if value, ok = strings.CutPrefix(value, reads); !ok {
			return 0
		}
		at = next
	}
	return at
}

// breaksAt counts the line breaks in the blanks and line breaks that start at a
// place, and returns where these end.
func breaksAt(data []byte, at int) (breaks, end int) {
	for at < len(data) {
		switch data[at] {
		case '\r', '\n':
			breaks++
			at += lineBreak(data, at)
		case ' ', '\t':
			at++
		default:
			return breaks, at
		}
	}
	return breaks, at
}

// blockEnd is where the last line of a block scalar ends that starts at start,
// its line break and blank lines behind it left out. indent is that of the
// mapping around it.
func blockEnd(data []byte, start, indent int) int {
	end := lineEnd(data, start)
	inner := 0 // how far the text is indented, 0 until known
	for _, c := range data[start+1 : min(start+3, end)] {
		if c >= '1' && c <= '9' {
			inner = indent + int(c-'0')
		}
	}
	least := indent + 1
	for at := end; at < len(data); {
		at += lineBreak(data, at)
		spaces := len(data[at:]) - len(bytes.TrimLeft(data[at:], " "))
		blank := at+spaces == len(data) || lineBreak(data, at+spaces) > 0
		if inner == 0 {
			if least = max(least, spaces); !blank {
				inner = least
			}
		}
		if !blank && spaces < inner {
			break
		}
		at = lineEnd(data, at+spaces)
		if !blank {
			end = at
		}
	}
	return end
}
