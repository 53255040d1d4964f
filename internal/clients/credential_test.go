package clients

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSecretFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "secret")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("secret", "first")
	reads := 0
	read := func(path string) (Secret, error) {
		reads++
		data, err := os.ReadFile(path)
		if err == nil && len(data) == 0 {
			err = errors.New("is empty")
		}
		return Secret(data), err
	}
	var log bytes.Buffer
	f := FollowSecret(path, "first", read, slog.New(slog.NewTextHandler(&log, nil)))
	want := func(what string, secret Secret, logged int) {
		t.Helper()
		for range 3 {
			if got := f.Secret(); got != secret {
				t.Errorf("%s: the secret is %q, want %q", what, got.Reveal(), secret.Reveal())
			}
		}
		if got := strings.Count(log.String(), "\n"); got != logged {
			t.Errorf("%s: %d lines are logged, want %d:\n%s", what, got, logged, log.String())
		}
	}

	want("unchanged", "first", 0)
	if reads != 1 {
		t.Errorf("an unchanged file was read %d times", reads)
	}
	write("secret", "second one")
	want("written", "second one", 1)
	write("secret", "")
	want("truncated", "second one", 2)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("gone", "second one", 3)
	write("other", "third-ones")
	if err := os.Rename(filepath.Join(folder, "other"), path); err != nil {
		t.Fatal(err)
	}
	want("replaced by one as long", "third-ones", 4)
	write("secret", "fourth-one")
	written := time.Now().Add(time.Hour) // the clock may be coarser than this test is fast
	if err := os.Chtimes(path, written, written); err != nil {
		t.Fatal(err)
	}
	want("written as long as before", "fourth-one", 5)
	for _, secret := range []string{"first", "second", "third", "fourth"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log shows a secret: %s", log.String())
		}
	}
}

// TestSecretFileOfKubernetes replaces the folder that a link leads to, as a
// mounted Secret is updated.
func TestSecretFileOfKubernetes(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, version := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(folder, version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, version, "password"), []byte("secret"+version), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(version string) {
		t.Helper()
		next := filepath.Join(folder, "next")
		if err := os.Symlink(version, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(folder, "data")); err != nil {
			t.Fatal(err)
		}
	}
	link("1")
	f := FollowSecret(filepath.Join(folder, "data", "password"), "secret1", func(path string) (Secret, error) {
		data, err := os.ReadFile(path)
		return Secret(data), err
	}, nil)
	if got := f.Secret().Reveal(); got != "secret1" {
		t.Errorf("the secret is %q", got)
	}
	link("2")
	if got := f.Secret().Reveal(); got != "secret2" {
		t.Errorf("after the update the secret is %q", got)
	}
}

func TestNoCredential(t *testing.T) {
	t.Parallel()
	if got := SecretOf(nil); got != "" {
		t.Errorf("nobody's secret is %q", got.Reveal())
	}
	if got := SecretOf(Secret("s")); got != "s" {
		t.Errorf("the secret is %q", got.Reveal())
	}
}
