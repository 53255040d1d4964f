package pipeline

import (
	"context"
	"errors"
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

// ImageResolver asks registries for digests.
type ImageResolver interface {
	// ResolveImage is the digest, sha256:…, of what a reference by tag names: of
	// the index where there are images for several architectures. An image that
	// is not there, or that its registry does not show, is an ErrNoImage. Any
	// other error is Transient, with ReasonImageUnavailable. Errors name the
	// reference.
	ResolveImage(ctx context.Context, reference string) (digest string, err error)
}

// ErrNoImage is found in the error for an image that its registry does not have,
// or does not show.
var ErrNoImage = errors.New("no such image")

// Prepare is the fourth stage. It has no state, and asks nobody unless an
// organization pins digests.
type Prepare struct {
	Images map[string]ImageResolver // by organization; needed where one pins digests
	Edits  bool                     // tell what became of each file: of one release that is shown, not of hundreds that wait to be told
}

// Do edits the manifests for one organization, validates what came out and packs
// it for the organization's target. Manifests that may not be published, or not
// be edited safely, are Rejected with every fault found.
func (s Prepare) Do(ctx context.Context, o Order) (rel Release, err error) {
	defer o.Manifests.held.rest()
	rel = Release{Build: o.Manifests.Build, Organization: o.Organization}
	manifests, err := o.Manifests.identified(ctx, o.Organization.BundleDefaults)
	if err != nil {
		return rel, err
	}
	d := newDraft(manifests)
	if s.Edits {
		defer func() { rel.Edited = editedFiles(o.Manifests.Files, d.files, rel.Bundles) }()
	}
	d.warnings = append(d.warnings, o.Manifests.disagreements()...)
	d.suffixPackage(o.Organization.PackageNameSuffix)
	rel.Replacements = d.replaceRegistries(o.Organization.Rules)
	d.annotate(o.Organization.Annotations)
	rel.Package = d.op.packageName()
	if o.Organization.PinDigests {
		// What cannot be published whatever its digests are neither waits for
		// them nor makes us ask registries that are not allowed.
		if rel.Warnings, err = d.valid(o.Organization.AllowedRegistries); err != nil {
			return rel, err
		}
		o.Manifests.held.rest() // registries may take their time
		if rel.Pinned, err = d.pin(ctx, s.Images[o.Organization.Name], o.Organization.RejectUnreachable); err != nil {
			return rel, err
		}
	}
	if rel.Warnings, err = d.valid(o.Organization.AllowedRegistries); err != nil {
		return rel, err
	}
	if rel.Organization.Target == TargetAppRegistry {
		return packApplication(rel, d.op, d.files)
	}
	return pack(rel, d.op, d.files)
}

// valid tells why an operator may not be published, and what is odd about it.
// allowed are the registries its images may come from, none for any.
func (d *draft) valid(allowed []string) (warnings []string, err error) {
	found := validate(d.op, d.faults)
	warnings = slices.Concat(found.warnings, d.warnings)
	if len(found.faults) > 0 {
		return warnings, Reject(ReasonInvalidManifests, &Invalid{Faults: found.faults})
	}
	if len(allowed) > 0 {
		found.checkRegistries(d.op, allowed)
	}
	if len(found.faults) > 0 {
		return warnings, Reject(ReasonForbiddenRegistry, &Invalid{Faults: found.faults})
	}
	return warnings, nil
}
