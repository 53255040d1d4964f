package sandbox

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// maxUnpacked bounds what is read of a blob.
const maxUnpacked = 256 << 20

// AppRelease is a release in the app registry.
type AppRelease struct {
	Release   string
	MediaType string // such as helm
	Digest    string // of its content: sha256:…, of the archive before it was compressed
	Blob      []byte // the archive as it came, a tar.gz

	created time.Time
}

// Files are the files of a release, by their paths below the archive's one top
// directory. An error means that the blob is no such archive.
func (a AppRelease) Files() (map[string][]byte, error) {
	unpacked, err := gunzip(a.Blob)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(unpacked)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		_, path, below := strings.Cut(header.Name, "/")
		if !below {
			return nil, fmt.Errorf("%s is not in a directory", header.Name)
		}
		if files[path], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
}

// contentDigest is the digest by which Quay knows a blob.
func contentDigest(blob []byte) (string, error) {
	unpacked, err := gunzip(blob)
	if err != nil {
		return "", err
	}
	return sha256Digest(unpacked), nil
}

func sha256Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func gunzip(blob []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		return nil, err
	}
	unpacked, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if err == nil && len(unpacked) > maxUnpacked {
		err = fmt.Errorf("more than %d bytes", maxUnpacked)
	}
	return unpacked, err
}

// application is a repository of the app registry.
type application struct {
	number   int          // by which packages are listed
	releases []AppRelease // in the order of their pushes
}

func (a *application) index(release, mediaType string) int {
	return slices.IndexFunc(a.releases, func(r AppRelease) bool { return r.Release == release && r.MediaType == mediaType })
}

func (a *application) remove(i int) { a.releases = slices.Delete(a.releases, i, i+1) }

// names are the application's releases, the latest first.
func (a *application) names() []string {
	var names []string
	for _, r := range a.releases {
		if !slices.Contains(names, r.Release) {
			names = append(names, r.Release)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return semver.MustParse(b).Compare(semver.MustParse(a)) })
	return names
}

// Releases are those of a repository, organization/name, in the app registry, in
// the order of their pushes.
func (r *Registry) Releases(repository string) []AppRelease {
	r.mu.Lock()
	defer r.mu.Unlock()
	if app := r.apps[repository]; app != nil {
		return slices.Clone(app.releases)
	}
	return nil
}

// SetAppsReadOnly puts the app registry into the state in which Quay had it
// before it was removed, or out of it.
func (r *Registry) SetAppsReadOnly(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.appsReadOnly = on
}

func (r *Registry) isApplication(repository string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.apps[repository] != nil
}

var manifestMediaType = regexp.MustCompile(`^application/vnd\.cnr\.package-manifest\.(.+?)\.(.+)\.json$`)

// shortMediaType is what stands for a manifest's media type where it may.
func shortMediaType(mediaType string) string {
	if parts := manifestMediaType.FindStringSubmatch(mediaType); parts != nil {
		return parts[1]
	}
	return mediaType
}

// manifest is how Quay shows a release. The digest of its content has no prefix.
func (a AppRelease) manifest(repository string) map[string]any {
	mediaType := "application/vnd.cnr.package-manifest." + a.MediaType + ".v0.json"
	return map[string]any{
		"package": repository, "release": a.Release, "created_at": a.created.UTC().Format("2006-01-02T15:04:05"),
		"metadata": nil, "mediaType": mediaType, "digest": sha256Digest([]byte(mediaType + a.Digest)),
		"content": map[string]any{
			"mediaType": "application/vnd.cnr.package." + a.MediaType + ".v0.tar+gzip",
			"digest":    strings.TrimPrefix(a.Digest, "sha256:"), "size": len(a.Blob), "urls": []string{},
		},
	}
}

// readable are the releases of the package that a request is about.
func (r *Registry) readable(q *appRequest) ([]AppRelease, error) {
	if err := r.permit(q, actionPull, "pull"); err != nil {
		return nil, err
	}
	if !r.isApplication(q.repository) {
		return nil, packageNotFound(q.repository, "", "")
	}
	return r.Releases(q.repository), nil
}

func (r *Registry) showApp(q *appRequest) (any, error) {
	releases, err := r.readable(q)
	shown := make([]any, len(releases))
	for i, release := range releases {
		shown[i] = release.manifest(q.repository)
	}
	return shown, err
}

func (r *Registry) showRelease(q *appRequest) (any, error) {
	releases, err := r.readable(q)
	if err != nil {
		return nil, err
	}
	var shown []any
	for _, release := range releases {
		if release.Release == q.release() {
			shown = append(shown, release.manifest(q.repository))
		}
	}
	if shown == nil {
		return nil, packageNotFound(q.repository, q.release(), "")
	}
	return shown, nil
}

// find is the one release that a request names.
func (r *Registry) find(q *appRequest) (AppRelease, error) {
	releases, err := r.readable(q)
	if err != nil {
		return AppRelease{}, err
	}
	app := application{releases: releases}
	if i := app.index(q.release(), q.mediaType()); i >= 0 {
		return releases[i], nil
	}
	return AppRelease{}, packageNotFound(q.repository, q.release(), q.mediaType())
}

func (r *Registry) showManifest(q *appRequest) (any, error) {
	release, err := r.find(q)
	if err != nil {
		return nil, err
	}
	shown := release.manifest(q.repository)
	shown["channels"] = []any{}
	return shown, nil
}

// pullApp gives the blob, bare or with ?format=json in JSON.
func (r *Registry) pullApp(q *appRequest) (any, error) {
	release, err := r.find(q)
	if err != nil {
		return nil, err
	}
	filename := fmt.Sprintf("%s_%s.tar.gz", strings.ReplaceAll(q.repository, "/", "_"), release.Release)
	if q.URL.Query().Get("format") == "json" {
		return map[string]string{
			"package": q.repository, "release": release.Release, "filename": filename,
			"blob": base64.StdEncoding.EncodeToString(release.Blob),
		}, nil
	}
	q.w.Header().Set("Content-Type", "application/x-gzip")
	q.w.Header().Set("Content-Disposition", filename)
	_, _ = q.w.Write(release.Blob) // the client may be gone
	return nil, nil
}

// listApps lists the packages that hold anything and may be seen. Quay cuts the
// list and does not say so.
func (r *Registry) listApps(w http.ResponseWriter, req *http.Request) {
	username, password, _ := req.BasicAuth()
	account := r.account(username, password)
	namespace := req.URL.Query().Get("namespace")

	r.mu.Lock()
	names := make([]string, 0, len(r.apps))
	for name, app := range r.apps {
		if len(app.releases) > 0 && (namespace == "" || strings.HasPrefix(name, namespace+"/")) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(r.apps[a].number, r.apps[b].number) })
	r.mu.Unlock()

	names = slices.DeleteFunc(names, func(name string) bool { return !r.may(account, name, actionPull) })
	listed := []any{}
	for _, name := range names[:min(len(names), maxListed)] {
		if item := r.summary(name); item != nil {
			listed = append(listed, item)
		}
	}
	writeJSON(w, http.StatusOK, listed)
}

// summary is a package in the list of packages, nil when it is empty by now.
func (r *Registry) summary(repository string) any {
	r.mu.Lock()
	defer r.mu.Unlock()
	app := r.apps[repository]
	names := app.names()
	if len(names) == 0 {
		return nil
	}
	visibility := "private"
	if r.public[repository] {
		visibility = "public"
	}
	var mediaTypes []string
	for _, release := range app.releases {
		if release.Release == names[0] {
			mediaTypes = append(mediaTypes, release.MediaType)
		}
	}
	namespace, _, _ := strings.Cut(repository, "/")
	return map[string]any{
		"namespace": namespace, "name": repository, "visibility": visibility,
		"default": names[0], "releases": names, "manifests": mediaTypes, "channels": nil,
	}
}
