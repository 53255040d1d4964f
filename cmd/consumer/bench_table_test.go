//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// figure is one line of the table: what the service reached in each run, and
// the floor in the same run.
type figure struct {
	name, unit     string
	service, floor []float64 // floor empty: there is nothing to compare with
	target         aim
	full           bool // the service kept a core busy, so that the target says nothing
}

// aim is what a figure is to reach.
type aim struct {
	bound float64 // 0: there is no target
	most  bool    // the bound is an upper one
	value bool    // of the value itself, not of its ratio to the floor
	of    string  // what stands for the floor, where it is none
	with  string  // the figure that has to be reached too
}

func atLeast(ratio float64) aim { return aim{bound: ratio} }
func atMost(ratio float64) aim  { return aim{bound: ratio, most: true} }
func below(value float64) aim   { return aim{bound: value, most: true, value: true} }

func (a aim) String() string {
	switch {
	case a.bound == 0:
		return ""
	case a.value:
		return fmt.Sprintf("<= %g", a.bound)
	case a.most:
		return fmt.Sprintf("<= %g of %s", a.bound, cmp.Or(a.of, "floor"))
	}
	return fmt.Sprintf(">= %g of %s", a.bound, cmp.Or(a.of, "floor"))
}

// ratio is the median of what the service reached for each that the floor did.
// What disturbs a machine disturbs both sides of a run.
func (f figure) ratio() float64 {
	ratios := make([]float64, min(len(f.service), len(f.floor)))
	for i := range ratios {
		ratios[i] = f.service[i] / f.floor[i]
	}
	return median(ratios)
}

// ok tells whether the target is reached. What was not measured reaches none.
func (f figure) ok() bool {
	beside := f.target.bound != 0 && !f.target.value
	if len(f.service) == 0 || beside && len(f.floor) == 0 {
		return false
	}
	reached := f.ratio()
	if f.target.value {
		reached = median(f.service)
	}
	if f.target.most {
		return reached <= f.target.bound
	}
	return f.full || reached >= f.target.bound
}

// median is 0 without values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// official are the names of the figures that BENCH_JSON writes, in its order.
func official() []string {
	return []string{
		"ignored", "published", "published_50ms_8", "published_50ms_32", "published_50ms_128",
		"latency_p50", "latency_p99", "archive_read", "rewrite", "classify", "prepare", "rss_mib", "start_ms",
	}
}

// table lays figures out as text: medians, with the least and the most.
func table(figures []figure) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "figure\tunit\tservice\t\tfloor\t\tratio\ttarget\t")
	for _, f := range figures {
		ratio, verdict := "", ""
		if len(f.floor) > 0 {
			ratio = fmt.Sprintf("%.2f", f.ratio())
		}
		switch {
		case f.target.bound == 0:
		case f.full:
			verdict = "full"
		case f.ok():
			verdict = "ok"
		default:
			verdict = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", f.name, f.unit, spread(f.service), spread(f.floor), ratio,
			strings.TrimSpace(f.target.String()+"\t"+verdict))
	}
	_ = w.Flush()
	return b.String()
}

func spread(values []float64) string {
	if len(values) == 0 {
		return "\t"
	}
	return fmt.Sprintf("%s\t[%s … %s]", short(median(values)), short(slices.Min(values)), short(slices.Max(values)))
}

// short is a number with about three digits that count.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// entry of the file that BENCH_JSON names.
type benchEntry struct {
	Name   string   `json:"name"`
	Value  float64  `json:"value"`
	Unit   string   `json:"unit"`
	Floor  *float64 `json:"floor"` // null: there is nothing to compare with
	Ratio  *float64 `json:"ratio"`
	Target float64  `json:"target"` // of the ratio, of the value where there is none
	OK     bool     `json:"ok"`
}

// writeFigures writes the official figures to a file. Each that was measured is
// in it.
func writeFigures(t *testing.T, file string, figures []figure) {
	t.Helper()
	var list []benchEntry
	for _, name := range official() {
		i := slices.IndexFunc(figures, func(f figure) bool { return f.name == name })
		if i < 0 {
			continue // only some were asked for
		}
		f := figures[i]
		with := slices.IndexFunc(figures, func(other figure) bool { return other.name == f.target.with })
		e := benchEntry{
			Name: name, Value: median(f.service), Unit: f.unit, Target: f.target.bound,
			OK: f.ok() && (with < 0 || figures[with].ok()),
		}
		if len(f.floor) > 0 {
			floor, ratio := median(f.floor), f.ratio()
			e.Floor, e.Ratio = &floor, &ratio
		}
		list = append(list, e)
	}
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		f     figure
		ratio float64
		ok    bool
	}{
		{figure{service: []float64{7}, floor: []float64{10}, target: atLeast(0.7)}, 0.7, true},
		{figure{service: []float64{6, 5, 100}, floor: []float64{10, 10, 10}, target: atLeast(0.7)}, 0.6, false},
		{figure{service: []float64{6}, floor: []float64{10}, target: atLeast(0.7), full: true}, 0.6, true},
		{figure{service: []float64{20, 40}, floor: []float64{10, 10}, target: atMost(3)}, 3, true},
		{figure{service: []float64{40}, floor: []float64{10}, target: atMost(3)}, 4, false},
		{figure{service: []float64{64}, target: below(64)}, 0, true},
		{figure{service: []float64{65}, target: below(64)}, 0, false},
		{figure{service: []float64{65}}, 0, true},
		{figure{target: below(64)}, 0, false},
		{figure{floor: []float64{10}, target: atMost(3)}, 0, false},
		{figure{service: []float64{10}, target: atMost(3)}, 0, false},
		{figure{service: []float64{10}, target: atLeast(0.7), full: true}, 0, false},
	} {
		if got := tc.f.ratio(); got != tc.ratio || tc.f.ok() != tc.ok {
			t.Errorf("%+v: ratio %v, ok %v", tc.f, got, tc.f.ok())
		}
	}
}
