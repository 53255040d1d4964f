package pipeline

import (
	"fmt"
	"slices"

	"github.com/blang/semver/v4"
	"github.com/operator-framework/api/pkg/constraints"
	"gopkg.in/yaml.v3"
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
)

// LabelExpires makes Quay delete a tag after the time it names; see its docs on tag
// expiration. A release that removes itself from the registry is never meant.
const LabelExpires = "quay.expires-after"

// annotationsFile checks metadata/annotations.yaml. Its values count, not only
// their presence, which is all that opm looks at: they become the image's labels.
func (r *report) annotationsFile(op operator) {
	if op.notes == nil {
		r.faults = append(r.faults, Fault{File: metadataDir, Text: "holds no file with annotations"})
		return
	}
	for _, m := range op.inFolder(metadataDir) {
		if m.path != op.notes.path && present(m.root, "annotations") {
			r.faultf(m, "annotations", "are also in %s", op.notes.path)
		}
	}
	notes := r.mapping(*op.notes, op.notes.root, "", "annotations")
	if notes == nil {
		return
	}
	r.labelValues(*op.notes, notes)
	if present(notes, LabelExpires) {
		r.faultf(*op.notes, "annotations."+LabelExpires, "would make Quay delete the image again")
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
	var channels []string
	if label := r.str(*op.notes, notes, "annotations", labelChannels); label != "" {
		channels = r.channelsLabel(*op.notes, label)
	}
	if !present(notes, labelDefaultChannel) {
		return
	}
	if def := r.str(*op.notes, notes, "annotations", labelDefaultChannel); def != "" && len(channels) > 0 && !slices.Contains(channels, def) {
		r.warnf("%s: annotations.%s: %.100q is none of the channels", op.notes.path, labelDefaultChannel, def)
	}
}

// labelValues checks that every annotation can be a label, and warns of those
// that readers may take for another text than the label has: 4.10 for 4.1.
func (r *report) labelValues(m manifest, notes *yaml.Node) {
	for i := 0; i+1 < len(notes.Content); i += 2 {
		key, v := notes.Content[i].Value, follow(notes.Content[i+1])
		keys := fmt.Sprintf("annotations.%.300s", key)
		if v.Kind != yaml.ScalarNode {
			r.faultf(m, keys, "is %s, not a string", kindOf(v))
		} else if _, ok := text(v); !ok {
			r.warnf("%s: %s: is not a string unless it is quoted, so the image's label %.100q and what readers make of it may disagree", m.path, keys, v.Value)
		}
	}
}

// channelsLabel checks and returns the channels in a bundle's annotations.
func (r *report) channelsLabel(m manifest, label string) []string {
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
	return channels
}

// dependencies checks a file of metadata/ that says what the bundle depends on,
// by operator-registry's docs on bundle dependencies. opm takes no notice of a
// list that is none.
func (r *report) dependencies(m manifest) {
	if !present(m.root, "dependencies") || kindOf(at(m.root, "dependencies")) == "null" {
		return
	}
	list := items(r.list(m, m.root, "", "dependencies"))
	if n := len(list); n > maxDependencies {
		r.faultf(m, "dependencies", "are %d, more than %d", n, maxDependencies)
		return
	}
	for i, d := range list {
		prefix := fmt.Sprintf("dependencies[%d]", i)
		kind := r.str(m, d, prefix, "type")
		value, keys := at(d, "value"), prefix+".value"
		switch kind {
		case "":
		case "olm.package":
			r.str(m, value, keys, "packageName")
			if v := r.str(m, value, keys, "version"); v != "" && !versionRange(v) {
				r.faultf(m, keys+".version", "%.100q is not a range of versions", v)
			}
		case "olm.gvk":
			for _, key := range []string{"group", "version", "kind"} {
				r.str(m, value, keys, key)
			}
		case "olm.label":
			r.str(m, value, keys, "label")
		case "olm.constraint":
			r.constraint(m, value, keys)
		default:
			r.faultf(m, prefix+".type", "%.100q is not known", kind)
		}
	}
}

func versionRange(s string) bool {
	parse := func() error {
		_, err := semver.ParseRange(s)
		return err
	}
	return len(s) <= maxRule && guarded(parse) == nil
}

// Bounds on the compiling of rules and ranges. Real bundles have a few
// dependencies of some hundred bytes.
const (
	maxDependencies = 100
	maxRule         = 4 << 10
)

// constraint checks an olm.constraint. opm knows those with a CEL rule only.
func (r *report) constraint(m manifest, value *yaml.Node, keys string) {
	r.optional(m, value, keys, "failureMessage")
	rule := r.str(m, value, keys, "cel", "rule")
	if len(rule) > maxRule {
		r.faultf(m, keys+".cel.rule", "has more than %d bytes", maxRule)
	}
	if rule == "" || len(rule) > maxRule {
		return
	}
	compile := func() error {
		_, err := constraints.NewCelEnvironment().Validate(rule)
		return err
	}
	if err := guarded(compile); err != nil {
		r.faultf(m, keys+".cel.rule", "%s", oneLine(err.Error()))
	}
}
