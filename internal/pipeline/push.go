package pipeline

import (
	"context"
	"fmt"
)

// Pusher publishes a release for one organization. Pushing the same release
// again changes nothing and says so.
type Pusher interface {
	Push(ctx context.Context, r Release) (Publication, error)
}

// Push is the last stage. Pushers has one entry for each organization.
type Push struct{ Pushers map[string]Pusher }

// Do publishes r.
func (s Push) Do(ctx context.Context, r Release) (Publication, error) {
	pusher, ok := s.Pushers[r.Organization.Name]
	if !ok {
		return Publication{}, fmt.Errorf("no pusher for organization %q", r.Organization.Name)
	}
	return pusher.Push(ctx, r)
}
