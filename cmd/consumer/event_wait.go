package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// waitFlag is how long to wait for the answer to a request; 0: not at all.
type waitFlag time.Duration

// defaultWait is enough for a build whose gate is open and whose archive is large.
const defaultWait = 10 * time.Minute

// clockSkew is how far the clock here may be ahead of the server's.
const clockSkew = time.Minute

func (w *waitFlag) add(cmd *cobra.Command) {
	cmd.Flags().Var(w, "wait", "with --publish: wait for the answer, so long at most, and exit with 0 only when it is done")
	cmd.Flags().Lookup("wait").NoOptDefVal = defaultWait.String()
}

// String is for the help.
func (w *waitFlag) String() string {
	if *w == 0 {
		return ""
	}
	return time.Duration(*w).String()
}

// Set reads the value of the flag.
func (w *waitFlag) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("is not above 0")
	}
	*w = waitFlag(d)
	return err
}

// Type is for the help.
func (w *waitFlag) Type() string { return "duration" }

// awaitAnswer prints the results of a request as they come, until one is final.
// It reads those of the organization whose request was sent to subject, and no
// others: who asks may have no permission for them.
func (c *cli) awaitAnswer(ctx context.Context, b bus, e event.Event, subject string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	options := events.WatchOptions{
		Stream: b.names.Results, Organizations: []string{subject[strings.LastIndexByte(subject, '.')+1:]},
		Since: time.Now().Add(-clockSkew), Logger: b.log,
	}
	err := events.Watch(ctx, b.js, options, func(w events.Watched) error {
		if asked := w.Data.Trigger; w.Err != nil || asked.ID != e.ID() || asked.Source != e.Source() {
			return nil //nolint:nilerr // it is no answer to us
		}
		if err := c.printWatched(w, false); err != nil {
			return err
		}
		switch w.Data.Outcome {
		case pipeline.OutcomeWaiting:
			return nil
		case pipeline.OutcomePublished, pipeline.OutcomeDeleted:
			return errSeen
		}
		return fmt.Errorf("the request was %s", w.Data.Outcome)
	})
	switch {
	case errors.Is(err, errSeen):
		return nil
	case err != nil:
		return explained(err)
	}
	return fmt.Errorf("no answer within %s; if the service has the request, it goes on trying: its log and metrics tell why, and consumer watch --since shows the answer later", limit)
}
