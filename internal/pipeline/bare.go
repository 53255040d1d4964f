package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
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
// the build's image tell of, and where these are silent the organization's
// defaults, which are for the builds of bundles and for archives by hand. Where
// nothing tells the package they are Rejected.
func (m Manifests) identified(ctx context.Context, defaults BundleDefaults) (Manifests, error) {
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
	}
	labels := m.Build.Labels
	if b := m.Build; !b.Trigger.Given.IsZero() || slices.Contains(b.Subtypes, SubtypeBundle) {
		labels = defaults.complete(labels)
	}
	if labels[labelPackage] == "" {
		return m, Reject(ReasonNoPackage, errors.New("no package manifest, no bundle annotations, "+
			"no labels of a bundle image and no bundle_defaults: the package and its channels are unknown"))
	}
	return m.bundled(ctx, labels)
}

// complete returns the labels of an image with what they do not say.
func (d BundleDefaults) complete(labels map[string]string) map[string]string {
	all := map[string]string{
		labelPackage: d.Package, labelChannels: strings.Join(d.Channels, ","), labelDefaultChannel: d.DefaultChannel,
	}
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	for name, value := range labels {
		if _, ok := all[name]; !ok || value != "" {
			all[name] = value
		}
	}
	// A default channel is one of the channels, whoever names these.
	if labels[labelDefaultChannel] == "" && !slices.ContainsFunc(strings.Split(all[labelChannels], ","), d.isDefault) {
		delete(all, labelDefaultChannel)
	}
	return all
}

func (d BundleDefaults) isDefault(channel string) bool {
	return strings.TrimSpace(channel) == d.DefaultChannel
}

// bundled is bare content as a whole bundle.
func (m Manifests) bundled(ctx context.Context, labels map[string]string) (Manifests, error) {
	annotations := File{Path: metadataDir + "/annotations.yaml", Data: annotationsYAML(bundleAnnotations(labels))}
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

// disagreements tells which labels of the build's image say something else than
// the annotations of the bundle in its archive.
func (m Manifests) disagreements() []string {
	if m.operator.notes == nil {
		return nil
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m.Build.Labels)) {
		label, annotation := m.Build.Labels[name], at(m.operator.notes.root, "annotations", name)
		if own := textAt(annotation); isBundleLabel(name) && annotation != nil && own != label {
			list = append(list, fmt.Sprintf("%s: %s is %.200q, and %.200q among the labels of the build's image", m.operator.notes.path, name, own, label))
		}
	}
	return list
}

// isBundleLabel tells whether a label of an image is one of its bundle's
// annotations too.
func isBundleLabel(name string) bool {
	return strings.HasPrefix(name, bundleLabelPrefix) || name == labelVersions
}

// bundleAnnotations are the labels of an image that its bundle says too. Where
// the folders are is what they are here.
func bundleAnnotations(labels map[string]string) map[string]string {
	own := map[string]string{
		labelMediaType: mediaTypeRegistry, labelManifests: manifestsDir + "/", labelMetadata: metadataDir + "/",
	}
	for name, value := range labels {
		_, fixed := own[name]
		if !fixed && isBundleLabel(name) {
			own[name] = value
		}
	}
	return own
}
