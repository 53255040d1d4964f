package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What cannot be an image ends the command before anything is written.
func testRefused(t *testing.T, c checkout, binary string) {
	folder := t.TempDir()
	other, dynamic := filepath.Join(folder, "other"), filepath.Join(folder, "dynamic")
	c.build(t, other, "./cmd/other")
	c.build(t, dynamic, "-buildmode=pie", "./cmd/consumer")
	mixed := filepath.Join(folder, "mixed") // a layout and more
	image(t, "-layout", mixed, binary)
	if err := os.WriteFile(filepath.Join(mixed, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	newer := patched(t, patched(t, binary, "GOARCH=amd64", "GOARCH=arm64"), "v0.0.0-2026", "v0.0.0-2027")
	for _, bad := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "which program?"},
		{[]string{"-what", binary}, exitUsage, "-what"},
		{[]string{"-root", "r", "-layout", "l", binary}, exitUsage, "-root makes no image"},
		{[]string{"-root", "r", binary, binary}, exitUsage, "-root takes one program"},
		{[]string{filepath.Join(folder, "missing")}, exitFailed, "no such file"},
		{[]string{filepath.Join(c.dir, "go.mod")}, exitFailed, "no Go program"},
		{[]string{other}, exitFailed, "is built from github.com/omps-consumer/omps-consumer/cmd/other"},
		{[]string{dynamic}, exitFailed, "CGO_ENABLED=0"},
		{[]string{patched(t, binary, "GOOS=linux", "GOOS=aarch")}, exitFailed, "not for linux"},
		{[]string{binary, binary}, exitFailed, "another program is for linux/amd64 too"},
		{[]string{binary, newer}, exitFailed, "and others are v0.0.0-2026"},
		{[]string{"-license", filepath.Join(folder, "missing"), binary}, exitFailed, "license: "},
		{[]string{"-layout", folder, binary}, exitFailed, "holds something else"},
		{[]string{"-layout", mixed, binary}, exitFailed, "holds something else: thesis.txt"},
		{[]string{"-root", folder, binary}, exitFailed, "file exists"},
		{[]string{"-push", "127.0.0.1:1/tools/x:1", binary}, exitFailed, "push to 127.0.0.1:1/tools/x:1: "},
		{[]string{"-push", "omps-consumer", binary}, exitUsage, "-push"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), bad.args, &out, &errs); code != bad.code || !strings.Contains(errs.String(), bad.want) || out.Len() > 0 {
			t.Errorf("image %q: exit %d, %q on stdout: %s", bad.args, code, &out, &errs)
		}
	}
	for _, file := range []string{other, filepath.Join(mixed, "thesis.txt")} {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("a folder that is no layout was touched: %v", err)
		}
	}
}
