package pipeline

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// template is a replacement in the form of Python's re.sub, by
// https://docs.python.org/3/library/re.html#re.sub.
type template []templatePart

// templatePart is literal text when group is negative, else a group's match.
type templatePart struct {
	text  string
	group int
}

// parseTemplate reads \1 to \99, \g<1>, \g<name>, octal and control escapes. As
// in Python, a backslash before another ASCII letter is an error and before
// anything else it stays.
func parseTemplate(s string, pattern *regexp.Regexp) (template, error) {
	var t template
	for s != "" {
		before, after, escaped := strings.Cut(s, `\`)
		t = append(t, templatePart{text: before, group: -1})
		if !escaped {
			break
		}
		part, rest, err := parseEscape(after, pattern)
		if err != nil {
			return nil, err
		}
		if part.group > pattern.NumSubexp() {
			return nil, fmt.Errorf("refers to group %d, the pattern has %d", part.group, pattern.NumSubexp())
		}
		t, s = append(t, part), rest
	}
	return t, nil
}

// parseEscape reads what follows a backslash and returns the rest behind it.
func parseEscape(s string, pattern *regexp.Regexp) (part templatePart, rest string, err error) {
	if s == "" {
		return part, "", errors.New("ends with a backslash")
	}
	c, rest := s[0], s[1:]
	const controls, meant = `abfnrtv\`, "\a\b\f\n\r\t\v\\"
	if i := strings.IndexByte(controls, c); i >= 0 {
		return templatePart{text: meant[i : i+1], group: -1}, rest, nil
	}
	switch {
	case c == 'g':
		return parseGroup(rest, pattern)
	case c >= '0' && c <= '9':
		return parseNumber(s)
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		return part, "", fmt.Errorf(`unknown escape \%c`, c)
	}
	return templatePart{text: `\` + s[:1], group: -1}, rest, nil
}

// parseNumber reads a group of one or two digits. \0 with up to two more
// octal digits, and three octal digits, are a character instead.
func parseNumber(s string) (part templatePart, rest string, err error) {
	octal := 0
	for octal < min(3, len(s)) && s[octal] >= '0' && s[octal] <= '7' {
		octal++
	}
	if s[0] == '0' || octal == 3 {
		code, err := strconv.ParseUint(s[:octal], 8, 8)
		if err != nil {
			return part, "", fmt.Errorf(`octal escape \%s is beyond \377`, s[:octal])
		}
		return templatePart{text: string(rune(code)), group: -1}, s[octal:], nil
	}
	digits := 1
	if len(s) > 1 && s[1] >= '0' && s[1] <= '9' {
		digits = 2
	}
	group, err := strconv.Atoi(s[:digits])
	return templatePart{group: group}, s[digits:], err
}

// parseGroup reads <number> or <name> behind \g.
func parseGroup(s string, pattern *regexp.Regexp) (part templatePart, rest string, err error) {
	name, rest, ok := strings.Cut(strings.TrimPrefix(s, "<"), ">")
	if !ok || !strings.HasPrefix(s, "<") {
		return part, "", errors.New(`\g is not followed by <group>`)
	}
	if n, err := strconv.ParseUint(name, 10, 16); err == nil {
		return templatePart{group: int(n)}, rest, nil
	}
	if n := pattern.SubexpIndex(name); n >= 0 {
		return templatePart{group: n}, rest, nil
	}
	return part, "", fmt.Errorf("refers to group %q, which the pattern does not have", name)
}

// expand makes the replacement of one match, given as by
// regexp.FindSubmatchIndex. A group that took no part is empty.
func (t template) expand(data []byte, match []int) []byte {
	var out []byte
	for _, part := range t {
		if part.group < 0 {
			out = append(out, part.text...)
		} else if from, to := match[2*part.group], match[2*part.group+1]; from >= 0 {
			out = append(out, data[from:to]...)
		}
	}
	return out
}
