package pipeline

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"
)

// moves tells whether a rule for images changes a reference, and to what.
func (r Rule) moves(ref string) (string, bool) {
	if !underRegistry(ref, r.Old) {
		return ref, false
	}
	return r.New + ref[len(r.Old):], true
}

// replaceImages applies rules for images, in order, to the references of every
// manifest.
func (d *draft) replaceImages(rules []Rule) []Replacement {
	told := make([]Replacement, len(rules))
	for i, r := range rules {
		told[i] = Replacement{Old: r.Old, New: r.New}
	}
	found, fault := imagesOf(d.op.manifests)
	if fault != nil {
		d.faults = append(d.faults, *fault)
		return told
	}
	for i, images := range found {
		m := d.op.manifests[i]
		d.editImages(m, images, func(path, ref string, _ textRange) string {
			for j, r := range rules {
				after, ok := r.moves(ref)
				if !ok {
					continue
				}
				told[j].Count++
				told[j].Changes = addChange(told[j].Changes, Change{File: m.path, Path: path, Before: ref, After: after})
				ref = after
			}
			return ref
		})
	}
	for _, t := range told {
		if t.Count == 0 {
			d.warnf("replace_registry: no image lies in %q", t.Old)
		} else if n := t.Count - len(t.Changes); n > 0 {
			d.warnf("replace_registry: %q is replaced in %d images, of which %d are not listed", t.Old, t.Count, n)
		}
	}
	return told
}

// maxChanges bounds how many changes of a kind are told one by one.
const maxChanges = 200

func addChange(list []Change, c Change) []Change {
	if len(list) == maxChanges {
		return list
	}
	return append(list, c)
}

// imageEdit returns what becomes of a reference. at is where in its scalar it is.
type imageEdit func(path, ref string, at textRange) string

// editImages gives each reference of a manifest that is surely one the text that
// edit returns for it. What would not be a reference any more, or cannot be
// edited, is a fault.
func (d *draft) editImages(m manifest, images []imageScalar, edit imageEdit) {
	before := len(d.faults)
	inValue := make(map[*yaml.Node][]span)
	for _, s := range images {
		if !s.sure {
			continue
		}
		switch spans, err := s.edit(edit); {
		case err != nil:
			d.fault(m, s.path, err)
		case len(spans) > 0 && s.elsewhere:
			d.fault(m, s.path, errElsewhere)
		case len(spans) > 0:
			inValue[s.node] = spans
		}
	}
	slices.SortFunc(images, func(a, b imageScalar) int { // as they are written
		return cmp.Or(cmp.Compare(a.node.Line, b.node.Line), cmp.Compare(a.node.Column, b.node.Column))
	})
	var change treeEdit
	values := make(map[*yaml.Node]string, len(inValue))
	from := newLocator(m.file.Data)
	for _, s := range images {
		changes, ok := inValue[s.node]
		if !ok {
			continue
		}
		spans, err := rawSpans(from, s, changes)
		if err != nil {
			d.fault(m, s.path, err)
		}
		change.spans = append(change.spans, spans...)
		values[s.node] = string(splice([]byte(s.node.Value), changes))
	}
	if len(d.faults) > before {
		return
	}
	change.meant = m.document
	change.meant.root = withValues(m.root, values)
	d.apply(m.path, change)
}

// edit returns the spans of the scalar's value that an edit changes.
func (s imageScalar) edit(edit imageEdit) ([]span, error) {
	var spans []span
	for _, at := range s.refs {
		before := at.of(s.node.Value)
		after := edit(s.path, before, at)
		if after == before {
			continue
		}
		if !isReference(after) || namesRegistry(before) && !namesRegistry(after) {
			return nil, fmt.Errorf("%.200q would become %.200q, which is no image", before, after)
		}
		spans = append(spans, span{at.start, at.end, []byte(after)})
	}
	return spans, nil
}

var (
	errNotAsRead = errors.New("is written in a way that cannot be edited")
	errElsewhere = errors.New("also stands, by an alias, where no image has to be, so it cannot be edited")
)

// rawSpans returns the spans of a file that change a scalar's value as inValue
// says. A reference, but for one with escapes of JSON, has no character that a
// style of YAML writes differently, so what lies between two changes holds the
// next one as often in the file as in the value. Whoever applies the spans proves
// that it was so.
func rawSpans(from *locator, s imageScalar, inValue []span) ([]span, error) {
	indent := 0
	if s.parent != nil {
		indent = s.parent.Column - 1
	}
	start, end, err := from.extent(s.node, indent)
	if err != nil {
		return nil, err
	}
	raw, value := from.data[start:end], []byte(s.node.Value)
	spans := make([]span, len(inValue))
	inRaw, read := 0, 0 // behind the change before
	for i, in := range inValue {
		ref := value[in.start:in.end]
		for passed := -1; passed < in.start; inRaw++ {
			next, nextRead := bytes.Index(raw[inRaw:], ref), bytes.Index(value[read:], ref)
			if next < 0 || nextRead < 0 {
				return nil, fmt.Errorf("line %d: %w", s.node.Line, errNotAsRead)
			}
			inRaw, passed = inRaw+next, read+nextRead
			read = passed + 1
		}
		inRaw--
		spans[i] = span{start + inRaw, start + inRaw + len(ref), in.text}
		inRaw, read = inRaw+len(ref), in.end
	}
	return spans, nil
}

// withValues returns a tree in which scalars have other values. Nodes that have
// none below them are shared.
func withValues(n *yaml.Node, values map[*yaml.Node]string) *yaml.Node {
	if n == nil || len(values) == 0 {
		return n
	}
	if value, ok := values[n]; ok {
		out := *n
		out.Value = value
		return &out
	}
	out := n
	for i, child := range n.Content {
		changed := withValues(child, values)
		if changed == child {
			continue
		}
		if out == n {
			own := *n
			own.Content = slices.Clone(n.Content)
			out = &own
		}
		out.Content[i] = changed
	}
	return out
}
