package pipeline

import "time"

// Outcome is the word a result event carries.
type Outcome string

// The outcomes.
const (
	OutcomePublished Outcome = "published"
	OutcomeRejected  Outcome = "rejected"
	OutcomeFailed    Outcome = "failed"
	OutcomeWaiting   Outcome = "waiting"
	OutcomeDeleted   Outcome = "deleted"
	OutcomeIgnored   Outcome = "ignored" // no event, only a metric
)

// Outcomes lists every outcome, for metrics that pre-create their series.
func Outcomes() []Outcome {
	return []Outcome{OutcomePublished, OutcomeRejected, OutcomeFailed, OutcomeWaiting, OutcomeDeleted, OutcomeIgnored}
}

// Result is what a run did for one organization. Fields are set as far as the
// run came; Err nil means published, or deleted.
type Result struct {
	Trigger      Trigger
	Organization string // "" when the run ended before one was known
	// Configuration is that of the Work, "" when the run ended before the
	// organization was known.
	Configuration string
	NVR           NVR
	BuildID       int64
	Package       string // operator package name; "" until the manifests were read
	Target        TargetKind
	Archive       Archive
	ArchiveBytes  int64
	Decision      *Decision
	Files         []string
	Edited        []Edited
	Replacements  []Replacement
	Pinned        []Change
	Publication   Publication
	Repository    string   // organization/name; of a request to delete only
	Deleted       []string // versions
	Known         bool     // an earlier run published it, told of it, and nothing was done now
	Warnings      []string
	Durations     map[StageName]time.Duration
	Err           error
}
