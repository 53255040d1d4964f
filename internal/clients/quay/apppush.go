package quay

import (
	"context"
	"errors"
	"fmt"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// maxConflicts is how often a push may lose a release to somebody else: more often
// than there are others who push to one repository at a time.
const maxConflicts = 32

// appPush is the push of one content to a repository that is locked.
type appPush struct {
	registry   *AppRegistry
	repository string // organization/name
	asked      string // the release that it is to be; "": the next one
	force      bool   // a release more, though the content has one
	again      bool   // an earlier try may have made that release
	payload    payload

	there releases // as they were seen last
}

func (a *AppRegistry) push(ctx context.Context, r pipeline.Release) (pipeline.Publication, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	app := r.Application
	if app == nil {
		return pipeline.Publication{}, pipeline.Retry(pipeline.ReasonInternal, errors.New("release has no application"))
	}
	content, err := checkedPayload(app)
	if err != nil {
		return pipeline.Publication{}, err
	}
	p := &appPush{registry: a, repository: app.Repository, asked: app.Version, force: r.Build.Trigger.Force, again: r.Build.Trigger.Again, payload: content}
	var done pipeline.Publication
	err = a.locks.hold(ctx, a.lockName(app.Repository), content.digest, func(held context.Context) (err error) {
		done, err = p.run(held)
		return err
	})
	return done, err
}

// run pushes what is not there yet, until it has a release of its own.
func (p *appPush) run(ctx context.Context) (pipeline.Publication, error) {
	if err := p.look(ctx); err != nil && !isForbidden(err) {
		return pipeline.Publication{}, err
	}
	// Quay hides a package that is not there from who may make it but owns no more
	// of the organization: the push tells.
	for range maxConflicts {
		release, settled, err := p.choose()
		if err != nil {
			return pipeline.Publication{}, err
		}
		if settled {
			return p.publication(release, true), nil
		}
		var warnings []string
		if text := p.there.uncounted(); p.asked == "" && text != "" {
			warnings = []string{text}
		}
		taken, repeated, err := p.send(ctx, release)
		if err != nil {
			return pipeline.Publication{}, err
		}
		if !taken {
			done := p.publication(release, repeated)
			done.Warnings = warnings
			return done, nil
		}
	}
	return pipeline.Publication{}, pipeline.Retry(pipeline.ReasonQuayUnavailable,
		fmt.Errorf("others were quicker to take %d releases of %s", maxConflicts, p.repository))
}

func (p *appPush) publication(release string, repeated bool) pipeline.Publication {
	return pipeline.Publication{
		Release:  &pipeline.PushedRelease{Version: release, Repository: p.repository, Digest: p.payload.digest},
		Repeated: repeated,
	}
}

// choose is the release to push as, or with settled the one that is there already.
func (p *appPush) choose() (release string, settled bool, err error) {
	if p.asked != "" {
		found, exists := p.there.find(p.asked)
		if exists && found.digest != p.payload.digest {
			return "", false, pipeline.Reject(pipeline.ReasonVersionExists,
				fmt.Errorf("release %s of %s exists with other content", p.asked, p.repository))
		}
		return p.asked, exists, nil
	}
	holding := p.there.holding(p.payload.digest)
	made := p.again && holding == p.there.highest() // by force, once
	if holding != "" && (!p.force || made) {
		return holding, true, nil
	}
	return p.there.next(p.registry.first), false, nil
}

// send pushes as one release and finds out what came of it. With taken the release
// is somebody else's; with repeated it was there before, with the same content.
func (p *appPush) send(ctx context.Context, release string) (taken, repeated bool, err error) {
	sent := p.registry.post(ctx, p.repository, release, p.payload)
	if isDecided(sent) {
		return false, false, sent
	}
	conflict := isConflict(sent)
	if err := p.look(ctx); err != nil {
		if sent != nil && !conflict {
			return false, false, sent
		}
		return false, false, err
	}
	found, exists := p.there.find(release)
	switch {
	case exists && found.digest == p.payload.digest:
		return false, conflict, nil
	case conflict:
		return true, false, nil
	case sent != nil:
		return false, false, sent
	case exists && found.digest == "": // a server that does not say
		return false, false, nil
	case exists:
		return false, false, pipeline.Reject(pipeline.ReasonQuayRefused, fmt.Errorf(
			"release %s of %s has the digest %s after its push, not %s", release, p.repository, clients.OneLine(found.digest, maxText), p.payload.digest))
	}
	return false, false, pipeline.Retry(pipeline.ReasonQuayUnavailable,
		fmt.Errorf("release %s of %s is not there after its push", release, p.repository))
}

// look lists the releases of the package, none when there is no package.
func (p *appPush) look(ctx context.Context) (err error) {
	p.there, err = p.registry.list(ctx, p.repository)
	if isNoPackage(err) {
		return nil
	}
	return err
}
