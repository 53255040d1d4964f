package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// edits are files as patch may meet them.
func edits() []pipeline.Edited {
	numbered := func(change func(i int, line string) string) []byte {
		var b strings.Builder
		for i := range 400 {
			b.WriteString(change(i, "key: value\n"))
		}
		return []byte(b.String())
	}
	same := func(_ int, line string) string { return line }
	edited := func(name, before, after string) pipeline.Edited {
		return pipeline.Edited{Path: name, Before: []byte(before), After: []byte(after)}
	}
	return []pipeline.Edited{
		edited("simple.yaml", "a: 1\nb: quay.io\nc: 3\n", "a: 1\nb: example.com\nc: 3\n"),
		edited("no newline.yaml", "a: quay.io", "a: example.com"),
		edited("newline gone.yaml", "a: quay.io\n", "a: example.com"),
		edited("1.0/crlf.yaml", "a: 1\r\nb: quay.io\r\nc: 3\r\n", "a: 1\r\nb: example.com\r\nc: 3\r\n"),
		edited("1.0/cr.yaml", "a: 1\rb: quay.io\rc: 3\r", "a: 1\rb: example.com\rc: 3\r"),
		edited("bom.yaml", "\ufeffa: quay.io\n", "\ufeffa: example.com\n"),
		edited("marks.yaml", "a: \u202equay.io\u00a0\u200b\n", "a: \u202eexample.com\u00a0\u200b\n"),
		edited("dashes.yaml", "a\n-- quay.io\n++ x\n@@ y\n\\ z\n", "a\n-- example.com\n++ x\n@@ y\n\\ z\n"),
		edited("näme.yaml", "a: quay.io\n", "a: example.com\n"),
		edited(`quoted "name".yaml`, "a: quay.io\n", "a: example.com\n"),
		edited("turned\u202e.yaml", "a: quay.io\n", "a: example.com\n"),
		edited("long.yaml", "a: "+strings.Repeat("x", 1<<20)+"quay.io\n", "a: "+strings.Repeat("x", 1<<20)+"example.com\n"),
		{Path: "same lines.yaml", Before: numbered(same), After: numbered(func(i int, line string) string {
			if i%40 == 7 {
				return "key: other\nand: more\n"
			}
			return line
		})},
		{Path: "metadata/annotations.yaml", Bundle: "1.0", After: []byte("annotations:\n  a: b\n")},
		{Path: "metadata/annotations.yaml", Bundle: "1.1", After: []byte("annotations:\n  a: c")},
	}
}

// What the diffs say is what patch makes of an unpacked archive.
func TestDiffsApply(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("patch")
	if err != nil {
		t.Skipf("there is no patch here to apply a diff with: %v", err)
	}
	dir := t.TempDir()
	for _, e := range edits() {
		if e.Before == nil {
			continue
		}
		path := filepath.Join(dir, e.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, e.Before, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	reports := fileReports(edits(), true)
	printed(&out, reportPrinter{}, publishReport{
		DryRun: true, Outcome: "would-publish", Files: reports,
		Warnings: []string{"--- a/simple.yaml", "+++ b/simple.yaml", "@@ -1 +1 @@"}, // no part of the diff
	})
	cmd := exec.CommandContext(t.Context(), tool, "-p1", "-d", dir)
	cmd.Stdin = &out
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("patch: %v\n%s", err, said)
	}
	for i, e := range edits() {
		got, err := os.ReadFile(filepath.Join(dir, reports[i].Path))
		if err != nil || !bytes.Equal(got, e.After) {
			t.Errorf("%q: %v, %.200q, want %.200q", reports[i].Path, err, got, e.After)
		}
	}
}

func TestFileReports(t *testing.T) {
	t.Parallel()
	list := []pipeline.Edited{
		{Path: "a.yaml", Before: []byte("a\n"), After: []byte("b\n")},
		{Path: "binary", Before: []byte("a\x00"), After: []byte("b\x00")},
		{Path: "escape.yaml", Before: []byte("a"), After: []byte("\x1b[31m")},
		{Path: "c1.yaml", Before: []byte("\u009b31m"), After: []byte("")},
		{Path: "metadata/annotations.yaml", Bundle: "1.0", After: []byte("c\n")},
	}
	want := []fileReport{
		{Path: "a.yaml", Change: "edited", Diff: "--- a/a.yaml\n+++ b/a.yaml\n@@ -1,1 +1,1 @@\n-a\n+b\n"},
		{Path: "binary", Change: "edited", Binary: true},
		{Path: "escape.yaml", Change: "edited", Binary: true},
		{Path: "c1.yaml", Change: "edited", Binary: true},
		{Path: "metadata/annotations.yaml", Change: "made", Diff: "--- /dev/null\n+++ b/metadata/annotations.yaml\n@@ -0,0 +1,1 @@\n+c\n"},
	}
	if diff := cmp.Diff(want, fileReports(list, true)); diff != "" {
		t.Error(diff)
	}
	for i := range want {
		want[i].Diff, want[i].Binary = "", false
	}
	if diff := cmp.Diff(want, fileReports(list, false)); diff != "" {
		t.Error(diff)
	}
	several := fileReports(append(list, pipeline.Edited{Path: "metadata/annotations.yaml", Bundle: "1.1", After: []byte("d\n")}), true)
	if got := several[4].Path + " " + several[5].Path; got != "1.0/metadata/annotations.yaml 1.1/metadata/annotations.yaml" {
		t.Errorf("files made for two bundles are %s", got)
	}
}
