package quay

import (
	"context"
	"errors"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

var (
	_ pipeline.Holder = (*OCI)(nil)
	_ pipeline.Holder = (*AppRegistry)(nil)
)

// Holds tells whether the image of each bundle of r is there. One that has a tag
// of its build is known by that, which no other build has: then what it was made
// with does not matter. Any other is known by its digest. It asks for the right
// to read alone, with one look at each.
//
// Errors are those of Push.
func (o *OCI) Holds(ctx context.Context, r pipeline.Release) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	for _, b := range r.Bundles {
		held, err := o.holds(ctx, r.Build.NVR, b)
		if err != nil || !held {
			return false, classify(ctx, err)
		}
	}
	return len(r.Bundles) > 0, nil
}

func (o *OCI) holds(ctx context.Context, nvr pipeline.NVR, b pipeline.Bundle) (bool, error) {
	if err := checkName(b.Repository); err != nil {
		return false, err
	}
	repo := o.registry.Repo(b.Repository)
	ref, err := known(repo, nvr, b)
	if err != nil {
		return false, err
	}
	rt, err := o.authenticate(ctx, repo.Scope(transport.PullScope))
	if err != nil {
		return false, err
	}
	s, err := newSession(repo, rt)
	if err != nil {
		return false, err
	}
	digest, err := s.head(ctx, ref)
	return digest != v1.Hash{}, err
}

// known is what the image of b would be known by.
func known(repo name.Repository, nvr pipeline.NVR, b pipeline.Bundle) (name.Reference, error) {
	own := tagsOfBuild(nvr, b.Version)
	if i := slices.IndexFunc(b.Tags, func(tag string) bool { return slices.Contains(own, tag) }); i >= 0 {
		return repo.Tag(b.Tags[i]), nil
	}
	image, err := newImage(b)
	if err != nil {
		return nil, err
	}
	return repo.Digest(digestOf(image.manifest).String()), nil
}

// Holds tells whether any release of the package has the content of r.
//
// Errors are those of Push.
func (a *AppRegistry) Holds(ctx context.Context, r pipeline.Release) (bool, error) {
	if r.Application == nil {
		return false, pipeline.Retry(pipeline.ReasonInternal, errors.New("release has no application"))
	}
	content, err := checkedPayload(r.Application)
	if err != nil {
		return false, err
	}
	there, err := a.listTimed(ctx, r.Application.Repository)
	if isNoPackage(err) {
		return false, nil
	}
	if err != nil {
		return false, classify(ctx, err)
	}
	return there.holding(content.digest) != "", nil
}
