package main

import (
	"fmt"
	"strings"
	"time"
)

// chartSpan is how much time the chart shows, and in how long steps.
type chartSpan struct {
	name        string // for people
	steps, step int64  // step in hours
	day, tick   string // layouts of a step's time: long, and short for the axis
}

// chartSpans are the spans by their parameter.
var chartSpans = map[string]chartSpan{
	"":      {"24 hours", 24, 1, "2 Jan 15:04", "15:04"},
	"week":  {"7 days", 28, 6, "2 Jan 15:04", "2 Jan"},
	"month": {"30 days", 30, 24, "2 Jan", "2 Jan"},
}

// The chart's own units; the style sheet stretches it.
const (
	chartHeight = 100
	chartStep   = 10 // from bar to bar
	chartWide   = 8  // a bar
)

// chart is a bar for each step of time, of a part for each outcome.
type chart struct {
	Name   string
	Width  int64
	Height int64
	Bars   []chartBar
	Totals []chartTotal
	Ticks  []string // begin, middle and end
	Most   int      // of the highest bar
	// Since is when counting begins, zero where that is before the chart does.
	Since time.Time
	Links []chartLink
}

type chartBar struct {
	X, Width int64
	Parts    []chartPart
	Title    string
}

type chartPart struct {
	Class     string
	Y, Height int64
}

type chartTotal struct {
	Outcome string
	Count   int
}

type chartLink struct {
	Name, Address string
	Current       bool
}

// newChart draws what was counted.
func newChart(t pageTally, q pageQuery, now time.Time) chart {
	span := chartSpans[q.Span]
	last := hourOf(now)/span.step + 1 // steps begin at midnight UTC
	begin := last - span.steps
	c := chart{Name: span.name, Width: span.steps * chartStep, Height: chartHeight}
	counts := make([]tallyCounts, span.steps)
	var totals tallyCounts
	for i := range counts {
		counts[i] = t.between((begin+int64(i))*span.step, (begin+int64(i)+1)*span.step)
		sum := 0
		for j, n := range counts[i] {
			totals[j] += n
			sum += n
		}
		c.Most = max(c.Most, sum)
	}
	at := func(step int64) time.Time { return time.Unix((begin+step)*span.step*3600, 0).UTC() }
	for i := range counts {
		if bar := newBar(counts[i], c.Most); len(bar.Parts) > 0 {
			bar.X, bar.Width = int64(i)*chartStep+(chartStep-chartWide)/2, chartWide
			bar.Title = at(int64(i)).Format(span.day) + " UTC: " + countsText(counts[i])
			c.Bars = append(c.Bars, bar)
		}
	}
	for j, outcome := range tallied {
		c.Totals = append(c.Totals, chartTotal{Outcome: string(outcome), Count: totals[j]})
	}
	c.Ticks = []string{at(0).Format(span.tick), at(span.steps / 2).Format(span.tick), "now"}
	if !t.all && t.since.After(at(0)) {
		c.Since = t.since
	}
	for _, key := range []string{"", "week", "month"} {
		to := q
		to.Span, to.Before = key, 0
		c.Links = append(c.Links, chartLink{Name: chartSpans[key].name, Address: to.address(), Current: key == q.Span})
	}
	return c
}

// leastHeight is what the smallest part of a bar takes, so that it can be seen.
const leastHeight = 3

// newBar stacks the parts of a bar from below; most is the sum of the highest.
func newBar(counts tallyCounts, most int) (bar chartBar) {
	sum, parts := int64(0), int64(0)
	for _, n := range counts {
		sum += int64(n)
		if n > 0 {
			parts++
		}
	}
	if sum == 0 {
		return bar
	}
	free := max(0, sum*chartHeight/int64(most)-parts*leastHeight)
	y := int64(chartHeight)
	for j, n := range counts {
		if n == 0 {
			continue
		}
		height := leastHeight + int64(n)*free/sum
		y -= height
		bar.Parts = append(bar.Parts, chartPart{Class: string(tallied[j]), Y: y, Height: height})
	}
	return bar
}

func countsText(counts tallyCounts) string {
	var parts []string
	for j, n := range counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, tallied[j]))
		}
	}
	return strings.Join(parts, ", ")
}

// stageBar is the time in each stage as parts of one line.
type stageBar struct {
	Parts []stagePart
	Total int64 // milliseconds
}

type stagePart struct {
	Name     string
	Millis   int64
	X, Width float64 // in percent of the line
}

// leastPart is what the shortest stage takes of the line, so that it can be
// seen and pointed at.
const leastPart = 1.5

// newStageBar shares the line out. There is none for no time.
func newStageBar(times []stageTime) stageBar {
	var b stageBar
	for _, t := range times {
		b.Total += t.Millis
	}
	if b.Total == 0 {
		return b
	}
	free := 100 - leastPart*float64(len(times))
	x := 0.0
	for _, t := range times {
		width := leastPart + free*float64(t.Millis)/float64(b.Total)
		b.Parts = append(b.Parts, stagePart{Name: t.Name, Millis: t.Millis, X: x, Width: width})
		x += width
	}
	return b
}
