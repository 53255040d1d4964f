package pipeline

import (
	"context"
	"fmt"
)

// Work is one build for one organization as the organization is configured.
type Work struct {
	Trigger      Trigger
	Organization string
	NVR          NVR
	BuildID      int64
	Checksum     Checksum // of the archive
	// Configuration names everything configured or asked for that decides what
	// is published, and where: the same work with another one is new work.
	Configuration string
}

// Ledger remembers across runs, replicas and crashes what was published. The
// registry is the truth; the ledger saves asking it.
type Ledger interface {
	// Published returns what an earlier run published of this very work, for an
	// announcement that has been told of it. Work that another event's run has
	// in hands at the moment is a Transient error.
	Published(ctx context.Context, w Work) (p Publication, done bool, err error)
	// Begin notes that w is about to be pushed. The error is Transient when
	// another event's run was faster.
	Begin(ctx context.Context, w Work) error
}

// remembers tells whether the ledger keeps b: an archive by hand is no build.
func (p *Pipeline) remembers(b Build) bool { return p.Ledger != nil && !b.NVR.IsZero() }

func workOf(b Build, o Organization) Work {
	return Work{
		Trigger: b.Trigger, Organization: o.Name, NVR: b.NVR, BuildID: b.ID,
		Checksum: b.Archive.Checksum, Configuration: configurationOf(b.Trigger, o),
	}
}

func configurationOf(t Trigger, o Organization) string {
	text := o.Fingerprint
	if t.Repository != "" {
		text += fmt.Sprintf(" repository=%q", t.Repository)
	}
	if t.Version != "" {
		text += fmt.Sprintf(" version=%q", t.Version)
	}
	return text
}

// recall leaves in b the organizations that are still to be served, and
// returns the results of the others. A request always goes to the registry:
// whoever asks wants to know what is true there now.
func (p *Pipeline) recall(ctx context.Context, r *run, b Build) (Build, []Result) {
	if !p.remembers(b) {
		return b, nil
	}
	var left []Organization
	var results []Result
	for _, org := range b.Organizations {
		own := r.forOrganization(org)
		publication, done, err := p.Ledger.Published(ctx, workOf(b, org))
		switch {
		case err != nil:
			results = append(results, own.result(&StageError{Stage: StageLookup, Err: err}))
		case done && !b.Trigger.Requested():
			own.common.Publication, own.common.Known = publication, true
			results = append(results, own.result(nil))
		default:
			left = append(left, org)
		}
	}
	b.Organizations, r.orgs = left, left
	return b, results
}
