package pipeline

import "path"

// TargetKind is the form in which an organization publishes.
type TargetKind string

// TargetOCI publishes one bundle image for each CSV.
const TargetOCI TargetKind = "oci"

// Organization is one Quay organization and how builds are published to it.
type Organization struct {
	Name   string
	Match  []string // Koji package names as path.Match patterns; none: only by request
	Target TargetKind

	Repository string   // template, see Expand
	Tags       []string // templates, see Expand

	Rules             []Rule   // registry rewriting, applied in order
	AllowedRegistries []string // when set, an image from any other registry rejects the build

	// Fingerprint changes whenever anything configured does that decides what is
	// published for the organization, and where.
	Fingerprint string
}

// Wants tells whether builds of the Koji package are published without being
// asked for. A pattern that path.Match cannot read matches nothing; the
// configuration refuses such patterns.
func (o Organization) Wants(kojiPackage string) bool {
	for _, pattern := range o.Match {
		if ok, err := path.Match(pattern, kojiPackage); err == nil && ok {
			return true
		}
	}
	return false
}
