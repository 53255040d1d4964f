package quay

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// registryName is a host[:port] as container tools take it: a name, an address
// of IPv4, or one of IPv6 in brackets.
var registryName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$`)

// What a reference means by what it leaves out.
const (
	defaultRegistry = "docker.io" // whose repositories without an organization lie in library/
	defaultTag      = "latest"
)

// parseReference reads a reference by tag, as container tools do: its first part
// is a registry when it has a dot or a port or is localhost. The error holds
// pipeline.ErrNoImage, unless the reference has a digest.
func parseReference(reference string) (name.Tag, error) {
	if strings.Contains(reference, "@") {
		return name.Tag{}, pipeline.Retry(pipeline.ReasonInternal, about(reference, errors.New("has a digest already")))
	}
	host, rest, ok := strings.Cut(reference, "/")
	if !ok || host != "localhost" && !strings.ContainsAny(host, ".:") {
		host, rest = defaultRegistry, reference
	}
	host = strings.ToLower(host)
	repository, tag, tagged := strings.Cut(rest, ":")
	if !tagged {
		tag = defaultTag
	}
	switch {
	case !registryName.MatchString(host):
		return name.Tag{}, noImage(reference, fmt.Errorf("%.300q is no name of a registry", host))
	case len(repository) > maxRepositoryName || !repositoryName.MatchString(repository):
		return name.Tag{}, noImage(reference, fmt.Errorf("%.300q is no name of a repository", repository))
	case !tagName.MatchString(tag):
		return name.Tag{}, noImage(reference, fmt.Errorf("%.300q is no tag", tag))
	}
	registry, err := name.NewRegistry(host, name.StrictValidation)
	if err != nil {
		return name.Tag{}, noImage(reference, fmt.Errorf("%.300q is no name of a registry", host))
	}
	return registry.Repo(repository).Tag(tag), nil
}
