package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoLetter is the error of a sequence under which there is no dead letter.
var ErrNoLetter = errors.New("no dead letter")

// DeadLetters reads, sends again and deletes dead letters. It keeps no
// connection and no consumer; every request that it makes has a deadline.
type DeadLetters struct {
	js    jetstream.JetStream
	names Names
}

// NewDeadLetters is for the dead letters in names.DeadLetters. They are sent
// again to the streams that names has as read, and to no other.
func NewDeadLetters(js jetstream.JetStream, names Names) *DeadLetters {
	return &DeadLetters{js: js, names: names}
}

// LetterQuery says which dead letters are listed.
type LetterQuery struct {
	Reason string // "" for all
	NVR    string // path.Match pattern for the NVR of the event; "" for all
	Text   string // in the payload, the error or the subject; "" for all

	Oldest bool   // oldest first; else newest first
	From   uint64 // the first sequence looked at; 0 for the first there is
	Limit  int    // 0 for all
}

// errEnough ends a listing at its limit.
var errEnough = errors.New("enough")

// List hands the dead letters that q asks for to each, without Header and Data:
// Get has those. Letters that come while it runs are left out. An error of
// each ends it and is returned.
func (d *DeadLetters) List(ctx context.Context, q LetterQuery, each func(DeadLetter) error) error {
	if _, err := path.Match(q.NVR, ""); err != nil {
		return fmt.Errorf("nvr pattern %q: %w", q.NVR, err)
	}
	stream, err := d.stream(ctx, d.names.DeadLetters)
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	l := listing{d: d, q: q, each: each, first: state.FirstSeq, last: state.LastSeq}
	read := l.newestFirst
	if q.Oldest {
		read = l.oldestFirst
	}
	if err := read(ctx); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

func (d *DeadLetters) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := d.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return stream, nil
}

// listing is a List in progress.
type listing struct {
	d           *DeadLetters
	q           LetterQuery
	each        func(DeadLetter) error
	first, last uint64
	given       int
}

func (l *listing) oldestFirst(ctx context.Context) error {
	return l.read(ctx, max(l.first, l.q.From), l.last, l.give)
}

// A window of the stream is what newestFirst holds at once: it grows so that
// few letters among many deleted ones are found soon too.
const (
	firstWindow = 256
	lastWindow  = 16384
)

// newestFirst reads window by window from the end, since a consumer only goes
// forward.
func (l *listing) newestFirst(ctx context.Context) error {
	end := l.last
	if l.q.From > 0 {
		end = min(end, l.q.From)
	}
	for size := uint64(firstWindow); end >= l.first && end > 0; size = min(2*size, lastWindow) {
		start := max(l.first, 1)
		if end > size {
			start = max(start, end-size+1)
		}
		var found []DeadLetter
		err := l.read(ctx, start, end, func(letter DeadLetter) error {
			found = append(found, letter)
			return nil
		})
		if err != nil {
			return err
		}
		for i := len(found) - 1; i >= 0; i-- {
			if err := l.give(found[i]); err != nil {
				return err
			}
		}
		end = start - 1
	}
	return nil
}

func (l *listing) give(letter DeadLetter) error {
	if err := l.each(letter); err != nil {
		return err
	}
	if l.given++; l.given == l.q.Limit {
		return errEnough
	}
	return nil
}

// read hands on what matches of a part of the stream.
func (l *listing) read(ctx context.Context, from, to uint64, each func(DeadLetter) error) error {
	subject := subjectDeadLetter + ".>"
	if l.q.Reason != "" {
		subject = subjectDeadLetter + "." + SubjectToken(l.q.Reason)
	}
	return readSpan(ctx, l.d.js, span{l.d.names.DeadLetters, subject, from, to}, func(msg stored) error {
		letter := newDeadLetter(msg)
		if !l.q.matches(letter) {
			return nil
		}
		letter.Header, letter.Data = nil, nil
		return each(letter)
	})
}

func (q LetterQuery) matches(letter DeadLetter) bool {
	if q.NVR != "" {
		if ok, err := path.Match(q.NVR, letter.Event.NVR); !ok || err != nil {
			return false
		}
	}
	return q.Text == "" || bytes.Contains(letter.Data, []byte(q.Text)) ||
		strings.Contains(letter.Error, q.Text) || strings.Contains(letter.Subject, q.Text)
}

// Get is the whole dead letter of a sequence. Where there is none the error is
// ErrNoLetter.
func (d *DeadLetters) Get(ctx context.Context, sequence uint64) (DeadLetter, error) {
	msg, err := readOne(ctx, d.js, d.names.DeadLetters, sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return DeadLetter{}, d.noLetter(sequence)
	case err != nil:
		return DeadLetter{}, err
	case !strings.HasPrefix(msg.subject, subjectDeadLetter+"."): // a stream may hold more than ours
		return DeadLetter{}, d.noLetter(sequence)
	}
	return newDeadLetter(msg), nil
}

func (d *DeadLetters) noLetter(sequence uint64) error {
	return fmt.Errorf("%w %d in stream %s", ErrNoLetter, sequence, d.names.DeadLetters)
}

// Drop deletes a dead letter and returns what it was. Where there is none the
// error is ErrNoLetter.
func (d *DeadLetters) Drop(ctx context.Context, sequence uint64) (DeadLetter, error) {
	letter, err := d.Get(ctx, sequence)
	if err != nil {
		return DeadLetter{}, err
	}
	return letter, d.delete(ctx, sequence)
}

// delete makes sure that a letter is gone, whoever deletes it.
func (d *DeadLetters) delete(ctx context.Context, sequence uint64) error {
	stream, err := d.stream(ctx, d.names.DeadLetters)
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = stream.DeleteMsg(call, sequence)
	if err == nil {
		return nil
	}
	if _, there := readOne(ctx, d.js, d.names.DeadLetters, sequence); errors.Is(there, jetstream.ErrMsgNotFound) {
		return nil
	}
	return fmt.Errorf("delete dead letter %d: %w", sequence, err)
}
