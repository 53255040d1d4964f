package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// checkout is a git repository with a module of the same name as this one, and a
// program in it that is quick to build.
type checkout struct{ dir string }

// newCheckout makes a commit that is the same whenever and wherever it is made.
func newCheckout(t *testing.T) checkout {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	c := checkout{dir: filepath.Join(t.TempDir(), "checkout")}
	for name, text := range map[string]string{
		"go.mod":               "module github.com/omps-consumer/omps-consumer\n\ngo 1.26\n",
		"cmd/consumer/main.go": "package main\n\nfunc main() { println(\"consumer\") }\n",
		"cmd/other/main.go":    "package main\n\nfunc main() {}\n",
	} {
		file := filepath.Join(c.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, c.dir, "git", "init", "--quiet", "--initial-branch=main")
	execute(t, c.dir, "git", "add", ".")
	execute(t, c.dir, "git", "commit", "--quiet", "--message=one")
	return c
}

// clone is another checkout of the same commit.
func (c checkout) clone(t *testing.T) checkout {
	t.Helper()
	other := checkout{dir: filepath.Join(t.TempDir(), "elsewhere", "and-deeper")}
	execute(t, c.dir, "git", "clone", "--quiet", c.dir, other.dir)
	return other
}

// build builds a package of the checkout into a file.
func (c checkout) build(t *testing.T, out string, args ...string) {
	t.Helper()
	execute(t, c.dir, "go", append([]string{"build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w", "-o", out}, args...)...)
}

// program builds the checkout's program.
func (c checkout) program(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "consumer")
	c.build(t, file, "./cmd/consumer")
	return file
}

const committed = "2026-11-23T10:16:33Z"

func execute(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOOS=linux", "GOARCH=amd64", "GOWORK=off",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_DATE="+committed, "GIT_COMMITTER_DATE="+committed,
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// patched is a copy of a program in which each text stands for another of the
// same length.
func patched(t *testing.T, program, old, replacement string) string {
	t.Helper()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if len(old) != len(replacement) || !bytes.Contains(data, []byte(old)) {
		t.Fatalf("%s cannot be patched from %q to %q", program, old, replacement)
	}
	file := filepath.Join(t.TempDir(), "patched")
	if err := os.WriteFile(file, bytes.ReplaceAll(data, []byte(old), []byte(replacement)), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// image runs the command on the program and returns its output.
func image(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, &out, &errs); code != exitDone {
		t.Fatalf("image %q: exit %d: %s", args, code, &errs)
	}
	return out.String()
}

func commitTime(t *testing.T) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, committed)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
