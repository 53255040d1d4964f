package koji

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// pageSize is how many builds are asked for at once. The extra of an operator's
	// build takes some 8 KB, and maxAnswer leaves room for twenty times as much.
	pageSize = 100
	// pagePause lies between two pages: who else asks the hub goes first.
	pagePause = 50 * time.Millisecond
	// maxListed bounds the builds of one listing: 86 days of a hub that
	// completes one each half minute. More is not the answer to what was asked.
	maxListed = 250_000
	// overlap is how far a page begins before the end of the last one: by more than
	// what a hub that rounds times can hide, and builds may share one.
	overlap = time.Second
)

var _ pipeline.BuildLister = (*Client)(nil)

// buildQuery is listBuilds' keyword arguments, by hub/kojihub/kojihub.py. Both
// times are seconds since the epoch, which a hub compares in its own zone, as
// it would not a text; they leave out what was completed just then.
type buildQuery struct {
	State          int       `xmlrpc:"state"`
	Type           string    `xmlrpc:"type"`
	CompleteAfter  float64   `xmlrpc:"completeAfter"`
	CompleteBefore float64   `xmlrpc:"completeBefore"`
	Options        queryOpts `xmlrpc:"queryOpts"`
	Starstar       bool      `xmlrpc:"__starstar"`
}

type queryOpts struct {
	Order  string `xmlrpc:"order"`
	Limit  int    `xmlrpc:"limit"`
	Offset int    `xmlrpc:"offset"`
}

// ListBuilds is that of pipeline.BuildLister. The hub itself leaves out builds
// that hold no archive of the type operator-manifests, and with them those whose
// manifests lie among the logs, as builds before 2019 have them. Drafts are in it.
//
// It asks page by page, each from the time of the last build of the one before,
// so that a build that is deleted meanwhile moves no other one out of sight. A
// page that is too large is asked for again in halves. Errors are those of
// FindBuild but ReasonBuildNotFound, and those of visit.
func (c *Client) ListBuilds(ctx context.Context, w pipeline.Window, visit func(pipeline.CompletedBuild) error) error {
	l := listing{window: w, from: w.From, limit: pageSize, seen: make(map[int64]time.Time)}
	for {
		page, err := c.page(ctx, &l)
		if err != nil {
			return err
		}
		for _, b := range l.take(page) {
			if err := visit(b); err != nil {
				return err
			}
		}
		if len(page) < l.limit {
			return nil
		}
		if l.listed >= maxListed {
			return unusable("listBuilds", fmt.Errorf("more than %d builds", maxListed))
		}
		select {
		case <-time.After(c.pause):
		case <-ctx.Done():
			return unusable("listBuilds", ctx.Err())
		}
	}
}

// listing is how far a ListBuilds has come.
type listing struct {
	window pipeline.Window
	from   time.Time // where the next page begins
	offset int       // in it: above 0 only where all of a page lies within the overlap
	limit  int
	listed int
	seen   map[int64]time.Time // the builds that the next page may hold again, and when they were completed
}

// page asks for the next page, a smaller one each time when it is too large.
func (c *Client) page(ctx context.Context, l *listing) ([]pipeline.CompletedBuild, error) {
	const method = "listBuilds"
	for {
		answer, err := c.call(ctx, method, buildQuery{
			State: int(pipeline.StateComplete), Type: manifestsType,
			CompleteAfter: seconds(l.from), CompleteBefore: seconds(l.window.To),
			Options:  queryOpts{Order: "completion_time,build_id", Limit: l.limit, Offset: l.offset},
			Starstar: true,
		})
		if errors.Is(err, clients.ErrTooLarge) && l.limit > 1 {
			l.limit /= 2
			continue
		}
		if err != nil {
			return nil, err
		}
		page, err := l.read(answer)
		if err != nil {
			return nil, unusable(method, err)
		}
		return page, nil
	}
}

// read is the builds of an answer. One that is not what was asked for would have
// us ask for ever, or leave builds out.
func (l *listing) read(answer any) ([]pipeline.CompletedBuild, error) {
	rows, ok := answer.([]any)
	if !ok {
		return nil, errors.New("answer is not an array")
	}
	if len(rows) > l.limit {
		return nil, fmt.Errorf("%d builds instead of %d", len(rows), l.limit)
	}
	page := make([]pipeline.CompletedBuild, 0, len(rows))
	last := l.from.Add(-time.Millisecond) // a double is not exact
	for _, row := range rows {
		b, err := readCompleted(row)
		if err != nil {
			return nil, err
		}
		if b.Completed.Before(last) || b.Completed.After(l.window.To.Add(time.Millisecond)) {
			return nil, fmt.Errorf("build %s of %s is out of order", b.NVR, b.Completed.Format(time.RFC3339Nano))
		}
		last = b.Completed
		page = append(page, b)
	}
	return page, nil
}

// take notes a page, and returns what of it is new.
func (l *listing) take(page []pipeline.CompletedBuild) []pipeline.CompletedBuild {
	if len(page) == 0 {
		return nil
	}
	var fresh []pipeline.CompletedBuild
	for _, b := range page {
		if _, seen := l.seen[b.ID]; !seen {
			fresh = append(fresh, b)
		}
		l.seen[b.ID] = b.Completed
	}
	l.listed += len(page)
	next := page[len(page)-1].Completed.Add(-overlap)
	if !next.After(page[0].Completed) { // too many in too short a time
		l.offset += len(page)
		return fresh
	}
	l.from, l.offset = next, 0
	maps.DeleteFunc(l.seen, func(_ int64, completed time.Time) bool { return completed.Before(next) })
	return fresh
}

// readCompleted reads a row of listBuilds. It has all that getBuild tells of a
// build, but for the name of its id.
func readCompleted(row any) (pipeline.CompletedBuild, error) {
	b, err := readBuildAs(row, "build_id")
	if err != nil {
		return pipeline.CompletedBuild{}, err
	}
	fields, _ := row.(map[string]any)
	at, ok := fields["completion_ts"].(float64)
	if whole, isWhole := number(fields, "completion_ts"); isWhole {
		at, ok = float64(whole), true
	}
	if !ok || !(at > 0 && at < maxSeconds) {
		return pipeline.CompletedBuild{}, fmt.Errorf("build %s does not say when it was completed", b.NVR)
	}
	return pipeline.CompletedBuild{HubBuild: b, Completed: timeOf(at)}, nil
}

// maxSeconds is the year 9999, beyond which times are not written alike.
const maxSeconds = 253_402_300_799

// seconds is the hub's form of a time, exact to a microsecond as its own.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func timeOf(seconds float64) time.Time {
	return time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC()
}
