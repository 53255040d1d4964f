package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// ownedCRDs checks that every CRD a CSV owns lies beside it and agrees. beside
// has the CRDs by name.
func (r *report) ownedCRDs(m manifest, beside map[string][]manifest) {
	for i, owned := range items(at(m.root, "spec", "customresourcedefinitions", "owned")) {
		prefix := fmt.Sprintf("spec.customresourcedefinitions.owned[%d]", i)
		name := r.str(m, owned, prefix, "name")
		kind, version := r.str(m, owned, prefix, "kind"), r.str(m, owned, prefix, "version")
		if name == "" {
			continue
		}
		crds := beside[name]
		if len(crds) == 0 {
			r.faultf(m, prefix, "the CRD %s is not in the archive", name)
			continue
		}
		crd := crds[0]
		if got := textAt(crd.root, "spec", "names", "kind"); kind != "" && got != kind {
			r.faultf(m, prefix+".kind", "is %s, the CRD in %s has %s", kind, crd.path, got)
		}
		if version != "" && !slices.ContainsFunc(crds, func(c manifest) bool { return slices.Contains(crdVersions(c), version) }) {
			r.faultf(m, prefix+".version", "%s is none of the versions of the CRD in %s", version, crd.path)
		}
	}
}

func crdVersions(crd manifest) []string {
	list := []string{textAt(crd.root, "spec", "version")}
	for _, v := range items(at(crd.root, "spec", "versions")) {
		list = append(list, textAt(v, "name"))
	}
	return list
}

// crd checks a CustomResourceDefinition.
func (r *report) crd(m manifest) {
	r.str(m, m.root, "", "apiVersion")
	var name string
	if meta := r.mapping(m, m.root, "", "metadata"); meta != nil {
		name = r.str(m, meta, "metadata", "name")
	}
	spec := r.mapping(m, m.root, "", "spec")
	if spec == nil {
		return
	}
	group := r.str(m, spec, "spec", "group")
	if names := r.mapping(m, spec, "spec", "names"); names != nil {
		r.str(m, names, "spec.names", "kind")
		plural := r.str(m, names, "spec.names", "plural")
		if name != "" && group != "" && plural != "" && name != plural+"."+group {
			r.faultf(m, "metadata.name", "is %s, its plural and group make %s.%s", name, plural, group)
		}
	}
	if at(spec, "versions") == nil {
		if at(spec, "version") == nil {
			r.faultf(m, "spec", "has neither version nor versions")
		}
		return
	}
	versions := r.list(m, spec, "spec", "versions")
	stored := 0
	for i, v := range items(versions) {
		prefix := fmt.Sprintf("spec.versions[%d]", i)
		r.str(m, v, prefix, "name")
		for _, key := range []string{"served", "storage"} {
			if n := at(v, key); n == nil || n.ShortTag() != "!!bool" {
				r.faultf(m, join(prefix, key), "is not a boolean")
			}
		}
		if n := at(v, "storage"); n != nil && strings.EqualFold(n.Value, "true") {
			stored++
		}
	}
	if versions != nil && stored != 1 {
		r.faultf(m, "spec.versions", "%d of them are stored, not exactly one", stored)
	}
}
