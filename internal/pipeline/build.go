package pipeline

// TriggerKind tells who asked for a run.
type TriggerKind uint8

// The kinds of trigger.
const (
	BuildAnnounced  TriggerKind = iota // the build system says that a build is complete
	PushRequested                      // somebody asks for one organization
	DeleteRequested                    // somebody wants gone what one organization has published
	DecisionUpdated                    // the gate has changed its mind about a build
)

// Trigger is what an event claims. Only Lookup decides what is true of it.
type Trigger struct {
	ID, Source, Type string // the event's own identity
	Correlation      string // the id of the first event of the chain that led to this one
	Kind             TriggerKind
	Again            bool // it was tried before, and nobody may know how far that came

	NVR     NVR   // zero when only the id is known
	BuildID int64 // 0 when only the NVR is known

	// SaysComplete: the event itself says that the build is COMPLETE and no
	// draft, so a hub that says otherwise is behind.
	SaysComplete bool

	// SaysSatisfied: the decision is yes now. Only Gate decides whether it is.
	SaysSatisfied bool

	// A request names its organization, and may override what the
	// organization's configuration says.
	Organization string
	Repository   string
	Version      string
	Force        bool
	Given        Given // an archive by hand instead of a build
}

// Requested tells whether somebody asked, who is to be answered.
func (t Trigger) Requested() bool { return t.Kind == PushRequested || t.Kind == DeleteRequested }

// Given is an archive that comes with a request. The zero Given is none.
type Given struct {
	Object string // BUCKET/NAME in an object store
	Inline string // the archive's bytes
}

// IsZero tells whether there is none.
func (g Given) IsZero() bool { return g == Given{} }

// BuildState is Koji's state number of a build.
type BuildState int

// Koji's build states, by koji/__init__.py BUILD_STATES. StateUnknown is ours.
const (
	StateUnknown  BuildState = -1
	StateBuilding BuildState = 0
	StateComplete BuildState = 1
	StateDeleted  BuildState = 2
	StateFailed   BuildState = 3
	StateCanceled BuildState = 4
)

func (s BuildState) String() string {
	names := [...]string{"BUILDING", "COMPLETE", "DELETED", "FAILED", "CANCELED"}
	if s < 0 || int(s) >= len(names) {
		return "UNKNOWN"
	}
	return names[s]
}

// HubBuild is what the Koji hub says of a build.
type HubBuild struct {
	ID     int64
	NVR    NVR
	State  BuildState
	Draft  bool
	Volume string // "" or "DEFAULT": the default volume

	// ManifestsArchive is extra.typeinfo.operator-manifests.archive, LogArchive
	// the older extra.operator_manifests_archive, whose file lies among the
	// build's logs. Both empty: not an operator build.
	ManifestsArchive string
	LogArchive       string

	// Subtypes is extra.osbs_build.subtypes, such as operator_appregistry
	// and SubtypeBundle.
	Subtypes []string
}

// HasManifests tells whether the build holds operator manifests.
func (b HubBuild) HasManifests() bool { return b.ManifestsArchive != "" || b.LogArchive != "" }

// Archive is the operator manifests file that Koji attaches to a build, or one
// that came with a request.
type Archive struct {
	Name string
	Path string // relative to the root of the Koji files server, slash-separated, clean; "" for one that came with a request

	// Size in bytes; negative when Koji keeps none (the file is among the logs).
	Size int64
	// Checksum is zero when Koji keeps none.
	Checksum Checksum
}

// Checksum is Koji's value on an archive.
type Checksum struct{ Algorithm, Hex string } // md5, sha1 or sha256; lower case

// String is "md5:0123…", or empty for the zero Checksum.
func (c Checksum) String() string {
	if c == (Checksum{}) {
		return ""
	}
	return c.Algorithm + ":" + c.Hex
}

// Build is a complete build with operator manifests that at least one
// organization wants. Where the archive came with a request there is no build:
// ID and NVR are zero.
type Build struct {
	Trigger       Trigger
	ID            int64
	NVR           NVR
	Archive       Archive
	Subtypes      []string
	Labels        map[string]string // of its images; asked for where the build is a bundle's
	Organizations []Organization
}

// Approved is a build that the gate lets through. Fetch takes nothing else.
type Approved struct {
	Build    Build
	Decision *Decision // nil: no gate was asked
}

// Decision is Greenwave's answer for one build.
type Decision struct {
	Satisfied   bool          `json:"satisfied"`
	Summary     string        `json:"summary,omitempty"` // for people; its wording is not stable
	Policies    []string      `json:"policies,omitempty"`
	Unsatisfied []Requirement `json:"unsatisfied,omitempty"`
}

// Requirement is one thing that a decision still asks for.
type Requirement struct {
	Type     string `json:"type"`
	Testcase string `json:"testcase,omitempty"`
	ResultID int64  `json:"result_id,omitempty"`
	Details  string `json:"details,omitempty"` // what is wrong, where Greenwave says so
}

// File is one file in memory. Its path is relative and slash-separated.
type File struct {
	Path string
	Data []byte
}

// Manifests is the verified content of a build's archive, parsed once for all
// organizations.
type Manifests struct {
	Build    Build
	Decision *Decision
	Bytes    int64  // of the archive as fetched
	Files    []File // sorted by path

	operator operator
	faults   []Fault
	held     *share
}

// Done gives back the memory that the manifests were counted with. Nothing of
// them is to be used any more. It may be called twice.
func (m *Manifests) Done() { m.held.release() }
