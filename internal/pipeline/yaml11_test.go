package pipeline

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// TestReadPlain lists what PyYAML 6.0.3 makes of plain scalars; each row was
// compared with it. Where it fails, the scalar is a string.
func TestReadPlain(t *testing.T) {
	t.Parallel()
	types := map[string][][2]string{
		tagNull: {{"", "null"}, {"~", "null"}, {"null", "null"}, {"Null", "null"}, {"NULL", "null"}},
		tagBool: {
			{"true", "true"}, {"True", "true"}, {"TRUE", "true"}, {"yes", "true"}, {"Yes", "true"}, {"YES", "true"},
			{"on", "true"}, {"On", "true"}, {"ON", "true"},
			{"false", "false"}, {"False", "false"}, {"FALSE", "false"}, {"no", "false"}, {"No", "false"}, {"NO", "false"},
			{"off", "false"}, {"Off", "false"}, {"OFF", "false"},
		},
		tagInt: {
			{"0", "0"}, {"-0", "0"}, {"+0", "0"}, {"00", "0"}, {"0_", "0"}, {"12", "12"}, {"+12", "12"}, {"-12", "-12"},
			{"0644", "420"}, {"-0644", "-420"}, {"0_7", "7"}, {"0x1F", "31"}, {"-0xff", "-255"}, {"0x_f", "15"},
			{"0b1", "1"}, {"0b1_01", "5"}, {"1_0", "10"}, {"1_000", "1000"}, {"1__0_", "10"},
			{"1:30", "90"}, {"-1:30", "-90"}, {"190:20:30", "685230"}, {"1_0:5", "605"}, {"9:0", "540"},
			{"123456789012345678901234567890", "123456789012345678901234567890"},
			{"0xFFFFFFFFFFFFFFFFFFFF", "1208925819614629174706175"},
		},
		tagFloat: {
			{".5", "0.5"}, {"0.5", "0.5"}, {"5.", "5.0"}, {"-1.", "-1.0"}, {"1_000.5", "1000.5"}, {".5_0", "0.5"},
			{"1.0e+3", "1000.0"}, {"1.0E-3", "0.001"}, {".5e+3", "500.0"}, {"1.e+5", "100000.0"},
			{"0.0001", "0.0001"}, {"0.00001", "1.0e-05"}, {"1.5e-7", "1.5e-07"},
			{"1000000000000000.0", "1000000000000000.0"}, {"10000000000000000.0", "1.0e+16"}, {"123456789012345678.0", "1.2345678901234568e+17"},
			{"-0.0", "-0.0"}, {"08.5", "8.5"}, {"1.0e+400", ".inf"}, {"-1.0e+400", "-.inf"}, {"1.0e-400", "0.0"},
			{"190:20:30.15", "685230.15"}, {"-1:30.5", "-90.5"}, {"1:30.", "90.0"}, {"0:30.5", "30.5"},
			{".inf", ".inf"}, {"+.Inf", ".inf"}, {"-.INF", "-.inf"}, {".nan", ".nan"}, {".NaN", ".nan"}, {".NAN", ".nan"},
		},
		tagTimestamp: {
			{"2019-04-30", "2019-04-30"}, {"0001-01-01", "0001-01-01"}, {"2020-02-29", "2020-02-29"},
			{"2019-04-30T18:35:59Z", "2019-04-30 18:35:59+00:00"}, {"2019-04-30t18:35:59Z", "2019-04-30 18:35:59+00:00"},
			{"2019-04-30 18:35:59", "2019-04-30 18:35:59"}, {"2019-4-3T1:02:03", "2019-04-03 01:02:03"},
			{"2019-04-30 18:35:59+00:00", "2019-04-30 18:35:59+00:00"}, {"2019-04-30T18:35:59-00:00", "2019-04-30 18:35:59+00:00"},
			{"2019-04-30 \t 18:35:59 \t +2", "2019-04-30 18:35:59+02:00"}, {"2019-04-30T18:35:59.1-05:30", "2019-04-30 18:35:59.100000-05:30"},
			{"2019-04-30T18:35:59.123456789Z", "2019-04-30 18:35:59.123456+00:00"}, {"2019-04-30T18:35:59.Z", "2019-04-30 18:35:59+00:00"},
			{"2019-04-30T18:35:59.0000009Z", "2019-04-30 18:35:59+00:00"}, {"2019-04-30T18:35:59+22:99", "2019-04-30 18:35:59+23:39"},
		},
		tagString: {},
	}
	for _, s := range []string{
		"y", "Y", "n", "N", "yEs", "tRUE", "oN", "nUll", "None", "nil", "=", "<<", "<", "-", "+", ".", "_", "--", "---", "...",
		"1e3", "1E3", "1.0e3", "1e+3", "-.5", "+.5", "-.nan", ".iNf", "inf", "nan", "._5", "._", "1.2.3", "1.0.0", "1.0-2",
		"0o14", "0o644", "0B1", "0X1F", "0xfg", "0b2", "0b", "0x", "0b_", "0x_", "08", "09", "_1", "+-1", "1a", "1,000", "1/2",
		"0:30", "1:60", "01:30", "1:60.5", "1:5e+3", "1:30:", strings.Repeat("9", 4301), "1" + strings.Repeat(":0", 400) + ".0",
		"2019-4-30", "2019-13-45", "2019-02-30", "2019-02-29", "0000-01-01", "2019/11/15", "2019-04-30T18:35", "2019-04-30T24:00:00",
		"2019-04-30T18:60:00", "2019-04-30T18:35:60Z", "2019-04-30T18:35:59z", "2019-04-30T18:35:59-0230", "2019-04-30T18:35:59+24:00",
		"2019-04-30  T18:35:59", "2019-04-30\n18:35:59",
	} {
		types[tagString] = append(types[tagString], [2]string{s, s})
	}
	rows := 0
	for want, texts := range types {
		for _, c := range texts {
			rows++
			tag, value := readPlain(c[0])
			if tag != want || value != c[1] {
				t.Errorf("%.60q is %s %.60q, want %s %.60q", c[0], tag, value, want, c[1])
			}
			if before, after := meaning(&yaml.Node{Kind: yaml.ScalarNode, Value: c[0]}), meaning(&yaml.Node{Kind: yaml.ScalarNode, Value: value}); before != after {
				t.Errorf("%q means %v, its form %q means %v", c[0], before, value, after)
			}
			if tag == tagString {
				continue
			}
			if again, same := readPlain(value); again != tag || same != value {
				t.Errorf("%q: its form %q is read as %s %q", c[0], value, again, same)
			}
		}
	}
	t.Logf("%d scalars", rows)
}

func FuzzReadPlain(f *testing.F) {
	for _, s := range []string{"yes", "-0x1_F", "1:30", "-1.5e-7", "190:20:30.15", "2019-04-30T18:35:59.5+02:30", ".inf", "=", "0b_"} {
		f.Add(s)
	}
	plain := func(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }
	f.Fuzz(func(t *testing.T, text string) {
		tag, value := readPlain(text)
		before, after := meaning(plain(text)), meaning(plain(value))
		if before != after {
			t.Fatalf("%q means %v, its form %q means %v", text, before, value, after)
		}
		if _, isString := before.(string); isString != (tag == tagString) {
			t.Fatalf("%q means %v, read as %s", text, before, tag)
		}
		if again, same := readPlain(value); again != tag || same != value {
			t.Fatalf("%q: its form %q is read as %s %q", text, value, again, same)
		}
	})
}

// What scalars other than strings and booleans mean. Equal meanings are equal
// values, so times are instants.
type (
	wholeNumber string
	floatNumber string
	timestamp   string
)

// meaning is what a reader of YAML 1.1 makes of a node. It shares no code with
// readPlain, whose judge it is.
func meaning(n *yaml.Node) any {
	switch n = follow(n); n.Kind {
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, meaning(item))
		}
		return list
	case yaml.MappingNode:
		mapping := map[any]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			mapping[meaning(n.Content[i])] = meaning(n.Content[i+1])
		}
		return mapping
	}
	if n.Style&yaml.TaggedStyle != 0 && n.Tag == "!!str" || n.Style&yaml.TaggedStyle == 0 && n.Style != 0 {
		return n.Value
	}
	switch s := n.Value; s {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true
	case "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false
	default:
		for _, read := range []func(string) (any, bool){wholeOf, floatOf, timeOf} {
			if v, ok := read(s); ok {
				return v
			}
		}
		return s
	}
}

func signOf(s string) (negative bool, rest string) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		return s[0] == '-', s[1:]
	}
	return false, s
}

// horner reads digits of a base.
func horner(digits string, base int) (*big.Int, bool) {
	sum := new(big.Int)
	for _, d := range strings.ToLower(digits) {
		v := strings.IndexRune("0123456789abcdef"[:base], d)
		if v < 0 {
			return nil, false
		}
		sum.Add(sum.Mul(sum, big.NewInt(int64(base))), big.NewInt(int64(v)))
	}
	return sum, digits != ""
}

func wholeOf(s string) (any, bool) {
	negative, s := signOf(s)
	bare := strings.ReplaceAll(s, "_", "")
	var sum *big.Int
	var ok bool
	switch {
	case s == "" || s[0] == '_' || len(bare) > 4300:
		return nil, false
	case strings.HasPrefix(s, "0b"):
		sum, ok = horner(bare[2:], 2)
	case strings.HasPrefix(s, "0x"):
		sum, ok = horner(bare[2:], 16)
	case s[0] == '0':
		sum, ok = horner(bare, 8)
	default:
		first, rest, _ := strings.Cut(s, ":")
		if sum, ok = horner(strings.ReplaceAll(first, "_", ""), 10); !ok || first == s {
			break
		}
		for _, part := range strings.Split(rest, ":") {
			if !isSixtieth(part) {
				return nil, false
			}
			n, _ := strconv.ParseInt(part, 10, 64)
			sum.Add(sum.Mul(sum, big.NewInt(60)), big.NewInt(n))
		}
	}
	if !ok {
		return nil, false
	}
	if negative {
		sum.Neg(sum)
	}
	return wholeNumber(sum.String()), true
}

// isSixtieth tells whether s is a number below 60.
func isSixtieth(s string) bool {
	n, err := strconv.ParseUint(s, 10, 8)
	return err == nil && len(s) <= 2 && n < 60
}

func floatOf(s string) (any, bool) {
	negative, rest := signOf(s)
	switch strings.TrimPrefix(rest, ".") {
	case "inf", "Inf", "INF":
		return floatNumber(fmt.Sprint(negative, "inf")), rest[0] == '.'
	case "nan", "NaN", "NAN":
		return floatNumber("nan"), s[0] == '.'
	}
	mantissa, exponent := rest, ""
	if at := strings.IndexAny(rest, "eE"); at >= 0 {
		mantissa, exponent = rest[:at], rest[at:]
		if len(exponent) < 3 || exponent[1] != '+' && exponent[1] != '-' || !isNumber(exponent[2:]) {
			return nil, false
		}
	}
	whole, fraction, hasPoint := strings.Cut(mantissa, ".")
	switch {
	case !hasPoint, whole == "" && (rest != s || fraction == ""), strings.HasPrefix(mantissa, "_"), strings.HasPrefix(mantissa, "._"):
		return nil, false
	}
	parts := strings.Split(whole, ":")
	for i, part := range parts {
		if i > 0 && (!isSixtieth(part) || exponent != "" || i > 170) {
			return nil, false
		}
	}
	parts[0] = strings.ReplaceAll(parts[0], "_", "")
	fraction = strings.ReplaceAll(fraction, "_", "")
	if whole != "" && !isNumber(parts[0]) || fraction != "" && !isNumber(fraction) {
		return nil, false
	}
	parts[len(parts)-1] += "." + fraction + exponent
	value, scale := 0.0, 1.0
	for i := len(parts) - 1; i >= 0; i-- {
		f, _ := strconv.ParseFloat(parts[i], 64)
		value, scale = value+f*scale, scale*60
	}
	if negative {
		value = -value
	}
	if math.IsInf(value, 0) {
		return floatNumber(fmt.Sprint(negative, "inf")), true
	}
	return floatNumber(strconv.FormatFloat(value, 'e', 14, 64)), true
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func timeOf(s string) (any, bool) {
	date, clock := s, ""
	if at := strings.IndexAny(s, "Tt \t"); at >= 0 {
		date, clock = s[:at], strings.TrimLeft(s[at:], " \t")
		if s[at] == 'T' || s[at] == 't' {
			clock = s[at+1:]
		}
		if clock == "" {
			return nil, false
		}
	}
	ymd := strings.Split(date, "-")
	if len(ymd) != 3 || len(ymd[0]) != 4 || ymd[0] == "0000" || len(ymd[1]) > 2 || len(ymd[2]) > 2 {
		return nil, false
	}
	if clock == "" {
		day, err := time.Parse(time.DateOnly, date)
		return timestamp(day.Format("date " + time.DateOnly)), err == nil
	}
	kind, zone := "local ", ""
	if at := strings.IndexAny(clock, " \tZ+-"); at >= 0 {
		kind, zone = "instant ", strings.TrimLeft(clock[at:], " \t")
		clock = clock[:at]
	}
	offset, ok := offsetOf(zone)
	if !ok && kind == "instant " {
		return nil, false
	}
	clock, fraction, _ := strings.Cut(clock, ".")
	hms := strings.Split(clock, ":")
	if len(hms) != 3 || len(hms[0]) > 2 || len(hms[1]) != 2 || len(hms[2]) != 2 || fraction != "" && !isNumber(fraction) {
		return nil, false
	}
	if len(fraction) > 6 {
		fraction = fraction[:6]
	}
	at, err := time.Parse("2006-1-2 15:4:5", fmt.Sprintf("%s %s.%s0", date, clock, fraction))
	return timestamp(at.Add(-offset).Format(kind + "2006-01-02 15:04:05.000000")), err == nil
}

func offsetOf(zone string) (time.Duration, bool) {
	if zone == "Z" {
		return 0, true
	}
	negative, rest := signOf(zone)
	h, m, hasMinutes := strings.Cut(rest, ":")
	if rest == zone || len(h) > 2 || !isNumber(h) || hasMinutes && (len(m) != 2 || !isNumber(m)) {
		return 0, false
	}
	hours, _ := strconv.Atoi(h)
	minutes, _ := strconv.Atoi(m) // 0 when there are none
	offset := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if offset >= 24*time.Hour {
		return 0, false
	}
	if negative {
		offset = -offset
	}
	return offset, true
}
