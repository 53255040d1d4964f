package quay

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// layoutReleases are releases whose tags meet in every way.
func layoutReleases() map[string]pipeline.Release {
	second := etcd("1873402", "0.9.5", "latest")
	second.CSV, second.Version = "etcdoperator.v0.9.5", "0.9.5"
	second.Files = append(second.Files, pipeline.File{Path: "manifests/more.yaml", Data: []byte("kind: Service\n")})
	byHand := etcd("", "0.9.4")
	delete(byHand.Labels, pipeline.LabelBuildID)
	return map[string]pipeline.Release{
		"one":                       releaseOf(etcd("1873402", "0.9.4", "etcd-operator-container-1.0-1")),
		"two, and one tag for both": releaseOf(etcd("1873402", "0.9.4", "latest"), second),
		"one that is left no tag":   releaseOf(etcd("1873402", "latest"), second),
		"by hand":                   releaseOf(byHand),
		"none by hand":              releaseOf(func() pipeline.Bundle { b := byHand; b.Tags = nil; return b }()),
	}
}

// What is planned is what a push then does, where nothing is yet.
func TestPlanIsWhatIsPushed(t *testing.T) {
	t.Parallel()
	for name, release := range layoutReleases() {
		f := newRegistry(t)
		planned, err := Plan(f.host(), release)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if steps := f.taken(); len(steps) != 0 {
			t.Errorf("%s: planning asked the registry: %v", name, steps)
		}
		pushed := mustPush(t, newOCI(t, f, nil), release.Bundles...)
		if diff := cmp.Diff(pushed.Bundles, planned); diff != "" {
			t.Errorf("%s: pushed, planned: %s", name, diff)
		}
	}
}

// readLayout is the digest of each tag in a layout, every image of which is read
// whole.
func readLayout(t *testing.T, dir string) map[string]string {
	t.Helper()
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	tags := make(map[string]string)
	for _, d := range manifest.Manifests {
		if d.MediaType != manifestType {
			t.Errorf("%s is a %s", d.Digest, d.MediaType)
		}
		if len(d.Annotations) != 1 || d.ArtifactType != "" {
			t.Errorf("%s has annotations %v, artifact type %q", d.Digest, d.Annotations, d.ArtifactType)
		}
		tags[d.Annotations["org.opencontainers.image.ref.name"]] = d.Digest.String()
		var image v1.Image
		if image, err = path.Image(d.Digest); err == nil {
			err = validate.Image(image)
		}
		if err != nil {
			t.Errorf("%s: %v", d.Digest, err)
		}
	}
	if len(tags) != len(manifest.Manifests) {
		t.Errorf("%d entries for %d tags", len(manifest.Manifests), len(tags))
	}
	return tags
}

func TestWriteLayout(t *testing.T) {
	t.Parallel()
	for name, release := range layoutReleases() {
		dir := filepath.Join(t.TempDir(), "layout")
		if err := WriteLayout(t.Context(), dir, release); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		planned, err := Plan("quay.io", release)
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[string]string)
		for i, b := range planned {
			for _, tag := range b.Tags {
				want[tag] = digest(t, release.Bundles[i])
			}
			if want := "quay.io/myorg/etcd@" + digest(t, release.Bundles[i]); b.Reference != want {
				t.Errorf("%s: reference %s, want %s", name, b.Reference, want)
			}
		}
		if got := readLayout(t, dir); !maps.Equal(got, want) {
			t.Errorf("%s: layout has %v, want %v", name, got, want)
		}
	}
}

func TestLayoutFaults(t *testing.T) {
	t.Parallel()
	change := func(with func(*pipeline.Bundle)) pipeline.Release {
		b := etcd("1", "0.9.4")
		with(&b)
		return releaseOf(b)
	}
	for name, tt := range map[string]struct {
		release pipeline.Release
		reason  pipeline.Reason
	}{
		"repository": {change(func(b *pipeline.Bundle) { b.Repository = "myorg/Etcd" }), pipeline.ReasonQuayRefused},
		"tag":        {change(func(b *pipeline.Bundle) { b.Tags = []string{"a b"} }), pipeline.ReasonQuayRefused},
		"no files":   {change(func(b *pipeline.Bundle) { b.Files = nil }), pipeline.ReasonInvalidManifests},
		"label":      {change(func(b *pipeline.Bundle) { b.Labels["quay.expires-after"] = "1d" }), pipeline.ReasonInvalidManifests},
	} {
		_, err := Plan("quay.io", tt.release)
		for _, err := range []error{err, WriteLayout(t.Context(), filepath.Join(t.TempDir(), "layout"), tt.release)} {
			if pipeline.ClassOf(err) != pipeline.Rejected || pipeline.ReasonOf(err) != tt.reason {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if _, err := Plan("not a registry", pipeline.Release{}); err == nil {
		t.Error("a registry without a name is taken")
	}
	if err := WriteLayout(t.Context(), filepath.Join(t.TempDir(), "no", "\x00"), releaseOf(etcd("1", "a"))); err == nil {
		t.Error("a folder that cannot be is written to")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := WriteLayout(ctx, filepath.Join(t.TempDir(), "layout"), releaseOf(etcd("1", "a"))); !errors.Is(err, context.Canceled) {
		t.Errorf("ended while writing: %v", err)
	}
}

func TestContentIsWhatIsPushed(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	release := application("a", "")
	content, err := ContentOf(release.Application)
	if err != nil {
		t.Fatal(err)
	}
	done := wantRelease(t, a.client(t, nil), release, "1.0.0", false)
	if done.Release.Digest != content.Digest {
		t.Errorf("pushed %s, content is %s", done.Release.Digest, content.Digest)
	}
	if _, archive := unpack(t, content.Archive); digestOf(archive).String() != content.Digest {
		t.Errorf("the archive is not that of %s", content.Digest)
	}
	for want, app := range map[pipeline.Reason]pipeline.Application{
		pipeline.ReasonQuayRefused:      {Repository: "myorg/a/b", Files: release.Application.Files},
		pipeline.ReasonInvalidVersion:   {Repository: "myorg/a", Version: "1", Files: release.Application.Files},
		pipeline.ReasonInvalidManifests: {Repository: "myorg/a"},
	} {
		content, err := ContentOf(&app)
		wantError(t, err, pipeline.Rejected, want)
		if len(content.Archive) != 0 {
			t.Errorf("%s has content", want)
		}
	}
}

// A layout is made in a folder that is not there, or it is none.
func TestWriteLayoutIntoAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteLayout(t.Context(), file, releaseOf(etcd("1", "a"))); err == nil {
		t.Error("a file became a folder")
	}
}
