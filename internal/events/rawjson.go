package events

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"
)

const (
	// maxPayload bounds a message in bytes. A server takes 1 MiB unless its
	// max_payload says more, and NATS advises against more than 8 MiB.
	maxPayload = 8 << 20

	// maxDepth bounds the nesting of JSON: its checkers recurse.
	maxDepth = 500

	// jsonBlanks are what JSON allows between its words.
	jsonBlanks = " \t\r\n"
)

// raw is the text of a valid JSON value, or empty where there is none. Only
// what is asked for gets parsed: a general parser costs Peek several times
// what the rest of it does.
type raw string

// given tells whether a value is there and not null.
func (r raw) given() bool { return r != "" && r != "null" }

// filled tells whether a value is there and neither null nor the empty string.
func (r raw) filled() bool { return r.given() && r != `""` }

func (r raw) isObject() bool { return r != "" && r[0] == '{' }
func (r raw) isString() bool { return r != "" && r[0] == '"' }
func (r raw) isNumber() bool { return r != "" && (r[0] == '-' || '0' <= r[0] && r[0] <= '9') }

// text is the value of a string, and empty for anything else.
func (r raw) text() string {
	switch {
	case !r.isString() || len(r) < len(`""`): // what ends at the first quote is none
		return ""
	case strings.IndexByte(string(r), '\\') < 0:
		return string(r[1 : len(r)-1])
	}
	return gjson.Parse(string(r)).Str
}

// number is the value of a number, and 0 for anything else.
func (r raw) number() float64 {
	if !r.isNumber() {
		return 0
	}
	if n, err := strconv.Atoi(string(r)); err == nil { // nearly every one, and ten times as fast
		return float64(n)
	}
	return gjson.Parse(string(r)).Num
}

var errNotJSON = errors.New("payload is not JSON")

// parseObject returns data as a JSON object.
func parseObject(data []byte) (raw, error) {
	data = bytes.Trim(data, jsonBlanks)
	switch {
	case len(data) == 0:
		return "", errors.New("empty payload")
	case len(data) > maxPayload:
		return "", fmt.Errorf("payload of %d bytes is larger than %d", len(data), maxPayload)
	case !utf8.Valid(data):
		return "", errors.New("payload is not UTF-8")
	case tooDeep(data):
		return "", fmt.Errorf("payload is nested deeper than %d", maxDepth)
	case !gjson.ValidBytes(data):
		return "", errNotJSON
	case data[0] != '{':
		return "", errors.New("payload is JSON, but not an object")
	}
	return raw(data), nil
}

// tooDeep tells whether data could be nested deeper than maxDepth. Counting
// brackets settles nearly every message; only what holds many is walked.
func tooDeep(data []byte) bool {
	if bytes.Count(data, []byte("{"))+bytes.Count(data, []byte("[")) <= maxDepth {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// skimObject returns data as an object without a look inside, and without a copy:
// nobody writes to a message that has come. The error is parseObject's.
func skimObject(data []byte) (raw, error) {
	data = bytes.Trim(data, jsonBlanks)
	if len(data) == 0 || data[0] != '{' || len(data) > maxPayload {
		return parseObject(data)
	}
	return raw(unsafe.String(unsafe.SliceData(data), len(data))), nil //nolint:gosec // see above
}

// eachMember goes through the object that begins at s[i] and returns the index
// behind it, and whether it ends at all. For each member it calls visit with the
// name and the index of the value, and goes on where visit says that the value
// ends: so nested objects are gone through once, not found first and read later.
func eachMember(s raw, i int, visit func(name string, i int) (end int)) (end int, closed bool) {
	for i++; i < len(s); {
		switch s[i] {
		case '}':
			return i + 1, true
		case '"':
		default: // blanks and commas
			i++
			continue
		}
		end := stringEnd(s, i)
		name := s[i:end].text()
		for i = end; i < len(s) && (s[i] == ':' || s[i] <= ' '); {
			i++
		}
		i = visit(name, i)
	}
	return len(s), false
}

// member is the last member of that name of an object, as for encoding/json;
// empty where there is none or the value is no object.
func (r raw) member(name string) (found raw) {
	if !r.isObject() {
		return ""
	}
	eachMember(r, 0, func(key string, i int) int {
		end := valueEnd(r, i)
		if key == name {
			found = r[i:end]
		}
		return end
	})
	return found
}

// stringEnd is the index behind the string that begins at s[i].
func stringEnd(s raw, i int) int {
	for i++; ; {
		length := strings.IndexByte(string(s[i:]), '"')
		if length < 0 {
			return len(s)
		}
		end := i + length
		if !isEscaped(s, i, end) {
			return end + 1
		}
		i = end + 1
	}
}

// isEscaped tells whether an odd number of backslashes stands before s[at], none
// of them before s[from].
func isEscaped(s raw, from, at int) bool {
	n := at
	for n > from && s[n-1] == '\\' {
		n--
	}
	return (at-n)%2 == 1
}

// valueEnd is the index behind the value that begins at s[i].
func valueEnd(s raw, i int) int {
	if i == len(s) {
		return i
	}
	switch s[i] {
	case '"':
		return stringEnd(s, i)
	case '{', '[':
		return nestedEnd(s, i)
	}
	for i < len(s) && s[i] > ' ' && s[i] != ',' && s[i] != '}' && s[i] != ']' {
		i++
	}
	return i
}

// nestedEnd is the index behind the object or array that begins at s[i].
func nestedEnd(s raw, i int) int {
	for depth := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			i = stringEnd(s, i) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}
