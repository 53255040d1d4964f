package pipeline

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// zipOf packs name, content pairs as archive/zip writes them: deflated, with
// data descriptors.
func zipOf(tb testing.TB, pairs ...string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for i := 0; i < len(pairs); i += 2 {
		f, err := w.Create(pairs[i])
		if err == nil {
			_, err = io.WriteString(f, pairs[i+1])
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func TestReadArchive(t *testing.T) {
	got, err := ReadArchive(zipOf(t, "b/", "", "b/two.yaml", "two", "a.yaml", "one", "empty", ""), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	want := []File{{"a.yaml", []byte("one")}, {"b/two.yaml", []byte("two")}, {"empty", []byte{}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadArchiveRefuses(t *testing.T) {
	small := Limits{ArchiveBytes: 1 << 20, UnpackedBytes: 100, FileBytes: 60, Files: 3, Depth: 2, NameBytes: 20}
	good := zipOf(t, "a.yaml", strings.Repeat("x", 50))
	cases := []struct {
		name    string
		archive []byte
		says    string
	}{
		{"empty input", nil, "not a zip file"},
		{"text", []byte("<html>Not Found</html>, and more to be long enough"), "not a zip file"},
		{"cut short", good[:len(good)-5], "not a zip file"},
		{"bytes in front", append([]byte("#!/bin/sh\n"), good...), "central directory"},
		{"bytes behind", append(slices.Clone(good), 0), "does not reach to the end"},
		{"file too large", zipOf(t, "a", strings.Repeat("x", 61)), "limit of 60 for a file"},
		{"sum too large", zipOf(t, "a", strings.Repeat("x", 60), "b", strings.Repeat("x", 41)), "limit of 100 bytes unpacked"},
		{"too many", zipOf(t, "a", "", "b", "", "c", "", "d/", ""), "4 entries"},
		{"too deep", zipOf(t, "a/b/c", ""), "more than 2 levels"},
		{"long name", zipOf(t, strings.Repeat("n", 21), ""), "limit of 20"},
		{"parent", zipOf(t, "../a", ""), "plain relative path"},
		{"absolute", zipOf(t, "/a", ""), "plain relative path"},
		{"inner dot", zipOf(t, "./b", ""), "plain relative path"},
		{"backslash", zipOf(t, `a\b`, ""), "no manifest's name needs"},
		{"drive", zipOf(t, "C:a", ""), "no manifest's name needs"},
		{"newline", zipOf(t, "a\nb", ""), "no manifest's name needs"},
		{"twice", zipOf(t, "a", "1", "a", "2"), "another entry has this name"},
		{"other case", zipOf(t, "a", "1", "A", "1"), "another entry has this name"},
		{"file and folder", zipOf(t, "a", "1", "a/b", "1"), "is a file and a directory"},
		{"an end record in the comment", withComment(good, append(slices.Clone(good), 'x')), "end record"},
		{"an end record's signature in the comment", withComment(good, []byte("PK\x05\x06")), "end record"},
		{"a second name", withExtra(t, "a.yaml", "\x75\x70\x0b\x00\x01\x00\x00\x00\x00b.yaml"), "has a second name"},
		{"changed data", flipped(good, bytes.Index(good, []byte("a.yaml"))+8), ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			files, err := ReadArchive(c.archive, small)
			if err == nil {
				t.Fatalf("accepted: %v", files)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q does not say %q", err, c.says)
			}
			if ClassOf(err) != Rejected || ReasonOf(err) != ReasonBadArchive {
				t.Errorf("is %s %s", ClassOf(err), ReasonOf(err))
			}
		})
	}
}

func withComment(archive, comment []byte) []byte {
	archive = slices.Clone(archive)
	binary.LittleEndian.PutUint16(archive[len(archive)-2:], uint16(len(comment)))
	return append(archive, comment...)
}

// withExtra packs an empty file with an extra field in its headers.
func withExtra(tb testing.TB, name, extra string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	if _, err := w.CreateHeader(&zip.FileHeader{Name: name, Extra: []byte(extra)}); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func flipped(data []byte, at int) []byte {
	data = slices.Clone(data)
	data[at] ^= 0xff
	return data
}

func TestDeclaredSizeIsNotAllocated(t *testing.T) {
	archive := zipOf(t, "a", "x")
	central := bytes.Index(archive, []byte("PK\x01\x02"))
	descriptor := bytes.Index(archive, []byte("PK\x07\x08"))
	binary.LittleEndian.PutUint32(archive[central+24:], 1<<30)
	binary.LittleEndian.PutUint32(archive[descriptor+12:], 1<<30)
	huge := Limits{ArchiveBytes: 1 << 20, UnpackedBytes: 1 << 40, FileBytes: 1 << 40, Files: 10, Depth: 10, NameBytes: 255}
	_, err := ReadArchive(archive, huge)
	if err == nil || !strings.Contains(err.Error(), "packed bytes cannot hold") {
		t.Errorf("got %v", err)
	}
}

func TestHostileArchives(t *testing.T) {
	limits := DefaultLimits()
	limits.FileBytes = limits.UnpackedBytes // the corpus knows OMPS's one limit
	for _, c := range hostileCorpus(t) {
		t.Run(c.file, func(t *testing.T) {
			_, err := ReadArchive(readFile(t, filepath.Join(corpusDir, "bad", c.file)), limits)
			atArchive := c.stage == "archive" || c.stage == "extract"
			switch {
			case c.expect == "reject" && atArchive && err == nil:
				t.Errorf("accepted: %s", c.note)
			case c.expect == "accept" && err != nil:
				t.Errorf("refused (%v): %s", err, c.note)
			case !atArchive && c.stage != "upload" && err != nil:
				t.Errorf("refused too early (%v): %s", err, c.note)
			}
		})
	}
}

// TestRealArchives compares what real archives hold with what archive/zip reads.
func TestRealArchives(t *testing.T) {
	for _, name := range realCorpus(t, "*") {
		data := readFile(t, name)
		got, err := ReadArchive(data, DefaultLimits())
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(name), err)
			continue
		}
		if !sameFiles(stdlibFiles(t, data), got) {
			t.Errorf("%s: archive/zip reads other files", filepath.Base(name))
		}
	}
}

// sameFiles compares names and bytes. (cmp.Diff takes minutes over megabytes.)
func sameFiles(a, b []File) bool {
	return slices.EqualFunc(a, b, func(x, y File) bool { return x.Path == y.Path && bytes.Equal(x.Data, y.Data) })
}

func stdlibFiles(tb testing.TB, data []byte) []File {
	tb.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		tb.Fatal(err)
	}
	files := []File{}
	for _, f := range r.File {
		if f.FileInfo().IsDir() {
			continue
		}
		rc, err := f.Open()
		if err != nil {
			tb.Fatal(err)
		}
		content, err := io.ReadAll(rc)
		if err != nil {
			tb.Fatal(err)
		}
		files = append(files, File{Path: f.Name, Data: content})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// FuzzReadArchive: whatever is accepted reads the same with archive/zip.
func FuzzReadArchive(f *testing.F) {
	good := zipOf(f, "a.yaml", "one", "b/", "", "b/c.yaml", strings.Repeat("two", 100))
	f.Add(good)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		f.Add(flipped(good, rng.IntN(len(good))))
	}
	limits := Limits{ArchiveBytes: 1 << 20, UnpackedBytes: 1 << 20, FileBytes: 1 << 20, Files: 50, Depth: 10, NameBytes: 255}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ReadArchive(data, limits)
		if err != nil {
			return
		}
		if want := stdlibFiles(t, data); !sameFiles(want, got) {
			t.Errorf("archive/zip reads %d files, we %d", len(want), len(got))
		}
	})
}
