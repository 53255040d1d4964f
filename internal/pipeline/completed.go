package pipeline

import (
	"context"
	"time"
)

// Window is a time: after From and before To.
type Window struct{ From, To time.Time }

// CompletedBuild is a build as the hub lists it, and when it was completed.
type CompletedBuild struct {
	HubBuild
	Completed time.Time
}

// BuildLister asks the Koji hub.
type BuildLister interface {
	// ListBuilds gives each complete build that holds operator manifests and was
	// completed within w to visit, in the order of completion, until visit returns
	// an error, which it returns. What was visited before another error stays so.
	ListBuilds(ctx context.Context, w Window, visit func(CompletedBuild) error) error
}
