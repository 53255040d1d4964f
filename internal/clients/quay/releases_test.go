package quay

import (
	"slices"
	"strings"
	"testing"
)

func releasesOf(names ...string) releases {
	l := make(releases, len(names))
	for i, name := range names {
		l[i] = release{name: name}
	}
	return l
}

func TestNextRelease(t *testing.T) {
	t.Parallel()
	const first = "1.0.0"
	for _, tc := range []struct {
		there []string
		want  string
	}{
		{nil, first},
		{[]string{"1.0.0"}, "2.0.0"},
		{[]string{"1.0.0", "4.3.2"}, "5.0.0"},
		{[]string{"3.0.0", "4.0.1"}, "5.0.0"},
		{[]string{"3.0.0", "6.0.2"}, "7.0.0"},
		{[]string{"10.0.0", "9.9.9"}, "11.0.0"},
		{[]string{"0.0.0"}, "1.0.0"},
		{[]string{"2.10.0", "2.9.0", "2.9.10"}, "3.0.0"},
		{[]string{"1.0.0-2", "1.0.02", "1.a.2", "1.1", "1.0.0.1", "v7.0.0", "", "-1.0.0", "1.0.0+x", "٣.0.0", "9.0.0\n"}, first},
		{[]string{"1.0.0", "9.0.0-1"}, "2.0.0"},
		{[]string{"18446744073709551615.0.0"}, "18446744073709551616.0.0"},
		{[]string{"99999999999999999999999999999.0.0", "5.0.0"}, "100000000000000000000000000000.0.0"},
		{[]string{strings.Repeat("9", 500) + ".0.0", "5.0.0"}, "6.0.0"}, // too long to be one
	} {
		if got := releasesOf(tc.there...).next(first); got != tc.want {
			t.Errorf("after %q comes %s, want %s", tc.there, got, tc.want)
		}
		slices.Reverse(tc.there)
		if got := releasesOf(tc.there...).next(first); got != tc.want {
			t.Errorf("after %q comes %s, want %s", tc.there, got, tc.want)
		}
	}
	if got := (releases{}).next("0.1.0"); got != "0.1.0" {
		t.Errorf("the first is %s", got)
	}
}

func TestUncountedReleases(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		there []string
		want  string
	}{
		{nil, ""},
		{[]string{"1.0.0", "2.0.0"}, ""},
		{[]string{"1.0.0", "1.0.0-2", "1.0.02"}, "the next release was counted without 1.0.0-2, 1.0.02: not three plain numbers"},
		{[]string{"a\nb"}, "the next release was counted without a b: not three plain numbers"},
		{strings.Split(strings.Repeat("x ", 15)+"x", " "), "the next release was counted without x, x, x, x, x, x, x, x, x, x and 6 more: not three plain numbers"},
	} {
		if got := releasesOf(tc.there...).uncounted(); got != tc.want {
			t.Errorf("of %q it is said: %s", tc.there, got)
		}
	}
}

func TestReleasesAreOrdered(t *testing.T) {
	t.Parallel()
	want := []string{"1.0.0-2", "b", "0.9.10", "1.0.0", "2.0.0", "10.0.0", "10.0.1"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareReleases)
	if !slices.Equal(got, want) {
		t.Errorf("order is %q", got)
	}
	there := releases{{"9.0.0", "a"}, {"10.0.0", "a"}, {"11.0.0", "b"}, {"z", "a"}, {"y", "c"}, {"x", "c"}, {"w", ""}}
	for digest, want := range map[string]string{"a": "10.0.0", "b": "11.0.0", "c": "y", "d": ""} {
		if got := there.holding(digest); got != want {
			t.Errorf("%s is in %q, want %q", digest, got, want)
		}
	}
}
