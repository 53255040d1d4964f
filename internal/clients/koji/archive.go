package koji

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// manifestsType is Koji's build type of operator manifests: the key in
// typeinfo, and the folder below files/.
const manifestsType = "operator-manifests"

// FindArchive finds where the operator manifests of b lie: among the archives
// of the build type, or, as older builds have them, among the build's logs. An
// archive that the hub does not list is Rejected with ReasonArchiveNotFound;
// other errors are those of FindBuild.
func (c *Client) FindArchive(ctx context.Context, b pipeline.HubBuild) (pipeline.Archive, error) {
	name, find := b.ManifestsArchive, c.findTyped
	if name == "" {
		name, find = b.LogArchive, c.findLogged
	}
	if !isComponent(name) {
		return pipeline.Archive{}, notListed(b, name)
	}
	return find(ctx, b, name)
}

// archiveQuery is listArchives' keyword arguments. Koji takes them from a
// trailing struct with the member __starstar.
type archiveQuery struct {
	BuildID  int64  `xmlrpc:"buildID"`
	Type     string `xmlrpc:"type"`
	Starstar bool   `xmlrpc:"__starstar"`
}

func (c *Client) findTyped(ctx context.Context, b pipeline.HubBuild, name string) (pipeline.Archive, error) {
	const method = "listArchives"
	answer, err := c.call(ctx, method, archiveQuery{BuildID: b.ID, Type: manifestsType, Starstar: true})
	if err != nil {
		return pipeline.Archive{}, err
	}
	fields, err := named(answer, "filename", name)
	if err != nil {
		return pipeline.Archive{}, unusable(method, err)
	}
	if fields == nil {
		return pipeline.Archive{}, notListed(b, name)
	}
	dir, err := buildDir(b)
	if err != nil {
		return pipeline.Archive{}, unusable(method, err)
	}
	size, checksum, err := readProof(fields)
	if err != nil {
		return pipeline.Archive{}, unusable(method, fmt.Errorf("archive %q: %w", name, err))
	}
	return pipeline.Archive{
		Name: name, Path: path.Join(dir, "files", manifestsType, name),
		Size: size, Checksum: checksum,
	}, nil
}

func (c *Client) findLogged(ctx context.Context, b pipeline.HubBuild, name string) (pipeline.Archive, error) {
	const method = "getBuildLogs"
	answer, err := c.call(ctx, method, b.ID)
	if err != nil {
		return pipeline.Archive{}, err
	}
	fields, err := named(answer, "name", name)
	if err != nil {
		return pipeline.Archive{}, unusable(method, err)
	}
	if fields == nil {
		return pipeline.Archive{}, notListed(b, name)
	}
	file, err := cleanPath(text(fields, "path"))
	if err != nil {
		return pipeline.Archive{}, unusable(method, err)
	}
	return pipeline.Archive{Name: name, Path: file, Size: -1}, nil
}

// named is the struct in an array whose field key is name, nil if none is.
func named(answer any, key, name string) (map[string]any, error) {
	entries, ok := answer.([]any)
	if !ok {
		return nil, errors.New("answer is not an array")
	}
	for _, entry := range entries {
		if fields, ok := entry.(map[string]any); ok && text(fields, key) == name {
			return fields, nil
		}
	}
	return nil, nil
}

func notListed(b pipeline.HubBuild, name string) error {
	return pipeline.Reject(pipeline.ReasonArchiveNotFound,
		fmt.Errorf("koji lists no archive %q of build %s", clients.OneLine(name, maxName), b.NVR))
}

// readProof reads what a download of an archive is checked against. Koji keeps
// both for every archive, so that a missing one is a fault of the answer.
func readProof(fields map[string]any) (int64, pipeline.Checksum, error) {
	size, ok := number(fields, "size")
	if !ok || size < 0 {
		return 0, pipeline.Checksum{}, errors.New("size is not a number of bytes")
	}
	algorithm, length := algorithmOf(fields)
	sum, err := hex.DecodeString(text(fields, "checksum"))
	if err != nil || length == 0 || len(sum) != length {
		return 0, pipeline.Checksum{}, errors.New("checksum is not one of Koji's")
	}
	return size, pipeline.Checksum{Algorithm: algorithm, Hex: hex.EncodeToString(sum)}, nil
}

// algorithmOf maps koji/__init__.py CHECKSUM_TYPES to a name and a length in bytes.
func algorithmOf(fields map[string]any) (string, int) {
	kind, ok := number(fields, "checksum_type")
	switch {
	case !ok:
	case kind == 0:
		return "md5", 16
	case kind == 1:
		return "sha1", 20
	case kind == 2:
		return "sha256", 32
	}
	return "", 0
}

// buildDir is the build's folder below Koji's root, by koji.PathInfo.build.
func buildDir(b pipeline.HubBuild) (string, error) {
	parts := []string{"packages", b.NVR.Name, b.NVR.Version, b.NVR.Release}
	if b.Volume != "" && b.Volume != "DEFAULT" {
		parts = append([]string{"vol", b.Volume}, parts...)
	}
	for _, part := range parts {
		if !isComponent(part) {
			return "", fmt.Errorf("%q in the path of build %s is not a file name", part, b.NVR)
		}
	}
	return path.Join(parts...), nil
}

// cleanPath takes the /./ out of a path of getBuildLogs. One that is not below
// Koji's root is an error.
func cleanPath(raw string) (string, error) {
	clean := path.Clean(raw)
	bad := func(part string) bool { return !isComponent(part) }
	if slices.Contains(strings.Split(raw, "/"), "..") || slices.ContainsFunc(strings.Split(clean, "/"), bad) {
		return "", fmt.Errorf("path %q is not below Koji's root", clients.OneLine(raw, maxName))
	}
	return clean, nil
}

// OpenArchive starts the download of a. The caller bounds and closes it. A
// file that is not there yet is Transient with ReasonArchiveNotFound for a
// while and Rejected after that; what else keeps it away is Transient.
func (c *Client) OpenArchive(ctx context.Context, a pipeline.Archive) (io.ReadCloser, error) {
	file, err := cleanPath(a.Path)
	if err != nil {
		return nil, pipeline.Reject(pipeline.ReasonArchiveNotFound, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.fileURL(file), nil)
	if err != nil {
		return nil, unusable("file", errors.New("address cannot be asked for"))
	}
	req.Header.Set("Accept-Encoding", "identity") // the checksum is of the file's own bytes

	resp, err := c.files.Do(req)
	if err != nil {
		return nil, unusable("file", err)
	}
	switch {
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		err := c.files.StatusError(resp)
		// The hub lists the file, so a server without it lags behind.
		return nil, pipeline.Retry(pipeline.ReasonArchiveNotFound, fmt.Errorf("koji file: %w", err))
	case resp.StatusCode != http.StatusOK:
		return nil, unusable("file", c.files.StatusError(resp))
	}
	if err := checkFile(resp.Header); err != nil {
		_ = resp.Body.Close()
		return nil, unusable("file", err)
	}
	return resp.Body, nil
}

// checkFile refuses an answer that is not the file: a proxy's own coding, and
// the page with which a server in maintenance answers everything. An archive
// among the logs has no checksum to tell.
func checkFile(h http.Header) error {
	if coding := h.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return fmt.Errorf("server sends %q instead of the file's bytes", clients.OneLine(coding, maxName))
	}
	if kind, _, err := mime.ParseMediaType(h.Get("Content-Type")); err == nil && kind == "text/html" {
		return errors.New("server sends a web page instead of the file")
	}
	return nil
}

// fileURL is the address of a clean path below the root.
func (c *Client) fileURL(file string) string {
	parts := strings.Split(file, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return c.rootURL.JoinPath(parts...).String()
}
