package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// WatchOptions say which results are watched. Several outcomes, or several
// organizations, are alternatives; none means all.
type WatchOptions struct {
	Stream        string // of the results
	Outcomes      []pipeline.Outcome
	Organizations []string
	Since         time.Time // when the first one was stored, at the earliest; zero: only new ones

	Logger *slog.Logger // of outages; nil: silent
}

// Watched is one message of the results stream.
type Watched struct {
	Subject  string
	Sequence uint64
	Time     time.Time // when it was stored

	Event event.Event
	Data  ResultData
	Err   error // why the message is no result; Event and Data are zero then
}

// Watch hands results to each as they come, every one once and in order, also
// over outages of the server. It returns nil when ctx ends, the error of each
// when that gives one, and any other error only when it cannot begin or the
// connection is closed for good.
func Watch(ctx context.Context, js jetstream.JetStream, o WatchOptions, each func(Watched) error) error {
	w := &watcher{js: js, o: o, each: each, log: orSilent(o.Logger)}
	err := w.run(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end that was asked for
	}
	return err
}

// watchEnd is an error of the function that the results are handed to.
type watchEnd struct{ err error }

func (e *watchEnd) Error() string { return e.err.Error() }

// watcher is a Watch in progress.
type watcher struct {
	js   jetstream.JetStream
	o    WatchOptions
	each func(Watched) error
	log  *slog.Logger

	next  uint64 // sequence to go on with; 0 while o.Since says where to begin
	begun bool   // it could be read at least once, so whatever fails will pass
}

// run reads until ctx or the watching itself ends.
func (w *watcher) run(ctx context.Context) error {
	if err := w.begin(ctx); err != nil {
		return err
	}
	for failures := 1; ; failures++ {
		before := w.next
		err := w.follow(ctx)
		var end *watchEnd
		switch {
		case errors.As(err, &end):
			return end.err
		case ctx.Err() != nil, !w.begun, w.js.Conn().IsClosed():
			return fmt.Errorf("watch stream %s: %w", w.o.Stream, err)
		case w.next != before:
			failures = 1
		}
		w.log.Warn("results are not read", "stream", w.o.Stream, "attempt", failures, "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff(failures, lastPullRetry)):
		}
	}
}

// begin notes where the stream ends now. A consumer of "new" messages would
// begin anew after an outage and miss what came meanwhile.
func (w *watcher) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := w.js.Stream(ctx, w.o.Stream)
	if err != nil {
		return fmt.Errorf("watch stream %s: %w", w.o.Stream, err)
	}
	if w.o.Since.IsZero() {
		w.next = stream.CachedInfo().State.LastSeq + 1
	}
	return nil
}

// follow reads until something fails.
func (w *watcher) follow(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	consumer, err := w.js.OrderedConsumer(call, w.o.Stream, w.config())
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	w.begun = true
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		w.next = meta.Sequence.Stream + 1
		if !w.o.wants(msg.Subject()) {
			continue
		}
		found := stored{subject: msg.Subject(), sequence: meta.Sequence.Stream, time: meta.Timestamp, header: msg.Headers(), data: msg.Data()}
		if err := w.each(newWatched(found)); err != nil {
			return &watchEnd{err}
		}
	}
}

// config leaves all but the first attempt to make a consumer to Watch, which
// ends with its context.
func (w *watcher) config() jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects: w.o.subjects(), DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: w.next,
		MaxResetAttempts: 1, InactiveThreshold: 30 * time.Second,
	}
	if w.next == 0 {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &w.o.Since
	}
	return cfg
}

// wants tells whether the outcome that a subject names is watched.
func (o WatchOptions) wants(subject string) bool {
	return len(o.Outcomes) == 0 || slices.ContainsFunc(o.Outcomes, func(outcome pipeline.Outcome) bool {
		return strings.HasPrefix(subject, SubjectResult+"."+SubjectToken(string(outcome))+".")
	})
}

// subjects are those of the results that are read. One organization has one
// subject, whatever the outcomes: a server with permissions for its results
// alone looks at the one subject that a request for a consumer names.
func (o WatchOptions) subjects() []string {
	outcomes, organizations := []string{"*"}, []string{"*"}
	if len(o.Outcomes) == 1 {
		outcomes = []string{SubjectToken(string(o.Outcomes[0]))}
	}
	if len(o.Organizations) > 0 {
		organizations = nil
		for _, organization := range o.Organizations {
			organizations = append(organizations, SubjectToken(organization))
		}
	}
	var subjects []string
	for _, outcome := range outcomes {
		for _, organization := range organizations {
			subjects = append(subjects, SubjectResult+"."+outcome+"."+organization+".>")
		}
	}
	slices.Sort(subjects) // the server takes none twice
	return slices.Compact(subjects)
}

// newWatched never panics: whoever looks at results is not to end by one.
func newWatched(msg stored) (w Watched) {
	w = Watched{Subject: msg.subject, Sequence: msg.sequence, Time: msg.time}
	defer func() {
		if r := recover(); r != nil {
			w.Err = fmt.Errorf("panic while it was read: %v", r)
		}
	}()
	e, err := Decode(msg.subject, msg.header, msg.data)
	if err != nil {
		w.Err = err
		return w
	}
	data, err := DataOf(e)
	if err != nil {
		w.Err = err
		return w
	}
	w.Event, w.Data = e, data
	return w
}
