package quay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// parallel is how many requests of one push are under way at once. Quay limits
// the rate for each address.
const parallel = 4

// pushed is what came of one bundle.
type pushed struct {
	reference string   // by digest
	tags      []string // those that now name it
	sent      bool     // false: it was there already
	warnings  []string
}

// push is the push of one image.
type push struct {
	repo   name.Repository
	pusher *remote.Pusher
	puller *remote.Puller
	locks  *tagLocks
	image  v1.Image
	digest v1.Hash
	build  int64  // Koji's id; 0: none
	own    string // the tag for an image that no other tag may name
	force  bool   // send again what is there already, except blobs

	there    bool              // the image need not be sent, or not any more
	sent     bool              // something had to be done
	holders  map[v1.Hash]int64 // builds of the images that tags were found to name
	immobile error             // what the registry said when it would not move a tag
	warnings []string
}

// pushBundle pushes the bundle at index i of r.
func (o *OCI) pushBundle(ctx context.Context, r pipeline.Release, i int) (pushed, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	b := r.Bundles[i]
	tags, err := tagsOf(b, r.Bundles[i+1:])
	if err != nil {
		return pushed{}, err
	}
	image, err := Image(b)
	if err != nil {
		return pushed{}, err
	}
	p, err := o.newPush(ctx, o.registry.Repo(b.Repository), image)
	if err != nil {
		return pushed{}, err
	}
	p.build = buildID(b.Labels)
	p.holders[p.digest] = p.build
	p.own = ownTag(p.build, p.digest, hasSiblings(r.Bundles, i))
	p.force = r.Build.Trigger.Force
	done, err := p.run(ctx, tags)
	if err != nil {
		// Whatever the login is worth, the next try makes sure of it.
		o.logins.forget(p.repo)
	}
	return done, err
}

// tagsOf checks the names of b and lists the tags that are to name its image,
// each once. One that a later bundle will take over is left out: set in
// between, it would be set anew each time the release is pushed.
func tagsOf(b pipeline.Bundle, later []pipeline.Bundle) ([]string, error) {
	if len(b.Repository) > maxRepositoryName || !repositoryName.MatchString(b.Repository) {
		return nil, pipeline.Reject(pipeline.ReasonQuayRefused, fmt.Errorf("%q is no name of a repository", b.Repository))
	}
	var tags []string
	for _, tag := range b.Tags {
		if !tagName.MatchString(tag) {
			return nil, pipeline.Reject(pipeline.ReasonQuayRefused, fmt.Errorf("%q is no tag", tag))
		}
		taken := slices.ContainsFunc(later, func(l pipeline.Bundle) bool {
			return l.Repository == b.Repository && slices.Contains(l.Tags, tag)
		})
		if !taken && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// newPush logs in. The library's pusher and puller are made anew for each push
// over the transport that is kept, which they take as it is, without a login or
// retries of their own: a pusher takes a blob that it once pushed as there for
// ever, and never forgets one.
func (o *OCI) newPush(ctx context.Context, repo name.Repository, image v1.Image) (*push, error) {
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	rt, err := o.login(ctx, repo)
	if err != nil {
		return nil, err
	}
	options := []remote.Option{
		remote.WithTransport(rt),
		remote.WithRetryPredicate(func(error) bool { return false }), // the client beneath and redelivery retry
	}
	pusher, err := remote.NewPusher(options...)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return nil, err
	}
	return &push{
		repo: repo, pusher: pusher, puller: puller, locks: &o.locks,
		image: image, digest: digest, holders: make(map[v1.Hash]int64),
	}, nil
}

// run puts the image under tags. Quay deletes one that no tag names after an
// hour or so: where all tags are left to newer builds, it gets one of our own.
func (p *push) run(ctx context.Context, tags []string) (pushed, error) {
	claims := p.claims(tags...)
	err := p.publish(ctx, claims)
	if err == nil && p.immobile == nil && len(p.held(claims)) == 0 {
		claims = p.claims(p.own)
		if err = p.publish(ctx, claims); len(p.held(claims)) > 0 {
			p.warn("no other tag names %s: tagged %s", p.digest, p.own)
		}
	}
	done := pushed{
		reference: p.repo.Digest(p.digest.String()).Name(),
		tags:      p.held(claims), sent: p.sent, warnings: p.warnings,
	}
	switch {
	case err != nil || len(done.tags) > 0:
		return done, err
	case p.immobile != nil:
		return done, p.immobile
	}
	return done, pipeline.Reject(pipeline.ReasonQuayRefused, fmt.Errorf("no tag may name %s", p.digest))
}

func (p *push) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// publish sends what is missing of the image and gives it the tags that it may
// have.
func (p *push) publish(ctx context.Context, claims []*claim) error {
	missing, err := p.look(ctx, claims)
	if err != nil || len(missing) == 0 {
		return err
	}
	if err := p.send(ctx); err != nil {
		return err
	}
	for _, c := range missing {
		if err := p.take(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// send uploads the layer and the config, then the image manifest by digest, so
// that all that is left to do for a tag is one short request. An image that a
// tag names already is complete; with force its manifest is sent all the same.
func (p *push) send(ctx context.Context) error {
	if p.there {
		return nil
	}
	p.sent = true
	blobs, err := p.image.Layers()
	if err != nil {
		return err
	}
	config, err := partial.ConfigLayer(p.image)
	if err != nil {
		return err
	}
	g, groupCtx := errgroup.WithContext(ctx)
	for _, blob := range append(blobs, config) {
		g.Go(func() error { return p.pusher.Upload(groupCtx, p.repo, blob) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := p.pusher.Put(ctx, p.repo.Digest(p.digest.String()), p.image); err != nil {
		return err
	}
	p.there = true
	return nil
}

// heads is the digest that each reference names, zero where there is none.
func (p *push) heads(ctx context.Context, refs []name.Reference) ([]v1.Hash, error) {
	there := make([]v1.Hash, len(refs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, ref := range refs {
		g.Go(func() (err error) {
			there[i], err = p.head(ctx, ref)
			return err
		})
	}
	return there, g.Wait()
}

func (p *push) head(ctx context.Context, ref name.Reference) (v1.Hash, error) {
	found, err := p.puller.Head(ctx, ref)
	if isNotFound(err) {
		return v1.Hash{}, nil
	}
	if err != nil {
		return v1.Hash{}, err
	}
	return found.Digest, nil
}

func isNotFound(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
