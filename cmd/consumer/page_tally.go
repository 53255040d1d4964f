package main

import (
	"maps"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// tallyReach is how far back results are counted: the longest span of the
	// chart, and an hour that has begun.
	tallyReach = 30*24*time.Hour + time.Hour
	// tallyMost bounds how many results are read for being counted.
	tallyMost = 20_000
)

// tallied are the outcomes that are counted, in the order of the chart from
// below.
var tallied = [...]pipeline.Outcome{
	pipeline.OutcomePublished, pipeline.OutcomeRejected, pipeline.OutcomeFailed, pipeline.OutcomeDeleted,
}

// tallyCounts are how many results there were of each of tallied.
type tallyCounts [len(tallied)]int

// pageTally counts results by the hour.
type pageTally struct {
	hours map[int64]tallyCounts // by hours since 1970
	// since is the time of the oldest result that was counted; all tells that
	// there is none before it.
	since time.Time
	all   bool
}

func newPageTally() pageTally { return pageTally{hours: map[int64]tallyCounts{}} }

func hourOf(t time.Time) int64 { return t.Unix() / int64(time.Hour/time.Second) }

// add counts a result.
func (t *pageTally) add(outcome string, at time.Time) {
	if t.since.IsZero() || at.Before(t.since) {
		t.since = at
	}
	for i, one := range tallied {
		if string(one) == outcome {
			counts := t.hours[hourOf(at)]
			counts[i]++
			t.hours[hourOf(at)] = counts
		}
	}
}

// clone forgets what is out of reach, and copies the rest.
func (t *pageTally) clone(now time.Time) pageTally {
	oldest := hourOf(now.Add(-tallyReach))
	maps.DeleteFunc(t.hours, func(hour int64, _ tallyCounts) bool { return hour < oldest })
	return pageTally{hours: maps.Clone(t.hours), since: t.since, all: t.all}
}

// between sums the hours from begin on and before end.
func (t pageTally) between(begin, end int64) (sum tallyCounts) {
	for hour := begin; hour < end; hour++ {
		for i, n := range t.hours[hour] {
			sum[i] += n
		}
	}
	return sum
}
