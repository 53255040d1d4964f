package pipeline

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// relateImages makes spec.relatedImages of a ClusterServiceVersion that has none
// say all images that it names, which is what mirrors go by. Where it says some
// itself, its list is its own; but it has to choose between that and
// RELATED_IMAGE_ variables, which say the same.
func (d *draft) relateImages(m manifest) {
	const where = "spec.relatedImages"
	if present(m.root, "spec", "relatedImages") {
		for c := range deployed(m) {
			if variables := relatedVariables(c); len(variables) > 0 {
				d.fault(m, where, fmt.Errorf("pin_digests: is there beside %.100s and the like: which of them counts is for the operator to say",
					textAt(variables[0], "name")))
				return
			}
		}
		return
	}
	related := relatedImagesOf(m)
	if len(related) == 0 {
		return
	}
	edit, err := insertRelated(m.document, related)
	if err != nil {
		d.fault(m, where, fmt.Errorf("pin_digests: %w", err))
		return
	}
	d.apply(m.path, edit)
}

// relatedImagesOf lists the images of a CSV under names of their own: those of
// variables by what follows RELATED_IMAGE_, those of containers by the container,
// the others by their repository.
func relatedImagesOf(m manifest) []entry {
	var list []entry
	names, images := make(map[string]int), make(map[string]bool) // names: how many begin so
	add := func(name, image string) {
		if images[image] || !isReference(image) {
			return
		}
		unique := name
		for names[unique] > 0 {
			names[name]++
			unique = name + "-" + strconv.Itoa(names[name])
		}
		names[unique], images[image] = 1, true
		list = append(list, entry{unique, image})
	}
	for c := range deployed(m) {
		for _, v := range relatedVariables(c) {
			add(strings.ToLower(strings.TrimPrefix(textAt(v, "name"), relatedImagePrefix)), textAt(v, "value"))
		}
		add(textAt(c, "name"), textAt(c, "image"))
	}
	for _, s := range imagesIn(m.root, maxImages) {
		for _, at := range s.refs {
			if ref := at.of(s.node.Value); s.sure && !at.loose {
				repository := repositoryIn(ref)
				add(repository[strings.LastIndexByte(repository, '/')+1:], ref)
			}
		}
	}
	return list
}

// insertRelated puts a list of related images in front of what else spec says.
func insertRelated(doc document, related []entry) (treeEdit, error) {
	key, spec, err := editable(doc.root, "spec")
	if err != nil {
		return treeEdit{}, err
	}
	if spec == nil || spec.Kind != yaml.MappingNode {
		return treeEdit{}, errors.New("spec is " + kindOf(spec) + ", not a mapping")
	}
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	var flow []string
	for _, r := range related {
		list.Content = append(list.Content, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{
			quotedNode("name"), quotedNode(r.key), quotedNode("image"), quotedNode(r.value),
		}})
		flow = append(flow, fmt.Sprintf(`{"name": %q, "image": %q}`, r.key, r.value))
	}
	edit := treeEdit{meant: doc}
	edit.meant.root = with(doc.root, list, "spec", "relatedImages")
	at, err := insertInto(doc.file.Data, key, spec, `"relatedImages": [`+strings.Join(flow, ", ")+`]`,
		func(indent, newline string) string {
			var out strings.Builder
			out.WriteString(indent + "relatedImages:" + newline)
			for _, r := range related {
				out.WriteString(indent + "- name: " + strconv.Quote(r.key) + newline + indent + "  image: " + strconv.Quote(r.value) + newline)
			}
			return out.String()
		})
	edit.spans = []span{at}
	return edit, err
}
