package pipeline

import (
	"context"
	"fmt"
)

// Deletion is what one organization wants gone.
type Deletion struct {
	Organization Organization
	Repository   string // organization/name
	Version      string // "": every one
}

// Deleter deletes what was published for one organization.
type Deleter interface {
	// Delete returns the versions that it deleted, also beside an error. Where
	// there is nothing to delete the error is Rejected with ReasonPackageNotFound.
	Delete(ctx context.Context, d Deletion) ([]string, error)
}

// Delete is the only stage of a request to delete. Deleters has one entry for
// each organization.
type Delete struct{ Deleters map[string]Deleter }

// Do deletes what d names.
func (s Delete) Do(ctx context.Context, d Deletion) ([]string, error) {
	deleter, ok := s.Deleters[d.Organization.Name]
	if !ok {
		return nil, fmt.Errorf("no deleter for organization %q", d.Organization.Name)
	}
	return deleter.Delete(ctx, d)
}

// delete serves a request to delete.
func (p *Pipeline) delete(ctx context.Context, r *run, t Trigger) []Result {
	orgs, err := p.Lookup.Concerns(claimOf(t))
	if err != nil {
		return r.end(err)
	}
	org := orgs[0] // a request names one
	own := r.forOrganization(org)
	repository, err := repositoryOf(org.Name, t.Repository)
	if err != nil {
		return []Result{own.result(Reject(ReasonInvalidEvent, err))}
	}
	own.common.Repository = repository
	own.common.Deleted, err = step(ctx, p, own, StageDelete, p.Delete.Do,
		Deletion{Organization: org, Repository: repository, Version: t.Version})
	if t.Again && ReasonOf(err) == ReasonPackageNotFound {
		own.common.Publication.Repeated = true
		own.common.Warnings = append(own.common.Warnings, "it was not there any more: an earlier try may have deleted it")
		err = nil
	}
	return []Result{own.result(err)}
}
