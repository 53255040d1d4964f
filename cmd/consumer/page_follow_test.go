package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// following is a follower of what is given, whose clock stands still.
func following(g *given) *follower {
	now := time.Now()
	return &follower{readers: g.readers(), now: func() time.Time { return now }, tally: newPageTally()}
}

// rowsText are the sequences of the rows of a state.
func rowsText(s *pageState) string {
	var parts []string
	for _, row := range s.Rows {
		text := fmt.Sprint(row.Sequence)
		if row.Superseded {
			text += "-"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func TestFollow(t *testing.T) {
	t.Parallel()
	g := &given{first: 5}
	f := following(g)
	look := func(changed bool, want string) {
		t.Helper()
		if got := f.look(t.Context(), true); got != changed {
			t.Errorf("changed: %t", got)
		}
		if got := rowsText(f.snapshot()); got != want {
			t.Errorf("rows %q, not %q", got, want)
		}
	}
	look(true, "")
	f.tally.all = true
	look(false, "")
	g.add(row("a-1-1", "myorg", "waiting"), row("b-1-1", "myorg", "published"))
	look(true, "6 5")
	look(false, "6 5")
	g.add(row("a-1-1", "other", "published"), row("", "myorg", "deleted"), row("", "myorg", "deleted"), row("a-1-1", "myorg", "published"))
	look(true, "10 9 8 7 6 5-")

	// A stream that was made anew begins anew.
	g.change(func() { g.rows, g.first, g.created = nil, 1, time.Now() })
	look(true, "")
	g.add(row("c-1-1", "myorg", "published"))
	look(true, "1")
	// So does one that lost its end.
	g.add(row("d-1-1", "myorg", "published"), row("e-1-1", "myorg", "published"))
	look(true, "3 2 1")
	g.change(func() { g.rows = g.rows[:1] })
	look(true, "1")
}

// A result that a replica of the stream does not have yet is not passed over,
// and one that is gone holds nothing up for long.
func TestFollowOverHoles(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	f := following(g)
	g.add(row("a-1-1", "myorg", "published"), row("b-1-1", "myorg", "published"), row("c-1-1", "myorg", "published"))
	hidden := g.rows[1]
	g.rows[1] = pageRow{}
	f.look(t.Context(), true)
	if got := rowsText(f.snapshot()); got != "1" {
		t.Errorf("passed over what is missing: %s", got)
	}
	g.rows[1] = hidden
	f.look(t.Context(), true)
	if got := rowsText(f.snapshot()); got != "3 2 1" {
		t.Errorf("when it is there: %s", got)
	}
	g.add(pageRow{}, row("d-1-1", "myorg", "published"), pageRow{})
	g.rows[3].Sequence, g.rows[5].Sequence = 0, 0
	for range 2 * holeRounds {
		f.look(t.Context(), true)
	}
	if got := rowsText(f.snapshot()); got != "5 3 2 1" || f.next != 7 {
		t.Errorf("what stays missing: %s, and next %d", got, f.next)
	}
	if counts := f.tally.between(0, hourOf(f.now())+1); counts[0] != 4 {
		t.Errorf("counted %v", counts)
	}
	// Old ones were deleted: nobody waits for them.
	old := row("e-1-1", "myorg", "published")
	old.Time = f.now().Add(-time.Hour)
	g.add(pageRow{}, pageRow{}, old)
	g.rows[6].Sequence, g.rows[7].Sequence = 0, 0
	f.look(t.Context(), true)
	if got := rowsText(f.snapshot()); got != "9 5 3 2 1" {
		t.Errorf("old ones that are gone: %s", got)
	}
}

// What the stream has no more is not shown and not counted.
func TestFollowForgets(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	for range 5 {
		g.add(row("", "myorg", "published"))
	}
	f := following(g)
	look := func(changed bool, want string, counted int) {
		t.Helper()
		if got := f.look(t.Context(), true); got != changed {
			t.Errorf("changed: %t", got)
		}
		s := f.snapshot()
		if sum := s.Counted.between(0, hourOf(f.now())+1); rowsText(s) != want || sum[0] != counted {
			t.Errorf("rows %q, not %q, and counted %v", rowsText(s), want, sum)
		}
	}
	look(true, "5 4 3 2 1", 5)
	g.change(func() { g.first, g.rows = 4, g.rows[3:] })
	look(true, "5 4", 2)
	look(false, "5 4", 2)
	g.change(func() { g.first, g.rows = 6, nil })
	look(true, "", 0)
	look(false, "", 0)
	g.add(row("", "myorg", "published"))
	look(true, "6", 1)
	// What was never read is not waited for either.
	g.change(func() { g.first, g.rows = 100, nil })
	g.add(row("", "myorg", "published"), row("", "myorg", "published"))
	look(true, "101 100", 2)
}

// What was counted last is shown, though nothing else changes.
func TestFollowTellsWhatItCounted(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	f := following(g)
	const count = 6000 // more than a window, and of more time than is counted
	for i := range count {
		r := row("a-1-1", "myorg", "published")
		r.Time = f.now().Add(-3 * tallyReach).Add(time.Duration(i) * (3 * tallyReach / count))
		g.add(r)
	}
	var shown *pageState
	for range count {
		if f.look(t.Context(), true) {
			shown = f.snapshot()
		}
	}
	if got := shown.Counted.since; !got.Equal(f.tally.since) || f.now().Sub(got) < tallyReach {
		t.Errorf("shown since %s, and counted since %s", got, f.tally.since)
	}
}

// However many results there are, as many are held and read as are allowed.
func TestFollowIsBounded(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	const count = tallyMost + 5000
	for range count {
		g.add(row("a-1-1", "myorg", "published"))
	}
	f := following(g)
	f.look(t.Context(), false)
	if len(f.rows) != pageWindow || g.reads != pageWindow {
		t.Fatalf("%d rows of %d reads", len(f.rows), g.reads)
	}
	before := g.reads
	for range 3 {
		f.look(t.Context(), false)
	}
	if g.reads != before {
		t.Errorf("%d older results were read though nobody looks", g.reads-before)
	}
	for range tallyMost {
		f.look(t.Context(), true)
	}
	if extra := g.reads - before; extra != tallyMost {
		t.Errorf("%d older results were read", extra)
	}
	if counts := f.tally.between(0, hourOf(f.now())+1); counts[0] != pageWindow+tallyMost || f.tally.all {
		t.Errorf("counted %v, all %t", counts, f.tally.all)
	}
	for range 3 * pageWindow {
		g.add(row("b-1-1", "myorg", "rejected"))
	}
	before = g.reads
	f.look(t.Context(), false)
	if len(f.rows) != pageWindow || g.reads != before+pageWindow || f.rows[pageWindow-1].Sequence != count+3*pageWindow {
		t.Errorf("far behind: %d rows of %d reads", len(f.rows), g.reads-before)
	}
}

// A source that fails is asked more and more rarely, and at once when the
// connection is back.
func TestFollowFailures(t *testing.T) {
	t.Parallel()
	g := &given{first: 1, fault: errors.New("no answer")}
	now := time.Now()
	f := following(g)
	f.now = func() time.Time { return now }
	asked := 0
	bounds := f.readers.bounds
	f.readers.bounds = func(ctx context.Context) (events.Bounds, error) { asked++; return bounds(ctx) }
	for range 600 {
		f.look(t.Context(), true)
		now = now.Add(time.Second)
	}
	if asked < 10 || asked > 30 {
		t.Errorf("asked %d times in ten minutes", asked)
	}
	if f.look(t.Context(), true) || f.results.Err == nil {
		t.Errorf("the same again is a change, or %v", f.results.Err)
	}
	g.change(func() { g.down = true })
	f.look(t.Context(), true)
	g.change(func() { g.down, g.fault = false, nil })
	if !f.look(t.Context(), true) || f.results.Err != nil || !f.results.At.Equal(now) {
		t.Errorf("after it is back: %+v", f.results)
	}
}

func TestPending(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := func(r pageRow, minutes int) pageRow {
		r.Time = now.Add(-time.Duration(minutes) * time.Minute)
		return r
	}
	wants := row("gated-1-1", "myorg", "waiting")
	wants.Wants = []string{"a.test"}
	state := &pageState{
		Rows: []pageRow{
			at(row("done-1-1", "myorg", "published"), 1), at(wants, 2), at(row("quiet-1-1", "myorg", "waiting"), 60),
			at(row("overtaken-1-1", "myorg", "waiting"), 3), {NVR: "done-1-1", Organization: "myorg", Outcome: "waiting", Superseded: true},
		},
		Entries: []events.Entry{
			{NVR: "gated-1-1", Organization: "myorg", State: events.StateWaiting, First: now.Add(-time.Hour * 3)},
			{NVR: "tried-1-1", Organization: "other", State: events.StatePublishing, Reason: "koji-unavailable", First: now},
			{NVR: "overtaken-1-1", Organization: "myorg", State: events.StatePublished},
			{NVR: "done-1-1", Organization: "myorg", State: events.StatePublished},
		},
	}
	text := func(q pageQuery) string {
		var parts []string
		pending, _ := pendingRows(state, q)
		for _, p := range pending {
			parts = append(parts, p.NVR+" "+p.Outcome+strings.Join(p.Wants, ""))
		}
		return strings.Join(parts, ", ")
	}
	if got := text(pageQuery{Outcome: "published"}); got != "gated-1-1 waitinga.test, quiet-1-1 waiting, tried-1-1 publishing" {
		t.Error(got)
	}
	if got := text(pageQuery{Organization: "other"}); got != "tried-1-1 publishing" {
		t.Error(got)
	}
}
