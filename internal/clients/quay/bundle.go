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
	image  v1.Image
	digest v1.Hash
	build  int64 // Koji's id; 0: none
}

// pushBundle pushes b. Tags that later bundles of the same release claim as
// well are theirs alone.
func (o *OCI) pushBundle(ctx context.Context, b pipeline.Bundle, later []pipeline.Bundle) (pushed, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	tags, err := tagsOf(b, later)
	if err != nil {
		return pushed{}, err
	}
	image, err := Image(b)
	if err != nil {
		return pushed{}, err
	}
	p, err := o.newPush(ctx, o.registry.Repo(b.Repository), image, buildID(b.Labels))
	if err != nil {
		return pushed{}, err
	}
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
func (o *OCI) newPush(ctx context.Context, repo name.Repository, image v1.Image, build int64) (*push, error) {
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
	return &push{repo: repo, pusher: pusher, puller: puller, image: image, digest: digest, build: build}, nil
}

// run looks at what is there, sends what is missing and reads all of it back.
func (p *push) run(ctx context.Context, tags []string) (pushed, error) {
	byDigest := p.repo.Digest(p.digest.String())
	plan, err := p.plan(ctx, tags)
	done := pushed{reference: byDigest.Name(), tags: plan.ours, warnings: plan.warnings}
	if err != nil {
		return done, err
	}
	if len(plan.move) == 0 && len(plan.ours) > 0 {
		return done, nil
	}
	if len(plan.ours) == 0 {
		// Quay keeps an image without a tag for an hour or so: long enough for
		// whoever reads the result to have seen it.
		there, err := p.head(ctx, byDigest)
		if err != nil || there == p.digest {
			return done, err
		}
		plan.move = append(plan.move, byDigest)
	}
	done.sent = true
	if err := p.send(ctx, plan.move); err != nil {
		return done, err
	}
	return done, p.readBack(ctx, append(p.tagged(plan.ours), byDigest))
}

func (p *push) tagged(tags []string) []name.Reference {
	refs := make([]name.Reference, len(tags), len(tags)+1)
	for i, tag := range tags {
		refs[i] = p.repo.Tag(tag)
	}
	return refs
}

// send uploads the layer and the config, then sets each reference. The first
// one brings the image manifest, the others name it again.
func (p *push) send(ctx context.Context, refs []name.Reference) error {
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
	for _, ref := range refs {
		if err := p.set(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}

// set makes ref name the image. Quay refuses that for an immutable tag even
// when it does so already, as after a push whose answer was lost.
func (p *push) set(ctx context.Context, ref name.Reference) error {
	err := p.pusher.Put(ctx, ref, p.image)
	var r *refusal
	if errors.As(err, &r) && r.Code == http.StatusConflict {
		if now, headErr := p.head(ctx, ref); headErr == nil && now == p.digest {
			return nil
		}
	}
	return err
}

// readBack trusts no status: what counts is what the registry then says.
func (p *push) readBack(ctx context.Context, refs []name.Reference) error {
	there, err := p.heads(ctx, refs)
	if err != nil {
		return err
	}
	for i, ref := range refs {
		if there[i] != p.digest {
			return pipeline.Retry(pipeline.ReasonQuayUnavailable,
				fmt.Errorf("%s names %s after the push, not %s", ref, orNothing(there[i]), p.digest))
		}
	}
	return nil
}

func orNothing(h v1.Hash) string {
	if h == (v1.Hash{}) {
		return "nothing"
	}
	return h.String()
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
