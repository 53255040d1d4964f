package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// callTimeout bounds each request of a look into a stream.
	callTimeout = 10 * time.Second
	// glance is how long the server keeps a consumer that nobody uses any more.
	glance = 10 * time.Second
)

// stored is a message as its stream holds it.
type stored struct {
	subject  string
	sequence uint64
	time     time.Time
	header   nats.Header
	data     []byte
}

// span is a part of a stream that is read once.
type span struct {
	stream   string
	subject  string // which messages; "" for all
	from, to uint64 // sequences, both included
}

// spanReader reads a span.
//
// It does so through an ephemeral consumer: that settles nothing, the server
// forgets it by itself, and it takes no right that a reader lacks. Asking for
// each message by its sequence takes a round trip for each (measured without
// any distance: 1.4 s for 10,000 dead letters, where this takes 0.15 s), and
// the answer mixes the server's headers with those of the message. An ordered
// consumer would read past the end of a span, and wait there.
type spanReader struct {
	span
	consumer jetstream.Consumer
	size     int // bytes of one pull, at most

	next      uint64 // sequence in the stream
	delivered uint64
	left      uint64 // that the consumer has still to deliver
}

// errUnreadable is the fault of a stream that changes while it is read. A
// message without payload whose headers pose as an answer of the server looks
// the same.
var errUnreadable = errors.New("the stream changed while it was read, or a message poses as a status")

// readSpan hands the messages of s to each, oldest first, until each returns
// an error, which is then its own.
func readSpan(ctx context.Context, js jetstream.JetStream, s span, each func(stored) error) error {
	if s.from > s.to {
		return nil
	}
	r := spanReader{span: s, next: s.from, size: int(max(pullBytes, 3*js.Conn().MaxPayload()))}
	if err := r.open(ctx, js); err != nil {
		return fmt.Errorf("read stream %s: %w", s.stream, err)
	}
	for r.left > 0 && r.next <= r.to {
		msgs, err := r.pull(ctx)
		for _, msg := range msgs {
			if msg.sequence > r.to {
				return nil
			}
			if err := each(msg); err != nil {
				return err
			}
		}
		if err != nil {
			return fmt.Errorf("read stream %s behind sequence %d: %w", s.stream, r.next-1, err)
		}
	}
	return nil
}

func (r *spanReader) open(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var err error
	r.consumer, err = js.CreateConsumer(ctx, r.stream, jetstream.ConsumerConfig{
		FilterSubject: r.subject, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(r.from, 1),
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: glance,
	})
	if err != nil {
		return err
	}
	r.left = r.consumer.CachedInfo().NumPending
	return nil
}

// pull returns the next messages, beside the error that ended it. It asks for
// no more than there are, so it waits for nothing that does not come.
func (r *spanReader) pull(ctx context.Context) ([]stored, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	n := int(min(r.left, r.to-r.next+1, maxBatch))
	batch, err := r.consumer.Fetch(n, jetstream.FetchMaxBytes(r.size), jetstream.FetchContext(ctx))
	if err != nil {
		return nil, err
	}
	msgs := make([]stored, 0, n)
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return msgs, err
		}
		r.delivered++
		if meta.Sequence.Consumer != r.delivered {
			return msgs, errUnreadable
		}
		r.next, r.left = meta.Sequence.Stream+1, meta.NumPending
		msgs = append(msgs, stored{
			subject: msg.Subject(), sequence: meta.Sequence.Stream, time: meta.Timestamp, header: msg.Headers(), data: msg.Data(),
		})
	}
	if err := batch.Error(); err != nil {
		return msgs, err
	}
	if len(msgs) == 0 {
		return nil, errUnreadable
	}
	return msgs, nil
}

// readOne is the message of one sequence, or jetstream.ErrMsgNotFound. It takes
// no consumer: a stream may have a thousand of them, unless configured, and a
// command that goes through many letters would use them up.
func readOne(ctx context.Context, js jetstream.JetStream, stream string, sequence uint64) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return stored{}, fmt.Errorf("stream %s: %w", stream, err)
	}
	var msg stored
	if err = jetstream.ErrMsgNotFound; sequence > 0 {
		msg, err = getMsg(ctx, s, sequence)
	}
	if err != nil {
		return stored{}, fmt.Errorf("stream %s, sequence %d: %w", stream, sequence, err)
	}
	return msg, nil
}

// getMsg is the message of a sequence, or the one that the options find from there
// on, as the server says it is.
func getMsg(ctx context.Context, s jetstream.Stream, sequence uint64, opts ...jetstream.GetMsgOpt) (stored, error) {
	raw, err := s.GetMsg(ctx, sequence, opts...)
	if err != nil {
		return stored{}, err
	}
	msg := stored{subject: raw.Subject, sequence: raw.Sequence, time: raw.Time, header: raw.Header, data: raw.Data}
	if s.CachedInfo().Config.AllowDirect {
		return msg.direct()
	}
	return msg, nil
}

// direct corrects what the answer to a direct get says of a message. The server
// adds its headers behind those of the message, and the library believes the
// first ones, which the sender of the message may have put there.
func (msg stored) direct() (stored, error) {
	last := func(header string) string {
		if values := msg.header.Values(header); len(values) > 0 {
			return values[len(values)-1]
		}
		return ""
	}
	var err, timeErr error
	msg.subject = last(jetstream.SubjectHeader)
	msg.sequence, err = strconv.ParseUint(last(jetstream.SequenceHeader), 10, 64)
	msg.time, timeErr = time.Parse(time.RFC3339Nano, last(jetstream.TimeStampHeaer))
	if err = errors.Join(err, timeErr); err != nil || msg.subject == "" {
		return stored{}, fmt.Errorf("the server does not say which message it is: %w", err)
	}
	return msg, nil
}
