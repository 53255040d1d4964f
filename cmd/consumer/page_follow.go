package main

import (
	"context"
	"slices"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// follower is what the goroutine of a pageSource knows. Nobody else does.
type follower struct {
	readers pageReaders
	now     func() time.Time
	word    string // that versions begin with

	version                  uint64
	connected                bool
	results, ledger, letters sourceState

	created time.Time // of the stream
	first   uint64    // sequence that it begins with
	next    uint64    // sequence to go on with; 0: nothing was read yet
	hole    int       // rounds in which next was missing
	rows    []pageRow // the oldest first

	tally   pageTally
	counted int    // how many results were read for it
	untold  bool   // some of them since the last change
	lowest  uint64 // sequence down to which they are counted

	entries     []events.Entry
	entryCount  uint64
	dead        []events.DeadLetter
	letterCount uint64
}

// look looks at each source that is due, and tells whether there is anything
// new. Only what is looked at is worth a look at the ledger.
func (f *follower) look(ctx context.Context, viewed bool) (changed bool) {
	connected := f.readers.connected()
	if connected != f.connected {
		f.connected, changed = connected, true
		f.results.next, f.ledger.next, f.letters.next = time.Time{}, time.Time{}, time.Time{}
	}
	visit := func(source *sourceState, every time.Duration, read func(context.Context) (bool, error)) {
		if f.now().Before(source.next) {
			return
		}
		failed := source.Err != nil
		found, err := read(ctx)
		source.after(err, f.now(), every)
		changed = changed || found || failed != (err != nil)
	}
	visit(&f.results, 0, f.lookAtResults)
	if viewed {
		visit(&f.ledger, ledgerEvery, f.lookAtLedger)
		visit(&f.letters, letterEvery, f.lookAtLetters)
		if f.results.Err == nil {
			visit(&f.results, 0, f.countOlder)
		}
	}
	return changed
}

// lookAtResults reads what is new in the stream of results.
func (f *follower) lookAtResults(ctx context.Context) (changed bool, err error) {
	bounds, err := f.readers.bounds(ctx)
	if err != nil {
		return false, err
	}
	if f.next == 0 || !bounds.Created.Equal(f.created) || bounds.Last+1 < f.next {
		f.begin(bounds)
		changed = true
	}
	f.first = bounds.First
	changed = f.forget() || changed
	if behind := bounds.Last + 1 - f.next; bounds.Last >= f.next && behind > pageWindow {
		f.begin(bounds) // too far behind to go through all of them
	}
	for f.next <= bounds.Last {
		end := min(f.next+pageChunk-1, bounds.Last)
		found, err := f.readers.rows(ctx, f.next, end)
		if err != nil {
			return changed, err
		}
		changed = changed || len(found) > 0
		if f.take(found, end) {
			return changed, nil // the rest in the next round
		}
	}
	return changed, nil
}

// begin forgets what was read, and goes on with the newest of the stream.
func (f *follower) begin(b events.Bounds) {
	f.created, f.rows, f.hole = b.Created, nil, 0
	f.next = max(b.First, b.Last+1-min(b.Last, pageWindow))
	f.tally, f.counted, f.lowest = newPageTally(), 0, f.next
}

// forget drops what the stream has no more, since it was purged or too old.
// Where that reaches what is at hand, nothing else is left to be counted.
func (f *follower) forget() (changed bool) {
	if f.next < f.first {
		f.next, f.hole = f.first, 0
	}
	gone := 0
	for gone < len(f.rows) && f.rows[gone].Sequence < f.first {
		gone++
	}
	if gone == 0 {
		return false
	}
	f.rows = slices.Delete(f.rows, 0, gone)
	f.tally, f.counted, f.lowest = newPageTally(), 0, f.first
	f.tally.all = true
	for _, row := range f.rows {
		f.tally.add(row.Outcome, row.Time)
	}
	return true
}

// take adds rows of sequences up to end. It stops at one that is missing and
// may still come.
func (f *follower) take(found []pageRow, end uint64) (stopped bool) {
	for _, row := range found {
		if row.Sequence > f.next && f.now().Sub(row.Time) < lagTime && f.waitsFor() {
			return true
		}
		f.rows = append(f.rows, row)
		f.tally.add(row.Outcome, row.Time)
		f.next, f.hole = row.Sequence+1, 0
	}
	if f.next <= end && f.waitsFor() {
		return true
	}
	f.next, f.hole = max(f.next, end+1), 0
	if extra := len(f.rows) - pageWindow; extra > 0 {
		f.rows = slices.Delete(f.rows, 0, extra)
	}
	return false
}

func (f *follower) waitsFor() bool {
	f.hole++
	return f.hole < holeRounds
}

// countOlder counts some of the results before those that were.
func (f *follower) countOlder(ctx context.Context) (changed bool, err error) {
	switch {
	case f.tally.all:
		return false, nil
	case f.lowest <= f.first:
		f.tally.all = true
		return true, nil
	case f.counted >= tallyMost, !f.tally.since.IsZero() && f.now().Sub(f.tally.since) > tallyReach:
		changed, f.untold = f.untold, false
		return changed, nil
	}
	from := max(f.first, f.lowest-min(f.lowest, pageBacking))
	found, err := f.readers.outcomes(ctx, from, f.lowest-1)
	if err != nil {
		return false, err
	}
	for _, one := range found {
		f.tally.add(string(one.Outcome), one.Time)
	}
	f.counted += int(f.lowest - from)
	f.lowest = from
	f.untold = f.counted%(10*pageBacking) != 0 // not worth telling each time
	return !f.untold, nil
}

func (f *follower) lookAtLedger(ctx context.Context) (changed bool, err error) {
	entries, count, err := f.readers.entries(ctx, pageLedger)
	if err != nil {
		return false, err
	}
	same := func(a, b events.Entry) bool {
		return a.NVR == b.NVR && a.Organization == b.Organization && a.Last.Equal(b.Last) && a.State == b.State && a.Tries == b.Tries
	}
	changed = count != f.entryCount || !slices.EqualFunc(entries, f.entries, same)
	f.entries, f.entryCount = entries, count
	return changed, nil
}

func (f *follower) lookAtLetters(ctx context.Context) (changed bool, err error) {
	letters, count, err := f.readers.letters(ctx, pageLetters)
	if err != nil {
		return false, err
	}
	shown := make([]events.DeadLetter, len(letters))
	for i, letter := range letters {
		shown[i] = keptLetter(letter)
	}
	same := func(a, b events.DeadLetter) bool { return a.Sequence == b.Sequence }
	changed = count != f.letterCount || !slices.EqualFunc(shown, f.dead, same)
	f.dead, f.letterCount = shown, count
	return changed, nil
}

// keptLetter is what the page shows of a dead letter.
func keptLetter(l events.DeadLetter) events.DeadLetter {
	return events.DeadLetter{
		Sequence: l.Sequence, Time: l.Time.UTC(), Tries: l.Tries, Bytes: l.Bytes,
		Reason: kept(l.Reason, maxRowName), Error: kept(l.Error, maxRowMessage), Stage: kept(l.Stage, maxRowName),
		Subject: kept(l.Subject, maxRowName),
		Event:   events.LetterEvent{NVR: kept(l.Event.NVR, maxRowName), BuildID: l.Event.BuildID},
	}
}

// snapshot is a state of what is known now, under a version of its own.
func (f *follower) snapshot() *pageState {
	f.version++
	rows := slices.Clone(f.rows)
	slices.Reverse(rows)
	seen := make(map[rowKey]bool, len(rows))
	for i := range rows {
		key := rows[i].key()
		rows[i].Superseded, seen[key] = seen[key], true
	}
	state := &pageState{
		Version: stateVersion(f.word, f.version), Rows: rows, First: f.first, Lowest: f.next, Counted: f.tally.clone(f.now()),
		Entries: f.entries, EntryCount: f.entryCount, Dead: f.dead, LetterCount: f.letterCount,
	}
	if len(f.rows) > 0 {
		state.Lowest = f.rows[0].Sequence
	}
	return f.restated(state)
}

// restated is a state with how up to date it is.
func (f *follower) restated(state *pageState) *pageState {
	now := *state
	now.Connected, now.Results, now.Ledger, now.Letters = f.connected, f.results, f.ledger, f.letters
	return &now
}
