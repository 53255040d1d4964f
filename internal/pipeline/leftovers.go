package pipeline

import (
	"bytes"
	"iter"
	"strings"
	"unicode"
)

// Bounds on what is told of the lines that a rule for images left as they were.
const (
	maxLeftovers    = 50
	maxLeftoverText = 160
)

// findLeftovers adds to what was told of rules for images the lines of all files
// that still hold the old name, be it in a description, a variable or a schema.
func (d *draft) findLeftovers(rules []Rule, told []Replacement) {
	for i, r := range rules {
		if !r.images {
			continue
		}
		count := 0
		for _, f := range d.files {
			list, n := r.leftIn(f, maxLeftovers-len(told[i].Leftovers))
			told[i].Leftovers = append(told[i].Leftovers, list...)
			count += n
		}
		if more := count - len(told[i].Leftovers); more > 0 {
			d.warnf("replace_registry: %q is left in %d lines more than are listed", r.Old, more)
		}
	}
}

// leftIn counts the lines of a file that hold what the rule replaces, as a whole
// name and not as part of the new one, and lists the first of them.
func (r Rule) leftIn(f File, most int) (list []Leftover, count int) {
	line, from, end := 1, 0, 0 // end: of the line of the one before
	for at := range occurrences(f.Data, r.Old) {
		if at < end || !r.isLeft(f.Data, at) {
			continue
		}
		end = lineEnd(f.Data, at)
		passed := f.Data[from:at]
		line += lines(passed, []span{{start: len(passed), end: len(passed)}})[0][0] - 1
		from = at
		if count < most {
			list = append(list, Leftover{File: f.Path, Line: line, Text: around(f.Data, at, len(r.Old))})
		}
		count++
	}
	return list, count
}

// occurrences yields where text is in data.
func occurrences(data []byte, text string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at := 0; ; at++ {
			next := bytes.Index(data[at:], []byte(text))
			if next < 0 || !yield(at+next) {
				return
			}
			at += next
		}
	}
}

// isLeft tells whether the old name at a place is a name of its own: neither part
// of a longer host or repository, nor of the rule's new name.
func (r Rule) isLeft(data []byte, at int) bool {
	end := at + len(r.Old)
	for inNew := range occurrences([]byte(r.New), r.Old) {
		if start := at - inNew; start >= 0 && bytes.HasPrefix(data[start:], []byte(r.New)) {
			return false
		}
	}
	if hostBefore(data[:at]) != "" || hostAfter(data[end:min(len(data), end+maxHost)]) != "" {
		return false
	}
	rest := data[end:]
	if len(rest) > 1 && rest[0] == ':' && !strings.Contains(r.Old, "/") {
		return rest[1] < '0' || rest[1] > '9' // else a port
	}
	return len(rest) == 0 || rest[0] != '_'
}

// around is the line at a place, and of a long one what is near it.
func around(data []byte, at, size int) string {
	start := max(0, at-maxLeftoverText/2)
	for from := start; from < at; {
		n := lineBreak(data, from)
		if from += max(n, 1); n > 0 {
			start = from
		}
	}
	end := max(min(start+maxLeftoverText, len(data)), at+size)
	end = lineEnd(data[:end], at)
	return oneLine(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\ufeff' {
			return ' '
		}
		return r
	}, string(data[start:end])))
}
