package sandbox

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// zipTime is every entry's time: the oldest that the format can say.
var zipTime = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// Zip packs files in their order, as OSBS packs operator manifests: deflated,
// without entries for directories. The same files give the same bytes. Names
// are taken as they are, so that hostile archives can be made too; the only
// error is a name longer than the format can hold.
func Zip(files []pipeline.File) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.Path, Method: zip.Deflate, Modified: zipTime}
		header.SetMode(0o644)
		entry, err := w.CreateHeader(header)
		if err != nil {
			return nil, fmt.Errorf("zip %.100q: %w", f.Path, err)
		}
		if _, err := entry.Write(f.Data); err != nil {
			return nil, fmt.Errorf("zip %.100q: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("zip: %w", err)
	}
	return buf.Bytes(), nil
}

// ZipDir packs the regular files below a directory, sorted by path.
func ZipDir(dir string) ([]byte, error) {
	files, err := readTree(os.DirFS(dir))
	if err != nil {
		return nil, err
	}
	return Zip(files)
}

// readTree lists the regular files of a tree, sorted by path.
func readTree(tree fs.FS) ([]pipeline.File, error) {
	var files []pipeline.File
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		files = append(files, pipeline.File{Path: name, Data: data})
		return err
	})
	slices.SortFunc(files, func(a, b pipeline.File) int { return strings.Compare(a.Path, b.Path) })
	return files, err
}
