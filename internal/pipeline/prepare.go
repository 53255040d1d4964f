package pipeline

import (
	"context"
	"slices"
)

// Labels of a bundle image that tell which build it was made from, so that an
// older build never takes a tag from a newer one.
const (
	LabelBuildID  = "org.koji.build.id"
	LabelBuildNVR = "org.koji.build.nvr"
)

// Order is what one organization is to get out of a build's manifests.
type Order struct {
	Manifests    Manifests
	Organization Organization
}

// Prepare is the fourth stage. It has no state and does no I/O.
type Prepare struct{}

// Do edits the manifests for one organization, validates what came out and packs
// it for the organization's target. Manifests that may not be published, or not
// be edited safely, are Rejected with every fault found.
func (s Prepare) Do(ctx context.Context, o Order) (Release, error) {
	rel := Release{Build: o.Manifests.Build, Organization: o.Organization}
	manifests, err := o.Manifests.identified(ctx)
	if err != nil {
		return rel, err
	}
	d := newDraft(manifests)
	d.suffixPackage(o.Organization.PackageNameSuffix)
	rel.Replacements = d.replaceRegistries(o.Organization.Rules)
	d.annotate(o.Organization.Annotations)
	rel.Package = d.op.packageName()

	found := validate(d.op, d.faults)
	rel.Warnings = slices.Concat(found.warnings, d.warnings)
	if len(found.faults) > 0 {
		return rel, Reject(ReasonInvalidManifests, &Invalid{Faults: found.faults})
	}
	if allowed := o.Organization.AllowedRegistries; len(allowed) > 0 {
		if found.checkRegistries(d.op, allowed); len(found.faults) > 0 {
			return rel, Reject(ReasonForbiddenRegistry, &Invalid{Faults: found.faults})
		}
	}
	if rel.Organization.Target == TargetAppRegistry {
		return packApplication(rel, d.op, d.files)
	}
	return pack(rel, d.op, d.files)
}
