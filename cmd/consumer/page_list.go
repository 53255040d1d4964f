package main

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	listedRows    = 50  // on one page
	listedPending = 25  // builds that wait or are in work
	lookedBack    = 256 // results read for a page of those that are not at hand, at most
	lookedAtOnce  = 32  // of them before others are asked for
	maxChoices    = 100 // organizations to choose from
)

// pageHead is what all pages have in common.
type pageHead struct {
	Title   string
	Live    bool // the page can be told of changes
	State   *pageState
	Notices []string
	About   version
}

// listView is what the list shows.
type listView struct {
	pageHead
	Query         pageQuery
	Problem       string // with the parameters
	Organizations []string
	Outcomes      []string

	Chart        chart
	Pending      []pendingRow
	PendingCount int  // of which Pending are the first
	PendingAll   bool // there are no others

	Rows    []listRow
	Found   []listRow // in the ledger alone
	Older   string    // address of the page behind this one
	Newest  string    // address of the first page, where this is another
	Nothing string    // why there are no rows, and what to do
}

// listRow is a row with where it leads.
type listRow struct {
	pageRow
	Koji, Quay string
}

// pendingRow is a build that waits, is tried again, or is in work.
type pendingRow struct {
	pageRow
	Since time.Time
}

func (p *page) list(w http.ResponseWriter, r *http.Request) {
	query, err := readPageQuery(r.URL.Query())
	state := p.source.fresh(r.Context())
	view := listView{
		pageHead:      p.head("Builds", state),
		Query:         query,
		Organizations: p.choices(state), Outcomes: filterOutcomes(),
		Chart: newChart(state.Counted, query, p.now()),
	}
	if err != nil {
		view.Problem = err.Error()
		p.render(w, r, http.StatusBadRequest, "list", view)
		return
	}
	view.Live = query.Before == 0
	view.Pending, view.PendingAll = pendingRows(state, query)
	view.PendingCount = len(view.Pending)
	view.Pending = view.Pending[:min(view.PendingCount, listedPending)]
	p.fill(r.Context(), &view)
	p.render(w, r, http.StatusOK, "list", view)
}

func (p *page) head(title string, state *pageState) pageHead {
	return pageHead{Title: title, State: state, Notices: notices(state), About: p.about}
}

// notices tell what of the page is out of date, and what to do.
func notices(s *pageState) []string {
	if !s.Connected {
		if s.Results.At.IsZero() {
			return []string{"There is no connection to NATS yet, so there is nothing to show. The log and /readyz say why."}
		}
		return []string{"NATS does not answer. What is shown was read until " + s.Results.At.UTC().Format("15:04:05 UTC") + "; nothing is lost, the page goes on by itself."}
	}
	var all []string
	for _, source := range []struct {
		state sourceState
		what  string
	}{
		{s.Results, "Results cannot be read"}, {s.Ledger, "The ledger cannot be read, so what waits may be incomplete"},
		{s.Letters, "Dead letters cannot be read"},
	} {
		if err := source.state.Err; err != nil {
			all = append(all, source.what+": "+err.Error()+
				". If that stays so, the service's NATS user may lack a right that the README names under Status page.")
		}
	}
	return all
}

// choices are the organizations to filter by: those that are configured, and
// those that results are about.
func (p *page) choices(state *pageState) []string {
	all := slices.Clone(p.organizations)
	known := make(map[string]bool, len(all))
	for _, name := range all {
		known[name] = true
	}
	for _, row := range state.Rows {
		if row.Organization != "" && !known[row.Organization] && len(known) < maxChoices {
			known[row.Organization] = true
			all = append(all, row.Organization)
		}
	}
	slices.Sort(all)
	return all
}

// fill finds the rows that are asked for: of the results at hand, then of older
// ones in the stream, and of the ledger where it knows a build by its whole NVR.
func (p *page) fill(ctx context.Context, view *listView) {
	q := view.Query
	state := view.State
	rows, more := pick(state.Rows, q)
	switch {
	case more:
		view.Older = olderThan(q, rows[len(rows)-1].Sequence)
	case q.Before != 0 && len(rows) == 0:
		rows = p.fillOlder(ctx, view)
	case state.Lowest > state.First:
		view.Older = olderThan(q, state.Lowest)
	}
	for _, row := range rows {
		view.Rows = append(view.Rows, p.listRow(row))
	}
	if q.Before != 0 {
		first := q
		first.Before = 0
		view.Newest = first.address()
	}
	if _, err := pipeline.ParseNVR(q.NVR); err == nil && q.Before == 0 {
		p.fillFound(ctx, view)
	}
	if len(view.Rows) == 0 && len(view.Found) == 0 {
		view.Nothing = cmp.Or(view.Nothing, nothing(view))
	}
}

// pick takes the first rows that q asks for. more tells that there are others.
func pick(rows []pageRow, q pageQuery) (picked []pageRow, more bool) {
	for _, row := range rows {
		if row.Superseded || !q.takes(row) {
			continue
		}
		if len(picked) == listedRows {
			return picked, true
		}
		picked = append(picked, row)
	}
	return picked, false
}

func olderThan(q pageQuery, sequence uint64) string {
	q.Before = sequence
	return q.address()
}

// fillOlder reads rows from the stream that are not at hand: some, since there
// may be millions. It shows what could be read in time.
func (p *page) fillOlder(ctx context.Context, view *listView) []pageRow {
	q, state := view.Query, view.State
	end := min(q.Before, state.Lowest)
	if end <= state.First {
		return nil
	}
	var picked []pageRow
	begin, more := end, false
	p.withNATS(ctx, func(ctx context.Context, readers pageReaders) {
		picked, begin, more = readOlder(ctx, readers, state, q, end)
	})
	switch {
	case begin == end:
		view.Notices = append(view.Notices, "Older results could not be read just now; reload the page to try again.")
		view.Nothing = "No older results could be read."
	case more:
		view.Older = olderThan(q, picked[len(picked)-1].Sequence)
	case begin > state.First:
		view.Older = olderThan(q, begin)
	}
	return picked
}

// readOlder reads results before end, the newest first, until there is a page of
// them or no time left, and tells which was the last one. more is as pick's.
func readOlder(ctx context.Context, readers pageReaders, state *pageState, q pageQuery, end uint64) (picked []pageRow, begin uint64, more bool) {
	seen := make(map[rowKey]bool, len(state.Rows))
	for _, row := range state.Rows {
		seen[row.key()] = true
	}
	var older []pageRow
	lowest := max(state.First, end-min(end, lookedBack))
	for begin = end; begin > lowest && !more; {
		from := max(lowest, begin-min(begin, lookedAtOnce))
		found, err := readers.rows(ctx, from, begin-1)
		if err != nil {
			break
		}
		for _, row := range slices.Backward(found) {
			row.Superseded, seen[row.key()] = seen[row.key()], true
			older = append(older, row)
		}
		begin = from
		picked, more = pick(older, q)
	}
	return picked, begin, more
}

// fillFound asks the ledger for a build that the rows do not tell of.
func (p *page) fillFound(ctx context.Context, view *listView) {
	var entries []events.Entry
	var err error
	ok := p.withNATS(ctx, func(ctx context.Context, readers pageReaders) { entries, err = readers.find(ctx, view.Query.NVR) })
	if !ok || err != nil {
		view.Notices = append(view.Notices, "The ledger could not be asked for this build just now; reload the page to try again.")
		return
	}
	shown := make(map[rowKey]bool, len(view.Rows))
	for _, row := range view.Rows {
		shown[row.key()] = true
	}
	for _, e := range entries {
		row := rowOfEntry(e)
		if view.Query.takes(row) && !shown[row.key()] {
			view.Found = append(view.Found, p.listRow(row))
		}
	}
}

func (p *page) listRow(row pageRow) listRow {
	to := listRow{pageRow: row, Koji: p.links.build(row.BuildID, row.NVR)}
	if row.Outcome == string(pipeline.OutcomePublished) {
		to.Quay = p.links.repository(row.Repository, "")
	}
	return to
}

// nothing says why there is nothing, and what to do about it.
func nothing(view *listView) string {
	switch {
	case view.State.Results.At.IsZero(), view.State.Results.Err != nil:
		return "No results could be read."
	case view.Query.Filtered() && view.Older != "":
		return "None of the results looked at is like that. Older ones may be: go on below, or give a whole NVR to ask the ledger."
	case view.Query.Filtered():
		return "No result is like that. Leave out a part of the filter, or give a whole NVR to ask the ledger."
	case view.Query.Before != 0 && view.Older != "":
		return "Each build that the results looked at are about has a later one. Older ones may not have: go on below."
	case view.Query.Before != 0:
		return "There are no older results, or no more."
	}
	return ""
}

// pendingRows are the builds that wait, are tried again, or are in work: by the
// ledger's newest entries, and by results that say waiting and were not followed
// by another. What has waited longest comes first. all tells that there are no
// others: in an outage more may wait than are at hand, and what was written
// since may hide them.
func pendingRows(state *pageState, q pageQuery) (pending []pendingRow, all bool) {
	q = pageQuery{NVR: q.NVR, Organization: q.Organization}
	told := make(map[rowKey]pageRow) // what the last result of a build says of it
	for _, row := range state.Rows {
		if !row.Superseded && row.NVR != "" {
			told[row.key()] = row
		}
	}
	for _, e := range state.Entries {
		row := rowOfEntry(e)
		last, was := told[row.key()]
		delete(told, row.key())
		if e.State != events.StateWaiting && e.State != events.StatePublishing || !q.takes(row) {
			continue
		}
		if was {
			row.Wants, row.Sequence = last.Wants, last.Sequence
		}
		pending = append(pending, pendingRow{pageRow: row, Since: e.First.UTC()})
	}
	for _, row := range told {
		if row.Outcome == string(pipeline.OutcomeWaiting) && q.takes(row) {
			pending = append(pending, pendingRow{pageRow: row, Since: row.Time})
		}
	}
	slices.SortFunc(pending, func(a, b pendingRow) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.NVR, b.NVR), strings.Compare(a.Organization, b.Organization))
	})
	return pending, !state.Ledger.At.IsZero() && state.Ledger.Err == nil && state.EntryCount <= uint64(len(state.Entries))
}
