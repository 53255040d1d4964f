package pipeline

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// checkRegistries notes every image of the operator that does not come from
// one of the allowed registries.
func (r *report) checkRegistries(op operator, allowed []string) {
	found, fault := imagesOf(op.manifests)
	if fault != nil {
		r.faults = append(r.faults, *fault)
	}
	for i, images := range found {
		m := op.manifests[i]
		for _, s := range images {
			for _, at := range s.refs {
				ref := at.of(s.node.Value)
				if host := registryOf(ref); !slices.Contains(allowed, host) {
					r.faultf(m, fmt.Sprintf("line %d", s.node.Line), "%.200q is from %.200s, not from an allowed registry", ref, host)
				}
			}
		}
	}
}

// images warns of what the images of an operator may not do once it is
// published: stay the same, be mirrored, run everywhere.
func (r *report) images(op operator) {
	unpinned := make(map[string]bool)
	var unlisted, archs remarks
	csvs := op.csvManifests()
	found, fault := imagesOf(csvs)
	if fault != nil {
		r.faults = append(r.faults, *fault)
		return
	}
	for i, m := range csvs {
		for _, s := range found[i] {
			for _, at := range s.refs {
				if ref := at.of(s.node.Value); !isPinned(ref) {
					unpinned[ref] = true
				}
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
	for c := range deployed(m) {
		run[textAt(c, "image")] = true
		for _, v := range relatedVariables(c) {
			run[textAt(v, "value")] = true
		}
	}
	maps.DeleteFunc(run, func(image string, _ bool) bool { return image == "" || listed[image] })
	return slices.Sorted(maps.Keys(run))
}

// deployed yields the containers that a CSV deploys, init containers first.
func deployed(m manifest) iter.Seq[*yaml.Node] {
	return func(yield func(*yaml.Node) bool) {
		for _, d := range items(at(m.root, "spec", "install", "spec", "deployments")) {
			for _, kind := range []string{"initContainers", "containers"} {
				for _, c := range items(at(d, "spec", "template", "spec", kind)) {
					if !yield(c) {
						return
					}
				}
			}
		}
	}
}

// relatedVariables lists the variables of a container that name images.
func relatedVariables(container *yaml.Node) []*yaml.Node {
	return slices.DeleteFunc(items(at(container, "env")), func(v *yaml.Node) bool {
		return !strings.HasPrefix(textAt(v, "name"), relatedImagePrefix)
	})
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
