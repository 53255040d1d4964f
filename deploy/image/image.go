package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	imageName   = "omps-consumer"
	configFile  = "/" + configFolder + "config.yaml"
	opsPort     = "8080/tcp"
	annotation  = "org.opencontainers.image." // https://github.com/opencontainers/image-spec/blob/main/annotations.md
	description = "Publishes the operator manifests of Koji builds to Quay, driven by events"
)

// newIndex makes an image for each program and an index of them. All programs
// are of one version.
func newIndex(programs []program, license []byte) (v1.ImageIndex, error) {
	base, err := newLayer(baseEntries(license))
	if err != nil {
		return nil, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range programs {
		image, err := newImage(p, base)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &p.platform}})
	}
	annotated, ok := mutate.Annotations(index, labels(programs[0])).(v1.ImageIndex)
	if !ok {
		return nil, errors.New("annotations make no index of an index")
	}
	return annotated, nil
}

// newImage puts a program on a base that images of other programs share.
func newImage(p program, base v1.Layer) (v1.Image, error) {
	layer, err := newLayer([]entry{programEntry(p)})
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: p.platform.OS, Architecture: p.platform.Architecture, Created: v1.Time{Time: p.committed},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
		Config: containerConfig(labels(p)),
	})
	if err != nil {
		return nil, err
	}
	by := func(what string) v1.History {
		return v1.History{Created: v1.Time{Time: p.committed}, CreatedBy: "deploy/image", Comment: what}
	}
	return mutate.Append(image,
		mutate.Addendum{Layer: base, History: by("certificate authorities, user")},
		mutate.Addendum{Layer: layer, History: by("program")},
	)
}

// containerConfig says how the image is run. The Containerfile says the same.
func containerConfig(labels map[string]string) v1.Config {
	user := strconv.Itoa(nonRoot)
	return v1.Config{
		User:         user + ":" + user,
		Env:          []string{"PATH=/usr/bin"},
		Entrypoint:   []string{"/" + programFile},
		Cmd:          []string{"run", "-c", configFile},
		WorkingDir:   "/",
		ExposedPorts: map[string]struct{}{opsPort: {}},
		Labels:       labels,
	}
}

// labels say what is in the image. What is not known is not said.
func labels(p program) map[string]string {
	all := map[string]string{
		annotation + "title":       imageName,
		annotation + "description": description,
		annotation + "licenses":    "Apache-2.0",
		annotation + "source":      "https://github.com/omps-consumer/omps-consumer",
		annotation + "version":     p.version,
	}
	if p.revision != "" {
		all[annotation+"revision"] = p.revision
	}
	if !p.committed.IsZero() {
		all[annotation+"created"] = p.committed.UTC().Format(time.RFC3339)
	}
	return all
}

func newLayer(entries []entry) (v1.Layer, error) {
	data, err := tarOf(entries)
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
}

// writeLayout writes a layout folder with one image, in place of the layout
// that is there.
func writeLayout(dir string, index v1.ImageIndex, tag string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{annotation + "ref.name": tag})); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	return nil
}

// isReplaceable returns an error for a folder that holds anything but a layout:
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md#content.
func isReplaceable(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(files) == 0 {
		return nil
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "oci-layout"))
	}
	if err != nil {
		return fmt.Errorf("layout: %s holds something else: %w", dir, err)
	}
	for _, f := range files {
		if !slices.Contains([]string{"oci-layout", "index.json", "blobs"}, f.Name()) {
			return fmt.Errorf("layout: %s holds something else: %s", dir, f.Name())
		}
	}
	return nil
}

// push pushes all platforms and then the tag. It logs in with what docker login
// or podman login left behind.
func push(ctx context.Context, ref name.Tag, index v1.ImageIndex) error {
	if err := remote.WriteIndex(ref, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push to %s: %w", ref, err)
	}
	return nil
}
