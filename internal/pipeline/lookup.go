package pipeline

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// BuildFinder asks the Koji hub.
type BuildFinder interface {
	// FindBuild reads a build by id, or by NVR when id is 0. A build that the
	// hub does not know is an error with ReasonBuildNotFound.
	FindBuild(ctx context.Context, id int64, nvr NVR) (HubBuild, error)
	// FindArchive finds the manifests archive of a build that has one. An
	// archive that the hub does not list is an error with ReasonArchiveNotFound.
	FindArchive(ctx context.Context, b HubBuild) (Archive, error)
}

// LabelFinder asks the Koji hub.
type LabelFinder interface {
	// FindLabels reads the labels of a build's images, none where the hub tells none.
	FindLabels(ctx context.Context, b HubBuild) (map[string]string, error)
}

// hubLag is how long the hub that answers us may know less than what announced
// a build: the announcement can outrun a replica.
const hubLag = time.Minute

// Lookup is the first stage: it finds out what is true of a trigger.
type Lookup struct {
	Finder        BuildFinder
	Labels        LabelFinder // nil: bundles without annotations belong to no package
	Organizations []Organization
}

// Claim is what is known of a build before or after the hub was asked. What is
// unknown rules nothing out.
type Claim struct {
	Package      string     // Koji package name; "": unknown
	State        BuildState // StateUnknown: unknown
	Draft        bool
	NoManifests  bool   // known to hold no operator manifests
	Organization string // a request's; "" for an announcement
}

// Concerns tells which organizations want a build of which this much is known,
// without asking anyone. The error is Ignored when it is not ours, and Rejected
// for a request that names an organization which is not configured.
func (s Lookup) Concerns(c Claim) ([]Organization, error) {
	switch {
	case c.State != StateUnknown && c.State != StateComplete:
		return nil, Ignore(ReasonNotComplete, fmt.Errorf("build is %s", c.State))
	case c.Draft:
		return nil, Ignore(ReasonDraft, fmt.Errorf("build is a draft"))
	case c.NoManifests && c.Organization == "": // nearly every build of a bus
		return nil, errNoManifests
	}
	orgs, err := s.organizations(c)
	if err == nil && c.NoManifests {
		return nil, errNoManifests
	}
	return orgs, err
}

var errNoManifests = Ignore(ReasonNotAnOperatorBuild, errors.New("build holds no operator manifests"))

func (s Lookup) organizations(c Claim) ([]Organization, error) {
	var found []Organization
	for _, org := range s.Organizations {
		switch {
		case c.Organization != "":
			if org.Name == c.Organization {
				return []Organization{org}, nil
			}
		case c.Package == "" && len(org.Match) > 0, org.Wants(c.Package):
			found = append(found, org)
		}
	}
	if c.Organization != "" {
		return nil, Reject(ReasonUnknownOrganization, fmt.Errorf("organization %q is not configured", c.Organization))
	}
	if len(found) == 0 {
		return nil, Ignore(ReasonNoOrganization, fmt.Errorf("no organization matches package %q", c.Package))
	}
	return found, nil
}

// Do asks the hub for the build that t names. What a request may not have is
// Rejected where an announcement of the same would be Ignored: whoever asks
// gets an answer.
func (s Lookup) Do(ctx context.Context, t Trigger) (Build, error) {
	concerned, err := s.Concerns(claimOf(t))
	if err != nil {
		return Build{}, err
	}
	if t.Kind == PushRequested {
		if err := checkVersion(concerned[0], t.Version); err != nil {
			return Build{}, err
		}
	}
	if !t.Given.IsZero() {
		return given(t, concerned[0])
	}
	hub, err := s.Finder.FindBuild(ctx, t.BuildID, t.NVR)
	if err != nil {
		return Build{}, notFound(t, err)
	}
	if !t.NVR.IsZero() && hub.NVR != t.NVR {
		return Build{}, answer(t, Reject(ReasonBuildNotFound,
			fmt.Errorf("build %d is %s at the hub, not %s", hub.ID, hub.NVR, t.NVR)))
	}
	orgs, err := s.Concerns(Claim{
		Package: hub.NVR.Name, State: hub.State, Draft: hub.Draft,
		NoManifests: !hub.HasManifests(), Organization: t.Organization,
	})
	build := Build{Trigger: t, ID: hub.ID, NVR: hub.NVR, Subtypes: hub.Subtypes, Organizations: orgs}
	if err != nil {
		return build, answer(t, behind(t, hub, err))
	}
	if build.Archive, err = s.Finder.FindArchive(ctx, hub); err != nil {
		return build, err
	}
	if s.Labels != nil && slices.Contains(hub.Subtypes, SubtypeBundle) {
		build.Labels, err = s.Labels.FindLabels(ctx, hub)
	}
	return build, err
}

// given is the archive of a request as if it were that of a build, for which
// nobody asks the hub or the gate.
func given(t Trigger, org Organization) (Build, error) {
	b := Build{Trigger: t, Organizations: []Organization{org}, Archive: Archive{Name: "inline", Size: int64(len(t.Given.Inline))}}
	if object := t.Given.Object; object != "" {
		b.Archive = Archive{Name: object, Size: -1}
	}
	if !org.AcceptArchives {
		return b, Reject(ReasonArchiveNotAccepted, fmt.Errorf("organization %q does not accept archives by hand", org.Name))
	}
	return b, nil
}

// checkVersion tells whether an organization's target can publish as the
// version that a request asks for.
func checkVersion(org Organization, version string) error {
	switch {
	case version == "":
		return nil
	case org.Target != TargetAppRegistry:
		return Reject(ReasonNotSupported, errors.New("a bundle image's version is its ClusterServiceVersion's"))
	case !releaseVersion.MatchString(version):
		return Reject(ReasonInvalidVersion, fmt.Errorf("version %.100q is not int.int.int", version))
	}
	return nil
}

// releaseVersion is what OMPS took for one: three decimal numbers without
// leading zeros, each within 63 bits.
var releaseVersion = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})$`)

func claimOf(t Trigger) Claim {
	return Claim{Package: t.NVR.Name, State: StateUnknown, Organization: t.Organization}
}

// notFound turns an unknown build into what it means for this trigger.
func notFound(t Trigger, err error) error {
	if ReasonOf(err) != ReasonBuildNotFound {
		return err
	}
	if t.Requested() {
		return Reject(ReasonBuildNotFound, err)
	}
	return Doubtful(ReasonBuildNotFound, hubLag, err)
}

// behind makes a no that only a lagging hub can give a passing one: builds are
// reserved before they are built, and drafts before they are promoted.
func behind(t Trigger, hub HubBuild, err error) error {
	if t.SaysComplete && (hub.State == StateBuilding || hub.Draft) {
		return Doubtful(ReasonOf(err), hubLag, err)
	}
	return err
}

// answer makes Ignored Rejected for a request.
func answer(t Trigger, err error) error {
	if t.Requested() && ClassOf(err) == Ignored {
		return Reject(ReasonOf(err), err)
	}
	return err
}
