package main

import (
	"errors"
	"regexp"
	"strconv"
	"time"
)

// timeFlag is the value of a flag that names a time: how long ago, or when. The
// zero timeFlag is not set.
type timeFlag struct {
	text string
	ago  time.Duration
	at   time.Time // zero: ago counts
}

// days is the part of a duration that time.ParseDuration does not know.
var days = regexp.MustCompile(`^([0-9]{1,5})d`)

var errTimeFlag = errors.New("expects how long ago, such as 7d, 36h or 1d12h, or a time such as 2026-11-01 or 2026-11-01T12:00:00Z")

// Set reads the value of the flag. A date is its first moment, in UTC.
func (m *timeFlag) Set(text string) error {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			*m = timeFlag{text: text, at: at}
			return nil
		}
	}
	ago, err := parseDays(text)
	if err != nil || ago < 0 {
		return errTimeFlag
	}
	*m = timeFlag{text: text, ago: ago}
	return nil
}

// parseDays reads a duration that may begin with days of 24 hours.
func parseDays(text string) (time.Duration, error) {
	found := days.FindStringSubmatch(text)
	if found == nil {
		return time.ParseDuration(text)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		return 0, err
	}
	whole, rest := time.Duration(n)*24*time.Hour, text[len(found[0]):]
	if rest == "" {
		return whole, nil
	}
	part, err := time.ParseDuration(rest)
	return whole + part, err
}

// before is the time that is meant, with now for what is given as how long ago.
func (m *timeFlag) before(now time.Time) time.Time {
	if m.at.IsZero() {
		return now.Add(-m.ago)
	}
	return m.at
}

// String is for the help.
func (m *timeFlag) String() string { return m.text }

// Type is for the help.
func (m *timeFlag) Type() string { return "time" }
