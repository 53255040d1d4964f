package quay

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// annotationRefName names an image of a layout, by the image specification's
// annotations.md.
const annotationRefName = "org.opencontainers.image.ref.name"

// Plan is what OCI.Push to a registry, host[:port], would say of each bundle of r
// if no tag there were taken. It touches no network.
//
// Errors: Rejected with ReasonQuayRefused or ReasonInvalidManifests.
func Plan(registry string, r pipeline.Release) ([]pipeline.PushedBundle, error) {
	host, err := name.NewRegistry(registry, name.StrictValidation)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	list := make([]pipeline.PushedBundle, len(r.Bundles))
	for i, b := range r.Bundles {
		image, tags, err := planned(r, i)
		if err != nil {
			return nil, err
		}
		digest, err := image.Digest()
		if err != nil {
			return nil, err
		}
		list[i] = pipeline.PushedBundle{
			Version: b.Version, CSV: b.CSV, Repository: b.Repository,
			Reference: host.Repo(b.Repository).Digest(digest.String()).Name(), Tags: tags,
			Channels: b.Channels, DefaultChannel: b.DefaultChannel,
		}
	}
	return list, nil
}

// WriteLayout writes the bundle images of r as an OCI image layout, by the image
// specification's image-layout.md, into the folder dir, which it makes. They are
// the bytes that OCI.Push sends, with the same digests and media types.
//
// The index has an entry for each tag of each image, with the tag alone as its
// annotation org.opencontainers.image.ref.name. By that oras finds an image
// (--from-oci-layout DIR:TAG), and skopeo from 1.19 on (oci:DIR:TAG), before which
// it wanted OCI's own media types. A layout with a single entry, which is that of
// one bundle with one tag, any skopeo (oci:DIR) and crane push take whole.
//
// Errors are those of Plan, of ctx, and of the file system, after which dir holds
// a part.
func WriteLayout(ctx context.Context, dir string, r pipeline.Release) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	for i := range r.Bundles {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("layout: %w", err)
		}
		image, tags, err := planned(r, i)
		if err != nil {
			return err
		}
		if err := appendImage(path, image, tags); err != nil {
			return fmt.Errorf("layout: %w", err)
		}
	}
	return nil
}

// appendImage makes the entries itself: the library's own say of images with
// Docker's media types that they are artifacts.
func appendImage(path layout.Path, image v1.Image, tags []string) error {
	if err := path.WriteImage(image); err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	for _, tag := range tags {
		err := path.AppendDescriptor(v1.Descriptor{
			MediaType: manifestType, Size: int64(len(manifest)), Digest: digestOf(manifest),
			Annotations: map[string]string{annotationRefName: tag},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// planned is the image of the bundle at index i of r, and the tags that OCI.Push
// would set: one of our own where later bundles get all others.
func planned(r pipeline.Release, i int) (v1.Image, []string, error) {
	b := r.Bundles[i]
	tags, err := tagsOf(b, r.Bundles[i+1:])
	if err != nil {
		return nil, nil, err
	}
	image, err := Image(b)
	if err != nil || len(tags) > 0 {
		return image, tags, err
	}
	digest, err := image.Digest()
	return image, []string{ownTag(buildID(b.Labels), digest, hasSiblings(r.Bundles, i))}, err
}
