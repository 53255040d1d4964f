package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// checkNewFolder tells why a folder cannot be made at a path, or put in the place
// of an empty one.
func checkNewFolder(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		parent, err := os.Stat(filepath.Dir(filepath.Clean(dir)))
		if err == nil && !parent.IsDir() {
			err = errors.New("is a file")
		}
		if err != nil {
			return fmt.Errorf("the folder above it: %w", unnamed(err))
		}
		return nil
	}
	switch {
	case err != nil:
		return unnamed(err)
	case !info.IsDir():
		return errors.New("is there, and is no folder")
	}
	f, err := os.Open(dir)
	if err != nil {
		return unnamed(err)
	}
	defer f.Close()
	switch _, err := f.Readdirnames(1); {
	case err == nil:
		return errors.New("is not empty: it has to be a new folder, or an empty one")
	case !errors.Is(err, io.EOF):
		return unnamed(err)
	}
	return nil
}

// writeNewFolder puts what write makes at dir, all of it or nothing: write makes
// a folder beside dir, which then gets that name. An empty folder is replaced,
// anything else that is there by then is left and is an error.
func writeNewFolder(dir string, write func(dir string) error) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	beside, err := os.MkdirTemp(filepath.Dir(dir), ".consumer-publish-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(beside)
	made := filepath.Join(beside, filepath.Base(dir))
	if err := write(made); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(made, dir)
}
