package quay

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Bounds of the list of a repository's tags.
const (
	maxTags     = 2_000
	maxTagPages = 1_000
)

var _ pipeline.Deleter = (*OCI)(nil)

// Delete deletes the image that the tag d.Version names, written as ExpandTag
// writes a version, or all images of the repository that a tag names. With an
// image go all its tags, those too that nobody asked for: Quay deletes them by
// itself, and where a registry leaves one that was found, it is deleted by name.
// The repository itself stays.
//
// It returns, sorted, the tags that are gone: the one asked for, or else all that
// were listed. Quay keeps its list of tags for two minutes, so of a repository
// where tags were just set, some may be left. Of what was gone already, as after a
// try whose answer was lost, it cannot know.
//
// Tags are looked at and deleted while they are locked as for a push. Nothing is
// asked for but to pull until there is something to delete: to who asks to push,
// Quay makes the repository that is not there.
//
// Errors: those of Push; Rejected with ReasonPackageNotFound; with
// ReasonInvalidVersion for what cannot be a tag; and with ReasonNotSupported for a
// registry that deletes nothing, for more than 2,000 tags; and with ReasonQuayRefused for an image that is no
// operator bundle, which ends the deletion there.
func (o *OCI) Delete(ctx context.Context, d pipeline.Deletion) ([]string, error) {
	deleted, err := o.delete(ctx, d)
	slices.Sort(deleted)
	return deleted, classify(ctx, err)
}

func (o *OCI) delete(ctx context.Context, d pipeline.Deletion) (deleted []string, err error) {
	if err := checkName(d.Repository); err != nil {
		return nil, err
	}
	repo := o.registry.Repo(d.Repository)
	images, err := o.tagged(ctx, repo, d.Version)
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		tags, err := o.deleteImage(ctx, repo, image)
		deleted = append(deleted, tags...)
		if err != nil {
			o.logins.forget(repo)
			return deleted, err
		}
	}
	if len(deleted) == 0 {
		return nil, pipeline.Reject(pipeline.ReasonPackageNotFound, fmt.Errorf("%s not found: others deleted it", d.Repository))
	}
	return deleted, nil
}

// taggedImage is an image and tags that name it.
type taggedImage struct {
	digest v1.Hash
	tags   []string
}

// tagged lists the image of a version, or with none all of a repository, and at
// least one.
func (o *OCI) tagged(ctx context.Context, repo name.Repository, version string) ([]taggedImage, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	rt, err := o.authenticate(ctx, repo.Scope(transport.PullScope))
	if err != nil {
		return nil, err
	}
	s, err := newSession(repo, rt)
	if err != nil {
		return nil, err
	}
	var tags []string
	what := repo.RepositoryStr()
	if version == "" {
		tags, err = s.tags(ctx)
	} else {
		var tag string
		tag, err = versionTag(version)
		tags, what = []string{tag}, what+":"+tag
	}
	if err != nil {
		return nil, err
	}
	images, err := s.images(ctx, tags)
	if err == nil && len(images) == 0 {
		err = pipeline.Reject(pipeline.ReasonPackageNotFound, fmt.Errorf("%s not found", what))
	}
	return images, err
}

// versionTag is the tag that a bundle of a version has.
func versionTag(version string) (string, error) {
	tag, err := pipeline.ExpandTag("{version}", "", version, pipeline.NVR{})
	if err == nil && !tagName.MatchString(tag) {
		err = fmt.Errorf("%q is no tag", tag)
	}
	if err != nil {
		return "", pipeline.Reject(pipeline.ReasonInvalidVersion, err)
	}
	return tag, nil
}

// tags lists the tags of the repository, none when it is not there.
func (s *session) tags(ctx context.Context) ([]string, error) {
	pages, err := s.puller.Lister(ctx, s.repo)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var tags []string
	for n := 0; pages.HasNext(); n++ {
		page, err := pages.Next(ctx)
		if err != nil {
			return nil, err
		}
		tags = append(tags, page.Tags...)
		if len(tags) > maxTags || n >= maxTagPages {
			return nil, pipeline.Reject(pipeline.ReasonNotSupported,
				fmt.Errorf("%s has more than %d tags: delete them by version", s.repo.RepositoryStr(), maxTags))
		}
	}
	return slices.DeleteFunc(tags, func(tag string) bool { return !tagName.MatchString(tag) }), nil
}

// images are what tags name, in their order, without the tags that name nothing.
func (s *session) images(ctx context.Context, tags []string) ([]taggedImage, error) {
	named, err := s.named(ctx, tags)
	if err != nil {
		return nil, err
	}
	var images []taggedImage
	at := make(map[v1.Hash]int)
	for i, digest := range named {
		if digest == (v1.Hash{}) {
			continue
		}
		n, seen := at[digest]
		if !seen {
			n = len(images)
			at[digest] = n
			images = append(images, taggedImage{digest: digest})
		}
		images[n].tags = append(images[n].tags, tags[i])
	}
	return images, nil
}

func (s *session) named(ctx context.Context, tags []string) ([]v1.Hash, error) {
	refs := make([]name.Reference, len(tags))
	for i, tag := range tags {
		refs[i] = s.repo.Tag(tag)
	}
	return s.heads(ctx, refs)
}

// deleteImage deletes an image and returns those of its tags that are gone.
func (o *OCI) deleteImage(ctx context.Context, repo name.Repository, image taggedImage) (gone []string, err error) {
	timed, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	s, err := o.open(timed, repo)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(image.tags))
	for i, tag := range image.tags {
		names[i] = repo.Tag(tag).Name()
	}
	slices.Sort(names) // two deletions must not wait for each other
	err = o.locks.holdAll(timed, names, deleteOwner, func(held context.Context) (err error) {
		gone, err = s.delete(held, image)
		return err
	})
	return gone, err
}

// delete deletes what still names the image. What is there then matters more than
// what an answer says, which is believed only where a look fails.
func (s *session) delete(ctx context.Context, image taggedImage) (gone []string, err error) {
	tags, err := s.stillNamed(ctx, image.digest, image.tags)
	if err != nil || len(tags) == 0 {
		return nil, err
	}
	if err := s.checkBundle(ctx, image); err != nil {
		return nil, err
	}
	refused := s.deleteManifest(ctx, s.repo.Digest(image.digest.String()))
	left, err := s.stillNamed(ctx, image.digest, tags)
	if err == nil && refused == nil && len(left) > 0 {
		refused = s.deleteTags(ctx, left)
		left, err = s.stillNamed(ctx, image.digest, left)
	}
	switch {
	case err != nil && refused != nil:
		return nil, refused
	case err != nil || len(left) == 0:
		return tags, nil //nolint:nilerr // the answer said that they are gone
	case refused == nil:
		refused = pipeline.Retry(pipeline.ReasonQuayUnavailable,
			fmt.Errorf("%s still names %s after the deletion", s.repo.Tag(left[0]), image.digest))
	}
	return slices.DeleteFunc(tags, func(tag string) bool { return slices.Contains(left, tag) }), refused
}

// packageLabel is on every bundle image, by operator-registry's
// docs/design/operator-bundle.md.
const packageLabel = "operators.operatorframework.io.bundle.package.v1"

// checkBundle refuses an image that is no bundle: an organization has others that
// are none of our business. What is gone already can be no such.
func (s *session) checkBundle(ctx context.Context, image taggedImage) error {
	config, err := s.readConfig(ctx, image.digest)
	switch {
	case isNotFound(err):
		return nil
	case err != nil && !isNotForUs(err):
		return err
	case labelsOf(config)[packageLabel] == "":
		return pipeline.Reject(pipeline.ReasonQuayRefused, fmt.Errorf("%s is no operator bundle, and so not for us to delete", s.repo.Tag(image.tags[0])))
	}
	return nil
}

// deleteTags deletes what a registry leaves of an image that is gone.
func (s *session) deleteTags(ctx context.Context, tags []string) error {
	for _, tag := range tags {
		if err := s.deleteManifest(ctx, s.repo.Tag(tag)); err != nil {
			return err
		}
	}
	return nil
}

// deleteManifest deletes what a digest or a tag names, unless that is gone.
func (s *session) deleteManifest(ctx context.Context, ref name.Reference) error {
	err := s.pusher.Delete(ctx, ref)
	if isGone(err) {
		return nil
	}
	return err
}

// stillNamed are those of the tags that name an image.
func (s *session) stillNamed(ctx context.Context, digest v1.Hash, tags []string) ([]string, error) {
	named, err := s.named(ctx, tags)
	if err != nil {
		return nil, err
	}
	var still []string
	for i, tag := range tags {
		if named[i] == digest {
			still = append(still, tag)
		}
	}
	return still, nil
}
