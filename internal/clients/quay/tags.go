package quay

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// ownDigits is how much of a digest makes a tag of our own, in hexadecimal digits.
const ownDigits = 12

// ownTag is the tag of an image that no other tag may name. Siblings, other
// bundles of the release in the same repository, must not take it in turns.
func ownTag(build int64, digest v1.Hash, siblings bool) string {
	short := digest.Hex[:ownDigits]
	switch {
	case build == 0:
		return "sha256-" + short
	case siblings:
		return fmt.Sprintf("build-%d-%s", build, short)
	}
	return fmt.Sprintf("build-%d", build)
}

func hasSiblings(bundles []pipeline.Bundle, i int) bool {
	for j, b := range bundles {
		if j != i && b.Repository == bundles[i].Repository {
			return true
		}
	}
	return false
}

// claim is a tag that is to name the image.
type claim struct {
	tag  name.Tag
	now  v1.Hash // what it was last seen to name, zero for nothing
	left bool    // to the image that it names
}

func (p *push) claims(tags ...string) []*claim {
	claims := make([]*claim, len(tags))
	for i, tag := range tags {
		claims[i] = &claim{tag: p.repo.Tag(tag)}
	}
	return claims
}

// held lists those of the claimed tags that name the image.
func (p *push) held(claims []*claim) []string {
	tags := make([]string, 0, len(claims))
	for _, c := range claims {
		if c.now == p.digest {
			tags = append(tags, c.tag.TagStr())
		}
	}
	return tags
}

// look finds out what the tags name, and returns those that are to be set.
func (p *push) look(ctx context.Context, claims []*claim) (missing []*claim, err error) {
	if err := p.see(ctx, claims); err != nil {
		return nil, err
	}
	for _, c := range claims {
		if c.now == p.digest && !p.force {
			p.there = true
			continue
		}
		if err := p.yield(ctx, c); err != nil {
			return nil, err
		}
		if !c.left {
			missing = append(missing, c)
		}
	}
	return missing, nil
}

// see asks what each tag names now.
func (p *push) see(ctx context.Context, claims []*claim) error {
	refs := make([]name.Reference, len(claims))
	for i, c := range claims {
		refs[i] = c.tag
	}
	there, err := p.heads(ctx, refs)
	if err != nil {
		return err
	}
	for i, c := range claims {
		c.now = there[i]
	}
	return nil
}

// yield leaves a tag that names the image of a later build: an old build that
// is published again must not take it back.
func (p *push) yield(ctx context.Context, c *claim) error {
	holder, err := p.holder(ctx, c.now)
	if err != nil {
		return err
	}
	if holder > p.build {
		c.left = true
		p.warn("tag %s holds build %d, newer than %d: left", c.tag.TagStr(), holder, p.build)
	}
	return nil
}

// take makes a tag name the image while nobody else may set it.
func (p *push) take(ctx context.Context, c *claim) error {
	return p.locks.hold(ctx, c.tag.Name(), p.digest.String(), func(held context.Context) error {
		return p.set(held, c)
	})
}

// set makes a tag name the image, unless it turns out that it must be left or
// that it does already. Since the first look, uploads may have taken as long
// as a push may last.
func (p *push) set(ctx context.Context, c *claim) error {
	settled, err := p.settled(ctx, c)
	if err != nil || c.left || settled && !p.force {
		return err
	}
	err = p.pusher.Put(ctx, c.tag, p.image)
	var r *refusal
	if errors.As(err, &r) && r.Code == http.StatusConflict && len(r.codes) > 0 {
		return p.giveUp(ctx, c, r)
	}
	if err != nil {
		return err
	}
	c.now, p.sent = p.digest, true
	return p.confirm(ctx, c)
}

// giveUp leaves a tag that is immutable. Quay refuses to set one even to what
// it names already, as after a push whose answer was lost.
func (p *push) giveUp(ctx context.Context, c *claim, r *refusal) error {
	if settled, err := p.settled(ctx, c); settled || err != nil {
		return err
	}
	c.left = true
	p.immobile = r
	p.warn("tag %s was not set: %s", c.tag.TagStr(), r.Message)
	return nil
}

// confirm trusts no status: what counts is what the registry then says. A newer
// build, of somebody who does not ask for leases, may have taken the tag.
func (p *push) confirm(ctx context.Context, c *claim) error {
	if settled, err := p.settled(ctx, c); settled || err != nil {
		return err
	}
	return pipeline.Retry(pipeline.ReasonQuayUnavailable,
		fmt.Errorf("%s names %s after the push, not %s", c.tag, orNothing(c.now), p.digest))
}

// settled tells whether a tag names the image, or one that it is left to.
func (p *push) settled(ctx context.Context, c *claim) (bool, error) {
	now, err := p.head(ctx, c.tag)
	if err != nil {
		return false, err
	}
	if c.now = now; now == p.digest {
		return true, nil
	}
	err = p.yield(ctx, c)
	return c.left, err
}

func orNothing(h v1.Hash) string {
	if h == (v1.Hash{}) {
		return "nothing"
	}
	return h.String()
}
