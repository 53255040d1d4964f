package quay

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// entry is one in the tar of a payload.
type entry struct {
	Name string
	Type string
	Mode int64
	Size int64
}

// unpack reads a payload as strictly as can be.
func unpack(t *testing.T, blob []byte) (entries []entry, archive []byte) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	if z.Name != "" || !z.ModTime.IsZero() {
		t.Errorf("gzip has name %q and time %s", z.Name, z.ModTime)
	}
	if archive, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries, archive
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s has an owner or a time: %+v", h.Name, h)
		}
		kind := map[byte]string{tar.TypeDir: "dir", tar.TypeReg: "file"}[h.Typeflag]
		entries = append(entries, entry{strings.TrimSuffix(h.Name, "/"), kind, h.Mode, h.Size})
	}
}

func mustPayload(t *testing.T, repository string, files ...pipeline.File) payload {
	t.Helper()
	p, err := newPayload(&pipeline.Application{Repository: repository, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPayload(t *testing.T) {
	t.Parallel()
	long := "deep/" + strings.Repeat("long-directory/", 12) + "file.yaml" // more than USTAR holds
	files := []pipeline.File{
		{Path: "etcd.package.yaml", Data: []byte("packageName: etcd\n")}, {Path: "0.9.4/etcd.crd.yaml", Data: []byte("{}")},
		{Path: long}, {Path: "ünïcode.yaml", Data: []byte("x")},
	}
	p := mustPayload(t, "myorg/etcd", files...)
	entries, archive := unpack(t, p.blob)
	top, _, _ := strings.Cut(entries[0].Name, "/")
	name, suffix, _ := strings.Cut(top, "-")
	if name != "etcd" || len(suffix) != 8 || strings.Trim(suffix, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		t.Errorf("the directory is named %q", top)
	}
	want := []entry{
		{top, "dir", 0o700, 0},
		{top + "/0.9.4", "dir", 0o755, 0}, {top + "/0.9.4/etcd.crd.yaml", "file", 0o644, 2},
	}
	if diff := cmp.Diff(want, entries[:3]); diff != "" {
		t.Error(diff)
	}
	for _, path := range []string{"/etcd.package.yaml", "/" + long, "/ünïcode.yaml"} {
		if !slices.ContainsFunc(entries, func(e entry) bool { return e.Name == top+path && e.Mode == 0o644 }) {
			t.Errorf("%s is not among %v", path, entries)
		}
	}
	if p.digest != digestOf(archive).String() {
		t.Errorf("digest is %s", p.digest)
	}

	slices.Reverse(files)
	if again := mustPayload(t, "myorg/etcd", files...); !bytes.Equal(again.blob, p.blob) {
		t.Error("the order of the files matters")
	}
	if other := mustPayload(t, "other/etcd", files...); other.digest != p.digest {
		t.Error("the organization matters")
	}
	files[0].Data = []byte("other")
	if other := mustPayload(t, "myorg/etcd", files...); other.digest == p.digest {
		t.Error("the content does not matter")
	}
}

func TestPayloadRefusesFiles(t *testing.T) {
	t.Parallel()
	for _, files := range [][]pipeline.File{
		nil, {{Path: "../x"}}, {{Path: "/x"}}, {{Path: "."}}, {{Path: ""}}, {{Path: "x"}, {Path: "x"}}, {{Path: "x"}, {Path: "x/y"}},
	} {
		_, err := newPayload(&pipeline.Application{Repository: "myorg/etcd", Files: files})
		wantError(t, err, pipeline.Rejected, pipeline.ReasonInvalidManifests)
	}
}

// A push has three fields, which a Python server reads as they are meant.
func TestPayloadBody(t *testing.T) {
	t.Parallel()
	p := mustPayload(t, "myorg/etcd", pipeline.File{Path: "bundle.yaml", Data: []byte("data: {}\n")})
	body, err := p.body("1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]string
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"blob": base64.StdEncoding.EncodeToString(p.blob), "release": "1.2.3", "media_type": "helm"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
}

// The archive is shaped as the one that operator-courier pushed of the same
// package: its entries, types and modes.
func TestPayloadIsShapedAsRecorded(t *testing.T) {
	t.Parallel()
	records, err := filepath.Glob(filepath.Join("..", "..", "..", "..", "shared", "corpus", "golden", "*", "*", "push.json"))
	if err != nil || len(records) == 0 {
		t.Skip("no recorded pushes to compare with")
	}
	for _, record := range records {
		var pushed struct {
			URL string
			Tar []struct {
				Name, Type, Mode string
				Size             int64
			}
		}
		data, err := os.ReadFile(record)
		if err == nil {
			err = json.Unmarshal(data, &pushed)
		}
		if err != nil {
			t.Fatal(err)
		}
		repository := pushed.URL[strings.LastIndex(pushed.URL, "/")+1:]
		var files []pipeline.File
		var want []entry
		for _, e := range pushed.Tar {
			_, path, below := strings.Cut(e.Name, "/")
			mode := int64(0o644)
			switch {
			case e.Type == "file":
				files = append(files, pipeline.File{Path: path, Data: make([]byte, e.Size)})
			case below:
				mode = 0o755
			default:
				mode = 0o700
			}
			want = append(want, entry{path, e.Type, mode, e.Size})
		}
		got, _ := unpack(t, mustPayload(t, "plain/"+repository, files...).blob)
		for i := range got {
			_, got[i].Name, _ = strings.Cut(got[i].Name, "/")
		}
		byName := func(a, b entry) int { return strings.Compare(a.Name, b.Name) }
		slices.SortFunc(want, byName)
		slices.SortFunc(got, byName)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", record, diff)
		}
	}
	t.Logf("%d recorded pushes", len(records))
}
