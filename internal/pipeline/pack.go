package pipeline

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// pack makes the bundles of a validated operator. files are the archive's, as
// rewritten.
func pack(rel Release, op operator, files []File) (Release, error) {
	repository, err := rel.repository()
	if err != nil {
		return rel, err
	}
	p := packer{rel: &rel, op: op, data: byPath(files), packed: make(map[string]bool)}
	if op.layout == layoutBundle {
		p.bundle()
	} else {
		p.packageManifests()
	}
	if len(rel.Bundles) == 0 {
		return rel, Reject(ReasonInvalidManifests, errors.New("no channel leads to any ClusterServiceVersion"))
	}
	if n := namesSize(rel.Bundles); n > maxNames {
		return rel, Reject(ReasonInvalidManifests, fmt.Errorf("names and channels of all bundles are %d bytes, more than %d", n, maxNames))
	}
	for i := range rel.Bundles {
		b := &rel.Bundles[i]
		b.Repository = repository
		b.Tags, err = bundleTags(rel.Organization.Tags, rel.Package, b.Version, rel.Build.NVR, len(rel.Bundles) > 1)
		if err != nil {
			return rel, Reject(ReasonInvalidManifests, err)
		}
		if !rel.Build.NVR.IsZero() {
			b.Labels[LabelBuildID] = strconv.FormatInt(rel.Build.ID, 10)
			b.Labels[LabelBuildNVR] = rel.Build.NVR.String()
		}
		sortFiles(b.Files)
	}
	p.warnUnpacked(files)
	return rel, nil
}

// repository is where the package goes: where the request says, or else where
// the organization's packages go.
func (r Release) repository() (string, error) {
	template, reason := r.Organization.Repository, ReasonInvalidManifests
	if asked := r.Build.Trigger.Repository; asked != "" {
		template, reason = asked, ReasonInvalidEvent
	}
	repository, err := ExpandRepository(r.Organization.Name, template, r.Package)
	if err != nil {
		return "", Reject(reason, err)
	}
	return repository, nil
}

// maxNames bounds what a result event says of bundles, so that it can be said
// at all: NATS takes messages of 1 MiB. The largest real package has 69 bundles
// and 13 KiB.
const maxNames = 256 << 10

func namesSize(bundles []Bundle) int {
	n := 0
	for _, b := range bundles {
		const rest = 500 // repository, digest, tags and the words around them
		n += rest + len(b.CSV) + len(b.Version)
		for _, c := range b.Channels {
			n += len(c) + len(`"",`)
		}
	}
	return n
}

type packer struct {
	rel    *Release
	op     operator
	data   map[string][]byte
	packed map[string]bool // paths in the archive that went into a bundle
}

// take returns a file of the archive under its name in a bundle.
func (p *packer) take(name, inBundle string) File {
	p.packed[name] = true
	return File{Path: inBundle, Data: p.data[name]}
}

// bundle packs an archive that is a bundle already: its two folders as they
// are, its annotations as the labels.
func (p *packer) bundle() {
	c := newCSV(ofKindIn(p.op.inFolder(manifestsDir), kindCSV)[0])
	b := Bundle{CSV: c.name, Version: c.version.Original(), Labels: make(map[string]string)}
	notes := at(p.op.notes.root, "annotations")
	for i := 0; i+1 < len(notes.Content); i += 2 {
		key, value := follow(notes.Content[i]), follow(notes.Content[i+1])
		if key.Kind == yaml.ScalarNode && value.Kind == yaml.ScalarNode {
			b.Labels[key.Value] = value.Value
		}
	}
	b.Channels = splitChannels(b.Labels[labelChannels])
	b.DefaultChannel = b.Labels[labelDefaultChannel]
	for _, m := range p.op.manifests {
		b.Files = append(b.Files, p.take(m.path, m.path))
	}
	p.rel.Bundles = []Bundle{b}
}

func splitChannels(label string) []string {
	var list []string
	for _, c := range strings.Split(label, ",") {
		if c = strings.TrimSpace(c); c != "" {
			list = append(list, c)
		}
	}
	return list
}

// packageManifests packs a bundle for each CSV that a channel leads to.
func (p *packer) packageManifests() {
	channels, csvs := p.op.channels(), p.op.csvs()
	defaultChannel := textAt(p.op.pkg.root, "defaultChannel")
	if defaultChannel == "" && len(channels) == 1 {
		defaultChannel = channels[0].name
	}
	member := channelsOf(channels, csvs)
	p.packed[p.op.pkg.path] = true
	for _, c := range csvs {
		if len(member[c.name]) == 0 {
			p.packed[c.path] = true
			p.rel.Warnings = append(p.rel.Warnings, fmt.Sprintf("%s: no channel leads to %s, it is not published", c.path, c.name))
			continue
		}
		b := Bundle{CSV: c.name, Version: c.version.Original(), Channels: member[c.name], DefaultChannel: defaultChannel}
		b.Labels = bundleLabels(p.rel.Package, b)
		notes := File{Path: metadataDir + "/annotations.yaml", Data: annotationsYAML(b.Labels)}
		b.Files = append(p.manifestsOf(c), notes)
		p.rel.Bundles = append(p.rel.Bundles, b)
	}
}

// manifestsOf are the files of one CSV in its bundle.
func (p *packer) manifestsOf(c csv) []File {
	var files []File
	for _, m := range p.op.manifestsOf(c) {
		files = append(files, p.take(m.path, manifestsDir+"/"+path.Base(m.path)))
	}
	return files
}

// manifestsOf are those of one CSV: in a flat archive the CRDs it owns, in a
// nested one everything in its folder. Where a flat archive holds one CSV only,
// every other object is its own.
func (o operator) manifestsOf(c csv) []manifest {
	alone := o.layout == layoutNested || len(o.ofKind(kindCSV)) == 1
	return slices.DeleteFunc(o.inFolder(path.Dir(c.path)), func(m manifest) bool {
		owned := m.kind == kindCRD && slices.Contains(c.owned, m.name)
		other := m.kind != kindCSV && m.kind != kindPackage && m.kind != ""
		return m.path != c.path && !owned && (!alone || !other)
	})
}

func bundleLabels(pkg string, b Bundle) map[string]string {
	labels := map[string]string{
		labelMediaType: mediaTypeRegistry,
		labelManifests: manifestsDir + "/",
		labelMetadata:  metadataDir + "/",
		labelPackage:   pkg,
		labelChannels:  strings.Join(b.Channels, ","),
	}
	if b.DefaultChannel != "" {
		labels[labelDefaultChannel] = b.DefaultChannel
	}
	return labels
}

// annotationsYAML writes the labels as a bundle's annotations file, sorted. Every
// escape of a quoted Go string is one of YAML's too.
func annotationsYAML(labels map[string]string) []byte {
	out := []byte("annotations:\n")
	keys := make([]string, 0, len(labels))
	for key := range labels {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		out = fmt.Appendf(out, "  %s: %s\n", key, strconv.Quote(labels[key]))
	}
	return out
}

// warnUnpacked names the files of the archive that are not published.
func (p *packer) warnUnpacked(files []File) {
	whole := "any bundle"
	if p.rel.Application != nil {
		whole = "the release"
	}
	var left []string
	for _, f := range files {
		if !p.packed[f.Path] {
			left = append(left, f.Path)
		}
	}
	const shown = 20
	if n := len(left); n > shown {
		left = append(left[:shown], fmt.Sprintf("and %d more", n-shown))
	}
	if len(left) > 0 {
		p.rel.Warnings = append(p.rel.Warnings, "not part of "+whole+": "+strings.Join(left, ", "))
	}
}
