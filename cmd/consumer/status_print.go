package main

import (
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// printStatus prints a line for each entry, and the sum of all that there are.
func printStatus(w io.Writer, entries []events.Entry, sum string) error {
	if len(entries) > 0 {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NVR\tORGANIZATION\tSTATE\tREASON\tPACKAGE\tTRIES\tSINCE\tLAST")
		for _, e := range entries {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", cell(e.NVR, maxNVRCell), cell(e.Organization, maxSubjectCell),
				cell(string(e.State), maxReasonCell), cell(string(e.Reason), maxReasonCell), cell(e.Package, maxSubjectCell),
				e.Tries, shortTime(e.First), shortTime(e.Last))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, sum)
	return err
}

// totalsLine says how many builds there are, and how many in each state.
func totalsLine(totals map[events.State]int) string {
	sum := 0
	var parts []string
	for _, state := range events.States() {
		if n := totals[state]; n > 0 {
			sum += n
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if sum == 0 {
		return "no builds"
	}
	return fmt.Sprintf("%d in all: %s", sum, strings.Join(parts, ", "))
}

// printEntry prints everything of an entry.
func printEntry(w io.Writer, e events.Entry) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s for %s: %s\n", plain(e.NVR), plain(e.Organization), plain(string(e.State)))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-13s  %s\n", name, plain(value))
		}
	}
	line("package", e.Package)
	line("reason", string(e.Reason))
	line("message", e.Message)
	line("stage", string(e.Stage))
	for _, published := range e.Digests {
		name, _, _ := strings.Cut(published, "@")
		if strings.Contains(path.Base(name), ":") {
			line("release", published)
		} else {
			line("image", published)
		}
	}
	line("build id", number(e.BuildID))
	line("checksum", e.Checksum)
	line("configuration", e.Configuration)
	line("tries", strconv.FormatUint(e.Tries, 10))
	line("first", e.First.Format(time.RFC3339Nano))
	line("last", e.Last.Format(time.RFC3339Nano))
	line("result id", e.ResultID)
	line("asked by", causeText(e.Trigger))
	for _, cause := range e.Waiters {
		line("waits", causeText(cause))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// causeText names an event, and what it asks for beside the build.
func causeText(c events.Cause) string {
	if c.ID == "" {
		return ""
	}
	text := "event " + c.ID + " of " + c.Source
	if c.Request {
		text = "request " + c.ID + " of " + c.Source
	}
	for _, part := range []struct{ name, value string }{
		{"correlation", c.Correlation}, {"repository", c.Repository}, {"version", c.Version},
	} {
		if part.value != "" {
			text += ", " + part.name + " " + part.value
		}
	}
	if c.Force {
		text += ", forced"
	}
	return text
}
