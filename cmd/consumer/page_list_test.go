package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// What waits is never said to be less than it is: of a ledger with more entries
// than are at hand others may wait.
func TestPageOfWhatWaits(t *testing.T) {
	t.Parallel()
	waiting := make([]events.Entry, 600)
	for i := range waiting {
		waiting[i] = events.Entry{NVR: fmt.Sprintf("w%d-1-1", i), Organization: "myorg", State: events.StatePublishing, Reason: "quay-unavailable", First: time.Now(), Last: time.Now()}
	}
	published := make([]events.Entry, pageLedger)
	for i := range published {
		published[i] = events.Entry{NVR: fmt.Sprintf("p%d-1-1", i), Organization: "myorg", State: events.StatePublished, First: time.Now(), Last: time.Now()}
	}
	const command = "<code>consumer status --state waiting,publishing</code>"
	for name, c := range map[string]struct {
		entries     []events.Entry
		query       string
		count, says string // of the box; count "" for none
	}{
		"none":                     {nil, "", "", "Nothing waits."},
		"few":                      {waiting[:3], "", "3", ""},
		"more than are listed":     {waiting[:40], "", "40", "40 in all: " + command},
		"more than are at hand":    {waiting, "", "100+", "At least 100; " + command + " has all."},
		"behind others":            {append(slices.Clone(published), waiting...), "", "", "Nothing waits among the newest 100 in the ledger; " + command},
		"few, and others unknown":  {append(waiting[:3:3], published...), "", "3+", "At least 3; " + command + " has all."},
		"none like that":           {waiting[:3], "?organization=community", "", "Nothing like that waits."},
		"none like that, of many":  {waiting, "?nvr=etcd", "", "Nothing like that waits among the newest 100 in the ledger; " + command},
		"exactly as many as there": {published, "", "", "Nothing waits."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, url := givenPage(t, &given{first: 1, entries: c.entries})
			read := c.says
			if len(c.entries) > 0 {
				read = fmt.Sprintf("%d in the ledger</span>", len(c.entries))
			}
			body := shows(t, url+"/"+c.query, read)
			_, box, _ := strings.Cut(body, `<section class="card" id="pending"`)
			box, _, _ = strings.Cut(box, "</section>")
			_, count, _ := strings.Cut(box, `<span class="count">`)
			count, _, _ = strings.Cut(count, "<")
			if count != c.count || !strings.Contains(box, c.says) || strings.Contains(box, command) != strings.Contains(c.says, command) {
				t.Errorf("count %q in %s", count, box)
			}
		})
	}
	_, url := givenPage(t, nil)
	if _, body := fetch(t, http.MethodGet, url+"/", nil); !strings.Contains(body, "Not known: the ledger was not read yet.") {
		t.Error("says what waits, and has not read the ledger")
	}
}

// Where NATS is far away, what was read in time is shown, and the next page goes
// on from there.
func TestPageGoesBackInSteps(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	const older = 300
	for i := range pageWindow + older {
		outcome := "published"
		if i%10 == 0 && i < older {
			outcome = "rejected"
		}
		g.add(row(fmt.Sprintf("b-%d-1", i), "myorg", outcome))
	}
	readers := g.readers()
	var left atomic.Int64 // results that there is time for
	readers.rows = func(ctx context.Context, from, to uint64) ([]pageRow, error) {
		if to <= older && left.Add(-int64(to-from+1)) < 0 {
			return nil, context.DeadlineExceeded
		}
		return g.span(from, to)
	}
	_, url := pageFrom(t, &readers)
	shows(t, url+"/", fmt.Sprintf("b-%d-1", pageWindow+older-1))
	rel := regexp.MustCompile(`before=([0-9]+)[^"]*" rel="next"`)
	for query, want := range map[string]int{"/?": older, "/?outcome=rejected&": older / 10} {
		_, body := fetch(t, http.MethodGet, fmt.Sprintf("%s%sbefore=%d", url, query, older+1), nil)
		if !strings.Contains(body, "Older results could not be read just now") || !strings.Contains(body, "No older results could be read.") {
			t.Errorf("without time: %s", body)
		}
		seen := 0
		for before := strconv.Itoa(older + 1); before != ""; {
			left.Store(50)
			_, body := fetch(t, http.MethodGet, url+query+"before="+before, nil)
			left.Store(0)
			if strings.Contains(body, "could not be read") || strings.Contains(body, "Nothing was published yet") {
				t.Fatalf("with a little time: %s", body)
			}
			seen += strings.Count(body, "data-row=")
			last := before
			if before = ""; rel.MatchString(body) {
				before = rel.FindStringSubmatch(body)[1]
			}
			if before == last {
				t.Fatal("goes on where it was")
			}
		}
		if seen != want {
			t.Errorf("%s: %d results of %d are on pages", query, seen, want)
		}
	}
}

// Nothing is known of a build, or its result is gone: that is no question that
// was not answered, whatever else cannot be read.
func TestPageOfNothing(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	g.add(row("etcd-1-1", "myorg", "published"))
	readers := g.readers()
	readers.letters = func(context.Context, int) ([]events.DeadLetter, uint64, error) {
		return nil, 0, errors.New("not allowed")
	}
	var mute atomic.Bool
	find, result := readers.find, readers.result
	readers.find = func(ctx context.Context, nvr string) ([]events.Entry, error) {
		if mute.Load() {
			return nil, context.DeadlineExceeded
		}
		return find(ctx, nvr)
	}
	readers.result = func(ctx context.Context, sequence uint64) (events.Watched, bool, error) {
		if mute.Load() {
			return events.Watched{}, false, context.DeadlineExceeded
		}
		return result(ctx, sequence)
	}
	_, url := pageFrom(t, &readers)
	shows(t, url+"/", "Dead letters cannot be read")
	for _, c := range []struct {
		path, known, unknown string
	}{
		{"/builds/myorg/never-1-1", "Nothing is known of never-1-1 for myorg", "NATS could not be asked for it just now"},
		{"/results/77", "There is no such result, or no more", "NATS could not be asked for this result just now"},
	} {
		mute.Store(false)
		if resp, body := fetch(t, http.MethodGet, url+c.path, nil); resp.StatusCode != http.StatusNotFound || !strings.Contains(body, c.known) {
			t.Errorf("%s: %s", c.path, body)
		}
		mute.Store(true)
		if _, body := fetch(t, http.MethodGet, url+c.path, nil); !strings.Contains(body, c.unknown) {
			t.Errorf("%s, not answered: %s", c.path, body)
		}
	}
}
