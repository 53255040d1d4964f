package pipeline

import (
	"errors"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Tags of the scalars that operators hold, as yaml.v3 shortens them.
const (
	tagNull      = "!!null"
	tagBool      = "!!bool"
	tagInt       = "!!int"
	tagFloat     = "!!float"
	tagTimestamp = "!!timestamp"
	tagString    = "!!str"
)

// Numbers and times as PyYAML tells them from strings, in its resolver.py. It is
// stricter than YAML 1.1's type repository: a float has a point, its exponent a
// sign, and .5 has no sign at all.
var (
	yamlFloats = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|` +
		`\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|` +
		`[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|` +
		`[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	yamlInts = regexp.MustCompile(`^[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|` +
		`[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	yamlTimes = regexp.MustCompile(`^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:` +
		`(?:[Tt]|[ \t]+)([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]*))?` +
		`(?:[ \t]*(Z|([-+])([0-9]{1,2})(?::([0-9]{2}))?))?)?$`)
)

// readPlain tells what a scalar without quotes and tag is to a reader of
// YAML 1.1, by the rules of PyYAML, which made the bundles of operator-courier.
// value is the one text that every scalar of this meaning gets. It means the
// same again, and readers of other YAMLs take no number or boolean for another;
// times they may take for strings. What only looks like a number or a time, such
// as 2020-13-01, is a string, as it is to those.
func readPlain(text string) (tag, value string) {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return tagNull, "null"
	case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON":
		return tagBool, "true"
	case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF":
		return tagBool, "false"
	}
	if !strings.ContainsRune("+-.0123456789", rune(text[0])) {
		return tagString, text
	}
	var ok bool
	switch {
	case yamlFloats.MatchString(text):
		tag = tagFloat
		value, ok = readFloat(text)
	case yamlInts.MatchString(text):
		tag = tagInt
		value, ok = readInt(text)
	default:
		tag = tagTimestamp
		value, ok = readTime(text)
	}
	if !ok {
		return tagString, text
	}
	return tag, value
}

// readInt reads what yamlInts matches and writes it in decimal.
func readInt(text string) (string, bool) {
	const maxDigits = 4300 // Python's own; without one, reading takes a time quadratic in them
	digits := strings.TrimLeft(strings.ReplaceAll(text, "_", ""), "+-")
	if len(digits) > maxDigits {
		return "", false
	}
	base := 10
	switch {
	case strings.HasPrefix(digits, "0b"):
		digits, base = digits[2:], 2
	case strings.HasPrefix(digits, "0x"):
		digits, base = digits[2:], 16
	case digits[0] == '0':
		base = 8
	}
	sum, sixty := new(big.Int), big.NewInt(60)
	for part := range strings.SplitSeq(digits, ":") {
		n, ok := new(big.Int).SetString(part, base)
		if !ok {
			return "", false // 0x_
		}
		sum.Mul(sum, sixty).Add(sum, n)
	}
	if text[0] == '-' {
		sum.Neg(sum)
	}
	return sum.String(), true
}

// readFloat reads what yamlFloats matches and writes it as Python does.
func readFloat(text string) (string, bool) {
	number := strings.TrimLeft(strings.ToLower(strings.ReplaceAll(text, "_", "")), "+-")
	sum := 0.0
	switch number {
	case ".nan":
		return ".nan", true
	case ".inf":
		sum = math.Inf(1)
	default:
		scale := 1.0
		for _, part := range slices.Backward(strings.Split(number, ":")) {
			f, err := strconv.ParseFloat(part, 64) // beyond the range: infinite
			if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsInf(scale, 0) {
				return "", false
			}
			sum += float64(f * scale) // converted, so that no processor fuses the two steps
			scale *= 60
		}
	}
	if text[0] == '-' {
		sum = -sum
	}
	return formatFloat(sum), true
}

// formatFloat writes a number so that it is read as a float again: with a point,
// even where there is an exponent.
func formatFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return ".inf"
	case math.IsInf(f, -1):
		return "-.inf"
	}
	format := byte('e')
	if abs := math.Abs(f); f == 0 || abs >= 1e-4 && abs < 1e16 {
		format = 'f'
	}
	mantissa, exponent, hasExponent := strings.Cut(strconv.FormatFloat(f, format, -1, 64), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	if hasExponent {
		return mantissa + "e" + exponent
	}
	return mantissa
}

// timeParts are the groups of yamlTimes, nil where text is no date or time.
func timeParts(text string) []string {
	m := yamlTimes.FindStringSubmatch(text)
	if m != nil && m[4] == "" && len(m[2])+len(m[3]) < 4 {
		return nil // a date alone has all its digits
	}
	return m
}

// readTime reads a date or a time, to the microsecond, and writes it as Python
// does. The zone stays, and so does it when there is none.
func readTime(text string) (string, bool) {
	m := timeParts(text)
	if m == nil {
		return "", false
	}
	number := func(i int) int {
		n, _ := strconv.Atoi(m[i]) // matched as digits, or empty
		return n
	}
	m[7] = (m[7] + "000000")[:6]
	layout, zone := "2006-01-02 15:04:05", time.UTC
	if m[4] == "" {
		layout = time.DateOnly
	}
	if number(7) > 0 {
		layout += ".000000"
	}
	if m[8] != "" {
		layout += "-07:00"
		offset := number(10)*60 + number(11)
		if offset >= 24*60 {
			return "", false
		}
		if m[9] == "-" {
			offset = -offset
		}
		zone = time.FixedZone("", offset*60)
	}
	t := time.Date(number(1), time.Month(number(2)), number(3), number(4), number(5), number(6), number(7)*1000, zone)
	same := t.Year() == number(1) && t.Month() == time.Month(number(2)) && t.Day() == number(3) &&
		t.Hour() == number(4) && t.Minute() == number(5) && t.Second() == number(6)
	if !same || number(1) == 0 {
		return "", false
	}
	return t.Format(layout), true
}
