package quay

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// goldenDigest is the digest of golden(). A change means that every image that
// was ever published gets another one when its build is published again: the
// compressor, the library's JSON or our layout has changed. Say so in the
// changelog.
const goldenDigest = "sha256:64f520db5cc5b259b1c01547f28d142047c1a6f3f9d3008442ddccafd69ebaa2"

func golden() pipeline.Bundle {
	b := etcd("1873402", "0.9.4")
	b.Files = append(b.Files, pipeline.File{
		Path: "manifests/long-" + strings.Repeat("é", 80) + ".yaml",
		Data: []byte(strings.Repeat("a: b\r\n", 20_000)),
	})
	return b
}

func mustImage(t testing.TB, b pipeline.Bundle) v1.Image {
	t.Helper()
	img, err := Image(b)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t testing.TB, b pipeline.Bundle) string {
	t.Helper()
	h, err := mustImage(t, b).Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func TestImageDigestIsGolden(t *testing.T) {
	t.Parallel()
	if got := digest(t, golden()); got != goldenDigest {
		t.Errorf("digest is %s, was %s", got, goldenDigest)
	}
}

func TestImageDigestDependsOnContentAlone(t *testing.T) {
	t.Setenv("TZ", "Pacific/Auckland")
	t.Setenv("LC_ALL", "tr_TR.UTF-8")
	t.Setenv("SOURCE_DATE_EPOCH", "12345")
	want := digest(t, golden())

	same := golden()
	slices.Reverse(same.Files)
	same.Tags, same.Version, same.Repository = nil, "9", "other/place"
	if got := digest(t, same); got != want {
		t.Errorf("digest is %s after a change that is not in the image, was %s", got, want)
	}
	for name, change := range map[string]func(*pipeline.Bundle){
		"data":  func(b *pipeline.Bundle) { b.Files[0].Data = append(b.Files[0].Data, '\n') },
		"path":  func(b *pipeline.Bundle) { b.Files[0].Path += "x" },
		"label": func(b *pipeline.Bundle) { b.Labels["a"] = "b" },
	} {
		other := golden()
		change(&other)
		if digest(t, other) == want {
			t.Errorf("digest is the same after a change of a %s", name)
		}
	}
}

func TestImageIsValid(t *testing.T) {
	t.Parallel()
	img := mustImage(t, golden())
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	if mt, _ := img.MediaType(); mt != types.DockerManifestSchema2 {
		t.Errorf("media type is %s", mt)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	diffID, err := layers[0].DiffID()
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(config, &got); err != nil {
		t.Fatal(err)
	}
	wanted, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
		"history": []any{map[string]any{"created": "1970-01-01T00:00:00Z", "created_by": "omps-consumer"}},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []any{diffID.String()}},
		"config":  map[string]any{"Labels": golden().Labels},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(wanted, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestImageLayer(t *testing.T) {
	t.Parallel()
	b := golden()
	layers, err := mustImage(t, b).Layers()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	compressed, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	if name, time := compressed[3], compressed[4:8]; name != 0 || !bytes.Equal(time, make([]byte, 4)) {
		t.Errorf("gzip header has flags %x and time %x", name, time)
	}
	unzip, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Name     string
		Type     byte
		Mode     int64
		Time     int64
		Owner    [2]int
		Names    [2]string
		Contents string
	}
	var got []entry
	for archive := tar.NewReader(unzip); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for key := range h.PAXRecords {
			if key != "path" {
				t.Errorf("%s has a PAX record %s", h.Name, key)
			}
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{
			h.Name, h.Typeflag, h.Mode, h.ModTime.Unix(), [2]int{h.Uid, h.Gid},
			[2]string{h.Uname, h.Gname}, string(data),
		})
	}
	file := func(i int) entry {
		return entry{Name: b.Files[i].Path, Type: tar.TypeReg, Mode: 0o644, Contents: string(b.Files[i].Data)}
	}
	dir := func(name string) entry { return entry{Name: name, Type: tar.TypeDir, Mode: 0o755} }
	want := []entry{dir("manifests/"), file(0), file(1), file(3), dir("metadata/"), file(2)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestImageBlobs(t *testing.T) {
	t.Parallel()
	img := mustImage(t, golden())
	config, err := partial.ConfigLayer(img)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range append(layers, config) {
		rc, err := blob.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(rc)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if h, _ := blob.Digest(); h.Hex != hex.EncodeToString(sum[:]) {
			t.Errorf("digest is %s, bytes have %x", h, sum)
		}
	}
	if _, err := img.LayerByDigest(v1.Hash{Algorithm: "sha256", Hex: "00"}); err == nil {
		t.Error("there is a layer nobody made")
	}
}

func TestImageRefuses(t *testing.T) {
	t.Parallel()
	file := func(path string) pipeline.File { return pipeline.File{Path: path, Data: []byte("x")} }
	for name, b := range map[string]pipeline.Bundle{
		"label that expires the tag": {Files: golden().Files, Labels: map[string]string{"quay.expires-after": "1d"}},
		"in other letters":           {Files: golden().Files, Labels: map[string]string{"Quay.Expires-After": "1d"}},
		"no files":                   {},
		"empty path":                 {Files: []pipeline.File{file("")}},
		"dot":                        {Files: []pipeline.File{file(".")}},
		"absolute path":              {Files: []pipeline.File{file("/etc/passwd")}},
		"parent":                     {Files: []pipeline.File{file("manifests/../../x")}},
		"directory":                  {Files: []pipeline.File{file("manifests/")}},
		"twice":                      {Files: []pipeline.File{file("manifests/a"), file("manifests/a")}},
		"file and directory":         {Files: []pipeline.File{file("manifests/a/b"), file("manifests/a")}},
		"file and directory below":   {Files: []pipeline.File{file("manifests"), file("manifests/a/b")}},
		"nul":                        {Files: []pipeline.File{file("manifests/a\x00b")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Image(b)
			wantError(t, err, pipeline.Rejected, pipeline.ReasonInvalidManifests)
		})
	}
}

func BenchmarkImage(b *testing.B) {
	for name, size := range map[string]int{"20KiB": 20 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			bundle := etcd("1")
			text := []byte(strings.Repeat("      - name: RELATED_IMAGE_ETCD\n        value: quay.io/coreos/etcd@sha256:66a37fd6\n", 1+size/80))
			bundle.Files[0].Data = text[:size]
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				digest(b, bundle)
			}
		})
	}
}
