package pipeline

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// maxReference is longer than any reference: a repository has at most 255
// characters, a tag 128, a digest 135.
const maxReference = 1024

// isReference tells whether container tools take s as the name of an image.
func isReference(s string) bool {
	if len(s) > maxReference {
		return false
	}
	_, err := reference.ParseNormalizedNamed(s)
	return err == nil
}

// isPinned tells whether a reference has a digest.
func isPinned(ref string) bool { return strings.Contains(ref, "@") }

// repositoryIn is a reference without its tag and digest.
func repositoryIn(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if tag := strings.LastIndexByte(ref, ':'); tag > strings.LastIndexByte(ref, '/') {
		return ref[:tag]
	}
	return ref
}

// registryOf is the registry of an image reference. As for every container
// tool, a first part without a dot, a port or a capital letter is a repository on
// docker.io, unless it is localhost.
func registryOf(ref string) string {
	ref = strings.TrimPrefix(strings.TrimPrefix(ref, "https://"), "oci://")
	if !namesRegistry(ref) {
		return "docker.io"
	}
	host, _, _ := strings.Cut(ref, "/")
	return host
}

func namesRegistry(ref string) bool {
	host, _, ok := strings.Cut(ref, "/")
	return ok && isRegistry(host)
}

func isRegistry(host string) bool {
	return strings.ContainsAny(host, ".:") || host == "localhost" || host != strings.ToLower(host)
}

// checkRegistryPrefix tells why a text is not a registry with, it may be, the
// beginning of a repository's name behind it.
func checkRegistryPrefix(s string) error {
	host, path, hasPath := strings.Cut(s, "/")
	switch {
	case !isRegistry(host):
		return fmt.Errorf("%.200q does not begin with a registry, such as quay.io", s)
	case hasPath && path == "":
		return fmt.Errorf("%.200q ends with a slash", s)
	case isPinned(s) || repositoryIn(s) != s && hasPath:
		return fmt.Errorf("%.200q has a tag or a digest, which are always kept", s)
	case !hasPath:
		path = "any"
	}
	if !isReference(host + "/" + path) {
		return fmt.Errorf("%.200q is no registry, nor one with the beginning of a repository", s)
	}
	return nil
}

// underRegistry tells whether a reference lies in the registry, or below the
// part of its repositories, that prefix names.
func underRegistry(ref, prefix string) bool {
	rest, ok := strings.CutPrefix(ref, prefix)
	if !ok || rest == "" {
		return ok && strings.Contains(prefix, "/")
	}
	return rest[0] == '/' || strings.Contains(prefix, "/") && (rest[0] == ':' || rest[0] == '@')
}
