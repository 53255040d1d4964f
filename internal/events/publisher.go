package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// subjectDeadLetter is followed by the reason.
const subjectDeadLetter = "omps.dead-letter"

// The headers of a dead letter, beside those of the message itself.
const (
	HeaderReason   = "Omps-Reason"
	HeaderError    = "Omps-Error" // one line, at most maxErrorBytes
	HeaderStage    = "Omps-Stage"
	HeaderTries    = "Omps-Tries"
	HeaderStream   = "Omps-Stream"
	HeaderSequence = "Omps-Sequence"
	HeaderSubject  = "Omps-Subject"
	HeaderTime     = "Omps-Time" // when it became a dead letter, RFC 3339
	// HeaderOmitted names what of the original did not fit into one message with
	// these headers: "headers", "payload" or "payload, headers". Omps-Stream and Omps-Sequence tell where
	// the whole message lies for as long as that stream keeps it.
	HeaderOmitted = "Omps-Omitted"

	// headerKept goes before a header of the original that means something to
	// servers or clients, such as Omps-Nats-Msg-Id; see isOrder.
	headerKept = "Omps-"
)

const (
	maxErrorBytes  = 1024
	publishTimeout = 10 * time.Second
)

// publisher writes results and dead letters, and returns when the server has
// stored them.
type publisher struct {
	js     jetstream.JetStream
	source string // of result events
}

// unpublishable is an event that no further try will publish.
type unpublishable struct{ err error }

func (e *unpublishable) Error() string { return e.err.Error() }
func (e *unpublishable) Unwrap() error { return e.err }

// result publishes the event of one answer. Its id is also the message's, so
// that the server drops a repeat. What is too large goes without its lists.
func (p publisher) result(ctx context.Context, in ResultInput) error {
	in.Source = p.source
	err := p.event(ctx, in)
	if tooLarge(err) {
		in.Result = withoutLists(in.Result)
		err = p.event(ctx, in)
	}
	if tooLarge(err) {
		err = &unpublishable{err}
	}
	return err
}

func (p publisher) event(ctx context.Context, in ResultInput) error {
	e, subject, err := newResultEvent(in)
	if err != nil {
		return &unpublishable{fmt.Errorf("result event: %w", err)}
	}
	header, data, err := EncodeStructured(e)
	if err != nil {
		return &unpublishable{fmt.Errorf("result event: %w", err)}
	}
	header.Set(jetstream.MsgIDHeader, e.ID())
	return p.publish(ctx, &nats.Msg{Subject: subject, Header: header, Data: data})
}

func withoutLists(r pipeline.Result) pipeline.Result {
	r.Files, r.Replacements, r.Pinned, r.Deleted = nil, nil, nil, nil
	r.Warnings = []string{"the lists of files, replacements and warnings do not fit into one message"}
	return r
}

func (p publisher) publish(ctx context.Context, msg *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if _, err := p.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("publish %s: %w", msg.Subject, err)
	}
	return nil
}

// deadLetter publishes the message of d with what became of it. The payload is
// unchanged, and so are the headers but for those that name this publish.
func (p publisher) deadLetter(ctx context.Context, d *delivery, v Verdict, now time.Time) error {
	subject := subjectDeadLetter + "." + string(v.Reason)
	ours := nats.Header{}
	// The time tells apart equal sequences of a stream that was made anew.
	ours.Set(jetstream.MsgIDHeader, fmt.Sprintf("dead-%s-%d-%d", d.stream, d.sequence, d.stored.UnixNano()))
	ours.Set(HeaderReason, string(v.Reason))
	ours.Set(HeaderError, oneLine(v.Err, maxErrorBytes))
	ours.Set(HeaderStage, string(pipeline.StageOf(v.Err)))
	ours.Set(HeaderTries, strconv.FormatUint(d.tries, 10))
	ours.Set(HeaderStream, d.stream)
	ours.Set(HeaderSequence, strconv.FormatUint(d.sequence, 10))
	ours.Set(HeaderSubject, d.msg.Subject())
	ours.Set(HeaderTime, now.UTC().Format(time.RFC3339Nano))

	whole := nats.Msg{Subject: subject, Header: merged(d.msg.Headers(), ours), Data: d.msg.Data()}
	err := p.publish(ctx, &whole)
	for _, omitted := range []string{"headers", "payload", "payload, headers"} {
		if !tooLarge(err) {
			return err
		}
		ours.Set(HeaderOmitted, omitted)
		part := nats.Msg{Subject: subject, Header: ours, Data: whole.Data}
		if strings.Contains(omitted, "payload") {
			part.Data = nil
		}
		if !strings.Contains(omitted, "headers") {
			part.Header = merged(d.msg.Headers(), ours)
		}
		err = p.publish(ctx, &part)
	}
	return err
}

// headersCode is the server's answer to more than 64 KiB of headers:
// JSStreamHeaderExceedsMaximumErr in its errors.json.
const headersCode jetstream.ErrorCode = 10097

func tooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) ||
		errors.As(err, &api) && api.ErrorCode == headersCode
}

// isOrder tells whether a header has a meaning of its own: the server obeys
// those that begin with Nats-, and clients take a message without a payload that
// has a Status for the server's word.
func isOrder(name string) bool {
	return hasPrefixFold(name, "Nats-") || strings.EqualFold(name, "Status")
}

// merged is the original's headers, none of them as an order, and ours. The
// original's Omps- headers would pass for ours.
func merged(original, ours nats.Header) nats.Header {
	all := make(nats.Header, len(original)+len(ours))
	for name, values := range original {
		switch {
		case hasPrefixFold(name, "Omps-"):
		case isOrder(name):
			all[headerKept+name] = values
		default:
			all[name] = values
		}
	}
	for name, values := range ours {
		all[name] = values
	}
	return all
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// oneLine is the text of err without line breaks and control characters, cut
// to at most limit bytes.
func oneLine(err error, limit int) string {
	if err == nil {
		return ""
	}
	return cut(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, err.Error()), limit)
}
