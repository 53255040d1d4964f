package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/schemas"
)

// publishTimeout bounds sending one event, connecting included.
const publishTimeout = 15 * time.Second

// eventFlags are those that every kind of event has.
type eventFlags struct {
	id, source string
	publish    bool
	wait       waitFlag
	config     string
	server     string
}

func (f *eventFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.id, "id", "", "id of the event (default: a random one)")
	cmd.Flags().StringVar(&f.source, "source", "/consumer/event", "source of the event, a URI reference")
	cmd.Flags().BoolVar(&f.publish, "publish", false, "send the event instead of printing it")
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "with --publish: connect to NATS as this configuration says")
	cmd.Flags().StringVarP(&f.server, "server", "s", "", "with --publish: NATS server URL (default: the configuration's)")
}

func (f *eventFlags) eventID() string {
	if f.id == "" {
		return rand.Text()
	}
	return f.id
}

func (c *cli) eventCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "event",
		Short: "Print or send an event",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return usagef("no kind of event given")
		},
	}
	cmd.AddCommand(c.eventBuildCommand(), c.eventPushCommand(), c.eventDeleteCommand(), c.eventDecisionCommand())
	return cmd
}

func (c *cli) eventBuildCommand() *cobra.Command {
	var flags eventFlags
	var b events.BuildEvent
	cmd := &cobra.Command{
		Use:   "build {--nvr NVR | --build-id ID}",
		Short: "Announce that a Koji build is complete",
		Example: `  nats pub koji.build.completed "$(consumer event build --nvr etcd-container-1.0-1)"
  consumer event build --nvr etcd-container-1.0-1 --publish -c config.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.ID, b.Source, b.Time = flags.eventID(), flags.source, time.Now()
			e, subject, err := events.NewBuildEvent(b)
			if err != nil {
				return &usageError{err}
			}
			return c.emit(cmd.Context(), flags, e, subject)
		},
	}
	flags.add(cmd)
	buildFlags(cmd, &b.NVR, &b.BuildID)
	oneOf(cmd, "nvr", "build-id")
	return cmd
}

func buildFlags(cmd *cobra.Command, nvr *string, id *int64) {
	cmd.Flags().StringVar(nvr, "nvr", "", "the build as name-version-release")
	cmd.Flags().Int64Var(id, "build-id", 0, "the build as Koji's id")
}

// oneOf makes the command need exactly one of the flags.
func oneOf(cmd *cobra.Command, flags ...string) {
	cmd.MarkFlagsOneRequired(flags...)
	cmd.MarkFlagsMutuallyExclusive(flags...)
}

// emit prints the event, or sends it and says where it is stored.
func (c *cli) emit(ctx context.Context, flags eventFlags, e event.Event, subject string) error {
	header, data, err := validEvent(e)
	if err != nil {
		return err
	}
	if flags.wait > 0 && !flags.publish {
		return usagef("--wait goes with --publish")
	}
	if !flags.publish {
		if err := fits(data, usualPayload); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.stdout, string(data))
		return err
	}
	sending, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	b, err := c.connectBus(sending, busFlags{config: flags.config, server: flags.server})
	if err != nil {
		return err
	}
	defer b.close()
	if err := fits(data, min(b.conn.MaxPayload(), events.MaxEvent)); err != nil {
		return err
	}
	ack, err := send(sending, b.conn, &nats.Msg{Subject: subject, Header: header, Data: data}, e.ID())
	if err != nil {
		return fmt.Errorf("send to %s: %w", subject, err)
	}
	if _, err := fmt.Fprintf(c.stdout, "sent %s to %s: stream %s, sequence %d\n", e.ID(), subject, ack.Stream, ack.Sequence); err != nil {
		return err
	}
	if flags.wait > 0 {
		return c.awaitAnswer(ctx, b, e, subject, time.Duration(flags.wait))
	}
	return nil
}

const (
	// usualPayload is the size in bytes of the largest message that a NATS server
	// takes, unless its max_payload says otherwise.
	usualPayload = 1 << 20
	// headerRoom is what of a message is left for headers, also for those of a
	// dead letter that holds the same payload.
	headerRoom = 4 << 10
)

// fits tells why an event is too large for messages of at most limit bytes, or
// nil. No event but one with an archive comes near any limit.
func fits(data []byte, limit int64) error {
	if room := limit - headerRoom; int64(len(data)) > room {
		return usagef("the event has %d bytes, and there is room for %d: %s", len(data), room, useObject)
	}
	return nil
}

// validEvent encodes an event whose data its schema takes.
func validEvent(e event.Event) (nats.Header, []byte, error) {
	set, err := schemas.Load()
	if err != nil {
		return nil, nil, err
	}
	if err := set.Validate(e.Type(), e.Data()); err != nil {
		return nil, nil, &usageError{err}
	}
	return events.EncodeStructured(e)
}

// send publishes a message to JetStream and waits until it is stored, or until
// the server says that it may not be: it does so to the error handler alone.
func send(ctx context.Context, conn *nats.Conn, msg *nats.Msg, id string) (*jetstream.PubAck, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	ctx, deny := context.WithCancelCause(ctx)
	defer deny(nil)
	before := conn.ErrorHandler()
	conn.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			deny(err)
		} else if before != nil {
			before(nc, sub, err)
		}
	})
	defer conn.SetErrorHandler(before)
	ack, err := js.PublishMsg(ctx, msg, jetstream.WithMsgID(id))
	if denied := context.Cause(ctx); err != nil && errors.Is(denied, nats.ErrPermissionViolation) {
		return nil, denied
	}
	return ack, err
}
