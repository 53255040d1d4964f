package pipeline

// Release is what one organization is to publish of a build.
type Release struct {
	Build        Build
	Organization Organization
	Package      string       // operator package name
	Bundles      []Bundle     // target oci
	Application  *Application // target app-registry
	Edited       []Edited     // where Prepare is to tell; also of manifests that are Rejected, as far as that came
	Replacements []Replacement
	Pinned       []Change // image references that got a digest
	Warnings     []string
}

// Application is the content of one release in an app registry.
type Application struct {
	Repository string // organization/name
	Version    string // int.int.int as asked for; "": the one after the latest
	Files      []File // sorted by path
}

// Bundle is the content of one bundle image.
type Bundle struct {
	CSV            string
	Version        string
	Channels       []string
	DefaultChannel string
	Repository     string // organization/name
	Tags           []string
	Files          []File // sorted by path: manifests/… and metadata/…
	Labels         map[string]string
}

// Replacement tells what one rule changed over all files.
type Replacement struct {
	Old   string `json:"old"`
	New   string `json:"new"`
	Count int    `json:"count"`

	// Of a rule for image references: each that it changed, and where else the
	// files still hold what it looks for.
	Changes   []Change   `json:"changes,omitempty"`
	Leftovers []Leftover `json:"leftovers,omitempty"`
}

// Change is an image reference that was changed.
type Change struct {
	File   string `json:"file"`
	Path   string `json:"path"` // of keys and, from 0, items
	Before string `json:"before"`
	After  string `json:"after"`
}

// Leftover is a line that still names a registry which a rule replaces.
type Leftover struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// Visibility of a repository.
type Visibility string

// The visibilities of a repository.
const (
	VisibilityPublic  Visibility = "public"
	VisibilityPrivate Visibility = "private"
)

// Publication is what a Pusher did.
type Publication struct {
	Bundles    []PushedBundle
	Release    *PushedRelease
	Repeated   bool // everything was there already, nothing was pushed
	Visibility Visibility
	Warnings   []string
}

// PushedBundle is a bundle image as it now lies in its registry.
type PushedBundle struct {
	Version        string   `json:"version"`
	CSV            string   `json:"csv"`
	Repository     string   `json:"repository"`
	Reference      string   `json:"reference"` // by digest
	Tags           []string `json:"tags"`      // those that now name this image
	Channels       []string `json:"channels"`
	DefaultChannel string   `json:"default_channel,omitempty"`
}

// PushedRelease is a release as it now is in its app registry.
type PushedRelease struct {
	Version    string `json:"version"`
	Repository string `json:"repository,omitempty"` // organization/name
	Digest     string `json:"digest,omitempty"`     // of its content
}
