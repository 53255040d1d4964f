package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// readEach reads the messages of a part of a stream, atOnce of them at a time,
// and hands each to take, which is called concurrently. What take makes of the
// message of sequence from+i is at i; where there is no message, or no more,
// the zero value is.
//
// It asks for each message by its sequence: that takes no consumer, so nothing
// of it stays on the server, and no other right than to read.
func readEach[T any](ctx context.Context, stream jetstream.Stream, from, to uint64, atOnce int, take func(stored) T) ([]T, error) {
	if from > to {
		return nil, nil
	}
	taken := make([]T, to-from+1)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := range taken {
		g.Go(func() error {
			msg, err := getMsg(ctx, stream, from+uint64(i))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read sequence %d: %w", from+uint64(i), err)
			}
			taken[i] = take(msg)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return taken, nil
}

// readSome is readEach for streams in which anybody may have put a message whose
// headers look like an answer of the server: one that cannot be read is as one
// that is not there. Where none can be, that is the error.
func readSome[T any](ctx context.Context, stream jetstream.Stream, from, to uint64, take func(stored) T) ([]T, error) {
	taken, err := readEach(ctx, stream, from, to, glancesAtOnce, take)
	if err == nil || from == to || ctx.Err() != nil {
		return taken, err
	}
	middle := from + (to-from)/2
	taken = make([]T, to-from+1)
	first, firstErr := readSome(ctx, stream, from, middle, take)
	second, secondErr := readSome(ctx, stream, middle+1, to, take)
	if ctx.Err() != nil || firstErr != nil && secondErr != nil {
		return nil, err
	}
	copy(taken, first)
	copy(taken[middle+1-from:], second)
	return taken, nil
}

// Bounds are the first and the last sequence of a stream, of which some in
// between may be gone. Where there is no message, Last is below First.
type Bounds struct {
	First, Last uint64
	Created     time.Time // of the stream: one that was made anew begins anew
}

func boundsOf(info *jetstream.StreamInfo) Bounds {
	return Bounds{First: max(info.State.FirstSeq, 1), Last: info.State.LastSeq, Created: info.Created}
}
