package pipeline

import (
	"errors"
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"
)

// editable walks down mappings by their keys, as at does, and returns the last
// key's node and its value's; nil where a key is missing. What the nodes on the
// way share with other places, or read as by a tag of their own, is not to be
// edited: aliases, anchors and tags are errors.
func editable(root *yaml.Node, keys ...string) (key, n *yaml.Node, err error) {
	n = root
	for i := 0; ; i++ {
		switch {
		case n == nil:
			return nil, nil, nil
		case n.Kind == yaml.AliasNode:
			return nil, nil, fmt.Errorf("line %d: %s is an alias, which cannot be edited", n.Line, nameOf(key))
		case n.Anchor != "" || n.Style&yaml.TaggedStyle != 0:
			return nil, nil, fmt.Errorf("line %d: %s has an anchor or a tag, so it cannot be edited", n.Line, nameOf(key))
		case i == len(keys):
			return key, n, nil
		case n.Kind != yaml.MappingNode:
			return nil, nil, nil
		}
		at := keyIndex(n, keys[i])
		if at < 0 {
			return nil, nil, nil
		}
		key, n = n.Content[at], n.Content[at+1]
	}
}

func nameOf(key *yaml.Node) string {
	if key == nil {
		return "the document"
	}
	return key.Value
}

// keyIndex finds a key in a mapping's content, or returns -1. Of a key that is
// there twice the last counts.
func keyIndex(mapping *yaml.Node, key string) int {
	for i := len(mapping.Content) - 2; i >= 0; i -= 2 {
		if mapping.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// with returns a tree that has child at a path of keys and is the tree of n
// otherwise. Nodes that are not on the path are shared. A key that is missing
// comes first in its mapping; a mapping that is null or missing is made.
func with(n, child *yaml.Node, keys ...string) *yaml.Node {
	if len(keys) == 0 {
		return child
	}
	out := yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if n = follow(n); n != nil && n.Kind == yaml.MappingNode {
		out = *n
		out.Content = slices.Clone(n.Content)
	}
	i := keyIndex(&out, keys[0])
	if i < 0 {
		i = 0
		out.Content = append([]*yaml.Node{quotedNode(keys[0]), nil}, out.Content...)
	}
	out.Content[i+1] = with(out.Content[i+1], child, keys[1:]...)
	return &out
}

// quotedNode is a string as the edits write it.
func quotedNode(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: value}
}

// checkTree proves that a document reads exactly as meant.
func checkTree(meant, after document) error {
	if meant.more != after.more {
		return errors.New("the number of documents changes")
	}
	return checkNodes(meant.root, after.root)
}

func checkNodes(meant, after *yaml.Node) error {
	if meant == nil || after == nil {
		if meant != after {
			return errors.New("the document comes or goes")
		}
		return nil
	}
	same := meant.Kind == after.Kind && meant.Value == after.Value && meant.Anchor == after.Anchor &&
		len(meant.Content) == len(after.Content)
	if meant.Kind != yaml.AliasNode {
		same = same && meant.ShortTag() == after.ShortTag()
	}
	if meant.Kind == yaml.ScalarNode { // quotes make a string of a word that YAML 1.1 reads as a boolean
		_, wasString := text(meant)
		_, isString := text(after)
		same = same && wasString == isString
	}
	if !same {
		return fmt.Errorf("line %d: reads differently from what is meant", after.Line)
	}
	for i, child := range meant.Content {
		if err := checkNodes(child, after.Content[i]); err != nil {
			return err
		}
	}
	return nil
}
