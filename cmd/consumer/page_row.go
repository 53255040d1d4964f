package main

import (
	"slices"
	"strings"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Bounds of what the page keeps of a result, in bytes: a thousand of them at
// their longest are about four MiB.
const (
	maxRowName    = 256
	maxRowMessage = 240
	maxRowWants   = 3 // requirements of a decision, and versions of bundles
)

// pageRow is what the list shows of one result.
type pageRow struct {
	Sequence uint64 // in the stream of results; 0: of the ledger alone
	Time     time.Time

	NVR, Organization, Package, Repository string
	BuildID                                int64

	Outcome  string // or a state of the ledger
	Reason   string
	Message  string
	Stage    string
	Wants    []string // testcases that the gate still asks for
	Versions []string // that were published or deleted
	More     int      // of them, left out
	Tries    uint64
	Repeated bool
	Stages   []stageTime

	// Superseded tells that there is a later result of the same build.
	Superseded bool
}

// stageTime is how long a build was in a stage.
type stageTime struct {
	Name   string
	Millis int64
}

// rowKey is what a later result supersedes.
type rowKey struct {
	organization, nvr string
	sequence          uint64 // 0 where there is an NVR
}

func (r pageRow) key() rowKey {
	if r.NVR == "" {
		return rowKey{sequence: r.Sequence}
	}
	return rowKey{organization: r.Organization, nvr: r.NVR}
}

// rowOf keeps of a result what the list shows.
func rowOf(w events.Watched) pageRow {
	d := w.Data
	r := pageRow{
		Sequence: w.Sequence, Time: w.Time.UTC(),
		NVR: kept(d.NVR, maxRowName), Organization: kept(d.Organization, maxRowName), Package: kept(d.Package, maxRowName),
		Repository: kept(d.Repository, maxRowName), BuildID: d.BuildID,
		Outcome: kept(string(d.Outcome), maxRowName), Tries: d.Tries, Repeated: d.Repeated, Stages: stageTimes(d.DurationsMS),
	}
	if w.Err != nil {
		r.Outcome, r.Message = outcomeUnreadable, kept(w.Err.Error(), maxRowMessage)
		return r
	}
	if r.NVR == "" && d.Archive != nil && r.Package == "" {
		r.Package = kept(d.Archive.Name, maxRowName)
	}
	if e := d.Error; e != nil {
		r.Reason, r.Message, r.Stage = kept(string(e.Reason), maxRowName), kept(e.Message, maxRowMessage), kept(string(e.Stage), maxRowName)
	}
	if d.Decision != nil {
		for _, want := range d.Decision.Unsatisfied[:min(len(d.Decision.Unsatisfied), maxRowWants)] {
			if want.Testcase != "" {
				r.Wants = append(r.Wants, kept(want.Testcase, maxRowName))
			}
		}
	}
	r.Versions, r.More = versionsOf(d)
	switch {
	case r.Repository != "":
	case len(d.Bundles) > 0:
		r.Repository = kept(d.Bundles[0].Repository, maxRowName)
	case d.Release != nil:
		r.Repository = kept(d.Release.Repository, maxRowName)
	}
	return r
}

// outcomeUnreadable stands for a message of the results stream that is none.
const outcomeUnreadable = "unreadable"

func versionsOf(d events.ResultData) (versions []string, more int) {
	all := slices.Clone(d.Deleted)
	for _, bundle := range d.Bundles {
		all = append(all, bundle.Version)
	}
	if d.Release != nil {
		all = append(all, d.Release.Version)
	}
	slices.Reverse(all) // the newest version of a package is the last one
	for _, version := range all[:min(len(all), maxRowWants)] {
		versions = append(versions, kept(version, maxRowName))
	}
	return versions, len(all) - len(versions)
}

// stageTimes are the durations of a result in the order of the stages.
func stageTimes(millis map[pipeline.StageName]int64) []stageTime {
	var times []stageTime
	for _, stage := range pipeline.StageNames() {
		if ms, ran := millis[stage]; ran {
			times = append(times, stageTime{Name: string(stage), Millis: max(ms, 0)})
		}
	}
	return times
}

// rowOfEntry is what the ledger tells of a build whose results are not at hand.
func rowOfEntry(e events.Entry) pageRow {
	r := pageRow{
		Time: e.Last.UTC(), NVR: kept(e.NVR, maxRowName), Organization: kept(e.Organization, maxRowName), Package: kept(e.Package, maxRowName),
		BuildID: e.BuildID, Outcome: kept(string(e.State), maxRowName), Reason: kept(string(e.Reason), maxRowName),
		Message: kept(e.Message, maxRowMessage), Stage: kept(string(e.Stage), maxRowName), Tries: e.Tries,
	}
	return r
}

// kept is s, or its beginning as a string of its own, which keeps nothing else
// in memory.
func kept(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.Clone(strings.ToValidUTF8(s[:limit], "")) + "…"
}
