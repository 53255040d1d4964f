package pipeline

import (
	"path"
	"strings"
)

// Labels of a bundle image, which annotations.yaml repeats, by
// operator-registry's docs/design/operator-bundle.md.
const (
	labelMediaType      = "operators.operatorframework.io.bundle.mediatype.v1"
	labelManifests      = "operators.operatorframework.io.bundle.manifests.v1"
	labelMetadata       = "operators.operatorframework.io.bundle.metadata.v1"
	labelPackage        = "operators.operatorframework.io.bundle.package.v1"
	labelChannels       = "operators.operatorframework.io.bundle.channels.v1"
	labelDefaultChannel = "operators.operatorframework.io.bundle.channel.default.v1"

	mediaTypeRegistry = "registry+v1"

	// labelQuayExpiry is Quay's own; see its docs on tag expiration.
	labelQuayExpiry = "quay.expires-after"
)

// bundle checks a whole bundle.
func (r *report) bundle(op operator) {
	inside := op.inFolder(manifestsDir)
	csvs := ofKindIn(inside, kindCSV)
	if len(csvs) != 1 {
		r.faults = append(r.faults, Fault{File: manifestsDir, Text: "holds no ClusterServiceVersion"})
		if len(csvs) > 1 {
			r.faults[len(r.faults)-1].Text = "holds several ClusterServiceVersions"
		}
	}
	for _, m := range csvs {
		r.csv(m, false)
		r.ownedCRDs(m, byName(ofKindIn(inside, kindCRD)))
	}
	for _, m := range ofKindIn(inside, kindCRD) {
		r.crd(m)
	}
	for _, m := range op.manifests {
		dir := path.Dir(m.path)
		switch {
		case strings.HasPrefix(dir, manifestsDir+"/"):
			r.faultf(m, "", "lies in a folder below %s", manifestsDir)
		case dir == manifestsDir && m.kind == "":
			r.faultf(m, "kind", "is missing")
		}
	}
	r.annotationsFile(op)
}

// annotationsFile checks metadata/annotations.yaml. Its values count, not only
// their presence: they become the image's labels.
func (r *report) annotationsFile(op operator) {
	if op.notes == nil {
		r.faults = append(r.faults, Fault{File: metadataDir, Text: "holds no file with annotations"})
		return
	}
	for _, m := range op.inFolder(metadataDir) {
		if m.path != op.notes.path && at(m.root, "annotations") != nil {
			r.faultf(m, "annotations", "are also in %s", op.notes.path)
		}
	}
	notes := r.mapping(*op.notes, op.notes.root, "", "annotations")
	if notes == nil {
		return
	}
	if at(notes, labelQuayExpiry) != nil {
		r.faultf(*op.notes, "annotations."+labelQuayExpiry, "would make Quay delete the image again")
	}
	for _, want := range []struct{ label, value string }{
		{labelMediaType, mediaTypeRegistry},
		{labelManifests, manifestsDir + "/"},
		{labelMetadata, metadataDir + "/"},
	} {
		if got := r.str(*op.notes, notes, "annotations", want.label); got != "" && got != want.value {
			r.faultf(*op.notes, "annotations."+want.label, "is %.100q, not %s", got, want.value)
		}
	}
	if name := r.str(*op.notes, notes, "annotations", labelPackage); name != "" && !legalPackageName(name) {
		r.faultf(*op.notes, "annotations."+labelPackage, "%.300q cannot be a repository's name", name)
	}
	if label := r.str(*op.notes, notes, "annotations", labelChannels); label != "" {
		r.channelsLabel(*op.notes, label)
	}
	if at(notes, labelDefaultChannel) != nil {
		r.str(*op.notes, notes, "annotations", labelDefaultChannel)
	}
}

// channelsLabel checks the list of channels in a bundle's annotations.
func (r *report) channelsLabel(m manifest, label string) {
	const key = "annotations." + labelChannels
	channels := splitChannels(label)
	if n := len(channels); n == 0 || n > maxChannels {
		r.faultf(m, key, "are %d, not 1 to %d", n, maxChannels)
	}
	seen := make(map[string]bool)
	for _, c := range channels {
		if seen[c] || !channelNames.MatchString(c) {
			r.faultf(m, key, "%.100q is there twice or is no channel's name", c)
		}
		seen[c] = true
	}
}
