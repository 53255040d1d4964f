package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// cell is s for one column of a line: what a terminal would obey, such as
// escape sequences, line breaks and marks that turn the direction of text, is
// taken out, and what is longer than limit characters is cut. Nothing is "-".
func cell(s string, limit int) string {
	s = strings.Join(strings.Fields(plain(s)), " ")
	if s == "" {
		return "-"
	}
	runes := 0
	for i := range s {
		if runes++; runes > limit {
			return s[:i] + "…"
		}
	}
	return s
}

// plain is s with a mark in place of each character that is not printed.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// printable tells whether a terminal shows data as it is.
func printable(data []byte) bool {
	return utf8.Valid(data) && bytes.IndexFunc(data, func(r rune) bool {
		return r != '\n' && r != '\t' && !unicode.IsPrint(r)
	}) < 0
}

// writeJSON writes value as one line of JSON, by writeJSONText.
func writeJSON(w io.Writer, value any) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	return writeJSONText(w, line.Bytes())
}

// writeJSONText writes JSON on one line, with every character escaped that a
// terminal might obey.
func writeJSONText(w io.Writer, text []byte) error {
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil {
		return err
	}
	_, err := w.Write(append(escaped(line.Bytes()), '\n'))
	return err
}

// escaped is JSON with the characters that are not printed written as \uXXXX.
// In JSON without blanks they can only be inside strings.
func escaped(text []byte) []byte {
	out := make([]byte, 0, len(text)+len(text)/8)
	for _, r := range string(text) {
		switch {
		case unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
