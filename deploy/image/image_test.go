package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// The commit alone decides the digest: not where it lies, when and by whom it is
// built, or what was there before.
func TestSameCommitSameDigest(t *testing.T) {
	t.Parallel()
	first := newCheckout(t)
	second := first.clone(t)
	dir := filepath.Join(t.TempDir(), "image")
	a := image(t, "-layout", dir, first.program(t))
	before := readLayout(t, dir)
	b := image(t, "-layout", dir, second.program(t))
	if a != b {
		t.Errorf("two clones of one commit:\n%s%s", a, b)
	}
	if diff := cmp.Diff(before, readLayout(t, dir)); diff != "" {
		t.Errorf("the layouts differ (-first +second):\n%s", diff)
	}

	if err := os.WriteFile(filepath.Join(second.dir, "cmd/consumer/more.go"), []byte("package main\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c := image(t, second.program(t)); c == a {
		t.Errorf("a changed checkout has the same digest:\n%s", c)
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	binary := c.program(t)
	for name, test := range map[string]func(*testing.T, string){
		"content": testContent, "replaced": testReplaced, "platforms": testPlatforms, "push": testPush, "root": testRoot,
		"refused": func(t *testing.T, binary string) { testRefused(t, c, binary) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, binary)
		})
	}
}

func testContent(t *testing.T, binary string) {
	license := filepath.Join(t.TempDir(), "LICENSE")
	if err := os.WriteFile(license, []byte("as is\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "image")
	out := image(t, "-license", license, "-layout", dir, binary)

	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	outer, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(outer); err != nil {
		t.Errorf("the layout is not valid: %v", err)
	}
	top, err := outer.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(top.Manifests) != 1 || !regexp.MustCompile(`^v0\.0\.0-20261123101633-[0-9a-f]{12}$`).MatchString(top.Manifests[0].Annotations[annotation+"ref.name"]) {
		t.Errorf("the layout has %+v", top.Manifests)
	}
	index, err := outer.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.MediaType != types.OCIImageIndex || len(manifest.Manifests) != 1 || manifest.Manifests[0].Platform.String() != "linux/amd64" {
		t.Fatalf("the index has %+v", manifest)
	}
	for _, digest := range []v1.Hash{top.Manifests[0].Digest, manifest.Manifests[0].Digest} {
		if !strings.Contains(out, digest.String()) {
			t.Errorf("the output does not tell %s:\n%s", digest, out)
		}
	}
	platform, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	checkConfig(t, platform)
	if platformManifest, err := platform.Manifest(); err != nil || platformManifest.MediaType != types.OCIManifestSchema1 || platformManifest.Config.MediaType != types.OCIConfigJSON {
		t.Errorf("%+v, %v", platformManifest, err)
	}

	files := filesOf(t, platform)
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(files["usr/bin/consumer"], program) || string(files["licenses/LICENSE"]) != "as is\n" {
		t.Error("program or license is another one")
	}
	if !strings.Contains(string(files["etc/passwd"]), "nonroot:x:65532:65532:") || !strings.Contains(string(files["etc/group"]), "nonroot:x:65532:") {
		t.Errorf("%s%s", files["etc/passwd"], files["etc/group"])
	}
	pem := files["etc/ssl/certs/ca-certificates.crt"]
	if n := bytes.Count(pem, []byte("BEGIN CERTIFICATE")); n < 100 || !x509.NewCertPool().AppendCertsFromPEM(pem) {
		t.Errorf("%d certificate authorities", n)
	}
}

func checkConfig(t *testing.T, image v1.Image) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	labels := config.Config.Labels
	if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(labels[annotation+"revision"]) || labels[annotation+"created"] != committed || !config.Created.Equal(commitTime(t)) {
		t.Errorf("created %s, labels %v", config.Created, labels)
	}
	config.Config.Labels = nil
	want := v1.Config{
		User: "65532:65532", Env: []string{"PATH=/usr/bin"}, WorkingDir: "/", ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Entrypoint: []string{"/usr/bin/consumer"}, Cmd: []string{"run", "-c", "/etc/omps-consumer/config.yaml"},
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if config.OS != "linux" || config.Architecture != "amd64" || len(config.RootFS.DiffIDs) != 2 || len(config.History) != 2 {
		t.Errorf("%+v", config)
	}
}

// filesOf returns the files of an image by name, and checks that nothing has a
// time, and that the service can write to its own folder and /tmp alone.
func filesOf(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	var others []string
	for _, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		archive := tar.NewReader(content)
		for {
			header, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if files[header.Name], err = io.ReadAll(archive); err != nil {
				t.Fatal(err)
			}
			if header.ModTime.Unix() != 0 || header.Uname+header.Gname != "" {
				t.Errorf("%s is of %s, and belongs to %q", header.Name, header.ModTime, header.Uname)
			}
			if header.Uid != 0 || header.Gid != 0 || header.Mode&0o022 != 0 {
				others = append(others, fmt.Sprintf("%s %d:%d %o", header.Name, header.Uid, header.Gid, header.Mode))
			}
		}
	}
	if diff := cmp.Diff([]string{"tmp/ 0:0 1777", "var/lib/omps-consumer/ 65532:65532 700"}, others); diff != "" {
		t.Errorf("what others than root can write (-want +got):\n%s", diff)
	}
	return files
}

// A layout takes the place of another, of which nothing is left.
func testReplaced(t *testing.T, binary string) {
	old, fresh := filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "fresh")
	next := patched(t, binary, "GOARCH=amd64", "GOARCH=arm64")
	image(t, "-layout", old, binary)
	image(t, "-layout", old, next)
	image(t, "-layout", fresh, next)
	want, got := readLayout(t, fresh), readLayout(t, old)
	if !maps.Equal(want, got) {
		t.Errorf("in place of another, the layout has %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// Images of several platforms, and of the next version, share all but the program.
func testPlatforms(t *testing.T, binary string) {
	programs, err := readPrograms([]string{binary, patched(t, binary, "GOARCH=amd64", "GOARCH=arm64")})
	if err != nil {
		t.Fatal(err)
	}
	index, err := newIndex(programs, nil)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var base, program []v1.Hash
	for i, want := range []string{"linux/amd64", "linux/arm64"} {
		if got := manifest.Manifests[i].Platform.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		image, err := index.Image(manifest.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		base, program = append(base, layers.Layers[0].Digest), append(program, layers.Layers[1].Digest)
	}
	if base[0] != base[1] || program[0] == program[1] {
		t.Errorf("bases %v, programs %v", base, program)
	}
}

func testPush(t *testing.T, binary string) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	reference := strings.TrimPrefix(server.URL, "http://") + "/tools/omps-consumer:1"
	out := image(t, "-push", reference, binary)
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := index.Digest(); err != nil || !strings.Contains(out, digest.String()) {
		t.Errorf("%v, %v: %s", digest, err, out)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
}

// The folder for the Containerfile has what the layers have.
func testRoot(t *testing.T, binary string) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder to another user")
	}
	dir := filepath.Join(t.TempDir(), "root")
	image(t, "-root", dir, binary)
	programs, err := readPrograms([]string{binary})
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for _, e := range append(baseEntries(nil), programEntry(programs[0])) {
		mode := e.mode
		if e.isFolder() {
			mode |= fs.ModeDir
		}
		want[strings.TrimSuffix(e.name, "/")] = fmt.Sprintf("%s %x", mode, e.data)
	}
	got := make(map[string]string)
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var data []byte
		if !d.IsDir() {
			data, err = os.ReadFile(filepath.Join(dir, name))
		}
		got[name] = fmt.Sprintf("%s %x", info.Mode(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s is not as in the image", name)
		}
		delete(got, name)
	}
	if len(got) != 0 {
		t.Errorf("more than in the image: %v", got)
	}
}

// readLayout is a layout's files by name.
func readLayout(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 5 {
		t.Errorf("the layout has only %d files", len(files))
	}
	return files
}
