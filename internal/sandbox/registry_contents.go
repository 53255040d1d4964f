package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

// Contents is what was ever put into a repository.
type Contents struct {
	Digests []string          // of every image manifest, sorted
	Tags    map[string]string // tag to the digest that it names now
}

// repositoryLog is what a Registry remembers of the manifests it took. The
// library's registry lists no digests, and forgets one whose tags have moved on.
type repositoryLog struct {
	digests map[string]bool
	tags    map[string]string
}

// Contents tells what is in a repository, as organization/name; one that is
// not there is empty.
func (r *Registry) Contents(repository string) Contents {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := r.logs[repository]
	c := Contents{Digests: slices.Sorted(maps.Keys(log.digests)), Tags: maps.Clone(log.tags)}
	if c.Tags == nil {
		c.Tags = map[string]string{}
	}
	return c
}

// Repositories lists the repositories that hold anything, sorted.
func (r *Registry) Repositories() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.logs))
}

// changeManifest serves a PUT of an image manifest and notes what came of it.
func (r *Registry) changeManifest(w http.ResponseWriter, req *http.Request, repository string) {
	// One at a time, or the log could have two image manifests of a tag in
	// another order than the registry itself.
	r.changes.Lock()
	defer r.changes.Unlock()
	hash := sha256.New()
	req.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(req.Body, hash), req.Body}
	seen := &statusWriter{ResponseWriter: w}
	r.oci.ServeHTTP(seen, req)
	if seen.status == http.StatusCreated {
		r.note(repository, path.Base(req.URL.Path), "sha256:"+hex.EncodeToString(hash.Sum(nil)))
	}
}

// deleteManifest serves a DELETE of an image manifest. As Quay does it deletes
// what a digest names together with all its tags, and of a tag the tag alone.
func (r *Registry) deleteManifest(w http.ResponseWriter, req *http.Request, repository string) {
	r.changes.Lock()
	defer r.changes.Unlock()
	reference := path.Base(req.URL.Path)
	seen := &statusWriter{ResponseWriter: w}
	r.oci.ServeHTTP(seen, req)
	if seen.status != http.StatusAccepted {
		return
	}
	r.note(repository, reference, "")
	for tag, digest := range r.Contents(repository).Tags {
		if digest != reference {
			continue
		}
		also := req.Clone(req.Context())
		also.URL.Path = path.Join(path.Dir(req.URL.Path), tag)
		r.oci.ServeHTTP(lost{}, also)
		r.note(repository, tag, "")
	}
}

// note remembers an image manifest, or with no digest that its reference is gone.
func (r *Registry) note(repository, reference, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	log, ok := r.logs[repository]
	if !ok {
		log = repositoryLog{digests: map[string]bool{}, tags: map[string]string{}}
		r.logs[repository] = log
	}
	if digest == "" {
		delete(log.tags, reference)
		return
	}
	log.digests[digest] = true
	if !strings.Contains(reference, ":") {
		log.tags[reference] = digest
	}
}

// statusWriter remembers the status that went out.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// isManifest tells whether a path of the distribution API is a manifest's.
func isManifest(p string) bool { return path.Base(path.Dir(p)) == "manifests" }
