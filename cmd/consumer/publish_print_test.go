package main

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// printed prints a report to w.
func printed(w io.Writer, p reportPrinter, r publishReport) {
	p.w = bufio.NewWriter(w)
	p.print(r)
	_ = p.w.Flush()
}

// hostile has an escape sequence, and marks that turn the direction of text, in
// every place that an archive can fill.
func hostile() publishReport {
	const s = "x\x1b[2J\x07\u009b\u202e\ny"
	return publishReport{
		DryRun: true, Outcome: "rejected", Package: s, Organization: "myorg", To: s,
		Files: append(fileReports([]pipeline.Edited{
			{Path: s, Before: []byte("a: \u202e\u200b\rb\n"), After: []byte("a: \u202e\u200b\rc\n")},
		}, true), fileReport{Path: s, Change: fileEdited, Binary: true}),
		Replacements: []pipeline.Replacement{{
			Old: s, New: s, Count: 1, Changes: []pipeline.Change{{File: s, Path: s, Before: s, After: s}},
			Leftovers: []pipeline.Leftover{{File: s, Line: 1, Text: s}},
		}},
		Warnings: []string{s}, WouldResolve: []string{s},
		Error:   &events.ErrorData{Reason: "invalid-manifests", Message: s, Faults: []string{s}},
		Bundles: []pipeline.PushedBundle{{CSV: s, Version: s, Reference: s, Tags: []string{s}, Channels: []string{s}, DefaultChannel: s}},
		Release: &pipeline.PushedRelease{Version: s, Repository: s, Digest: s},
	}
}

func TestNothingReachesATerminalRaw(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	printed(&out, reportPrinter{terminal: true}, hostile())
	for i, r := range out.String() {
		if r != '\n' && unprinted(r) {
			t.Errorf("%q at %q", r, out.String()[max(0, i-20):i])
		}
	}
	if !strings.Contains(out.String(), "-a: \\u202e\\u200b\\rb\n") {
		t.Errorf("the diff does not show what it cannot print:\n%s", out.String())
	}

	// Colours are the only escape sequences.
	out.Reset()
	printed(&out, reportPrinter{terminal: true, colour: true}, hostile())
	text := out.String()
	for _, code := range []string{bold, red, green, yellow, cyan} {
		if !strings.Contains(text, "\x1b["+code+"m") {
			t.Errorf("colour %s is not there", code)
		}
		text = strings.ReplaceAll(text, "\x1b["+code+"m", "")
	}
	if text = strings.ReplaceAll(text, "\x1b[m", ""); strings.ContainsAny(text, "\x1b\x07\u009b\u202e\r") {
		t.Errorf("output is %q", text)
	}

	// What goes elsewhere has the diff's bytes, and never an escape sequence.
	out.Reset()
	printed(&out, reportPrinter{}, hostile())
	if !strings.Contains(out.String(), "-a: \u202e\u200b\rb\n") || strings.ContainsAny(out.String(), "\x1b\x07\u009b") {
		t.Errorf("output is %q", out.String())
	}
	var line strings.Builder
	if err := writeJSON(&line, hostile()); err != nil || strings.ContainsAny(line.String(), "\x1b\x07\u009b\u202e\r") {
		t.Errorf("JSON is %q, %v", line.String(), err)
	}
}

func TestDiffLinesAreCutOnATerminal(t *testing.T) {
	t.Parallel()
	edited := []pipeline.Edited{{Path: "icon.yaml", Before: []byte("é" + strings.Repeat("é", 1000)), After: []byte("b")}}
	var short, whole strings.Builder
	printed(&short, reportPrinter{terminal: true}, publishReport{Files: fileReports(edited, true)})
	printed(&whole, reportPrinter{}, publishReport{Files: fileReports(edited, true)})
	if short.Len() > 700 || !strings.Contains(short.String(), "é…\n") || whole.Len() < 2000 {
		t.Errorf("%d bytes on a terminal, %d elsewhere: %q", short.Len(), whole.Len(), short.String())
	}
}

func TestPublishedText(t *testing.T) {
	t.Parallel()
	bundles := []pipeline.PushedBundle{{
		CSV: "a.v1", Version: "1.0.0", Reference: "quay.io/myorg/a@sha256:1", Tags: []string{"1.0.0", "latest"}, Channels: []string{"x", "y"}, DefaultChannel: "y",
	}}
	body := "  a.v1\n    version     1.0.0\n    image       quay.io/myorg/a@sha256:1\n    tags        1.0.0, latest\n    channels    x, y (default)\n"
	release := &pipeline.PushedRelease{Repository: "myorg/a", Digest: "sha256:2"}
	for want, r := range map[string]publishReport{
		"would be published: package a for myorg\n" + body:                 {Outcome: "would-publish", Bundles: bundles},
		"written to out: package a for myorg\n" + body:                     {Outcome: "written", To: "out", Bundles: bundles},
		"published: package a for myorg, which was there already\n" + body: {Outcome: "published", Repeated: true, Bundles: bundles},
		"published: package a for myorg\n" + body + "  public\n":           {Outcome: "published", Visibility: "public", Bundles: bundles},
		"failed: quay-unavailable\n  - push: it is down\n\npublished before it failed: package a for myorg\n" + body: {
			Outcome: "failed", Bundles: bundles, Error: &events.ErrorData{Reason: "quay-unavailable", Message: "push: it is down"},
		},
		"would be published: package a for myorg\n  release the one after the latest\n    repository  myorg/a\n    content     sha256:2\n": {
			Outcome: "would-publish", Release: release,
		},
		"": {Outcome: "rejected"},
	} {
		var out strings.Builder
		r.Package, r.Organization = "a", "myorg"
		printed(&out, reportPrinter{}, r)
		if out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
	}
}

func TestReplacementsAreTold(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	printed(&out, reportPrinter{}, publishReport{
		Replacements: []pipeline.Replacement{{
			Old: "quay.io", New: "example.com", Count: 2,
			Changes:   []pipeline.Change{{File: "csv.yaml", Path: "spec.image", Before: "quay.io/a", After: "example.com/a"}},
			Leftovers: []pipeline.Leftover{{File: "csv.yaml", Line: 7, Text: "  # of quay.io"}},
		}},
		WouldResolve: []string{"example.com/a:1"}, Warnings: []string{"one", "two"},
	})
	want := "replaced\n  2 × quay.io → example.com\n    - csv.yaml: spec.image: quay.io/a → example.com/a\n    - left: csv.yaml:7: # of quay.io\n\n" +
		"digests that registries would be asked for\n  - example.com/a:1\n\nwarnings\n  - one\n  - two\n\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestWhenColours(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		terminal      bool
		noColor, term string
		want          bool
	}{
		{true, "", "xterm", true}, {true, "", "", true}, {true, "1", "xterm", false}, {true, "", "dumb", false}, {false, "", "xterm", false},
	} {
		getenv := func(name string) string { return map[string]string{"NO_COLOR": tt.noColor, "TERM": tt.term}[name] }
		if got := newReportPrinter(nil, tt.terminal, getenv); got.colour != tt.want || got.terminal != tt.terminal {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if isTerminal(file) || isTerminal(&strings.Builder{}) {
		t.Error("a file counts as a terminal")
	}
}
