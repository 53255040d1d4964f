package pipeline

import (
	"maps"
	"time"
)

// run gathers what its results will say while the stages go on.
type run struct {
	common    Result
	orgs      []Organization
	durations map[StageName]time.Duration
}

func newRun(t Trigger, l Lookup) *run {
	r := &run{
		common:    Result{Trigger: t, NVR: t.NVR, BuildID: t.BuildID, Organization: t.Organization},
		durations: make(map[StageName]time.Duration, len(StageNames())),
	}
	// Until the hub has said which build it is, its organizations are those
	// that the trigger's own words concern.
	if !t.NVR.IsZero() || t.Organization != "" {
		r.orgs, _ = l.Concerns(claimOf(t))
	}
	return r
}

func (r *run) saw(b Build) {
	if b.ID == 0 && b.Trigger.Given.IsZero() {
		return
	}
	r.orgs = b.Organizations
	r.common.BuildID, r.common.NVR, r.common.Archive = b.ID, b.NVR, b.Archive
}

func (r *run) fetched(m Manifests) {
	if m.Build.Archive.Name == "" {
		return
	}
	r.common.Archive, r.common.ArchiveBytes = m.Build.Archive, m.Bytes
	r.common.Files = paths(m.Files)
}

func (r *run) prepared(rel Release) {
	r.common.Package = rel.Package
	r.common.Edited, r.common.Replacements, r.common.Pinned = rel.Edited, rel.Replacements, rel.Pinned
	r.common.Warnings = rel.Warnings
}

// end is the results of a run that err ended for all its organizations.
func (r *run) end(err error) []Result {
	if len(r.orgs) == 0 {
		return []Result{r.result(err)}
	}
	results := make([]Result, 0, len(r.orgs))
	for _, org := range r.orgs {
		results = append(results, r.forOrganization(org).result(err))
	}
	return results
}

func (r *run) forOrganization(org Organization) *run {
	own := &run{common: r.common, durations: maps.Clone(r.durations)}
	own.common.Organization, own.common.Target = org.Name, org.Target
	own.common.Configuration = configurationOf(r.common.Trigger, org)
	return own
}

func (r *run) result(err error) Result {
	res := r.common
	res.Durations, res.Err = r.durations, err
	return res
}

func paths(files []File) []string {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Path
	}
	return names
}
