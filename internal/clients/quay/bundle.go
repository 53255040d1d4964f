package quay

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	*session
	locks  *nameLocks
	image  *image
	digest v1.Hash
	build  int64    // Koji's id; 0: none
	own    string   // the tag for an image that no other tag may name
	alone  []string // tags that no other build's image is to have
	force  bool     // send again what is there already

	there    bool              // the blobs need not be sent, or not any more
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
	image, err := newImage(b)
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
	p.alone = append(tagsOfBuild(r.Build.NVR, b.Version), p.own)
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
	if err := checkName(b.Repository); err != nil {
		return nil, err
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

func (o *OCI) newPush(ctx context.Context, repo name.Repository, image *image) (*push, error) {
	s, err := o.open(ctx, repo)
	if err != nil {
		return nil, err
	}
	return &push{
		session: s, locks: &o.locks, image: image, digest: digestOf(image.manifest), holders: make(map[v1.Hash]int64),
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
//
// What it costs is counted in requests_test.go. Blobs go before any lock is taken
// or tag looked at for good: however long they take, between the last look at a
// tag and its PUT lies no other request.
func (p *push) publish(ctx context.Context, claims []*claim) error {
	missing, err := p.look(ctx, sorted(claims))
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

// send uploads the layer and the config, so that all that is left to do for a tag
// is one short request. An image that a tag names already is complete.
func (p *push) send(ctx context.Context) error {
	if p.there {
		return nil
	}
	p.sent = p.sent || p.force
	g, groupCtx := errgroup.WithContext(ctx)
	for _, blob := range p.image.blobs() {
		g.Go(func() error { return p.upload(groupCtx, blob) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.there = true
	return nil
}
