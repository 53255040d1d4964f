package pipeline

import "path"

// TargetKind is the form in which an organization publishes.
type TargetKind string

// The targets.
const (
	TargetOCI         TargetKind = "oci"          // one bundle image for each CSV
	TargetAppRegistry TargetKind = "app-registry" // one release of the whole package
)

// Organization is one Quay organization and how builds are published to it.
type Organization struct {
	Name   string
	Match  []string // Koji package names as path.Match patterns; none: only by request
	Target TargetKind

	AcceptArchives bool // also those by hand, which no gate has seen

	Repository string   // template, see ExpandRepository
	Tags       []string // templates, see ExpandTag

	PackageNameSuffix string       // of every package, unless it has it
	Rules             []Rule       // registry rewriting, applied in order
	Annotations       []Annotation // set in every ClusterServiceVersion
	AllowedRegistries []string     // when set, an image from any other registry rejects the build

	PinDigests bool // image references by tag become references by digest
	// RejectUnreachable rejects a build with an image that ErrNoImage tells of;
	// else it waits until the image is there.
	RejectUnreachable bool

	// BundleDefaults tell of a bundle what neither its archive nor its build says.
	BundleDefaults BundleDefaults

	// Fingerprint changes whenever anything configured does that decides what is
	// published for the organization, and where.
	Fingerprint string
}

// BundleDefaults are what the annotations of a bundle would say. Each may be
// empty.
type BundleDefaults struct {
	Package        string
	Channels       []string
	DefaultChannel string
}

// Annotation is one of a ClusterServiceVersion. In its value, {package_name} is
// the package with its suffix.
type Annotation struct{ Name, Value string }

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
