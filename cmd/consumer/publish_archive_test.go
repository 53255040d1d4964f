package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// A folder holds what an archive may hold.
func TestPublishRefusesFolders(t *testing.T) {
	t.Parallel()
	config := offline(t, "limits: {files: 10, file_bytes: 100KiB, unpacked_bytes: 150KiB, depth: 3}")
	for _, tt := range []struct {
		name, want string
		add        func(dir string) error
	}{
		{"a symlink", `"manifests/link.yaml": neither a regular file nor a folder`, func(dir string) error {
			return os.Symlink("/etc/passwd", filepath.Join(dir, "manifests", "link.yaml"))
		}},
		{"a symlink to a folder", `"link": neither a regular file nor a folder`, func(dir string) error {
			return os.Symlink("/etc", filepath.Join(dir, "link"))
		}},
		{"a socket", `"socket": neither a regular file nor a folder`, func(dir string) error {
			listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
			if err == nil {
				t.Cleanup(func() { listener.Close() })
			}
			return err
		}},
		{"too many", "more than the limit of 10 files and folders", func(dir string) error {
			for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
				if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
					return err
				}
			}
			return nil
		}},
		{"too large", `"large": more than the limit of 102400 bytes for a file`, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "large"), make([]byte, 102401), 0o600)
		}},
		{"too large together", "more than the limit of 153600 bytes in all files", func(dir string) error {
			for _, name := range []string{"x", "y"} {
				if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 100<<10), 0o600); err != nil {
					return err
				}
			}
			return nil
		}},
		{"too deep", "more than 3 levels deep", func(dir string) error {
			if err := os.MkdirAll(filepath.Join(dir, "a", "b", "c"), 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "a", "b", "c", "d"), nil, 0o600)
		}},
		{"a name that differs in case", "another entry has this name", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "metadata", "Annotations.yaml"), nil, 0o600)
		}},
		{"a name with an escape sequence", "holds a character that no manifest's name needs", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "\x1b[31m.yaml"), nil, 0o600)
		}},
		{"a name that is not UTF-8", "name is not", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "\xff.yaml"), nil, 0o600)
		}},
	} {
		dir := asFolder(t, sandbox.SampleBundle())
		if err := tt.add(dir); err != nil {
			t.Logf("%s: cannot be made here: %v", tt.name, err)
			continue
		}
		report := publishReported(t, exitFailed, dir, "--organization", "myorg", "-c", config, "--dry-run")
		if report.Outcome != "rejected" || report.Error.Reason != pipeline.ReasonBadArchive || !strings.Contains(report.Error.Message, tt.want) {
			t.Errorf("%s: %s: %+v, want %q", tt.name, report.Outcome, report.Error, tt.want)
		}
		code, out, errs := command(t, "publish", dir, "--organization", "myorg", "-c", config, "--dry-run")
		if code != exitFailed || strings.Contains(out+errs, "\x1b") {
			t.Errorf("%s: exit %d: %q %q", tt.name, code, out, errs)
		}
	}
}

func TestPublishRefusesArchives(t *testing.T) {
	t.Parallel()
	config := offline(t, "limits: {archive_bytes: 4KiB}")
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"empty":   {nil, "not a zip file"},
		"no zip":  {[]byte("hello"), "not a zip file"},
		"cut":     {sandbox.SampleBundleArchive()[:500], "not a zip file, or not all of one"},
		"too big": {bytes.Repeat([]byte("a"), 4097), "more than the limit of 4096 bytes"},
	} {
		path := filepath.Join(dir, name+".zip")
		if err := os.WriteFile(path, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		report := publishReported(t, exitFailed, path, "--organization", "myorg", "-c", config, "--dry-run")
		if report.Outcome != "rejected" || report.Error.Reason != pipeline.ReasonBadArchive || !strings.Contains(report.Error.Message, tt.want) {
			t.Errorf("%s: %s: %+v, want %q", name, report.Outcome, report.Error, tt.want)
		}
	}
}

// What goes away after it was looked at is not the archive's fault.
func TestLocalArchiveGoesAway(t *testing.T) {
	t.Parallel()
	for _, path := range []string{asZip(t, flat()), asFolder(t, flat())} {
		archive, err := newLocalArchive(path, pipeline.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if r, err := archive.OpenObject(t.Context(), path); err != nil {
			t.Fatal(err)
		} else if data, err := io.ReadAll(r); err != nil || len(data) == 0 || r.Close() != nil {
			t.Errorf("%d bytes, %v", len(data), err)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		_, err = archive.OpenObject(t.Context(), path)
		if pipeline.ReasonOf(err) != pipeline.ReasonArchiveUnavailable || pipeline.ClassOf(err) != pipeline.Transient {
			t.Errorf("%v", err)
		}
	}
}
