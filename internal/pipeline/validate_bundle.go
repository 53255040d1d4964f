package pipeline

import (
	"fmt"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// bundle checks a whole bundle.
func (r *report) bundle(op operator) {
	inside := op.inFolder(manifestsDir)
	csvs := ofKindIn(inside, kindCSV)
	if len(csvs) != 1 { // opm takes the first of several, and crashes on none
		r.faults = append(r.faults, Fault{File: manifestsDir, Text: "holds no ClusterServiceVersion"})
		if len(csvs) > 1 {
			r.faults[len(r.faults)-1].Text = "holds several ClusterServiceVersions"
		}
	}
	for _, m := range csvs {
		r.bundleCSV(m, ofKindIn(inside, kindCRD))
	}
	for _, m := range inside {
		r.bundleObject(m)
	}
	for _, m := range op.manifests {
		if strings.HasPrefix(path.Dir(m.path), manifestsDir+"/") {
			r.faultf(m, "", "lies in a folder below %s", manifestsDir)
		}
	}
	r.annotationsFile(op)
	for _, m := range op.inFolder(metadataDir) {
		r.dependencies(m)
	}
	r.olmVerdict(op)
}

// bundleCSV checks what its image is named and ordered by, which opm does not:
// it passes a CSV without a version. The rest is for operator-framework/api.
func (r *report) bundleCSV(m manifest, crds []manifest) {
	if meta := r.mapping(m, m.root, "", "metadata"); meta != nil {
		r.str(m, meta, "metadata", "name")
	}
	spec := r.mapping(m, m.root, "", "spec")
	if spec == nil {
		return
	}
	r.version(m, spec)
	r.place(m, spec)
	r.opmOwned(m, crds)
}

// crdKey is what opm finds an owned CRD by.
type crdKey struct{ name, version, kind string }

// opmOwned checks that every CRD a CSV owns lies beside it. opm also compares
// the group, which no CRD's key there has, so it refuses every entry with one;
// what reads bundles into a catalog does not, and neither does this.
func (r *report) opmOwned(m manifest, crds []manifest) {
	beside := make(map[crdKey]bool)
	for _, crd := range crds {
		kind := textAt(crd.root, "spec", "names", "kind")
		versions := versionNames(crd)
		if v := textAt(crd.root, "spec", "version"); v != "" && textAt(crd.root, "apiVersion") == crdV1beta1 {
			versions = []string{v}
		}
		for _, v := range versions {
			beside[crdKey{crd.name, v, kind}] = true
		}
	}
	for i, owned := range items(at(m.root, "spec", csvCRDs, "owned")) {
		key := crdKey{textAt(owned, "name"), textAt(owned, "version"), textAt(owned, "kind")}
		keys := fmt.Sprintf("%s[%d]", csvOwnedCRDs, i)
		switch {
		case !beside[key]:
			r.faultf(m, keys, "the CRD %.300s with version %.100s and kind %.100s is not in the bundle", key.name, key.version, key.kind)
		case textAt(owned, "group") != "":
			r.warnf("%s: %s.group: opm's validation refuses an owned CRD with a group, though catalogs take it", m.path, keys)
		}
	}
}

// bundleKinds are those that OLM installs from a bundle, by operator-registry's
// pkg/lib/bundle/supported_resources.go.
var bundleKinds = map[string]bool{
	kindCSV: true, kindCRD: true, "Secret": true, "ConfigMap": true, "Service": true, "ServiceAccount": true,
	"Role": true, "RoleBinding": true, "ClusterRole": true, "ClusterRoleBinding": true, "NetworkPolicy": true,
	"PodDisruptionBudget": true, "PriorityClass": true, "VerticalPodAutoscaler": true,
	"PrometheusRule": true, "ServiceMonitor": true, "PodMonitor": true,
	"ConsoleYAMLSample": true, "ConsoleQuickStart": true, "ConsoleCLIDownload": true, "ConsoleLink": true, "ConsolePlugin": true,
}

// bundleObject checks one file of a bundle's manifests.
func (r *report) bundleObject(m manifest) {
	switch {
	case strings.HasPrefix(path.Base(m.path), "."):
		r.faultf(m, "", "is a hidden file, which would be left out in silence")
	case m.kind == "":
		r.faultf(m, "kind", "is missing, or not a string")
	case !bundleKinds[m.kind]:
		r.faultf(m, "kind", "%.100s is not one that a bundle may hold", m.kind)
	case m.kind != kindCSV && m.kind != kindCRD:
		r.objectMeta(m)
	}
}

// objectMeta checks what kubectl needs of an object, as opm does: the metadata's
// types, a name, no namespace (OLM chooses it), legal labels and annotations.
func (r *report) objectMeta(m manifest) {
	var object struct {
		metav1.TypeMeta
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	anyName := func(string, bool) []string { return nil }
	var found field.ErrorList
	err := guarded(func() error {
		if err := decode(m.root, &object); err != nil {
			return err
		}
		found = validation.ValidateObjectMeta(&object.Metadata, false, anyName, field.NewPath("metadata"))
		return nil
	})
	if err != nil {
		r.faultf(m, "", "%s", oneLine(err.Error()))
	}
	for _, err := range found {
		r.faultf(m, err.Field, "%s", oneLine(err.ErrorBody()))
	}
}
