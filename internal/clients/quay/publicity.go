package quay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// VisibilitySetter makes a repository public.
type VisibilitySetter interface {
	// MakePublic returns what is known of the visibility afterwards, "" for
	// nothing, with an error whenever that is not public.
	MakePublic(ctx context.Context, repository string) (pipeline.Visibility, error)
}

// publicity makes public what was pushed. Without a setter it does nothing.
type publicity struct {
	setter  VisibilitySetter
	timeout time.Duration
}

// apply sets p.Visibility, and adds one warning when one of the repositories is
// not public afterwards: it is no failure of a push.
func (v publicity) apply(ctx context.Context, p *pipeline.Publication, repositories ...string) {
	if v.setter == nil {
		return
	}
	for i, repository := range repositories {
		if slices.Contains(repositories[:i], repository) {
			continue
		}
		visibility, err := v.makePublic(ctx, repository)
		p.Visibility = visibility
		if err != nil {
			p.Warnings = append(p.Warnings, fmt.Sprintf("repository %s was not made public: %v", repository, err))
			return
		}
	}
}

func (v publicity) makePublic(ctx context.Context, repository string) (pipeline.Visibility, error) {
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	return v.setter.MakePublic(ctx, repository)
}
