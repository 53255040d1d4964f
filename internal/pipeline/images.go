package pipeline

import (
	"fmt"
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

// imageReferences lists the scalars that name container images: the keys
// image and containerImage, and RELATED_IMAGE_ environment variables.
func imageReferences(n *yaml.Node, list []*yaml.Node) []*yaml.Node {
	if n == nil {
		return list
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			v := follow(n.Content[i+1])
			switch key := n.Content[i].Value; {
			case v.Kind != yaml.ScalarNode || v.Value == "":
			case key == "image", key == "containerImage",
				key == "value" && strings.HasPrefix(textAt(n, "name"), "RELATED_IMAGE_"):
				list = append(list, v)
			}
		}
	}
	for _, child := range n.Content {
		list = imageReferences(child, list)
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
