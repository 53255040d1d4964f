package quay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// maxConfig bounds an image config that is read for its labels. One beyond it
// is none of ours.
const maxConfig = 1 << 20

// plan is what is to be done about the tags of an image.
type plan struct {
	ours     []string         // tags that will name the image
	move     []name.Reference // those of them that do not yet
	warnings []string
}

// plan looks at what tags name now. One that names the image of a later build
// is left out: an old build that is published again must not take it back.
func (p *push) plan(ctx context.Context, tags []string) (plan, error) {
	result := plan{ours: make([]string, 0, len(tags))}
	refs := p.tagged(tags)
	there, err := p.heads(ctx, refs)
	if err != nil {
		return result, err
	}
	for i, tag := range tags {
		if there[i] == p.digest {
			result.ours = append(result.ours, tag)
			continue
		}
		holder, err := p.holder(ctx, there[i])
		if err != nil {
			return result, err
		}
		if holder > p.build {
			result.warnings = append(result.warnings,
				fmt.Sprintf("tag %s holds build %d, newer than %d: left", tag, holder, p.build))
			continue
		}
		result.ours = append(result.ours, tag)
		result.move = append(result.move, refs[i])
	}
	return result, nil
}

// holder is the Koji build that an image in the repository comes from, 0 when
// it is gone, is no bundle image of ours or does not say.
func (p *push) holder(ctx context.Context, digest v1.Hash) (int64, error) {
	if digest == (v1.Hash{}) || p.build == 0 {
		return 0, nil
	}
	found, err := p.puller.Get(ctx, p.repo.Digest(digest.String()))
	switch {
	case isNotForUs(err):
		return 0, nil
	case err != nil:
		return 0, err
	case !found.MediaType.IsImage():
		return 0, nil
	}
	config, err := p.blob(ctx, configDigest(found.Manifest))
	switch {
	case isNotForUs(err):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return buildID(labelsOf(config)), nil
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
func (p *push) blob(ctx context.Context, digest v1.Hash) ([]byte, error) {
	if digest == (v1.Hash{}) {
		return nil, nil
	}
	blob, err := p.puller.Layer(ctx, p.repo.Digest(digest.String()))
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
