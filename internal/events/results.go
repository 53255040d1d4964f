package events

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// glanceTimeout bounds a look into a stream that nobody's work waits for.
	glanceTimeout = 3 * time.Second
	// glancesAtOnce is how many messages such a look asks for at once. Each may
	// have a MiB.
	glancesAtOnce = 8
)

// Results reads the stream of results by sequence, for who looks back. In NATS,
// with STREAM for the stream's name, that takes the rights to publish to
//
//	$JS.API.STREAM.INFO.STREAM
//	$JS.API.DIRECT.GET.STREAM
//
// and to the second of these as $JS.API.STREAM.MSG.GET.STREAM where the stream
// has direct gets off. It makes no consumer, and is safe for concurrent use.
type Results struct {
	js   jetstream.JetStream
	name string

	mu     sync.Mutex
	stream jetstream.Stream // nil until it was found
}

// NewResults is for the stream of that name. It does not talk to NATS yet.
func NewResults(js jetstream.JetStream, stream string) *Results {
	return &Results{js: js, name: stream}
}

// Bounds asks the server what the stream holds.
func (r *Results) Bounds(ctx context.Context) (Bounds, error) {
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	stream, err := r.open(ctx)
	if err != nil {
		return Bounds{}, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return Bounds{}, fmt.Errorf("stream %s: %w", r.name, err)
	}
	return boundsOf(info), nil
}

func (r *Results) open(ctx context.Context) (jetstream.Stream, error) {
	r.mu.Lock()
	stream := r.stream
	r.mu.Unlock()
	if stream != nil {
		return stream, nil
	}
	stream, err := r.js.Stream(ctx, r.name)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", r.name, err)
	}
	r.mu.Lock()
	r.stream = stream
	r.mu.Unlock()
	return stream, nil
}

// ReadResults reads the messages between two sequences, both included, and
// returns what take makes of each, the oldest first. Those that are not there
// are left out, and so are those that pose as something else, unless all do. take is called concurrently, so that what it does not keep of a
// message is not held. How much is asked for at once is the caller's to bound.
func ReadResults[T any](ctx context.Context, r *Results, from, to uint64, take func(Watched) T) ([]T, error) {
	return readThere(ctx, r, from, to, func(msg stored) T { return take(newWatched(msg)) })
}

// OutcomeAt is what the subject of a result tells, and when it was stored.
type OutcomeAt struct {
	Sequence uint64
	Time     time.Time
	Outcome  pipeline.Outcome
}

// ReadOutcomes is ReadResults for who only counts: it decodes no event.
func ReadOutcomes(ctx context.Context, r *Results, from, to uint64) ([]OutcomeAt, error) {
	return readThere(ctx, r, from, to, func(msg stored) OutcomeAt {
		outcome, _, _ := strings.Cut(strings.TrimPrefix(msg.subject, SubjectResult+"."), ".")
		return OutcomeAt{Sequence: msg.sequence, Time: msg.time, Outcome: pipeline.Outcome(outcome)}
	})
}

func readThere[T any](ctx context.Context, r *Results, from, to uint64, take func(stored) T) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	stream, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	found, err := readSome(ctx, stream, from, to, func(msg stored) *T {
		taken := take(msg)
		return &taken
	})
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", r.name, err)
	}
	there := make([]T, 0, len(found))
	for _, one := range found {
		if one != nil {
			there = append(there, *one)
		}
	}
	return there, nil
}

// mostLetterLooks is how far back Newest looks among dead letters of which
// many were deleted.
const mostLetterLooks = 128

// Newest lists at most limit dead letters, the newest first, without Header and
// Data, and tells how many messages the stream holds. Unlike List it makes no
// consumer, and of many that were deleted it gives fewer than there are. With
// STREAM for the stream's name it takes the rights to publish to
//
//	$JS.API.STREAM.INFO.STREAM
//	$JS.API.DIRECT.GET.STREAM
func (d *DeadLetters) Newest(ctx context.Context, limit int) (letters []DeadLetter, count uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	stream, err := d.stream(ctx, d.names.DeadLetters)
	if err != nil {
		return nil, 0, err
	}
	info := stream.CachedInfo()
	bounds := boundsOf(info)
	lowest := max(bounds.First, bounds.Last-min(bounds.Last, mostLetterLooks)+1)
	for end := bounds.Last; end >= lowest && len(letters) < limit; {
		start := max(lowest, end-min(end, glancesAtOnce)+1)
		found, err := readLetters(ctx, stream, start, end)
		if err != nil {
			return nil, 0, fmt.Errorf("stream %s: %w", d.names.DeadLetters, err)
		}
		for i := len(found) - 1; i >= 0 && len(letters) < limit; i-- {
			if found[i].Sequence != 0 {
				letters = append(letters, found[i])
			}
		}
		end = start - 1
	}
	return letters, info.State.Msgs, nil
}

// readLetters reads a few letters. Those that are not there have no sequence.
func readLetters(ctx context.Context, stream jetstream.Stream, from, to uint64) ([]DeadLetter, error) {
	return readSome(ctx, stream, from, to, func(msg stored) DeadLetter {
		letter := newDeadLetter(msg)
		letter.Header, letter.Data = nil, nil
		return letter
	})
}
