package quay

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Media types. A bundle image is one image manifest, never a list: it is the
// same on every architecture. Docker's schema 2 is what every Quay since 3.0
// takes and what OSBS builds bundles as, while one without
// FEATURE_GENERAL_OCI_SUPPORT answers 415 to an OCI manifest; opm, conforma,
// skopeo and the container runtimes read both alike.
const (
	manifestType = types.DockerManifestSchema2
	configType   = types.DockerConfigJSON
	layerType    = types.DockerLayer
)

// createdBy is the history of the one layer. Quay takes a schema 2 config only
// with a history that has one entry a layer.
const createdBy = "omps-consumer"

// Image makes the bundle image of b: FROM scratch, one layer, b's labels, as
// the operator-registry's docs/design/operator-bundle.md says. Its bytes, and
// so its digest, depend on b.Files and b.Labels alone. It touches no network.
// Files that cannot be in an image, and a label that lets Quay delete it, are
// Rejected with ReasonInvalidManifests.
func Image(b pipeline.Bundle) (v1.Image, error) {
	i, err := newImage(b)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(i)
}

func newImage(b pipeline.Bundle) (*image, error) {
	for label := range b.Labels {
		if strings.EqualFold(label, pipeline.LabelExpires) {
			return nil, pipeline.Reject(pipeline.ReasonInvalidManifests,
				fmt.Errorf("bundle has the label %s, which would delete its tag", label))
		}
	}
	content, err := newLayer(b.Files)
	if err != nil {
		return nil, pipeline.Reject(pipeline.ReasonInvalidManifests, err)
	}
	config, err := configOf(b.Labels, content.diffID)
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     manifestType,
		Config:        v1.Descriptor{MediaType: configType, Size: int64(len(config)), Digest: digestOf(config)},
		Layers: []v1.Descriptor{
			{MediaType: layerType, Size: int64(len(content.compressed)), Digest: content.digest},
		},
	})
	if err != nil {
		return nil, err
	}
	return &image{config: config, manifest: manifest, layer: content}, nil
}

// configOf is the image config. Quay asks for os, architecture and rootfs, and
// answers 500 without them.
func configOf(labels map[string]string, diffID v1.Hash) ([]byte, error) {
	epoch := v1.Time{Time: time.Unix(0, 0).UTC()}
	return json.Marshal(v1.ConfigFile{
		Architecture: "amd64", // of nothing; the ecosystem expects one
		OS:           "linux",
		Created:      epoch,
		History:      []v1.History{{Created: epoch, CreatedBy: createdBy}},
		RootFS:       v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{diffID}},
		Config:       v1.Config{Labels: labels},
	})
}

// image is a finished image; partial.CompressedToImage adds what follows from it.
type image struct {
	config, manifest []byte
	layer            *layer
}

func (i *image) MediaType() (types.MediaType, error) { return manifestType, nil }
func (i *image) RawConfigFile() ([]byte, error)      { return i.config, nil }
func (i *image) RawManifest() ([]byte, error)        { return i.manifest, nil }

// blobs are what the image manifest names, to be there before it.
func (i *image) blobs() [][]byte { return [][]byte{i.layer.compressed, i.config} }

func (i *image) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if h != i.layer.digest {
		return nil, fmt.Errorf("no layer %s in the image", h)
	}
	return i.layer, nil
}

func digestOf(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}
