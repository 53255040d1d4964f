package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
)

// SubtypeBundle is what extra.osbs_build.subtypes holds for the build of a
// bundle image. OSBS then stores the bare content of the image's manifests
// folder: what package and channels it belongs to is in the image's labels alone.
const SubtypeBundle = "operator_bundle"

// Labels that belong into a bundle's annotations: all that OLM defines, by
// operator-registry's docs/design/operator-bundle.md, and the one by which
// catalogs of OpenShift choose.
const (
	bundleLabelPrefix = "operators.operatorframework.io."
	labelVersions     = "com.redhat.openshift.versions"
)

// identified is the manifests with a package to belong to. Those that name none
// themselves, the bare content of a bundle, become the bundle that the labels of
// the build's image tell of. Where nothing tells the package they are Rejected.
func (m Manifests) identified(ctx context.Context) (Manifests, error) {
	op := m.operator
	switch {
	case op.layout == layoutBundle || op.pkg != nil:
		return m, nil
	case len(m.faults) > 0:
		return m, Reject(ReasonInvalidManifests, &Invalid{Faults: m.faults})
	case len(op.ofKind(kindCSV)) == 0:
		return m, Reject(ReasonInvalidManifests, &Invalid{Faults: []Fault{
			{Text: "no package manifest and no ClusterServiceVersion: this is not an operator"},
		}})
	case m.Build.Labels[labelPackage] == "":
		return m, Reject(ReasonNoPackage, errors.New(
			"no package manifest, no bundle annotations, and no labels of a bundle image: the package and its channels are unknown"))
	}
	return m.bundled(ctx)
}

// bundled is bare content as a whole bundle.
func (m Manifests) bundled(ctx context.Context) (Manifests, error) {
	annotations := File{Path: metadataDir + "/annotations.yaml", Data: annotationsYAML(bundleAnnotations(m.Build.Labels))}
	files := []File{annotations}
	for _, f := range m.Files {
		if strings.Contains(f.Path, "/") {
			return m, Reject(ReasonInvalidManifests, &Invalid{Faults: []Fault{
				{File: f.Path, Text: fmt.Sprintf("lies in a folder: a bundle's %s folder has none", manifestsDir)},
			}})
		}
		files = append(files, File{Path: path.Join(manifestsDir, f.Path), Data: f.Data})
	}
	sortFiles(files)
	m.Files = files
	parsed := make(map[string]document, len(m.operator.manifests))
	for _, of := range m.operator.manifests {
		doc := of.document
		doc.file.Path = path.Join(manifestsDir, of.path)
		parsed[doc.file.Path] = doc
	}
	var err error
	m.operator, m.faults, err = readOperatorOf(ctx, files, parsed)
	return m, err
}

// bundleAnnotations are the labels of an image that its bundle says too. Where
// the folders are is what they are here.
func bundleAnnotations(labels map[string]string) map[string]string {
	own := map[string]string{
		labelMediaType: mediaTypeRegistry, labelManifests: manifestsDir + "/", labelMetadata: metadataDir + "/",
	}
	for name, value := range labels {
		_, fixed := own[name]
		if !fixed && (strings.HasPrefix(name, bundleLabelPrefix) || name == labelVersions) {
			own[name] = value
		}
	}
	return own
}
