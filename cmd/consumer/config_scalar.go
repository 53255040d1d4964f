package main

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// What a scalar of each type looks like, as the end of "expects …".
var (
	errText     = errors.New("a text")
	errQuotes   = errors.New("a text: put it in quotes")
	errBool     = errors.New("true or false")
	errInt      = errors.New("a whole number")
	errPart     = errors.New("a number from 0 to 1, such as 0.25")
	errDuration = errors.New("a duration such as 30s, 5m or 24h")
	errByteSize = errors.New("a size such as 20MiB, 10MB or a number of bytes")
)

// textOf wants quotes around what YAML takes for a number, a date or a truth
// value: 4.10 would otherwise be a text here and 4.1 for the next reader.
func textOf(n *yaml.Node) (string, error) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return "", errText
	case n.ShortTag() != "!!str":
		return "", errQuotes
	}
	return n.Value, nil
}

func boolOf(n *yaml.Node) (bool, error) {
	var b bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&b) != nil {
		return false, errBool
	}
	return b, nil
}

// decimal leaves out the octal, hexadecimal and underscored forms of YAML.
var decimal = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

func intOf(n *yaml.Node) (int, error) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || !decimal.MatchString(n.Value) {
		return 0, errInt
	}
	i, err := strconv.Atoi(n.Value)
	if err != nil {
		return 0, errInt
	}
	return i, nil
}

// part leaves out signs, exponents and all that is not a part of one.
var part = regexp.MustCompile(`^(0|1|0\.[0-9]{1,9}|1\.0{1,9})$`)

func partOf(n *yaml.Node) (float64, error) {
	number := n.ShortTag() == "!!int" || n.ShortTag() == "!!float"
	if n.Kind != yaml.ScalarNode || !number || !part.MatchString(n.Value) {
		return 0, errPart
	}
	return strconv.ParseFloat(n.Value, 64)
}

func durationOf(n *yaml.Node) (time.Duration, error) {
	text, err := textOf(n)
	if err != nil {
		return 0, errDuration
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errDuration
	}
	return d, nil
}

// formatDuration is the shortest form: 24h, not 24h0m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

// ByteSize is a number of bytes. The configuration writes it as a plain number
// or with a unit: B, KB, MB, GB by thousands, KiB, MiB, GiB by 1024.
type ByteSize int64

var byteUnits = []struct {
	name  string
	bytes ByteSize
}{
	{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3},
}

// String uses the largest unit that leaves a whole number, so that
// ParseByteSize reads it back as it was.
func (b ByteSize) String() string {
	for _, u := range byteUnits {
		if b != 0 && b%u.bytes == 0 {
			return strconv.FormatInt(int64(b/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

var byteSizePattern = regexp.MustCompile(`^([0-9]{1,19})(B|[KMG]i?B)?$`)

// ParseByteSize reads what String writes. It knows no signs, fractions, blanks
// or other spellings of a unit.
func ParseByteSize(s string) (ByteSize, error) {
	m := byteSizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, errByteSize
	}
	count, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, errByteSize
	}
	for _, u := range byteUnits {
		if u.name != m[2] {
			continue
		}
		if count > math.MaxInt64/int64(u.bytes) {
			return 0, errByteSize
		}
		return ByteSize(count) * u.bytes, nil
	}
	return ByteSize(count), nil
}

func byteSizeOf(n *yaml.Node) (ByteSize, error) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" && decimal.MatchString(n.Value) {
		return ParseByteSize(n.Value)
	}
	text, err := textOf(n)
	if err != nil {
		return 0, errByteSize
	}
	return ParseByteSize(text)
}
