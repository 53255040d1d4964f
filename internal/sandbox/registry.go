package sandbox

import (
	"crypto/rand"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Organization guards the repositories below its name.
type Organization struct {
	Name       string
	Username   string // robot account that may push and pull; "": everybody may
	Password   string
	OAuthToken string // for Quay's API; "": nobody may use it
}

// Registry stands in for Quay: an OCI registry that hands out bearer tokens, the
// app registry that Quay had up to 3.8, and as much of Quay's API as changes
// visibility. As in Quay a repository is made by the first push to it, for images
// or for an application, and is private then. All of it lives in memory.
// Organizations that it was not told of are open to everybody, and without any
// that has a robot it asks for no tokens at all. Its methods are safe for
// concurrent use.
type Registry struct {
	oci           http.Handler
	cnr           http.Handler
	organizations []Organization
	key           []byte // signs tokens

	changes sync.Mutex // held while an image manifest is put or deleted

	mu           sync.Mutex
	public       map[string]bool          // by repository; no entry: not there
	logs         map[string]repositoryLog // by repository
	apps         map[string]*application  // by repository; no entry: it is for images
	appsReadOnly bool
}

// NewRegistry makes an empty registry.
func NewRegistry(organizations ...Organization) *Registry {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails, by crypto/rand
	r := &Registry{
		oci:           registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)),
		organizations: slices.Clone(organizations), key: key,
		public: map[string]bool{}, logs: map[string]repositoryLog{}, apps: map[string]*application{},
	}
	r.cnr = r.appRegistry()
	return r
}

// IsPublic tells whether a repository, as organization/name, is there and public.
func (r *Registry) IsPublic(repository string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.public[repository]
}

// ServeHTTP serves the OCI distribution API at /v2/, its tokens at /v2/auth, the
// app registry below /cnr/ and Quay's API below /api/v1/.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch p := req.URL.Path; {
	case p == tokenPath:
		r.serveToken(w, req)
	case strings.HasPrefix(p, apiPath):
		r.serveAPI(w, req)
	case strings.HasPrefix(p, cnrPath):
		r.cnr.ServeHTTP(w, req)
	case p == "/v2" || strings.HasPrefix(p, "/v2/"):
		r.serveOCI(w, req)
	default:
		http.NotFound(w, req)
	}
}

func (r *Registry) serveOCI(w http.ResponseWriter, req *http.Request) {
	repository, action := repositoryOf(req.URL.Path), actionOf(req.Method)
	if !r.admits(req, repository, action) {
		r.challenge(w, req, repository)
		return
	}
	if r.isApplication(repository) {
		refuseApplication(w)
		return
	}
	if repository != "" && action == actionPush && req.Method != http.MethodDelete {
		r.create(repository)
	}
	switch {
	case action != actionPush || !isManifest(req.URL.Path):
		r.oci.ServeHTTP(w, req)
	case req.Method == http.MethodDelete:
		r.deleteManifest(w, req, repository)
	default:
		r.changeManifest(w, req, repository)
	}
}

func refuseApplication(w http.ResponseWriter) {
	writeJSON(w, http.StatusMethodNotAllowed,
		ociErrors("UNSUPPORTED", "This repository is for managing application and not container images."))
}

func (r *Registry) create(repository string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.public[repository]; !ok {
		r.public[repository] = false
	}
}

// repositoryOf is the repository that a path of the distribution API is about,
// "" for a path that is about none.
func repositoryOf(path string) string {
	parts := strings.Split(strings.Trim(strings.TrimPrefix(path, "/v2"), "/"), "/")
	n := len(parts)
	switch {
	case n > 2 && slices.Contains([]string{"manifests", "blobs", "tags", "referrers"}, parts[n-2]):
		return strings.Join(parts[:n-2], "/")
	case n > 3 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		return strings.Join(parts[:n-3], "/")
	}
	return ""
}

const (
	actionPull = "pull"
	actionPush = "push"
)

func actionOf(method string) string {
	if method == http.MethodGet || method == http.MethodHead {
		return actionPull
	}
	return actionPush
}

// organization is the one that guards a repository; one without a name when
// there is none.
func (r *Registry) organization(repository string) Organization {
	name, _, _ := strings.Cut(repository, "/")
	for _, org := range r.organizations {
		if org.Name == name {
			return org
		}
	}
	return Organization{}
}

// guarded tells whether any organization has a robot.
func (r *Registry) guarded() bool {
	return slices.ContainsFunc(r.organizations, func(o Organization) bool { return o.Username != "" })
}
