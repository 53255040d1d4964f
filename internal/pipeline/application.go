package pipeline

import (
	"errors"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// bundleFile is the one file of a flat archive's release. The largest real one
// has half a megabyte.
const (
	bundleFile     = "bundle.yaml"
	maxBundleBytes = 32 << 20
	maxBundleNodes = maxYAMLMarks // only aliases can make more nodes than marks
)

// packApplication makes the content of a release of a validated operator for an
// app registry, as operator-courier 2.1.11 did: of a nested archive its files,
// of a flat one a generated bundle.yaml. files are the archive's, as rewritten.
// The same manifests give the same bytes. A bundle is Rejected: nothing that
// reads an app registry reads bundles.
func packApplication(rel Release, op operator, files []File) (Release, error) {
	if op.layout == layoutBundle {
		return rel, Reject(ReasonNotSupported,
			errors.New("the archive is a bundle, and an app registry takes package manifests only"))
	}
	repository, err := rel.repository()
	if err != nil {
		return rel, err
	}
	app := Application{Repository: repository, Version: rel.Build.Trigger.Version}
	p := packer{rel: &rel, op: op, packed: make(map[string]bool)}
	if op.layout == layoutNested {
		app.Files = p.tree(files)
	} else if app.Files, err = p.flatBundle(); err != nil {
		return rel, err
	}
	rel.Application = &app
	p.warnUnpacked(files)
	return rel, nil
}

// tree takes every file as it is, but for two names that belong to the tools
// which build operators.
func (p *packer) tree(files []File) []File {
	var taken []File
	for _, f := range files {
		if name := path.Base(f.Path); name != "art.yaml" && name != "image-references" {
			p.packed[f.Path] = true
			taken = append(taken, f)
		}
	}
	return taken
}

// flatBundle makes the one file of a flat archive: the manifests at its root, a
// list for each kind, and each list a string of YAML.
func (p *packer) flatBundle() ([]File, error) {
	z := normalizer{nodesLeft: maxBundleNodes}
	data := &yaml.Node{Kind: yaml.MappingNode}
	for _, part := range []struct{ key, kind string }{
		{"clusterServiceVersions", kindCSV},
		{"customResourceDefinitions", kindCRD},
		{"packages", kindPackage},
	} {
		text, err := p.listOf(part.kind, &z)
		if err != nil {
			return nil, err
		}
		data.Content = append(data.Content, stringNode(part.key, true), stringNode(text, false))
	}
	root := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{stringNode("data", true), data}}
	text, err := writeYAML(root, maxBundleBytes)
	if err != nil {
		return nil, err
	}
	return []File{{Path: bundleFile, Data: []byte(text)}}, nil
}

// listOf writes the manifests of a kind that lie at the root as one list, in the
// order of their paths; "" when there are none.
func (p *packer) listOf(kind string, z *normalizer) (string, error) {
	manifests := ofKindIn(p.op.inFolder("."), kind)
	if len(manifests) == 0 {
		return "", nil
	}
	slices.SortFunc(manifests, func(a, b manifest) int { return strings.Compare(a.path, b.path) })
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, m := range manifests {
		object, err := z.copy(m.root)
		if err != nil {
			return "", Reject(ReasonInvalidManifests, &Invalid{Faults: []Fault{{File: m.path, Text: err.Error()}}})
		}
		list.Content = append(list.Content, object)
		p.packed[m.path] = true
	}
	return writeYAML(list, maxBundleBytes)
}
