package main

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// pageQuery is what the parameters of the list ask for. Its zero value asks for
// the newest of everything.
type pageQuery struct {
	NVR          string // a part of it; * and ? stand for anything
	Organization string
	Outcome      string
	Span         string // of the chart: a key of chartSpans
	Before       uint64 // only results before this sequence; 0: all
}

// maxFilter bounds a filter, in bytes.
const maxFilter = 512

// filterOutcomes are the outcomes that results have.
func filterOutcomes() []string {
	var names []string
	for _, outcome := range pipeline.Outcomes() {
		if outcome != pipeline.OutcomeIgnored {
			names = append(names, string(outcome))
		}
	}
	return names
}

// readPageQuery reads the parameters of the list. Those that it does not know
// are left alone. What is wrong with one is an error for people to read.
func readPageQuery(values url.Values) (pageQuery, error) {
	q := pageQuery{
		NVR: strings.TrimSpace(values.Get("nvr")), Organization: strings.TrimSpace(values.Get("organization")),
		Outcome: values.Get("outcome"), Span: values.Get("span"),
	}
	for _, text := range []struct{ name, value string }{{"nvr", q.NVR}, {"organization", q.Organization}} {
		if len(text.value) > maxFilter || !utf8.ValidString(text.value) {
			return pageQuery{}, fmt.Errorf("%s is not a text of at most %d bytes", text.name, maxFilter)
		}
	}
	if q.Outcome != "" && !slices.Contains(filterOutcomes(), q.Outcome) {
		return pageQuery{}, fmt.Errorf("outcome is none of %s", strings.Join(filterOutcomes(), ", "))
	}
	if q.Span == "day" {
		q.Span = "" // as when nothing is said
	}
	if _, known := chartSpans[q.Span]; !known {
		return pageQuery{}, fmt.Errorf("span is none of day, week, month")
	}
	if before := values.Get("before"); before != "" {
		var err error
		if q.Before, err = strconv.ParseUint(before, 10, 64); err != nil || q.Before == 0 {
			return pageQuery{}, fmt.Errorf("before is not the number of a result")
		}
	}
	return q, nil
}

// Filtered tells whether q leaves anything out but what is newer.
func (q pageQuery) Filtered() bool { return q.NVR != "" || q.Organization != "" || q.Outcome != "" }

// address is where q leads to.
func (q pageQuery) address() string {
	values := url.Values{}
	for _, one := range []struct{ name, value string }{
		{"nvr", q.NVR}, {"organization", q.Organization}, {"outcome", q.Outcome}, {"span", q.Span},
	} {
		if one.value != "" {
			values.Set(one.name, one.value)
		}
	}
	if q.Before != 0 {
		values.Set("before", strconv.FormatUint(q.Before, 10))
	}
	if len(values) == 0 {
		return "/"
	}
	return "/?" + values.Encode()
}

// takes tells whether q asks for a row.
func (q pageQuery) takes(r pageRow) bool {
	return (q.Before == 0 || r.Sequence < q.Before) &&
		(q.Organization == "" || q.Organization == r.Organization) &&
		(q.Outcome == "" || q.Outcome == r.Outcome) &&
		(q.NVR == "" || likeNVR(q.NVR, r.NVR))
}

// likeNVR tells whether pattern is in an NVR, whatever the case of letters. With
// a * or ? in it the pattern is for all of the NVR.
func likeNVR(pattern, nvr string) bool {
	pattern, nvr = strings.ToLower(pattern), strings.ToLower(nvr)
	if !strings.ContainsAny(pattern, "*?") {
		return strings.Contains(nvr, pattern)
	}
	return globs([]rune(pattern), []rune(nvr))
}

// globs matches * and ?. It takes at most len(pattern) times len(s) steps: at a
// mismatch only the last * is tried with more.
func globs(pattern, s []rune) bool {
	p, i, star, from := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
