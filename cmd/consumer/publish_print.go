package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func (c *cli) printReport(r publishReport, f publishFlags) error {
	if f.json {
		return writeJSON(c.stdout, r)
	}
	w := bufio.NewWriter(c.stdout)
	newReportPrinter(w, isTerminal(c.stdout), c.getenv).print(r)
	return w.Flush()
}

// isTerminal takes every character device for one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// reportPrinter prints a report for people. What comes out of an archive is
// printed without anything that a terminal would obey. A diff that goes to no
// terminal has its exact bytes, so that it can be applied.
type reportPrinter struct {
	w        *bufio.Writer // keeps the first error
	terminal bool
	colour   bool
}

// newReportPrinter knows when colours are wanted: https://no-color.org.
func newReportPrinter(w *bufio.Writer, terminal bool, getenv func(string) string) reportPrinter {
	return reportPrinter{w: w, terminal: terminal, colour: terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

// Colours, by ECMA-48's select graphic rendition.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (p reportPrinter) paint(colour, text string) string {
	if !p.colour || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[m"
}

func (p reportPrinter) print(r publishReport) {
	for _, f := range r.Files {
		p.file(f)
	}
	if len(r.Files) > 0 && r.DryRun {
		fmt.Fprintln(p.w)
	}
	p.replacements(r.Replacements)
	p.list(cyan, "pinned", changeTexts(r.Pinned))
	p.list(cyan, "digests that registries would be asked for", r.WouldResolve)
	p.list(yellow, "warnings", r.Warnings)
	if e := r.Error; e != nil {
		faults := e.Faults
		if len(faults) == 0 {
			faults = []string{e.Message}
		}
		p.list(red, fmt.Sprintf("%s: %s", r.Outcome, e.Reason), faults)
	}
	p.published(r)
}

func (p reportPrinter) heading(colour, text string) { fmt.Fprintln(p.w, p.paint(colour, plain(text))) }

func (p reportPrinter) list(colour, heading string, texts []string) {
	if len(texts) == 0 {
		return
	}
	p.heading(colour, heading)
	for _, text := range texts {
		fmt.Fprintf(p.w, "  - %s\n", plain(text)) // behind a dash, patch takes no text for a diff of its own
	}
	fmt.Fprintln(p.w)
}

// file prints a diff, the header of which has two lines.
func (p reportPrinter) file(f fileReport) {
	if f.Binary {
		fmt.Fprintf(p.w, "%s is binary, and %s\n", plain(f.Path), f.Change)
		return
	}
	n := 0
	for line := range strings.Lines(f.Diff) {
		colour := ""
		switch n++; {
		case n <= 2:
			colour = bold
		case line[0] == '@':
			colour = cyan
		case line[0] == '+':
			colour = green
		case line[0] == '-':
			colour = red
		}
		if p.terminal {
			line = p.paint(colour, visible(strings.TrimSuffix(line, "\n"))) + "\n"
		}
		_, _ = p.w.WriteString(line)
	}
}

// maxDiffLine is how much of a line a terminal gets, in bytes: some icons are a
// line of 800 KB.
const maxDiffLine = 500

// visible is a line of text with every character that is not printed written
// as in a string of Go, but for tabs.
func visible(line string) string {
	if len(line) > maxDiffLine {
		line = strings.ToValidUTF8(line[:maxDiffLine], "") + "…"
	}
	if !strings.ContainsFunc(line, unprinted) {
		return line
	}
	var b strings.Builder
	for _, r := range line {
		if unprinted(r) {
			quoted := fmt.Sprintf("%+q", r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprinted(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }

func (p reportPrinter) replacements(list []pipeline.Replacement) {
	if len(list) == 0 {
		return
	}
	p.heading(bold, "replaced")
	for _, r := range list {
		fmt.Fprintf(p.w, "  %d × %s → %s\n", r.Count, plain(r.Old), plain(r.New))
		for _, text := range changeTexts(r.Changes) {
			fmt.Fprintf(p.w, "    - %s\n", plain(text))
		}
		for _, l := range r.Leftovers {
			fmt.Fprintf(p.w, "    - left: %s:%d: %s\n", plain(l.File), l.Line, cell(l.Text, maxDiffLine))
		}
	}
	fmt.Fprintln(p.w)
}

func changeTexts(list []pipeline.Change) []string {
	texts := make([]string, len(list))
	for i, c := range list {
		texts[i] = fmt.Sprintf("%s: %s: %s → %s", c.File, c.Path, c.Before, c.After)
	}
	return texts
}

// published prints what is, or would be, in a registry or folder now.
func (p reportPrinter) published(r publishReport) {
	if len(r.Bundles) == 0 && r.Release == nil {
		return
	}
	var what string
	switch r.Outcome {
	case outcomeWouldPublish:
		what = "would be published"
	case outcomeWritten:
		what = "written to " + r.To
	case string(pipeline.OutcomePublished):
		what = "published"
	default:
		what = "published before it " + r.Outcome
	}
	what += fmt.Sprintf(": package %s for %s", r.Package, r.Organization)
	if r.Repeated {
		what += ", which was there already"
	}
	p.heading(green, what)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(p.w, "    %-10s  %s\n", name, plain(value))
		}
	}
	for _, b := range r.Bundles {
		fmt.Fprintf(p.w, "  %s\n", plain(b.CSV))
		line("version", b.Version)
		line("image", b.Reference)
		line("tags", strings.Join(b.Tags, ", "))
		line("channels", channelsText(b.Channels, b.DefaultChannel))
	}
	if rel := r.Release; rel != nil {
		version := rel.Version
		if version == "" {
			version = "the one after the latest"
		}
		fmt.Fprintf(p.w, "  release %s\n", plain(version))
		line("repository", rel.Repository)
		line("content", rel.Digest)
	}
	if r.Visibility != "" {
		fmt.Fprintf(p.w, "  %s\n", r.Visibility)
	}
}

// channelsText marks the default channel, or names it if it is another bundle's.
func channelsText(channels []string, standard string) string {
	channels = slices.Clone(channels)
	if i := slices.Index(channels, standard); i >= 0 {
		channels[i] += " (default)"
	} else if standard != "" {
		channels = append(channels, "with the default "+standard)
	}
	return strings.Join(channels, ", ")
}
