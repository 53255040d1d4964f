package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// Do rewrites the manifests for one organization, validates what came out and
// packs it into bundles. Manifests that may not be published are Rejected, with
// every fault found.
func (s Prepare) Do(_ context.Context, o Order) (Release, error) {
	rel := Release{Build: o.Manifests.Build, Organization: o.Organization}
	if rel.Build.Trigger.Version != "" {
		return rel, Reject(ReasonNotSupported, errors.New("a bundle image's version is its ClusterServiceVersion's"))
	}
	before, faults := o.Manifests.operator, o.Manifests.faults
	if err := before.identified(faults); err != nil {
		return rel, err
	}
	files, changed, replacements := rewriteFiles(o.Manifests.Files, o.Organization.Rules)
	op, editFaults := before.edited(files, changed)
	rel.Package, rel.Replacements = op.packageName(), replacements

	found := validate(op, slices.Concat(faults, editFaults))
	rel.Warnings = slices.Concat(found.warnings, unmatched(replacements))
	if len(found.faults) > 0 {
		return rel, Reject(ReasonInvalidManifests, &Invalid{Faults: found.faults})
	}
	if allowed := o.Organization.AllowedRegistries; len(allowed) > 0 {
		if found.checkRegistries(op, allowed); len(found.faults) > 0 {
			return rel, Reject(ReasonForbiddenRegistry, &Invalid{Faults: found.faults})
		}
	}
	return pack(rel, op, files)
}

// identified refuses an archive that tells no package: without a package
// manifest and without a bundle's folders.
func (o operator) identified(faults []Fault) error {
	switch {
	case o.layout == layoutBundle || o.pkg != nil:
		return nil
	case len(faults) > 0:
		return Reject(ReasonInvalidManifests, &Invalid{Faults: faults})
	case len(o.ofKind(kindCSV)) == 0:
		return Reject(ReasonInvalidManifests, &Invalid{Faults: []Fault{
			{Text: "no package manifest and no ClusterServiceVersion: this is not an operator"},
		}})
	}
	return Reject(ReasonNoPackage, errors.New(
		"no package manifest and no bundle annotations: the package and its channels are unknown"))
}

// edited returns the operator as it is after the spans changed its files, and
// the faults of edits that changed more than text.
func (o operator) edited(files []File, changed map[int][]span) (operator, []Fault) {
	out := o
	out.manifests = make([]manifest, len(o.manifests))
	copy(out.manifests, o.manifests)
	var faults []Fault
	for _, i := range slices.Sorted(maps.Keys(changed)) {
		j := out.index(files[i].Path)
		if j < 0 {
			continue
		}
		after, err := parseYAML(files[i])
		if err == nil {
			err = checkEdit(o.manifests[j].document, after, changed[i])
		}
		if err != nil {
			faults = append(faults, Fault{File: files[i].Path, Text: fmt.Sprintf("after rewriting: %v", err)})
			continue
		}
		out.manifests[j] = newManifest(after)
	}
	if o.pkg != nil {
		out.pkg = &out.manifests[out.index(o.pkg.path)]
	}
	if o.notes != nil {
		out.notes = &out.manifests[out.index(o.notes.path)]
	}
	return out, faults
}

func unmatched(counts []Replacement) []string {
	var warnings []string
	for _, c := range counts {
		if c.Count == 0 {
			warnings = append(warnings, fmt.Sprintf("replace_registry: %q is nowhere in the manifests", c.Old))
		}
	}
	return warnings
}
