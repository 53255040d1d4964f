package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// localArchive opens an archive on this machine: a zip file, or a folder, which
// becomes one in memory so that whatever holds for archives holds for it.
type localArchive struct {
	folder bool
	limits pipeline.Limits
}

var _ pipeline.ObjectOpener = localArchive{}

// newLocalArchive looks what lies at a path. Its errors do not name it.
func newLocalArchive(name string, limits pipeline.Limits) (localArchive, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return localArchive{}, unnamed(err)
	case !info.IsDir() && !info.Mode().IsRegular():
		return localArchive{}, errors.New("is neither a file nor a folder")
	}
	return localArchive{folder: info.IsDir(), limits: limits}, nil
}

// OpenObject opens the file or folder of that name. A folder that no archive
// within the limits can be made of is Rejected with ReasonBadArchive; what cannot
// be read is Transient with ReasonArchiveUnavailable.
func (a localArchive) OpenObject(ctx context.Context, name string) (io.ReadCloser, error) {
	if !a.folder {
		f, err := os.Open(name)
		if err != nil {
			return nil, pipeline.Retry(pipeline.ReasonArchiveUnavailable, fmt.Errorf("%s: %w", name, unnamed(err)))
		}
		return f, nil
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, pipeline.Retry(pipeline.ReasonArchiveUnavailable, fmt.Errorf("%s: %w", name, unnamed(err)))
	}
	defer root.Close()
	var packed bytes.Buffer
	p := folderPacker{tree: root.FS(), limits: a.limits, zip: zip.NewWriter(&packed)}
	if err := p.pack(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return io.NopCloser(&packed), nil
}

// folderPacker packs a folder. It stops at what is over the limits already, and
// leaves the rest of them to whoever reads archives.
type folderPacker struct {
	tree    fs.FS
	limits  pipeline.Limits
	zip     *zip.Writer
	entries int
	bytes   int64
}

func (p *folderPacker) pack(ctx context.Context) error {
	err := fs.WalkDir(p.tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		return p.add(name, d)
	})
	if err == nil {
		err = p.zip.Close()
	}
	if err != nil && pipeline.ReasonOf(err) == pipeline.ReasonInternal && ctx.Err() == nil {
		return pipeline.Retry(pipeline.ReasonArchiveUnavailable, err)
	}
	return err
}

func (p *folderPacker) add(name string, d fs.DirEntry) error {
	if p.entries++; p.entries > p.limits.Files {
		return refusedFolder("more than the limit of %d files and folders", p.limits.Files)
	}
	if !fs.ValidPath(name) {
		return refusedFolder("%q: name is not UTF-8", name)
	}
	if d.IsDir() {
		return nil
	}
	if !d.Type().IsRegular() {
		return refusedFolder("%q: neither a regular file nor a folder", name)
	}
	f, err := p.tree.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	entry, err := p.zip.Create(name)
	if err != nil {
		return refusedFolder("%q: %w", name, err)
	}
	n, err := io.Copy(entry, io.LimitReader(f, p.limits.FileBytes+1))
	p.bytes += n
	switch {
	case err != nil:
		return err
	case n > p.limits.FileBytes:
		return refusedFolder("%q: more than the limit of %d bytes for a file", name, p.limits.FileBytes)
	case p.bytes > p.limits.UnpackedBytes:
		return refusedFolder("more than the limit of %d bytes in all files", p.limits.UnpackedBytes)
	}
	return nil
}

func refusedFolder(format string, args ...any) error {
	return pipeline.Reject(pipeline.ReasonBadArchive, fmt.Errorf(format, args...))
}
