package quay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

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

// tagsOfBuild are the tags that the templates {nvr} and {nvr}-{version} make of a
// build: of no other, as an NVR names one build, and where a character of it cannot
// be in a tag, there are none.
func tagsOfBuild(nvr pipeline.NVR, version string) []string {
	var tags []string
	if nvr.IsZero() {
		return nil
	}
	for _, template := range []string{"{nvr}", "{nvr}-{version}"} {
		tag, err := pipeline.ExpandTag(template, "", version, nvr)
		if err == nil && strings.HasPrefix(tag, nvr.String()) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// claim is a tag that is to name the image.
type claim struct {
	tag   name.Tag
	alone bool    // no other build is to have it
	now   v1.Hash // what it was last seen to name, zero for nothing
	free  bool    // it is ours alone, and was seen to name nothing
	left  bool    // to the image that it names
}

func (p *push) claims(tags ...string) []*claim {
	claims := make([]*claim, len(tags))
	for i, tag := range tags {
		claims[i] = &claim{tag: p.repo.Tag(tag), alone: slices.Contains(p.alone, tag)}
	}
	return claims
}

// sorted has the tags first that are ours alone: the first of them tells best
// whether an earlier try came to the tags at all.
func sorted(claims []*claim) []*claim {
	return slices.SortedStableFunc(slices.Values(claims), func(a, b *claim) int {
		switch {
		case a.alone == b.alone:
			return 0
		case a.alone:
			return -1
		}
		return 1
	})
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

// look returns the tags that may have to be set. It asks for no more than it takes
// to know whether the image must be sent: where all is there, of each tag, and of
// an image that is new, of the first. The others wait for their lock. With force it
// asks of all, to tell what is there should the rest fail.
func (p *push) look(ctx context.Context, claims []*claim) (missing []*claim, err error) {
	for i, c := range claims {
		settled, err := p.settled(ctx, c)
		if err != nil {
			return nil, err
		}
		p.there = p.there || c.now == p.digest && !p.force
		if settled && (c.left || !p.force) {
			continue
		}
		missing = append(missing, c)
		if !p.there && !p.force {
			return append(missing, claims[i+1:]...), nil
		}
	}
	return missing, nil
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
// that it does already. Since the first look, if any, uploads may have taken as
// long as a push may last: so it is looked at now, unless no other build is to have
// it and it named nothing.
func (p *push) set(ctx context.Context, c *claim) error {
	if !c.free {
		settled, err := p.settled(ctx, c)
		if err != nil || c.left || settled && !p.force {
			return err
		}
	}
	said, err := p.put(ctx, c.tag, p.image.manifest)
	var r *refusal
	if errors.As(err, &r) && r.Code == http.StatusConflict && len(r.codes) > 0 {
		return p.giveUp(ctx, c, r)
	}
	if err != nil {
		return err
	}
	c.now, p.sent = p.digest, true
	if said && ctx.Err() == nil {
		return nil
	}
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

// confirm reads a tag back after an answer that did not say what it names now, as
// that of something in front of the registry would not: no status is trusted.
// Somebody who does not ask for leases may have set the tag since.
func (p *push) confirm(ctx context.Context, c *claim) error {
	if settled, err := p.settled(ctx, c); settled || err != nil {
		return err
	}
	return pipeline.Retry(pipeline.ReasonQuayUnavailable,
		fmt.Errorf("%s names %s after the push, not %s", c.tag, orNothing(c.now), p.digest))
}

// settled looks at a tag and tells whether it names the image, or one that it is
// left to.
func (p *push) settled(ctx context.Context, c *claim) (bool, error) {
	now, err := p.head(ctx, c.tag)
	if err != nil {
		return false, err
	}
	c.now, c.free = now, c.alone && now == (v1.Hash{})
	if now == p.digest {
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
