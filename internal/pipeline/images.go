package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// checkRegistries notes every image of the operator that does not come from
// one of the allowed registries.
func (r *report) checkRegistries(op operator, allowed []string) {
	for _, m := range op.manifests {
		for _, ref := range imageReferences(m.root, nil) {
			if host := registryOf(ref.Value); !slices.Contains(allowed, host) {
				r.faultf(m, fmt.Sprintf("line %d", ref.Line), "%.200q is from %s, not from an allowed registry", ref.Value, host)
			}
		}
	}
}

// imageReference is a whole scalar that can only be an image: a registry, a
// repository, and a tag or digest.
var imageReference = regexp.MustCompile(`^(oci://)?[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+(:[0-9]+)?(/[a-z0-9._-]+)+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$`)

// imageReferences lists the scalars that name container images: whatever the
// keys image and containerImage hold, and what reads like one anywhere, such as
// in the value of an environment variable.
func imageReferences(n *yaml.Node, list []*yaml.Node) []*yaml.Node {
	if n == nil {
		return list
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, v := n.Content[i].Value, follow(n.Content[i+1])
			if (key == "image" || key == "containerImage") && v.Kind == yaml.ScalarNode && v.Value != "" {
				list = append(list, v)
				continue
			}
			list = imageReferences(n.Content[i+1], list)
		}
	case yaml.ScalarNode:
		if m := imageReference.FindStringSubmatch(n.Value); m != nil && (m[5] != "" || m[6] != "") {
			list = append(list, n)
		}
	default:
		for _, child := range n.Content {
			list = imageReferences(child, list)
		}
	}
	return list
}

// registryOf is the registry of an image reference. As for every container
// tool, a first part without a dot, a port or the name localhost is a
// repository on docker.io.
func registryOf(reference string) string {
	reference = strings.TrimPrefix(strings.TrimPrefix(reference, "https://"), "oci://")
	host, _, ok := strings.Cut(reference, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "docker.io"
	}
	return host
}
