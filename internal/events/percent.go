package events

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const upperHex = "0123456789ABCDEF"

// percentEncode makes a header value of an attribute, as the HTTP protocol
// binding says in section 3.1.3.2 and the NATS one repeats: blanks, quotes,
// percent signs and all that is not printable ASCII become %XX, byte by byte.
func percentEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// headerValue reads an attribute back: quotes are taken off, then one round of
// percent-decoding. A percent sign that no two hexadecimal digits follow stands
// for itself, since people type headers by hand. Of repeated headers all must
// say the same; none at all is empty.
func headerValue(values []string) (string, error) {
	var first string
	for i, value := range values {
		value, err := oneHeaderValue(value)
		switch {
		case err != nil:
			return "", err
		case i == 0:
			first = value
		case value != first:
			return "", errors.New("different values")
		}
	}
	return first, nil
}

func oneHeaderValue(value string) (string, error) {
	if len(value) > 3*maxAttribute+2 {
		return "", fmt.Errorf("%d bytes are more than any attribute has", len(value))
	}
	value, err := unquote(strings.Trim(value, " \t"))
	if err != nil {
		return "", err
	}
	value = percentDecode(value)
	if !utf8.ValidString(value) {
		return "", errors.New("not UTF-8")
	}
	return value, nil
}

// unquote takes the quotes off a quoted string of RFC 9110 section 5.6.4.
func unquote(s string) (string, error) {
	if !strings.HasPrefix(s, `"`) {
		return s, nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"' && i == len(s)-1:
			return b.String(), nil
		case s[i] == '"':
			return "", errors.New("characters after the closing quote")
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", errors.New("no closing quote")
}

func percentDecode(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if high, low := unhex(s[i+1]), unhex(s[i+2]); high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
