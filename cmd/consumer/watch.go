package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// watchFlags are those of the command.
type watchFlags struct {
	bus           busFlags
	since         time.Duration
	outcomes      []string
	organizations []string
	nvr           string
	count         int
	json          bool
}

func (c *cli) watchCommand() *cobra.Command {
	var f watchFlags
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print result events as they come",
		Long: `watch prints each result event as it comes, one a line, until it is interrupted.
Nothing is missed when the NATS server restarts meanwhile.`,
		Example: `  consumer watch -c config.yaml --since 1h --outcome rejected,failed
  consumer watch -c config.yaml --nvr 'etcd-operator-container-*' -n 1 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.watch(cmd.Context(), f) },
	}
	f.bus.add(cmd)
	cmd.Flags().DurationVar(&f.since, "since", 0, "begin so long ago, such as 1h (default: only new events)")
	cmd.Flags().StringSliceVar(&f.outcomes, "outcome", nil, "only these: published, rejected, failed, waiting, deleted")
	cmd.Flags().StringSliceVar(&f.organizations, "organization", nil, "only these")
	cmd.Flags().StringVar(&f.nvr, "nvr", "", "only builds like this; * and ? stand for anything")
	cmd.Flags().IntVarP(&f.count, "count", "n", 0, "end after so many (default: never)")
	cmd.Flags().BoolVar(&f.json, "json", false, "the whole CloudEvent, one a line")
	return cmd
}

func (f watchFlags) check() error {
	for _, outcome := range f.outcomes {
		switch outcome {
		case "published", "rejected", "failed", "waiting", "deleted":
		default:
			return usagef("--outcome %q is none of published, rejected, failed, waiting, deleted", outcome)
		}
	}
	if _, err := path.Match(f.nvr, ""); err != nil {
		return usagef("--nvr %q is no pattern: %w", f.nvr, err)
	}
	if f.since < 0 || f.count < 0 {
		return usagef("--since and --count are not below 0")
	}
	return nil
}

// errSeen ends watching after as many events as were asked for.
var errSeen = errors.New("seen")

func (c *cli) watch(ctx context.Context, f watchFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	b, err := c.connectBus(ctx, f.bus)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer b.close()
	options := events.WatchOptions{Stream: b.names.Results, Organizations: f.organizations, Logger: b.log}
	for _, outcome := range f.outcomes {
		options.Outcomes = append(options.Outcomes, pipeline.Outcome(outcome))
	}
	if f.since > 0 {
		options.Since = time.Now().Add(-f.since)
	}
	seen := 0
	err = events.Watch(ctx, b.js, options, func(w events.Watched) error {
		if w.Err != nil {
			fmt.Fprintf(c.stderr, "sequence %d on %s is no result: %s\n", w.Sequence, cell(w.Subject, maxSubjectCell), plain(w.Err.Error()))
			return nil //nolint:nilerr // said above, and others follow
		}
		if ok, _ := path.Match(f.nvr, w.Data.NVR); f.nvr != "" && !ok {
			return nil
		}
		if err := c.printWatched(w, f.json); err != nil {
			return err
		}
		if seen++; seen == f.count {
			return errSeen
		}
		return nil
	})
	if errors.Is(err, errSeen) {
		return nil
	}
	return explained(err)
}

func (c *cli) printWatched(w events.Watched, asJSON bool) error {
	if asJSON {
		_, data, err := events.EncodeStructured(w.Event)
		if err != nil {
			return err
		}
		return writeJSONText(c.stdout, data)
	}
	_, err := fmt.Fprintln(c.stdout, resultLine(w))
	return err
}

// resultLine is what a person wants to know of a result first.
func resultLine(w events.Watched) string {
	at := w.Event.Time()
	if at.IsZero() {
		at = w.Time
	}
	d := w.Data
	of := d.NVR
	if of == "" && d.Archive != nil {
		of = d.Archive.Name // by hand
	}
	return fmt.Sprintf("%s %-9s %s %s %s %s", shortTime(at), cell(string(d.Outcome), 20), cell(d.Organization, maxSubjectCell),
		cell(of, maxNVRCell), cell(d.Package, maxSubjectCell), resultText(d))
}

// maxResultText is in characters: a reference by digest has about 120.
const maxResultText = 1000

// resultText is what was published or deleted, or else why nothing was.
func resultText(d events.ResultData) string {
	var parts []string
	for _, bundle := range d.Bundles {
		parts = append(parts, bundle.Reference)
	}
	if r := d.Release; r != nil {
		parts = append(parts, r.Repository, r.Version)
	}
	if d.Repository != "" {
		parts = append(parts, append([]string{d.Repository}, d.Deleted...)...)
	}
	if d.Repeated {
		parts = append(parts, "(was there already)")
	}
	if d.Error != nil {
		parts = append(parts, string(d.Error.Reason)+": "+d.Error.Message)
	}
	return cell(strings.Join(parts, " "), maxResultText)
}
