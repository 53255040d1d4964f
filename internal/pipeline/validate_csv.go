package pipeline

import (
	"encoding/json"
	"fmt"

	"github.com/Masterminds/semver/v3"
	"gopkg.in/yaml.v3"
)

const (
	csvCRDs      = "customresourcedefinitions"
	csvOwnedCRDs = "spec." + csvCRDs + ".owned"
)

// csv checks a ClusterServiceVersion of package manifests.
func (r *report) csv(m manifest) {
	r.str(m, m.root, "", "apiVersion")
	if meta := r.mapping(m, m.root, "", "metadata"); meta != nil {
		r.str(m, meta, "metadata", "name")
		r.annotations(m, meta)
	}
	spec := r.mapping(m, m.root, "", "spec")
	if spec == nil {
		return
	}
	r.version(m, spec)
	r.place(m, spec)
	r.list(m, spec, "spec", "installModes")
	r.install(m, spec)
	if present(spec, csvCRDs) {
		if definitions := r.mapping(m, spec, "spec", csvCRDs); definitions != nil {
			r.list(m, definitions, "spec."+csvCRDs, "owned")
		}
	}
}

// version has to be there and semantic, which operator-courier left to the app
// registry's release: a bundle image has it in its tag, and OLM orders updates
// by it.
func (r *report) version(m manifest, spec *yaml.Node) {
	if v := r.str(m, spec, "spec", "version"); v != "" {
		if _, err := semver.StrictNewVersion(v); err != nil {
			r.faultf(m, "spec.version", "%.100q is not a semantic version", v)
		}
	}
}

// place checks the types of what says where a CSV stands among the others. A
// wrong one would otherwise count as none.
func (r *report) place(m manifest, spec *yaml.Node) {
	r.optional(m, spec, "spec", "replaces")
	if kindOf(at(spec, "skips")) == "null" || !present(spec, "skips") {
		return
	}
	for i, skipped := range items(r.list(m, spec, "spec", "skips")) {
		if _, ok := text(skipped); !ok {
			r.faultf(m, fmt.Sprintf("spec.skips[%d]", i), "is not a string")
		}
	}
}

func (r *report) install(m manifest, spec *yaml.Node) {
	install := r.mapping(m, spec, "spec", "install")
	if install == nil {
		return
	}
	if s := r.str(m, install, "spec.install", "strategy"); s != "" && s != "deployment" {
		r.faultf(m, "spec.install.strategy", "is %.100q, not deployment", s)
	}
	strategy := r.mapping(m, install, "spec.install", "spec")
	if strategy == nil {
		return
	}
	r.list(m, strategy, "spec.install.spec", "deployments")
	for _, key := range []string{"permissions", "clusterPermissions"} {
		if present(strategy, key) {
			r.list(m, strategy, "spec.install.spec", key)
		}
	}
}

func (r *report) annotations(m manifest, meta *yaml.Node) {
	const prefix = "metadata.annotations"
	if !present(meta, "annotations") {
		return
	}
	notes := r.mapping(m, meta, "metadata", "annotations")
	if certified := at(notes, "certified"); certified != nil {
		if _, ok := text(certified); !ok {
			r.faultf(m, prefix+".certified", "is not a string")
		}
	}
	examples := at(notes, "alm-examples")
	if examples == nil {
		return
	}
	if s, ok := text(examples); !ok {
		r.faultf(m, prefix+".alm-examples", "is not a string")
	} else if !json.Valid([]byte(s)) {
		r.faultf(m, prefix+".alm-examples", "is not JSON")
	}
}
