package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Record is what the ledger holds of a build for an organization. The zero
// Record is nothing.
type Record struct {
	Known  bool
	Open   bool // it waits or is tried again: somebody has it in hand
	Failed bool // it was tried for as long as one is, in vain
	Last   time.Time
}

// Recorder reads the ledger.
type Recorder interface {
	Record(ctx context.Context, organization string, nvr NVR) (Record, error)
}

// Holder looks at where an organization publishes.
type Holder interface {
	// Holds tells whether all of a release of this build is there. An error means
	// that it cannot be told, such as for want of the right to read.
	Holds(ctx context.Context, r Release) (bool, error)
}

// Gap is why a build is missing for an organization.
type Gap string

// The gaps.
const (
	// GapUnseen: neither the ledger nor the registry knows the build.
	GapUnseen Gap = "never-seen"
	// GapUnconfirmed: the ledger does not know it, and what the registry has
	// was not asked or could not be told.
	GapUnconfirmed Gap = "not-in-ledger"
	// GapUnrecorded: the registry has it, and the ledger has lost it. Nothing
	// is missing but the record.
	GapUnrecorded Gap = "ledger-lost"
	// GapStalled: the ledger has it as in hand, and nobody has touched it for
	// longer than any build is tried: its event is lost.
	GapStalled Gap = "stalled"
	// GapFailed: it was tried in vain.
	GapFailed Gap = "failed"
)

// Gaps lists every gap.
func Gaps() []Gap { return []Gap{GapUnseen, GapUnconfirmed, GapUnrecorded, GapStalled, GapFailed} }

// Missing is a gap of one organization.
type Missing struct {
	Organization string
	Gap          Gap
	Note         string // why it could not be told more, "" if it could
}

// Found is a build with gaps.
type Found struct {
	Build   CompletedBuild
	Missing []Missing // in the order of the organizations
}

// Worth tells whether an announcement of the build would close a gap. Those
// where nothing but the record is missing count when lost says so.
func (f Found) Worth(lost bool) bool {
	return slices.ContainsFunc(f.Missing, func(m Missing) bool { return lost || m.Gap != GapUnrecorded })
}

// Holding is a build that the registry of an organization has.
type Holding struct {
	Organization string
	BuildID      int64
}

// Reconciliation compares what the hub has completed with what the ledger and
// the registries know of it. It changes nothing.
//
// A build counts as seen once the ledger has an entry of it, in whatever state
// and with whatever configuration: a new configuration publishes nothing again by
// itself, a rejected build stays so until a decision changes, and one that failed
// lies among the dead letters.
type Reconciliation struct {
	Builds BuildLister
	Lookup Lookup // judges whose builds they are, as it does for their announcements
	Ledger Recorder

	// Fetch, Prepare and Holders, by organization, find out what the registries
	// have of a build that the ledger does not know. Without a Holder for an
	// organization, nobody is asked.
	Fetch   Fetch
	Prepare Prepare
	Holders map[string]Holder
	// Held remembers what the registries were found to have, and when that was
	// completed: those are GapUnrecorded without being fetched and asked for once
	// more. Run adds to it, and forgets what lies before its window. Nil: nothing is
	// remembered; else one Run at a time.
	Held map[Holding]time.Time

	// Takes tells whether builds of a Koji package are looked at; nil: all are.
	Takes func(kojiPackage string) bool
	// MaxAge is how long a build is tried: GapStalled begins behind it.
	MaxAge time.Duration
	Failed bool // those that have failed are missing too
	Now    func() time.Time
}

// Counts are how many builds were looked at.
type Counts struct {
	Listed int // by the hub
	Ours   int // of these, those that an organization wants
}

// Run gives each build of w that is missing to visit, in the order in which they
// were completed: announced in that order, none takes a tag from a newer one.
// An error of the hub, the ledger or visit ends it; what was visited before is
// as true as if there had been none. That a registry does not answer is a Note.
func (r Reconciliation) Run(ctx context.Context, w Window, visit func(Found) error) (Counts, error) {
	maps.DeleteFunc(r.Held, func(_ Holding, completed time.Time) bool { return completed.Before(w.From) })
	var n Counts
	err := r.Builds.ListBuilds(ctx, w, func(b CompletedBuild) error {
		n.Listed++
		orgs := r.wanting(b)
		if len(orgs) == 0 {
			return nil
		}
		n.Ours++
		missing, err := r.missing(ctx, b, orgs)
		if err != nil || len(missing) == 0 {
			return err
		}
		return visit(Found{Build: b, Missing: missing})
	})
	return n, err
}

// wanting lists the organizations that want a build.
func (r Reconciliation) wanting(b CompletedBuild) []Organization {
	if r.Takes != nil && !r.Takes(b.NVR.Name) {
		return nil
	}
	orgs, err := r.Lookup.Concerns(Claim{Package: b.NVR.Name, State: b.State, Draft: b.Draft, NoManifests: !b.HasManifests()})
	if err != nil { // Ignored, as there is no request
		return nil
	}
	return orgs
}

func (r Reconciliation) missing(ctx context.Context, b CompletedBuild, orgs []Organization) ([]Missing, error) {
	var missing []Missing
	var unknown []Organization
	for _, org := range orgs {
		record, err := r.Ledger.Record(ctx, org.Name, b.NVR)
		if err != nil {
			return nil, err
		}
		gap, ok := r.gap(record)
		if !ok {
			continue
		}
		if !record.Known && r.Holders[org.Name] != nil {
			if _, held := r.Held[Holding{org.Name, b.ID}]; held {
				gap = GapUnrecorded
			} else {
				unknown = append(unknown, org)
			}
		}
		missing = append(missing, Missing{Organization: org.Name, Gap: gap})
	}
	if len(unknown) == 0 {
		return missing, nil
	}
	missing = r.ask(ctx, b, unknown, missing)
	return missing, ctx.Err()
}

// gap is what an entry of the ledger leaves missing, if anything.
func (r Reconciliation) gap(record Record) (Gap, bool) {
	switch {
	case !record.Known:
		return GapUnconfirmed, true
	case record.Open && r.Now().Sub(record.Last) > r.MaxAge:
		return GapStalled, true
	case record.Failed && r.Failed:
		return GapFailed, true
	}
	return "", false
}

// ask finds out what the registries of some organizations have of a build, and
// says so in missing. A build that turns out to be nobody's is not missing.
func (r Reconciliation) ask(ctx context.Context, b CompletedBuild, orgs []Organization, missing []Missing) []Missing {
	m, err := r.manifests(ctx, b)
	if ClassOf(err) == Ignored {
		return slices.DeleteFunc(missing, func(of Missing) bool {
			return slices.ContainsFunc(orgs, func(o Organization) bool { return o.Name == of.Organization })
		})
	}
	defer m.Done()
	for _, org := range orgs {
		held, err := false, err
		if err == nil {
			held, err = r.holds(ctx, m, org)
		}
		at := slices.IndexFunc(missing, func(of Missing) bool { return of.Organization == org.Name })
		switch {
		case held:
			missing[at].Gap = GapUnrecorded
			if r.Held != nil {
				r.Held[Holding{org.Name, b.ID}] = b.Completed
			}
		case err == nil, ClassOf(err) == Rejected: // which its announcement will tell
			missing[at].Gap = GapUnseen
		default:
			missing[at].Note = fmt.Sprintf("%s: %v", ReasonOf(err), err)
		}
	}
	return missing
}

// manifests are those of a build, as for a run, but past the gate: nothing is
// published of them.
func (r Reconciliation) manifests(ctx context.Context, b CompletedBuild) (m Manifests, err error) {
	defer recovered(&err)
	build, err := r.Lookup.Do(ctx, Trigger{Kind: BuildAnnounced, NVR: b.NVR, BuildID: b.ID})
	if err != nil {
		return Manifests{}, err
	}
	return r.Fetch.Do(ctx, Approved{Build: build})
}

// holds tells whether the registry of an organization has what would be
// published of m. Digests are not pinned for that: what an image is known by is
// the tag of its build, where there is one.
func (r Reconciliation) holds(ctx context.Context, m Manifests, org Organization) (held bool, err error) {
	defer recovered(&err)
	org.PinDigests = false
	release, err := r.Prepare.Do(ctx, Order{Manifests: m, Organization: org})
	if err != nil {
		return false, err
	}
	return r.Holders[org.Name].Holds(ctx, release)
}

// recovered makes a panic, such as of a reader of hostile bytes, an error of one
// build.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = Retry(ReasonPanic, fmt.Errorf("panic: %v", p))
	}
}
