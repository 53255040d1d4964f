package main

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// programPath is the package that an image is made of.
const programPath = "github.com/omps-consumer/omps-consumer/cmd/consumer"

// program is a built program and what the Go toolchain wrote into it.
type program struct {
	data      []byte
	platform  v1.Platform
	version   string
	revision  string    // of the commit, with +modified if the tree had changes; "": unknown
	committed time.Time // zero: unknown
}

// readPrograms reads the programs of one version, each for a platform of its own.
func readPrograms(paths []string) ([]program, error) {
	var programs []program
	for _, path := range paths {
		p, err := readProgram(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, other := range programs {
			if p.platform.Equals(other.platform) {
				return nil, fmt.Errorf("%s: another program is for %s too", path, p.platform)
			}
			if p.version != other.version || p.revision != other.revision {
				return nil, fmt.Errorf("%s: is %s of revision %q, and others are %s of %q", path, p.version, p.revision, other.version, other.revision)
			}
		}
		programs = append(programs, p)
	}
	return programs, nil
}

// readProgram reads a program that can run in an image with nothing else.
func readProgram(path string) (program, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return program{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return program{}, fmt.Errorf("no Go program: %w", err)
	}
	if info.Path != programPath {
		return program{}, fmt.Errorf("is built from %s, not from %s", info.Path, programPath)
	}
	p := program{data: data, version: info.Main.Version}
	modified := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS":
			p.platform.OS = s.Value
		case "GOARCH":
			p.platform.Architecture = s.Value
		case "vcs.revision":
			p.revision = s.Value
		case "vcs.time":
			if p.committed, err = time.Parse(time.RFC3339, s.Value); err != nil {
				return program{}, fmt.Errorf("time of the commit: %w", err)
			}
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+modified"
			}
		}
	}
	if p.revision != "" {
		p.revision += modified
	}
	if p.platform.OS != "linux" {
		return program{}, fmt.Errorf("is for %s, not for linux", p.platform)
	}
	return p, isStatic(data)
}

// isStatic returns an error for a program that asks for a loader, which alone
// would find it libraries: the image has neither.
func isStatic(data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return err
	}
	for _, part := range f.Progs {
		if part.Type == elf.PT_INTERP {
			return errors.New("is linked dynamically; it has to be built with CGO_ENABLED=0")
		}
	}
	return nil
}

// tag is the version as a tag, which may not hold a plus:
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests.
func (p program) tag() string {
	version := strings.Trim(p.version, "()") // "(devel)" where nothing is known
	if version == "" {
		version = "devel"
	}
	return strings.ReplaceAll(version, "+", "-")
}
