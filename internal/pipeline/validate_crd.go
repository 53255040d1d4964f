package pipeline

import (
	"fmt"
	"maps"
	"slices"

	"gopkg.in/yaml.v3"
)

// courierOwned checks that every CRD a CSV owns lies beside it and agrees.
// beside has the CRDs by name.
func (r *report) courierOwned(m manifest, beside map[string][]manifest) {
	matches := make(map[string]bool) // by name: whether spec.version is that of any entry
	for i, owned := range items(at(m.root, "spec", csvCRDs, "owned")) {
		prefix := fmt.Sprintf("%s[%d]", csvOwnedCRDs, i)
		name := r.str(m, owned, prefix, "name")
		kind, version := r.str(m, owned, prefix, "kind"), r.str(m, owned, prefix, "version")
		if name != "" && len(beside[name]) == 0 {
			r.faultf(m, prefix, "the CRD %.300s is not in the archive", name)
		}
		for _, crd := range beside[name] {
			r.courierAgrees(m, prefix, kind, version, crd)
			if v := at(crd.root, "spec", "version"); v != nil && version != "" {
				matches[name] = matches[name] || v.Value == version
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(matches)) {
		if !matches[name] {
			r.faultf(m, csvOwnedCRDs, "has no entry with the spec.version of the CRD %.300s", name)
		}
	}
}

// courierAgrees compares an entry of the owned CRDs with one of that name.
func (r *report) courierAgrees(m manifest, prefix, kind, version string, crd manifest) {
	if got := textAt(crd.root, "spec", "names", "kind"); kind != "" && got != "" && got != kind {
		r.faultf(m, prefix+".kind", "is %.100s, the CRD in %s has %.100s", kind, crd.path, got)
	}
	if present(crd.root, "spec", "versions") && version != "" && !slices.Contains(versionNames(crd), version) {
		r.faultf(m, prefix+".version", "%.100s is none of the versions of the CRD in %s", version, crd.path)
	}
	plural, group := textAt(crd.root, "spec", "names", "plural"), textAt(crd.root, "spec", "group")
	if plural != "" && group != "" && crd.name != plural+"."+group {
		r.faultf(crd, "metadata.name", "is %.300s, its plural and group make %.300s.%.300s", crd.name, plural, group)
	}
}

func versionNames(crd manifest) []string {
	var list []string
	for _, v := range items(at(crd.root, "spec", "versions")) {
		list = append(list, textAt(v, "name"))
	}
	return list
}

// crd checks a CustomResourceDefinition of package manifests.
func (r *report) crd(m manifest) {
	r.str(m, m.root, "", "apiVersion")
	if meta := r.mapping(m, m.root, "", "metadata"); meta != nil {
		r.str(m, meta, "metadata", "name")
	}
	spec := r.mapping(m, m.root, "", "spec")
	if spec == nil {
		return
	}
	r.str(m, spec, "spec", "group")
	if names := r.mapping(m, spec, "spec", "names"); names != nil {
		r.str(m, names, "spec.names", "kind")
		r.str(m, names, "spec.names", "plural")
	}
	if present(spec, "version") {
		r.str(m, spec, "spec", "version")
	}
	if present(spec, "versions") {
		r.crdVersions(m, spec)
	} else if !present(spec, "version") {
		r.faultf(m, "spec", "has neither version nor versions")
	}
}

func (r *report) crdVersions(m manifest, spec *yaml.Node) {
	versions := r.list(m, spec, "spec", "versions")
	stored := 0
	for i, v := range items(versions) {
		prefix := fmt.Sprintf("spec.versions[%d]", i)
		r.str(m, v, prefix, "name")
		for _, key := range []string{"served", "storage"} {
			set, ok := boolean(at(v, key))
			if !ok {
				r.faultf(m, join(prefix, key), "is not a boolean")
			}
			if key == "storage" && set {
				stored++
			}
		}
	}
	if versions != nil && stored != 1 {
		r.faultf(m, "spec.versions", "%d of them are stored, not exactly one", stored)
	}
}
