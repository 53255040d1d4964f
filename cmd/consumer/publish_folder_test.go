package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// write makes a folder with a file in it.
func write(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "file"), []byte("new"), 0o600)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = e.Name()
	}
	return list
}

func TestNewFolder(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	for _, dir := range []string{filepath.Join(above, "new"), filepath.Join(above, "empty") + "/"} {
		if filepath.Base(dir) == "empty" {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := checkNewFolder(dir); err != nil {
			t.Error(err)
		}
		if err := writeNewFolder(dir, write); err != nil {
			t.Error(err)
		}
		if got := names(t, dir); !slices.Equal(got, []string{"file"}) {
			t.Errorf("%s has %v", dir, got)
		}
		if err := checkNewFolder(dir); err == nil {
			t.Errorf("%s counts as empty", dir)
		}
	}
	if got := names(t, above); !slices.Equal(got, []string{"empty", "new"}) {
		t.Errorf("left behind: %v", got)
	}
}

// Whatever goes wrong, what was there stays and nothing else is left.
func TestNewFolderOrNothing(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	full := filepath.Join(above, "full")
	errHalf := errors.New("half way")
	half := func(dir string) error { return errors.Join(write(dir), errHalf) }
	if err := writeNewFolder(full, half); !errors.Is(err, errHalf) {
		t.Errorf("%v", err)
	}
	if got := names(t, above); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	// Somebody else fills it meanwhile.
	err := writeNewFolder(full, func(dir string) error {
		if err := os.Mkdir(full, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(full, "theirs"), nil, 0o600); err != nil {
			return err
		}
		return write(dir)
	})
	if err == nil {
		t.Error("a folder with files is replaced")
	}
	if got := names(t, full); !slices.Equal(got, []string{"theirs"}) || len(names(t, above)) != 1 {
		t.Errorf("%v in %v", got, names(t, above))
	}
	if err := writeNewFolder(filepath.Join(above, "no", "such"), write); err == nil {
		t.Error("a folder is made where there is none above it")
	}
}
