package quay

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Modes of what is in an archive: anybody may read it, whoever unpacks it runs
// as. One directory that holds all of it is as operator-courier made it.
const (
	fileMode = 0o644
	dirMode  = 0o755
	topMode  = 0o700
)

// layer is a compressed layer in memory.
type layer struct {
	compressed     []byte
	digest, diffID v1.Hash // of the compressed and of the uncompressed bytes
}

func (l *layer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layer) Size() (int64, error)                { return int64(len(l.compressed)), nil }
func (l *layer) MediaType() (types.MediaType, error) { return layerType, nil }

func (l *layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.compressed)), nil
}

// newLayer packs files into a tar.gz whose bytes depend on nothing else: not on
// their order, the clock, the user or the machine.
func newLayer(files []pipeline.File) (*layer, error) {
	archive, err := archiveOf("", files)
	if err != nil {
		return nil, err
	}
	compressed, err := compress(archive)
	if err != nil {
		return nil, err
	}
	return &layer{compressed: compressed, digest: digestOf(compressed), diffID: digestOf(archive)}, nil
}

// archiveOf is the tar archive of files, in the directory top if it has a name,
// each directory before what it holds. Directories have entries of their own since
// a runtime that has to invent one may make it unreadable for whoever unpacks the
// bundle. With no time set, archive/tar writes the epoch, in USTAR where a name
// fits it and else in PAX.
func archiveOf(top string, files []pipeline.File) ([]byte, error) {
	if len(files) == 0 {
		return nil, errors.New("there are no files")
	}
	files = slices.SortedFunc(slices.Values(files), func(a, b pipeline.File) int { return strings.Compare(a.Path, b.Path) })

	var buf bytes.Buffer
	buf.Grow(archiveSize(files))
	w := tar.NewWriter(&buf)
	seen := make(map[string]bool, len(files)+2)
	if top != "" {
		seen[top+"/"] = true
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: top + "/", Mode: topMode}); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." {
			return nil, fmt.Errorf("%q is no path of a file", f.Path)
		}
		name := path.Join(top, f.Path)
		if err := writeDirs(w, path.Dir(name), seen); err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, fmt.Errorf("%s is there twice", f.Path)
		}
		seen[name] = true
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(f.Data)), Mode: fileMode})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// writeDirs writes the entry of dir and of what it lies in, once. A trailing
// slash in seen tells a directory from a file.
func writeDirs(w *tar.Writer, dir string, seen map[string]bool) error {
	if dir == "." || seen[dir+"/"] {
		return nil
	}
	if err := writeDirs(w, path.Dir(dir), seen); err != nil {
		return err
	}
	if seen[dir] {
		return fmt.Errorf("%s is both a file and a directory", dir)
	}
	seen[dir+"/"] = true
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: dirMode})
}

// archiveSize is about how many bytes the archive of files will have.
func archiveSize(files []pipeline.File) int {
	const block = 512
	size := 8 * block // directories and the end
	for _, f := range files {
		size += 2*block + len(f.Data)
	}
	return size
}

// compress is data in gzip, with neither a name nor a time in the header.
//
// The compressor decides the digest as much as the content does, so it is one
// that go.mod pins, not the toolchain's. Stateless compression needs none of
// the megabyte of tables that the other levels make for each image, for 6 %
// more bytes than level 1; its blocks follow the writes, hence a single one.
func compress(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(len(data)/4 + 512)
	w, err := gzip.NewWriterLevel(&buf, gzip.StatelessCompression)
	if err != nil {
		return nil, err
	}
	w.ModTime = time.Unix(0, 0) // "no time" in gzip; the zero Time is another number there
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
