package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Redriven is a dead letter that was sent again, and where it is stored now.
type Redriven struct {
	Letter   DeadLetter
	Stream   string
	Sequence uint64
	// Repeated: an earlier redrive of this letter had sent it, and Sequence is
	// that one's.
	Repeated bool
}

// Redrive publishes the original of a dead letter to where it came from, bytes
// and headers unchanged, and then deletes the letter. The event keeps its id,
// so what it published before stays published once.
//
// A redrive that was cut off in between can be repeated: the message id is made
// of the letter, and within the stream's duplicate window (an hour for streams
// that the service made) the server drops what it has already.
//
// The original's Nats- headers are orders to the server that were carried out
// once and are left out. What the letter omits is taken from the original's
// stream while that holds it. The error is ErrNoLetter where there is none, and
// ErrLetterKept where the message was sent and the letter is still there.
func (d *DeadLetters) Redrive(ctx context.Context, sequence uint64) (Redriven, error) {
	letter, err := d.Get(ctx, sequence)
	if err != nil {
		return Redriven{}, err
	}
	msg, err := d.original(ctx, letter)
	if err != nil {
		return Redriven{}, fmt.Errorf("dead letter %d: %w", sequence, err)
	}
	if err := d.checkTarget(ctx, letter); err != nil {
		return Redriven{}, fmt.Errorf("dead letter %d: %w", sequence, err)
	}
	call, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	ack, err := d.js.PublishMsg(call, msg, jetstream.WithExpectStream(letter.Stream),
		jetstream.WithMsgID(fmt.Sprintf("redrive-%d-%d", letter.Sequence, letter.Time.UnixNano())))
	if err != nil {
		return Redriven{}, fmt.Errorf("dead letter %d: publish %s: %w", sequence, msg.Subject, err)
	}
	sent := Redriven{Letter: letter, Stream: ack.Stream, Sequence: ack.Sequence, Repeated: ack.Duplicate}
	if err := d.delete(ctx, sequence); err != nil {
		return sent, &keptError{sent, err}
	}
	return sent, nil
}

// ErrLetterKept is the error of a redrive whose letter could not be deleted.
var ErrLetterKept = errors.New("the dead letter is still there")

type keptError struct {
	sent Redriven
	err  error
}

func (e *keptError) Error() string {
	return fmt.Sprintf("dead letter %d was sent (stream %s, sequence %d), but it is still there: %v",
		e.sent.Letter.Sequence, e.sent.Stream, e.sent.Sequence, e.err)
}

func (e *keptError) Unwrap() []error { return []error{ErrLetterKept, e.err} }

// original is the message that became the letter, ready to be published.
func (d *DeadLetters) original(ctx context.Context, letter DeadLetter) (*nats.Msg, error) {
	if letter.Stream == "" || letter.Subject == "" {
		return nil, errors.New("does not say where it comes from")
	}
	header, data := letter.Header, letter.Data
	if letter.Omitted != "" {
		kept, err := d.keptOriginal(ctx, letter)
		if err != nil {
			return nil, err
		}
		header, data = kept.header, kept.data
	}
	header = maps.Clone(header)
	maps.DeleteFunc(header, func(name string, _ []string) bool { return hasPrefixFold(name, "Nats-") })
	if header == nil {
		header = nats.Header{}
	}
	return &nats.Msg{Subject: letter.Subject, Header: header, Data: data}, nil
}

// keptOriginal finds the original in its stream. One that was made anew may
// hold another message there.
func (d *DeadLetters) keptOriginal(ctx context.Context, letter DeadLetter) (stored, error) {
	if !slices.Contains(d.names.inputs(), letter.Stream) {
		return stored{}, d.foreign(letter)
	}
	msg, err := readOne(ctx, d.js, letter.Stream, letter.OriginalSequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return stored{}, fmt.Errorf("lacks the original's %s, and stream %s no longer holds message %d",
			letter.Omitted, letter.Stream, letter.OriginalSequence)
	}
	if err != nil {
		return stored{}, err
	}
	same := msg.subject == letter.Subject &&
		(letter.OriginalTime.IsZero() || msg.time.Equal(letter.OriginalTime)) &&
		(strings.Contains(letter.Omitted, "payload") || bytes.Equal(msg.data, letter.Data))
	if !same {
		return stored{}, fmt.Errorf("lacks the original's %s, and message %d of stream %s is another one by now",
			letter.Omitted, letter.OriginalSequence, letter.Stream)
	}
	return msg, nil
}

func (d *DeadLetters) foreign(letter DeadLetter) error {
	return fmt.Errorf("comes from stream %q, and only these are read: %s", cut(letter.Stream, 100), strings.Join(d.names.inputs(), ", "))
}

// checkTarget refuses what a letter cannot have come from: whoever may write
// dead letters could otherwise have any message sent with the rights of who
// redrives them, requests to the server included.
func (d *DeadLetters) checkTarget(ctx context.Context, letter DeadLetter) error {
	if !slices.Contains(d.names.inputs(), letter.Stream) {
		return d.foreign(letter)
	}
	stream, err := d.stream(ctx, letter.Stream)
	if err != nil {
		return err
	}
	takes := func(held string) bool { return server.SubjectMatchesFilter(letter.Subject, held) }
	if !server.IsValidPublishSubject(letter.Subject) || !slices.ContainsFunc(stream.CachedInfo().Config.Subjects, takes) {
		return fmt.Errorf("stream %s takes nothing on subject %q", letter.Stream, cut(letter.Subject, 200))
	}
	return nil
}
