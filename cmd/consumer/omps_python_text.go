package main

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pyPrefixes are those of strings, and what makes the string no text.
var pyPrefixes = map[string]string{
	"": "", "r": "", "u": "", "b": "bytes", "br": "bytes", "rb": "bytes",
	"f": "an f-string", "fr": "an f-string", "rf": "an f-string", "t": "a template", "tr": "a template", "rt": "a template",
}

// str is a string, whose prefix has been taken.
func (l *pyLexer) str(prefix string) (pyToken, error) {
	t := pyToken{kind: pyString, line: l.line, odd: pyPrefixes[prefix]}
	quote := l.rest[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(l.rest, triple) {
		quote = triple
	}
	l.take(len(quote))
	end := 0
	for ; !strings.HasPrefix(l.rest[end:], quote); end++ {
		switch {
		case end == len(l.rest), l.rest[end] == '\n' && len(quote) == 1:
			return t, pyWrong(t.line, "a string is never closed: %s is missing", quote)
		case l.rest[end] == '\\' && end+1 < len(l.rest):
			end++
		}
	}
	body := l.take(end)
	l.take(len(quote))
	if t.odd == "" && !strings.Contains(prefix, "r") {
		return t.unescape(body)
	}
	t.text = body
	return t, nil
}

// pyEscapes are those of one letter.
var pyEscapes = map[byte]string{
	'\n': "", '\\': `\`, '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
}

// unescape sets the text to what the body of a string means.
func (t pyToken) unescape(body string) (pyToken, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(body, `\`)
		out.WriteString(before)
		if !found {
			break
		}
		meant, n, err := pyEscape(after, t.line)
		if err != nil {
			return t, err
		}
		if n < 0 {
			t.odd, n = "a string with a character by its name or half of one", 1
		}
		out.WriteString(meant)
		body = after[n:]
	}
	t.text = out.String()
	return t, nil
}

// pyEscape is what the letters behind a backslash mean, and how many they are;
// negative when they mean what is no character here. What means nothing stays
// with its backslash, as in Python.
func pyEscape(s string, line int) (meant string, n int, err error) {
	if s == "" {
		return "", 0, pyWrong(line, "a string ends with a backslash")
	}
	if meant, ok := pyEscapes[s[0]]; ok {
		return meant, 1, nil
	}
	var digits int
	base := 16
	switch s[0] {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	case 'N':
		return "", -1, nil
	default:
		for n < min(3, len(s)) && s[n] >= '0' && s[n] <= '7' {
			n++
		}
		if n == 0 {
			return `\`, 0, nil
		}
		s, digits, base = "0"+s, n, 8
	}
	if len(s) <= digits {
		return "", 0, pyWrong(line, `a string has a \%c that is too short`, s[0])
	}
	code, err := strconv.ParseUint(s[1:1+digits], base, 32)
	if err != nil {
		return "", 0, pyWrong(line, `a string has a \%c without digits`, s[0])
	}
	if !utf8.ValidRune(rune(code)) || code > unicode.MaxRune {
		return "", -1, nil
	}
	if base == 8 {
		digits-- // the first of them stands for the letter
	}
	return string(rune(code)), 1 + digits, nil
}
