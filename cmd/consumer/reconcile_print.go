package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// reconcileReport is what the command found and did.
type reconcileReport struct {
	flags  reconcileFlags
	window pipeline.Window
	counts pipeline.Counts
	found  []pipeline.Found

	announced map[int64]events.Announced // by build id
	failed    error                      // why no more was announced
}

// announce announces what is missing, until one announcement fails: what keeps it
// away keeps the others away too, and they have an order.
func (r *reconcileReport) announce(ctx context.Context, a events.Announcer) {
	r.announced = make(map[int64]events.Announced)
	for _, f := range r.found {
		if !f.Worth(r.flags.lost) {
			continue
		}
		done, err := a.Announce(ctx, f.Build)
		if err != nil {
			r.failed = err
			return
		}
		r.announced[f.Build.ID] = done
	}
}

// failure tells what was not announced.
func (r *reconcileReport) failure() error {
	if r.failed == nil {
		return nil
	}
	return fmt.Errorf("%d of %d builds were announced: %w", len(r.announced), r.worth(), explained(r.failed))
}

// worth is how many builds are, or would be, announced.
func (r *reconcileReport) worth() int {
	n := 0
	for _, f := range r.found {
		if f.Worth(r.flags.lost) {
			n++
		}
	}
	return n
}

// printFound prints what is missing, and what was done about it.
func (r *reconcileReport) printFound(c *cli) error {
	if r.flags.json {
		return r.printJSON(c.stdout)
	}
	return r.printTable(c.stdout)
}

// print prints all, with the sum on stderr where programs read stdout.
func (r *reconcileReport) print(c *cli) error {
	if err := r.printFound(c); err != nil {
		return err
	}
	sum := c.stdout
	if r.flags.json {
		sum = c.stderr
	}
	text := r.summary() + "\n"
	switch rest := len(r.found) - r.worth(); {
	case rest == 1:
		text += "1 build is at the registry and not in the ledger: --ledger-lost announces it too\n"
	case rest > 1:
		text += fmt.Sprintf("%d builds are at the registry and not in the ledger: --ledger-lost announces them too\n", rest)
	}
	_, err := io.WriteString(sum, text)
	return err
}

// summary says what was looked at, and what came of it.
func (r *reconcileReport) summary() string {
	text := fmt.Sprintf("%d builds with operator manifests, completed from %s to %s: %d wanted by an organization, %d missing",
		r.counts.Listed, shortTime(r.window.From), shortTime(r.window.To), r.counts.Ours, len(r.found))
	switch worth := r.worth(); {
	case r.flags.publish:
		before := 0
		for _, done := range r.announced {
			if done.Repeated {
				before++
			}
		}
		text += fmt.Sprintf(", %d announced", len(r.announced)-before)
		if before > 0 {
			text += fmt.Sprintf(", %d announced lately and not once more", before)
		}
	case worth > 0:
		text += fmt.Sprintf("; --publish announces %d", worth)
	}
	return text
}

func (r *reconcileReport) printTable(w io.Writer) error {
	if len(r.found) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	last := "NOTE"
	if r.flags.publish {
		last = "EVENT"
	}
	fmt.Fprintln(table, "NVR\tBUILD\tORGANIZATION\tCOMPLETED\tMISSING\t"+last)
	for _, f := range r.found {
		for _, m := range f.Missing {
			fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\n", cell(f.Build.NVR.String(), maxNVRCell), f.Build.ID, cell(m.Organization, maxSubjectCell),
				shortTime(f.Build.Completed), cell(string(m.Gap), maxReasonCell), r.remark(f, m))
		}
	}
	return table.Flush()
}

// remark is the last column: the announcement, or what could not be found out.
func (r *reconcileReport) remark(f pipeline.Found, m pipeline.Missing) string {
	done, ok := r.announced[f.Build.ID]
	switch {
	case !ok:
		return cell(m.Note, maxErrorCell)
	case done.Repeated:
		return fmt.Sprintf("%s: announced lately, stream %s, sequence %d", done.ID, done.Stream, done.Sequence)
	}
	return fmt.Sprintf("%s: stream %s, sequence %d", done.ID, done.Stream, done.Sequence)
}

// foundJSON is a line of --json.
type foundJSON struct {
	NVR       string            `json:"nvr"`
	BuildID   int64             `json:"build_id"`
	Completed time.Time         `json:"completed"`
	Missing   []missingJSON     `json:"missing"`
	Worth     bool              `json:"to_announce"` // it was, or --publish would
	Announced *events.Announced `json:"announced,omitempty"`
}

type missingJSON struct {
	Organization string       `json:"organization"`
	Gap          pipeline.Gap `json:"gap"`
	Note         string       `json:"note,omitempty"`
}

func (r *reconcileReport) printJSON(w io.Writer) error {
	for _, f := range r.found {
		line := foundJSON{NVR: f.Build.NVR.String(), BuildID: f.Build.ID, Completed: f.Build.Completed, Worth: f.Worth(r.flags.lost)}
		for _, m := range f.Missing {
			line.Missing = append(line.Missing, missingJSON(m))
		}
		if done, ok := r.announced[f.Build.ID]; ok {
			line.Announced = &done
		}
		if err := writeJSON(w, line); err != nil {
			return err
		}
	}
	return nil
}
