package quay

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// parseReference reads a reference by tag, as container tools do: its first part
// is a registry when it has a dot, a port or a capital letter or is localhost,
// and else a repository on docker.io; the tag that it leaves out is latest. The
// error holds pipeline.ErrNoImage, unless the reference has a digest.
func parseReference(ref string) (name.Tag, error) {
	if strings.Contains(ref, "@") {
		return name.Tag{}, pipeline.Retry(pipeline.ReasonInternal, about(ref, errors.New("has a digest already")))
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return name.Tag{}, noImage(ref, errors.New(clients.OneLine(err.Error(), maxText)))
	}
	registry, err := parseRegistry(strings.ToLower(reference.Domain(named)))
	if err != nil {
		return name.Tag{}, noImage(ref, err)
	}
	tag := name.DefaultTag
	if tagged, ok := named.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	return registry.Repo(reference.Path(named)).Tag(tag), nil
}

func parseRegistry(host string) (name.Registry, error) {
	registry, err := name.NewRegistry(host, name.StrictValidation)
	if err == nil {
		if port := (&url.URL{Host: host}).Port(); port != "" {
			_, err = strconv.ParseUint(port, 10, 16)
		}
	}
	if err != nil { // its text is not bounded
		return name.Registry{}, fmt.Errorf("%.300q is no name of a registry", host)
	}
	return registry, nil
}
