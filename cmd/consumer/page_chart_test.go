package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestChart(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 13, 30, 0, 0, time.UTC)
	counted := newPageTally()
	for i := range 40 {
		counted.add("published", now.Add(-time.Duration(i)*time.Hour))
	}
	for range 9 {
		counted.add("failed", now)
	}
	counted.add("waiting", now) // no end, so not counted
	c := newChart(counted, pageQuery{NVR: "etcd", Before: 7}, now)
	if len(c.Bars) != 24 || c.Most != 10 || fmt.Sprint(c.Totals) != "[{published 24} {rejected 0} {failed 9} {deleted 0}]" {
		t.Errorf("%d bars, most %d, %v", len(c.Bars), c.Most, c.Totals)
	}
	last := c.Bars[23]
	if last.Title != "23 Nov 13:00 UTC: 1 published, 9 failed" || last.X+last.Width > c.Width ||
		fmt.Sprint(last.Parts) != "[{published 88 12} {failed 1 87}]" {
		t.Errorf("%+v", last)
	}
	if fmt.Sprint(c.Ticks) != "[14:00 02:00 now]" || !c.Since.IsZero() {
		t.Errorf("%v, since %s", c.Ticks, c.Since)
	}
	if c.Links[0].Address != "/?nvr=etcd" || !c.Links[0].Current || c.Links[2].Address != "/?nvr=etcd&span=month" {
		t.Errorf("%+v", c.Links)
	}
	c = newChart(counted, pageQuery{Span: "month"}, now)
	if len(c.Bars) != 3 || c.Since.IsZero() { // it was counted from two days ago on
		t.Errorf("%d bars, since %s", len(c.Bars), c.Since)
	}
	counted.all = true
	if c = newChart(counted, pageQuery{Span: "week"}, now); !c.Since.IsZero() || c.Totals[0].Count != 40 {
		t.Errorf("since %s, %v", c.Since, c.Totals)
	}
	if c = newChart(newPageTally(), pageQuery{}, now); len(c.Bars) != 0 || c.Most != 0 {
		t.Errorf("of nothing: %+v", c)
	}
	if kept := counted.clone(now.Add(tallyReach)); len(kept.hours) != 1 {
		t.Errorf("%d hours are kept", len(kept.hours))
	}
}

// A part is never below what can be seen, and no bar or line is left.
func TestChartStaysInItsFrame(t *testing.T) {
	t.Parallel()
	for _, counts := range []tallyCounts{{1, 1, 1, 1}, {100000, 1, 1, 1}, {1, 1, 1, 100000}, {0, 0, 0, 1}} {
		sum := counts[0] + counts[1] + counts[2] + counts[3]
		for _, part := range newBar(counts, sum).Parts {
			if part.Y < 0 || part.Height < 1 || part.Y+part.Height > chartHeight {
				t.Errorf("%v: %+v", counts, part)
			}
		}
	}
	for _, millis := range [][]int64{{0, 0}, {1}, {0, 5, 0, 0, 0, 0}, {1, 1 << 50}, {3, 4, 5, 6, 7}} {
		var times []stageTime
		for _, ms := range millis {
			times = append(times, stageTime{Name: "lookup", Millis: ms})
		}
		bar, x := newStageBar(times), 0.0
		for _, part := range bar.Parts {
			if part.X != x || part.Width < leastPart {
				t.Errorf("%v: %+v", millis, part)
			}
			x += part.Width
		}
		if len(bar.Parts) > 0 && (x < 99.9 || x > 100.1) || bar.Total == 0 != (len(bar.Parts) == 0) {
			t.Errorf("%v takes %f", millis, x)
		}
	}
}

func TestPageTexts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"a b\nc\td", "a b\nc d"}, {"ä€😀", "ä€😀"}, {"a\u202eb\u2066", `a\u202eb\u2066`}, {"\x1b[31m\r", `\x1b[31m\r`},
		{"\u200b\ufeff\u00a0", `\u200b\ufeff\u00a0`}, {"\xff", "\ufffd"}, {"\U000e0001", `\U000e0001`}, {strings.Repeat("é", 21), strings.Repeat("é", 20) + "…"},
	} {
		if got := shown(c.in, 20); got != c.want {
			t.Errorf("%q is shown as %q", c.in, got)
		}
	}
	now := time.Now()
	for seconds, want := range map[int]string{
		-5: "just now", 9: "just now", 10: "10 s ago", 59: "50 s ago", 60: "1 min ago", 3599: "59 min ago", 3600: "1 h ago", 172799: "47 h ago", 172800: "2 days ago",
	} {
		if got := ago(now.Add(-time.Duration(seconds)*time.Second), now); got != want {
			t.Errorf("%d s: %s", seconds, got)
		}
	}
	for millis, want := range map[int64]string{0: "0 ms", 999: "999 ms", 1000: "1.0 s", 9900: "9.9 s", 10000: "10 s", 119000: "119 s", 120000: "2 min", 7200000: "2 h"} {
		if got := took(millis); got != want {
			t.Errorf("%d ms: %s", millis, got)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if got := kept("a\u20acb", 2); got != "a…" {
		t.Errorf("cut to %q", got)
	}
}

func TestPageLinks(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	l := newPageLinks(c)
	for got, want := range map[string]string{
		l.build(7, "a-1-1"):     "https://koji.fedoraproject.org/koji/buildinfo?buildID=7",
		l.build(0, "a b&c-1-1"): "https://koji.fedoraproject.org/koji/search?match=exact&terms=a+b%26c-1-1&type=build",
		l.repository("myorg/etcd", "quay.io/myorg/etcd@sha256:ab"): "https://quay.io/repository/myorg/etcd/manifest/sha256:ab",
		l.repository("myorg/a/b", "sha256:ab"):                     "https://quay.io/repository/myorg/a/b",
		l.repository("my?org/../x", ""):                            "https://quay.io/repository/my%3Forg/../x",
		buildAddress("my/org", "a?-1-1", 3):                        "/builds/my%2Forg/a%3F-1-1",
		buildAddress("", "a-1-1", 3):                               "/results/3",
	} {
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	if l.build(0, "") != "" || l.repository("etcd", "") != "" || l.repository("", "") != "" {
		t.Error("a link to nothing")
	}
	c.Koji.HubURL = "https://hub.example.com/xmlrpc"
	if got := newPageLinks(c).build(7, ""); got != "" {
		t.Errorf("%s is a guess", got)
	}
	c.Koji.WebURL = "https://web.example.com/"
	if got := newPageLinks(c).build(7, ""); got != "https://web.example.com/buildinfo?buildID=7" {
		t.Error(got)
	}
}

func FuzzGlobs(f *testing.F) {
	f.Add("a*b?", "axxbc")
	f.Add("***", "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if !globs([]rune("*"+s+"*"), []rune(s)) && !strings.ContainsAny(s, "*?") {
			t.Errorf("%q is not like itself", s)
		}
		globs([]rune(pattern), []rune(s))
	})
}
