package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// ledgerTimeout bounds one look into the ledger and one entry.
	ledgerTimeout = 5 * time.Second
	// casTries is how often a write that lost against another replica's is
	// tried: each time somebody has made progress.
	casTries = 20
	// maxEntries bounds the organizations that one build is looked up for.
	maxEntries = 1000
)

// Ledger is the record of what became of each build for each organization, in a
// key-value bucket that all replicas share. Each write compares and sets, so
// none undoes another. It is safe for concurrent use, and a pipeline.Ledger.
type Ledger struct {
	bucket  bucket
	changes *prometheus.CounterVec // nil: not counted
}

var _ pipeline.Ledger = (*Ledger)(nil)

// NewLedger is the ledger in a bucket. It does not talk to NATS yet.
func NewLedger(js jetstream.JetStream, name string) *Ledger {
	return &Ledger{bucket: bucket{js: js, name: name}}
}

// noState is where the ledger knew nothing of a build.
const noState = "none"

// Register counts with reg the changes that l writes from then on. It is called
// at most once, before l is used. How many entries are in a state nobody can tell
// without reading all of them; where they come from and go to costs nothing.
func (l *Ledger) Register(reg prometheus.Registerer) {
	l.changes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "omps_ledger_changes_total", Help: "Changes of a build's state in the ledger that this process wrote; from none: a new entry.",
	}, []string{"from", "to"})
	reg.MustRegister(l.changes)
	for _, to := range States() {
		l.changes.WithLabelValues(noState, string(to))
		for _, from := range States() {
			if from != to {
				l.changes.WithLabelValues(string(from), string(to))
			}
		}
	}
}

// count counts a write, unless it left the state as it was.
func (l *Ledger) count(from, to State) {
	if l.changes == nil || from == to {
		return
	}
	if !slices.Contains(States(), from) { // a bucket may hold anything
		from = noState
	}
	l.changes.WithLabelValues(string(from), string(to)).Inc()
}

// Published is that of pipeline.Ledger. The Publication holds no more of each
// bundle than its reference.
func (l *Ledger) Published(ctx context.Context, w pipeline.Work) (pipeline.Publication, bool, error) {
	p, err := l.open(ctx, w.Organization, w.NVR)
	if err != nil {
		return pipeline.Publication{}, false, unavailable(err)
	}
	if p.entry.claimed(causeOf(w.Trigger), time.Now()) {
		return pipeline.Publication{}, false, inProgress(p.entry)
	}
	if !p.entry.done(w) {
		return pipeline.Publication{}, false, nil
	}
	publication := pipeline.Publication{Repeated: true}
	for _, reference := range p.entry.Digests {
		publication.Bundles = append(publication.Bundles, pipeline.PushedBundle{Reference: reference})
	}
	return publication, true, nil
}

// Begin is that of pipeline.Ledger.
func (l *Ledger) Begin(ctx context.Context, w pipeline.Work) error {
	p, err := l.open(ctx, w.Organization, w.NVR)
	if err != nil {
		return unavailable(err)
	}
	err = l.write(ctx, p, func(e *Entry) error {
		now := time.Now()
		// Somebody who looked when we did may be through by now.
		if e.claimed(causeOf(w.Trigger), now) || e.done(w) && !w.Trigger.Requested() {
			return inProgress(*e)
		}
		e.begin(w, now)
		return nil
	})
	return unavailable(err)
}

// retryInProgress is when to look whether another event's run is through.
const retryInProgress = time.Second

func inProgress(e Entry) error {
	return pipeline.RetryAfter(pipeline.ReasonInProgress, retryInProgress,
		fmt.Errorf("event %s of %s is about to publish it, or just has", e.Trigger.ID, e.Trigger.Source))
}

// unavailable gives an error of JetStream its class and reason.
func unavailable(err error) error {
	var ours *pipeline.Error
	if err == nil || errors.As(err, &ours) {
		return err
	}
	return pipeline.Retry(pipeline.ReasonLedgerUnavailable, fmt.Errorf("ledger: %w", err))
}

// page is an entry as it was read, for a write that compares and sets.
type page struct {
	key      string
	entry    Entry
	revision uint64 // 0: there is none
}

// open reads the entry of a build, the zero one where there is none.
func (l *Ledger) open(ctx context.Context, org string, nvr pipeline.NVR) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	kv, _, err := l.bucket.open(ctx)
	if err != nil {
		return page{}, err
	}
	return readPage(ctx, kv, entryKey(org, nvr.String()))
}

func readPage(ctx context.Context, kv jetstream.KeyValue, key string) (page, error) {
	p := page{key: key}
	value, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("get %s: %w", key, err)
	}
	p.revision = value.Revision()
	if json.Unmarshal(value.Value(), &p.entry) != nil {
		p.entry = Entry{} // says nothing that can be read: it is written anew
	}
	return p, nil
}

// write changes the entry of p, reading it again when somebody else has
// changed it meanwhile. An error of change ends it.
func (l *Ledger) write(ctx context.Context, p page, change func(*Entry) error) error {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	kv, _, err := l.bucket.open(ctx)
	if err != nil {
		return err
	}
	for range casTries {
		before := p.entry.State
		if err := change(&p.entry); err != nil {
			return err
		}
		value, err := encodeJSON(p.entry)
		if err != nil {
			return err
		}
		if p.revision == 0 {
			_, err = kv.Create(ctx, p.key, value)
		} else {
			_, err = kv.Update(ctx, p.key, value, p.revision)
		}
		if err == nil {
			l.count(before, p.entry.State)
			return nil
		}
		if !lostRace(err) {
			return fmt.Errorf("put %s: %w", p.key, err)
		}
		if p, err = readPage(ctx, kv, p.key); err != nil {
			return err
		}
	}
	return fmt.Errorf("put %s: changed by others %d times in a row", p.key, casTries)
}

// lostRace tells whether a write that compares and sets lost against another.
// The client knows the error of a replicated stream by name in most places, but
// not where a key is created over a mark of deletion.
func lostRace(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) ||
		errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// Find lists the entries of a build, one for each organization that has one.
func (l *Ledger) Find(ctx context.Context, nvr string) ([]Entry, error) {
	if nvr == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	_, stream, err := l.bucket.open(ctx)
	if err != nil {
		return nil, err
	}
	// Asked for one after the other: most builds that a decision is about have
	// none, and one request tells.
	subject := bucketSubject + l.bucket.name + "." + entryKeys("", nvr)
	var entries []Entry
	for seq := uint64(1); len(entries) < maxEntries; {
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return entries, nil
		}
		if err != nil {
			return entries, fmt.Errorf("find %s: %w", nvr, err)
		}
		seq = msg.Sequence + 1
		var e Entry
		if json.Unmarshal(msg.Data, &e) == nil && e.NVR == nvr { // not a mark of deletion
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// List gives each entry to visit, until it returns false. An empty
// organization or NVR stands for all.
func (l *Ledger) List(ctx context.Context, org, nvr string, visit func(Entry) bool) error {
	kv, _, err := l.bucket.open(ctx)
	if err != nil {
		return err
	}
	watcher, err := kv.WatchFiltered(ctx, []string{entryKeys(org, nvr)}, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	defer func() { _ = watcher.Stop() }()
	for {
		select {
		case value, open := <-watcher.Updates():
			if !open {
				return fmt.Errorf("list: %w", nats.ErrConnectionClosed)
			}
			if value == nil { // all there are
				return ctx.Err()
			}
			var e Entry
			if json.Unmarshal(value.Value(), &e) == nil && !visit(e) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// entryKey is ORG.NVR with what a key cannot hold as = and two hexadecimal
// digits. The dots of an NVR stay, so that keys can be read; those of an
// organization do not, so that ORG.> is all of its keys and *.NVR all of a
// build's.
func entryKey(org, nvr string) string { return escapeKey(org, false) + "." + escapeKey(nvr, true) }

// entryKeys is the filter for the keys of an organization and a build, empty
// for any.
func entryKeys(org, nvr string) string {
	switch {
	case org == "" && nvr == "":
		return ">"
	case org == "":
		return "*." + escapeKey(nvr, true)
	case nvr == "":
		return escapeKey(org, false) + ".>"
	}
	return entryKey(org, nvr)
}

func escapeKey(s string, dots bool) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_',
			c == '.' && dots && i > 0 && i < len(s)-1 && s[i-1] != '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}
