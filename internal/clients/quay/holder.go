package quay

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// maxConfig bounds an image config that is read for its labels. One beyond it
// is none of ours.
const maxConfig = 1 << 20

// holder is the Koji build that an image in the repository comes from, 0 when
// it is gone, is no bundle image of ours or does not say. An image never
// changes, so each is read once.
func (p *push) holder(ctx context.Context, digest v1.Hash) (int64, error) {
	if digest == (v1.Hash{}) || p.build == 0 {
		return 0, nil
	}
	if build, ok := p.holders[digest]; ok {
		return build, nil
	}
	config, err := p.readConfig(ctx, digest)
	if err != nil && !isNotForUs(err) {
		return 0, err
	}
	p.holders[digest] = buildID(labelsOf(config))
	return p.holders[digest], nil
}

// readConfig is the config of an image in the repository, nothing for what is no
// image.
func (s *session) readConfig(ctx context.Context, digest v1.Hash) ([]byte, error) {
	found, err := s.puller.Get(ctx, s.repo.Digest(digest.String()))
	if err != nil || !found.MediaType.IsImage() {
		return nil, err
	}
	return s.blob(ctx, configDigest(found.Manifest))
}

func configDigest(imageManifest []byte) v1.Hash {
	manifest, err := v1.ParseManifest(bytes.NewReader(imageManifest))
	if err != nil {
		return v1.Hash{}
	}
	return manifest.Config.Digest
}

func labelsOf(imageConfig []byte) map[string]string {
	config, err := v1.ParseConfigFile(bytes.NewReader(imageConfig))
	if err != nil {
		return nil
	}
	return config.Config.Labels
}

// isNotForUs tells whether what was to be read is gone, or too large to be one
// of our images.
func isNotForUs(err error) bool {
	var tooLarge *http.MaxBytesError
	return isNotFound(err) || errors.As(err, &tooLarge) || errors.Is(err, clients.ErrTooLarge)
}

// blob reads a blob of the repository, nothing for the zero digest.
func (s *session) blob(ctx context.Context, digest v1.Hash) ([]byte, error) {
	if digest == (v1.Hash{}) {
		return nil, nil
	}
	blob, err := s.puller.Layer(ctx, s.repo.Digest(digest.String()))
	if err != nil {
		return nil, err
	}
	r, err := blob.Compressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return clients.ReadBody(r, maxConfig)
}

// buildID reads pipeline.LabelBuildID, 0 when there is none or it is no build id.
func buildID(labels map[string]string) int64 {
	id, err := strconv.ParseInt(labels[pipeline.LabelBuildID], 10, 64)
	if err != nil || id < 0 {
		return 0
	}
	return id
}
