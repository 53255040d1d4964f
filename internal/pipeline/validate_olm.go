package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	olm "github.com/operator-framework/api/pkg/validation"
	olmerrors "github.com/operator-framework/api/pkg/validation/errors"
	olmvalidators "github.com/operator-framework/api/pkg/validation/interfaces"
	apiv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// API versions of a CRD.
const (
	crdV1      = "apiextensions.k8s.io/v1"
	crdV1beta1 = "apiextensions.k8s.io/v1beta1"
)

// olmFinding is what operator-framework/api's validators make of a manifest.
type olmFinding struct {
	Fault
	refused   bool // else it is advice
	tolerated bool // refused, though clusters run operators that have it
}

// olmVerdict tells what the api's default validators make of an operator. They
// decide on a bundle, and advise on package manifests.
func (r *report) olmVerdict(op operator) {
	var refused, advice remarks
	for _, f := range olmFindings(op) {
		switch {
		case !f.refused:
			advice.add(f.File, f.Path, f.Text)
		case op.layout == layoutBundle && !f.tolerated:
			r.faults = append(r.faults, f.Fault)
		default:
			refused.add(f.File, f.Path, f.Text)
		}
	}
	r.warnings = append(r.warnings, refused.texts("operator-framework/api refuses: ")...)
	r.warnings = append(r.warnings, advice.texts("operator-framework/api advises: ")...)
}

// olmFindings runs the validators over every CSV together with what is in the
// bundle that it is or becomes.
func olmFindings(op operator) []olmFinding {
	c := olmChecker{bundle: op.layout == layoutBundle, crds: make(map[string]any)}
	if op.pkg != nil {
		c.packageManifest(*op.pkg)
	}
	for _, m := range op.csvManifests() {
		c.unit(op, m)
	}
	return c.found
}

type olmChecker struct {
	bundle bool
	crds   map[string]any // decoded, by path; nil for those that do not decode
	found  []olmFinding
}

// guarded runs others' code on hostile input.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("validation panicked: %v", p)
		}
	}()
	return do()
}

// check notes what a validator says of an object that was made of a manifest.
// The order of its results is random.
func (c *olmChecker) check(m manifest, v olmvalidators.Validator, object any) {
	var found []olmFinding
	err := guarded(func() error {
		for _, result := range v.Validate(object) {
			for _, e := range slices.Concat(result.Errors, result.Warnings) {
				found = append(found, findingOf(m, e))
			}
		}
		return nil
	})
	slices.SortFunc(found, func(a, b olmFinding) int { return strings.Compare(a.String(), b.String()) })
	c.found = append(c.found, found...)
	if err != nil {
		c.refuse(m, err.Error())
	}
}

func (c *olmChecker) refuse(m manifest, text string) {
	c.found = append(c.found, olmFinding{Fault: Fault{File: m.path, Text: oneLine(text)}, refused: true})
}

func findingOf(m manifest, e olmerrors.Error) olmFinding {
	said := e.Detail
	switch v := e.BadValue.(type) {
	case error:
		said += ": " + v.Error()
	case schema.GroupVersionKind:
		said += ": " + v.String()
	}
	said = strings.TrimPrefix(said, e.Field+": ")
	said = strings.TrimPrefix(said, "("+m.name+") ")
	return olmFinding{
		Fault:     Fault{File: m.path, Path: e.Field, Text: oneLine(said)},
		refused:   e.Level == olmerrors.LevelError,
		tolerated: tolerated(m, e),
	}
}

// tolerated tells whether the api is alone in minding something: OLM installs
// operators that have it, and so do real catalogs hold them.
func tolerated(m manifest, e olmerrors.Error) bool {
	switch {
	case m.kind == kindCRD && e.Field == "spec.preserveUnknownFields":
		return textAt(m.root, "apiVersion") == crdV1beta1 // where true is what it is unless set
	case m.kind == kindCRD && e.Field == "metadata.annotations[api-approved.kubernetes.io]",
		m.kind == kindCRD && e.Field == "metadata.namespace":
		return true
	case e.Type == olmerrors.ErrorInvalidOperation: // an example of something that the CSV does not provide
		return true
	}
	return e.Type == olmerrors.ErrorInvalidBundle && strings.HasSuffix(e.Detail, "but not defined in CSV")
}

func (c *olmChecker) packageManifest(m manifest) {
	var pkg manifests.PackageManifest
	if err := decode(m.root, &pkg); err != nil {
		c.refuse(m, err.Error())
		return
	}
	c.check(m, olm.PackageManifestValidator, &pkg)
}

// Bounds on what the validators go through once for each other one of its kind.
// Real CRDs have up to some ten versions, and there are four install modes.
const (
	maxCRDVersions  = 200
	maxInstallModes = 100
)

// tooMany refuses a manifest with more elements in a list than there can be.
func (c *olmChecker) tooMany(m manifest, limit int, keys ...string) bool {
	n := len(items(at(m.root, keys...)))
	if n > limit {
		c.refuse(m, fmt.Sprintf("%s: are %d, more than %d", join("", keys...), n, limit))
	}
	return n > limit
}

// unit checks a CSV, the CRDs of its bundle and the bundle.
func (c *olmChecker) unit(op operator, m manifest) {
	var csv v1alpha1.ClusterServiceVersion
	if c.tooMany(m, maxInstallModes, "spec", "installModes") {
		return
	}
	err := guarded(func() error { return decode(c.quickExamples(m.root), &csv) })
	if err != nil {
		c.refuse(m, err.Error())
	} else {
		c.check(m, olm.ClusterServiceVersionValidator, &csv)
	}
	b := manifests.Bundle{Name: csv.GetName(), Package: op.packageName(), CSV: &csv}
	inside := unitOf(op, m)
	for _, other := range inside {
		switch other.kind {
		case kindCRD:
			switch crd := c.crd(other).(type) {
			case *apiv1.CustomResourceDefinition:
				b.V1CRDs = append(b.V1CRDs, crd)
			case *apiv1beta1.CustomResourceDefinition:
				b.V1beta1CRDs = append(b.V1beta1CRDs, crd)
			}
		case "ServiceAccount": // no other object interests the default validators
			object := &unstructured.Unstructured{}
			if decode(other.root, &object.Object) == nil {
				b.Objects = append(b.Objects, object)
			}
		}
	}
	if err != nil {
		return
	}
	b.Size, b.CompressedSize = sizes(inside)
	c.check(m, olm.BundleValidator, &b)
}

// unitOf lists what is, or will be, in a bundle with a CSV.
func unitOf(op operator, csv manifest) []manifest {
	if op.layout == layoutBundle {
		return op.manifests
	}
	return op.manifestsOf(newCSV(csv))
}

// crd is readCRD, once for each.
func (c *olmChecker) crd(m manifest) any {
	crd, known := c.crds[m.path]
	if !known {
		crd = c.readCRD(m)
		c.crds[m.path] = crd
	}
	return crd
}

// readCRD checks and decodes a CRD; nil for one that does not decode.
func (c *olmChecker) readCRD(m manifest) any {
	if c.tooMany(m, maxCRDVersions, "spec", "versions") {
		return nil
	}
	var whole, object any
	switch version := textAt(m.root, "apiVersion"); version {
	case crdV1:
		whole, object = &apiv1.CustomResourceDefinition{}, &apiv1.CustomResourceDefinition{}
	case crdV1beta1:
		whole, object = &apiv1beta1.CustomResourceDefinition{}, &apiv1beta1.CustomResourceDefinition{}
	default:
		c.refuse(m, fmt.Sprintf("apiVersion: %.100q is not one of a CustomResourceDefinition", version))
		return nil
	}
	err := guarded(func() error {
		if c.bundle { // schemas have to decode too
			if err := decode(m.root, whole); err != nil {
				return err
			}
		}
		return decode(withoutSchemas(m.root), object)
	})
	if err != nil {
		c.refuse(m, err.Error())
		return nil
	}
	c.check(m, olm.CustomResourceDefinitionValidator, object)
	return object
}
