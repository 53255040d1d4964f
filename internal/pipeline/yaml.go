package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Bounds on the YAML of an archive. Of real operators the schemas are some 60
// levels deep, the largest has 312,000 marks in 10 MiB, and hardly any uses an
// alias.
const (
	maxYAMLDepth = 256
	maxYAMLMarks = 600_000   // of all files together
	maxYAMLNodes = 1_000_000 // of a file, with aliases followed; and of all files, what aliases add
	maxYAMLBytes = 64 << 20  // of a file's scalars, likewise
)

// yamlMarks counts what nodes come with: every one but the first follows a line
// end, a comma, a bracket or an indicator. Counting is a thousand times faster
// than parsing and bounds what parsing will take.
func yamlMarks(data []byte) int {
	n := 0
	for _, mark := range [...]string{"\n", "\r", ",", "[", "{", "- ", "? ", ": "} {
		n += bytes.Count(data, []byte(mark))
	}
	return n
}

// document is a parsed YAML file.
type document struct {
	file File
	root *yaml.Node // content of the first document; nil when there is none
	more bool       // whether further documents follow

	repeated []*yaml.Node // keys that are in their mapping again further down, the first of them
	aliased  treeSize     // what aliases add to the document once they are followed
}

// treeSize is the size of a part of a tree.
type treeSize struct{ nodes, bytes int }

func (s treeSize) less(other treeSize) treeSize {
	return treeSize{s.nodes - other.nodes, s.bytes - other.bytes}
}

// parseYAML reads a file that has to be YAML in UTF-8. The error is a text for
// a Fault.
func parseYAML(f File) (document, error) {
	doc := document{file: f}
	if !utf8.Valid(f.Data) {
		return doc, errors.New("is not UTF-8 text")
	}
	if hasDirective(f.Data) {
		return doc, errors.New("has a YAML directive, which not every reader takes")
	}
	dec := yaml.NewDecoder(bytes.NewReader(f.Data))
	var first, next yaml.Node
	if err := dec.Decode(&first); errors.Is(err, io.EOF) {
		return doc, nil
	} else if err != nil {
		return doc, fmt.Errorf("does not parse: %w", err)
	}
	if len(first.Content) > 0 {
		doc.root = first.Content[0]
	}
	if err := dec.Decode(&next); err == nil {
		doc.more = true
	} else if !errors.Is(err, io.EOF) {
		return doc, fmt.Errorf("does not parse: %w", err)
	}
	var size yamlSize
	err := size.add(doc.root, 0)
	doc.repeated, doc.aliased = size.repeated, size.aliased
	return doc, err
}

// hasDirective tells whether a line starts with % before the first content.
func hasDirective(data []byte) bool {
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\ufeff"))) {
		switch line = bytes.TrimSpace(line); {
		case len(line) == 0 || line[0] == '#':
		default:
			return line[0] == '%'
		}
	}
	return false
}

// yamlSize adds up what a document becomes once every alias is followed.
type yamlSize struct {
	treeSize
	aliased  treeSize // the part of it that only aliases lead to
	repeated []*yaml.Node
}

func (s *yamlSize) add(n *yaml.Node, depth int) error {
	if n == nil {
		return nil
	}
	s.nodes++
	s.bytes += len(n.Value)
	switch {
	case depth > maxYAMLDepth:
		return fmt.Errorf("line %d: more than %d levels deep, or an alias within what it stands for", n.Line, maxYAMLDepth)
	case s.nodes > maxYAMLNodes || s.bytes > maxYAMLBytes:
		return errors.New("becomes too large once its aliases are followed")
	case n.Kind == yaml.AliasNode:
		written := s.less(s.aliased)
		err := s.add(n.Alias, depth+1)
		s.aliased = s.less(written)
		return err
	}
	if n.Kind == yaml.MappingNode {
		if err := checkKeys(n); err != nil {
			return err
		}
		s.findRepeated(n)
	}
	for _, child := range n.Content {
		if err := s.add(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// checkKeys refuses what readers resolve differently: keys that are merged in,
// are aliases, are no scalars, or have a tag of their own.
func checkKeys(mapping *yaml.Node) error {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		switch key := mapping.Content[i]; {
		case key.Kind != yaml.ScalarNode:
			return fmt.Errorf("line %d: a key is not a plain word", key.Line)
		case key.Tag == "!!merge":
			return fmt.Errorf("line %d: a merge key, which readers resolve differently", key.Line)
		case key.Style&yaml.TaggedStyle != 0:
			return fmt.Errorf("line %d: a key with a tag, which readers resolve differently", key.Line)
		}
	}
	return nil
}

// maxRepeated is how many repeated keys of a file are worth telling of.
const maxRepeated = 5

// findRepeated notes the keys that a mapping has again further down.
func (s *yamlSize) findRepeated(mapping *yaml.Node) {
	const few = 16 // keys; below it, comparing each two is faster than a map
	keys := len(mapping.Content) / 2
	var last map[string]int
	if keys > few {
		last = make(map[string]int, keys)
		for i := range keys {
			last[mapping.Content[2*i].Value] = i
		}
	}
	for i := 0; i < keys && len(s.repeated) < maxRepeated; i++ {
		key := mapping.Content[2*i]
		again := last[key.Value] > i
		for j := i + 1; j < keys && last == nil; j++ {
			again = again || mapping.Content[2*j].Value == key.Value
		}
		if again && !slices.Contains(s.repeated, key) {
			s.repeated = append(s.repeated, key)
		}
	}
}

// follow returns what an alias stands for, and n itself otherwise.
func follow(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// at walks down mappings by their keys and returns nil where a key is missing
// or something is not a mapping. Of a key that is there twice the last counts,
// as it does for every tool that loads operators.
func at(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if n = follow(n); n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		n = value(n, key)
	}
	return follow(n)
}

// value finds a key of a mapping. parseYAML has seen to it that keys are plain.
func value(mapping *yaml.Node, key string) *yaml.Node {
	if i := keyIndex(mapping, key); i >= 0 {
		return mapping.Content[i+1]
	}
	return nil
}

// items returns the elements of a sequence, aliases followed, and nil for
// anything else.
func items(n *yaml.Node) []*yaml.Node {
	if n = follow(n); n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	list := make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		list[i] = follow(item)
	}
	return list
}

// text returns a scalar that is a string to every YAML reader. Words and numbers
// of YAML 1.1 are none.
func text(n *yaml.Node) (string, bool) {
	if n = follow(n); n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return "", false
	}
	if isPlain(n) && n.Style&yaml.TaggedStyle == 0 {
		if tag, _ := readPlain(n.Value); tag != tagString || letterBooleans[n.Value] != "" {
			return "", false
		}
	}
	return n.Value, true
}

// letterBooleans are the words that Kubernetes' reader takes for booleans, and
// PyYAML for strings.
var letterBooleans = map[string]string{"y": "true", "Y": "true", "n": "false", "N": "false"}

// boolean returns a scalar that is a boolean to every reader of operators, all
// of which read YAML 1.1.
func boolean(n *yaml.Node) (value, ok bool) {
	if n = follow(n); n == nil || n.Kind != yaml.ScalarNode {
		return false, false
	}
	if n.ShortTag() == tagBool {
		return strings.EqualFold(n.Value, "true"), true
	}
	tag, word := readPlain(n.Value)
	return word == "true", tag == tagBool && n.Style == 0
}

// textAt is the string at a path of keys, "" when there is none.
func textAt(n *yaml.Node, keys ...string) string {
	s, _ := text(at(n, keys...))
	return s
}
