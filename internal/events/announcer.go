package events

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// AnnouncerOptions make an Announcer. All are needed.
type AnnouncerOptions struct {
	JetStream jetstream.JetStream
	Stream    string // that holds the announcements: Names.Koji
	Source    string // of the events: a URI reference that names the hub
}

// Announcer announces completed builds in the place of whoever should have.
type Announcer struct{ o AnnouncerOptions }

// NewAnnouncer makes an Announcer. It does not talk to NATS yet.
func NewAnnouncer(o AnnouncerOptions) Announcer { return Announcer{o: o} }

// Announced is where an announcement is stored.
type Announced struct {
	ID       string `json:"id"` // of the event
	Subject  string `json:"subject"`
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
	// Repeated: somebody had announced the build so within the stream's
	// duplicate window, and Sequence is that announcement's.
	Repeated bool `json:"repeated,omitempty"`
}

// Announce publishes a CloudEvent of type TypeBuildCompleted and waits until the
// stream has stored it. Its id, which is the message's too, follows from the hub
// and the build alone: within the duplicate window of the stream, however many
// find the same build missing announce it once.
func (a Announcer) Announce(ctx context.Context, b pipeline.CompletedBuild) (Announced, error) {
	e, subject, err := NewBuildEvent(BuildEvent{
		NVR: b.NVR.String(), BuildID: b.ID, Reconciled: true,
		Source: a.o.Source, Time: b.Completed,
		ID: "reconcile-" + digest("reconcile", a.o.Source, strconv.FormatInt(b.ID, 10), b.NVR.String()),
	})
	if err != nil {
		return Announced{}, fmt.Errorf("announce %s: %w", b.NVR, err)
	}
	header, data, err := EncodeStructured(e)
	if err != nil {
		return Announced{}, fmt.Errorf("announce %s: %w", b.NVR, err)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	ack, err := a.o.JetStream.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: header, Data: data},
		jetstream.WithMsgID(e.ID()), jetstream.WithExpectStream(a.o.Stream))
	if err != nil {
		return Announced{}, fmt.Errorf("announce %s: publish %s: %w", b.NVR, subject, err)
	}
	return Announced{ID: e.ID(), Subject: subject, Stream: ack.Stream, Sequence: ack.Sequence, Repeated: ack.Duplicate}, nil
}

// Backlog is how many announcements, and other messages about builds, the
// service has not been given yet.
func (a Announcer) Backlog(ctx context.Context, durable string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	consumer, err := a.o.JetStream.Consumer(ctx, a.o.Stream, durable)
	if err != nil {
		return 0, fmt.Errorf("stream %s: durable %s: %w", a.o.Stream, durable, err)
	}
	return consumer.CachedInfo().NumPending, nil
}
