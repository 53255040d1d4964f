package quay

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// deleteOwner is the owner of the locks of deletions: no push has it, so that
// none is under way at the same time.
const deleteOwner = "delete"

// Delete deletes the release d.Version of a package, or all of them, while the
// repository is locked as for a push. The repository itself stays. It returns the
// releases that are gone, the lowest first; of those that were gone already, as
// after a try whose answer was lost, it cannot know.
//
// Errors: those of Push, and Rejected with ReasonPackageNotFound, with what Quay
// says, or ReasonInvalidVersion for what cannot be a release.
func (a *AppRegistry) Delete(ctx context.Context, d pipeline.Deletion) ([]string, error) {
	if err := checkRepository(d.Repository); err != nil {
		return nil, err
	}
	if d.Version != "" && !releaseName.MatchString(d.Version) {
		return nil, pipeline.Reject(pipeline.ReasonInvalidVersion, fmt.Errorf("%.100q is no name of a release", d.Version))
	}
	var deleted []string
	err := a.locks.hold(ctx, a.lockName(d.Repository), deleteOwner, func(held context.Context) (err error) {
		if d.Version == "" {
			deleted, err = a.deleteAll(held, d.Repository)
			return err
		}
		if err := a.deleteRelease(held, d.Repository, d.Version); err != nil {
			return notFound(d.Repository, "release "+d.Version+" of ", err)
		}
		deleted = []string{d.Version}
		return nil
	})
	return deleted, classify(ctx, err)
}

func (a *AppRegistry) deleteAll(ctx context.Context, repository string) (deleted []string, err error) {
	there, err := a.listTimed(ctx, repository)
	if err != nil {
		return nil, notFound(repository, "", err)
	}
	slices.SortFunc(there, func(x, y release) int { return compareReleases(x.name, y.name) })
	for _, r := range there {
		err := a.deleteRelease(ctx, repository, r.name)
		switch {
		case err == nil:
			deleted = append(deleted, r.name)
		case !isGone(err): // others delete too
			return deleted, err
		}
	}
	if len(deleted) == 0 {
		return nil, pipeline.Reject(pipeline.ReasonPackageNotFound, fmt.Errorf("%s not found: it has no release", repository))
	}
	return deleted, nil
}

// deleteRelease deletes one release. Where the answer leaves it open, what is there
// then tells.
func (a *AppRegistry) deleteRelease(ctx context.Context, repository, name string) error {
	timed, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	var answer struct {
		Status string `json:"status"`
	}
	target := a.endpoint(repository, name, mediaType)
	err := a.call(timed, http.MethodDelete, target, nil, &answer, func() bool { return answer.Status != "" })
	if err == nil || isDecided(err) {
		return err
	}
	there, lookErr := a.listTimed(ctx, repository)
	if lookErr != nil && !isNoPackage(lookErr) {
		return err
	}
	if _, exists := there.find(name); exists {
		return err
	}
	return nil
}

func (a *AppRegistry) listTimed(ctx context.Context, repository string) (releases, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return a.list(ctx, repository)
}

// isGone tells that there is nothing to delete, as the server itself says.
func isGone(err error) bool {
	r := asRefusal(err)
	return r.Code == http.StatusNotFound && len(r.codes) > 0
}

// notFound says what is not found, if that is what err is about.
func notFound(repository, part string, err error) error {
	if !isGone(err) || asRefusal(err).Method == http.MethodGet && !isNoPackage(err) {
		return err
	}
	return pipeline.Reject(pipeline.ReasonPackageNotFound, fmt.Errorf("%s%s not found: %w", part, repository, err))
}
