package sandbox

import (
	"bytes"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	hubPath   = "/kojihub"
	filesPath = "/kojifiles/"

	kojiVersion = "1.35.3"
)

// BuildState is the state of a Build. Unlike Koji's number of it, its zero
// value is what most builds are.
type BuildState uint8

// The states of a build.
const (
	StateComplete BuildState = iota
	StateBuilding
	StateDeleted // still listed with its archives, its files gone
	StateFailed
	StateCanceled
)

// number is Koji's, by koji/__init__.py BUILD_STATES.
func (s BuildState) number() int64 {
	return [...]int64{StateComplete: 1, StateBuilding: 0, StateDeleted: 2, StateFailed: 3, StateCanceled: 4}[s]
}

// imported tells whether the build's metadata and files ever reached the hub.
func (s BuildState) imported() bool { return s == StateComplete || s == StateDeleted }

// ManifestsForm is how a build holds its operator manifests.
type ManifestsForm uint8

// The forms, by what OSBS writes into a build's extra.
const (
	FormArchive ManifestsForm = iota // an archive of type operator-manifests, as today
	FormLogs                         // a file among the build's logs, as OSBS did at first
	FormNone                         // no operator build
)

// Build is a build that a Koji hub knows. Only NVR is required.
type Build struct {
	ID       int64  // 0: the next free one
	NVR      string // name-version-release
	State    BuildState
	Draft    bool   // the release gets Koji's ending ,draft_ID where it is missing
	Volume   string // "": DEFAULT
	NoExtra  bool   // extra is nil, as of a build that is no container
	Form     ManifestsForm
	Subtypes []string // extra.osbs_build.subtypes, such as operator_bundle

	Completed time.Time // to the microsecond; zero: a time in January 2026 that follows from the id

	Archive     []byte            // the operator manifests
	ArchiveName string            // "": operator_manifests.zip
	Checksum    string            // md5, sha1 or sha256; "": md5, as OSBS reports it
	ImageLabels map[string]string // of the container image; nil: the hub tells none

	WrongChecksum  bool // the hub's checksum is another file's
	WrongSize      bool // the hub's size is a byte too small
	MissingFile    bool // the hub lists the file, the files server has none
	MissingArchive bool // extra promises the file, the hub lists none
}

// Koji stands in for a Koji hub and its files server. It answers in the words
// and shapes of Koji 1.35. Its methods are safe for concurrent use.
type Koji struct {
	mu      sync.Mutex
	byID    map[int64]*hubBuild
	byNVR   map[string]*hubBuild
	files   map[string][]byte // by path below the root
	nextID  int64
	offline string // fault text; "" while online
}

// hubBuild is a Build completed with what the hub adds.
type hubBuild struct {
	Build
	nvr      pipeline.NVR
	checksum []byte // of the archive
}

// NewKoji makes a hub without builds.
func NewKoji() *Koji {
	return &Koji{
		byID: map[int64]*hubBuild{}, byNVR: map[string]*hubBuild{},
		files: map[string][]byte{}, nextID: SampleBuildID,
	}
}

// AddBuild makes the hub know b and returns its id. An NVR that is no NVR, and
// an id or NVR that is taken, are errors.
func (k *Koji) AddBuild(b Build) (int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b.ID == 0 {
		b.ID = k.nextID
	}
	if ending := fmt.Sprintf(",draft_%d", b.ID); b.Draft && !strings.HasSuffix(b.NVR, ending) {
		b.NVR += ending
	}
	nvr, err := pipeline.ParseNVR(b.NVR)
	if err != nil {
		return 0, err
	}
	if k.byID[b.ID] != nil || k.byNVR[b.NVR] != nil {
		return 0, fmt.Errorf("build %d or %s is there already", b.ID, b.NVR)
	}
	if b.ArchiveName == "" {
		b.ArchiveName = "operator_manifests.zip"
	}
	if b.Volume == "" {
		b.Volume = "DEFAULT"
	}
	kind, ok := checksumTypes[b.Checksum]
	if !ok {
		return 0, fmt.Errorf("koji has no checksum type %q", b.Checksum)
	}
	r := &hubBuild{Build: b, nvr: nvr, checksum: kind.sum(b.Archive)}
	k.nextID = max(k.nextID, b.ID+1)
	k.byID[b.ID], k.byNVR[b.NVR] = r, r
	k.store(r)
	return b.ID, nil
}

// store puts a build's files where the files server finds them.
func (k *Koji) store(r *hubBuild) {
	if r.State != StateComplete {
		return
	}
	for _, name := range logNames {
		k.files[path.Clean(r.logPath(name))] = []byte(name + ": finished\n")
	}
	if r.Form != FormNone && !r.MissingFile {
		k.files[path.Clean(r.archivePath())] = r.Archive
	}
}

// SetOffline makes every call to the hub a fault as of a hub in maintenance,
// with that text; "" brings it back. The files server stays.
func (k *Koji) SetOffline(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.offline = text
}

// ServeHTTP serves the hub at /kojihub and the files below /kojifiles/.
func (k *Koji) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Not http.ServeMux: it would redirect the paths of logs, which hold /./.
	switch p := path.Clean(r.URL.Path); {
	case p == hubPath:
		k.serveHub(w, r)
	case strings.HasPrefix(p, filesPath):
		k.serveFile(w, r, strings.TrimPrefix(p, filesPath))
	default:
		http.NotFound(w, r)
	}
}

func (k *Koji) serveFile(w http.ResponseWriter, r *http.Request, name string) {
	k.mu.Lock()
	data, ok := k.files[name]
	k.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if path.Ext(name) == ".zip" {
		w.Header().Set("Content-Type", "application/zip")
	}
	http.ServeContent(w, r, name, buildTime, bytes.NewReader(data))
}
