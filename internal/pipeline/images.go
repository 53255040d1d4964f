package pipeline

import (
	"fmt"
	"maps"
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

// images warns of what the images of an operator may not do once it is
// published: stay the same, be mirrored, run everywhere.
func (r *report) images(op operator) {
	unpinned := make(map[string]bool)
	var unlisted, archs remarks
	for _, m := range op.csvManifests() {
		for _, ref := range imageReferences(m.root, nil) {
			if !strings.Contains(ref.Value, "@sha256:") {
				unpinned[ref.Value] = true
			}
		}
		if missing := unrelated(m); len(missing) > 0 && !present(m.root, "spec", "relatedImages") {
			unlisted.add(m.path, "spec.relatedImages", "is missing, so what the operator runs will not be mirrored")
		} else if len(missing) > 0 {
			unlisted.add(m.path, "spec.relatedImages", "lacks what the operator runs, so it will not be mirrored: "+some(missing))
		}
		if list := architectures(m); len(list) > 1 {
			archs.add(m.path, "metadata.labels", "promise "+some(list)+"; whether every image is there for each was not looked at")
		}
	}
	if list := slices.Sorted(maps.Keys(unpinned)); len(list) > 0 {
		r.warnf("images without a digest, which may change: %s", some(list))
	}
	r.warnings = slices.Concat(r.warnings, unlisted.texts(""), archs.texts(""))
}

// some names the first elements of a list, and how many there are beyond them.
func some(list []string) string {
	const shown = 5
	short := make([]string, 0, shown)
	for _, s := range list[:min(shown, len(list))] {
		short = append(short, fmt.Sprintf("%.200s", s))
	}
	text := strings.Join(short, ", ")
	if more := len(list) - shown; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// unrelated lists the images that a CSV runs, itself or by RELATED_IMAGE_
// variables, and that its relatedImages lack.
func unrelated(m manifest) []string {
	listed := make(map[string]bool)
	for _, related := range items(at(m.root, "spec", "relatedImages")) {
		listed[textAt(related, "image")] = true
	}
	run := make(map[string]bool)
	for _, d := range items(at(m.root, "spec", "install", "spec", "deployments")) {
		for _, kind := range []string{"initContainers", "containers"} {
			for _, c := range items(at(d, "spec", "template", "spec", kind)) {
				run[textAt(c, "image")] = true
				for _, v := range items(at(c, "env")) {
					if strings.HasPrefix(textAt(v, "name"), "RELATED_IMAGE_") {
						run[textAt(v, "value")] = true
					}
				}
			}
		}
	}
	maps.DeleteFunc(run, func(image string, _ bool) bool { return image == "" || listed[image] })
	return slices.Sorted(maps.Keys(run))
}

// architectures lists those that a CSV says its images have.
func architectures(m manifest) []string {
	const prefix = "operatorframework.io/arch."
	labels := at(m.root, "metadata", "labels")
	if kindOf(labels) != "a mapping" {
		return nil
	}
	var list []string
	for i := 0; i+1 < len(labels.Content); i += 2 {
		if arch, ok := strings.CutPrefix(labels.Content[i].Value, prefix); ok && textAt(labels.Content[i+1]) == "supported" {
			list = append(list, arch)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
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
