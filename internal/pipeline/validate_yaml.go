package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// courierReads notes why operator-courier cannot read a manifest that yaml.v3
// reads. It loads every YAML file at the root and in the folders below it with
// PyYAML's safe_load, and one that does not load ends the push.
func (r *report) courierReads(m manifest) {
	reader := pyYAML{anchors: make(map[string]bool), lines: linesWithTabs(m.file.Data)}
	if err := reader.load(m.root); err != nil {
		r.faultf(m, "", "does not parse: %v", err)
	}
	if kind := at(m.root, "kind"); kind != nil && kind.Kind != yaml.ScalarNode {
		r.faultf(m, "kind", "is %s, not a string", kindOf(kind))
	}
}

// pyYAML is what PyYAML 5 and 6 are stricter in than yaml.v3, as far as it shows
// in the tree.
type pyYAML struct {
	anchors map[string]bool
	lines   []string // nil for a file without tabs; those not in ASCII are empty
}

func (p pyYAML) load(n *yaml.Node) error {
	if n == nil || n.Kind == yaml.AliasNode {
		return nil
	}
	if n.Anchor != "" {
		if p.anchors[n.Anchor] {
			return fmt.Errorf("line %d: the anchor %.100s is there twice, which not every reader takes", n.Line, n.Anchor)
		}
		p.anchors[n.Anchor] = true
	}
	var err error
	switch {
	case p.tabBeside(n):
		err = errors.New("a tab between two words, which not every reader takes")
	case n.Style&yaml.TaggedStyle != 0:
		err = p.tagged(n)
	case n.Kind == yaml.ScalarNode && n.Style == 0:
		err = p.plain(n)
	}
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && child.Value == "=" {
			continue // as a key it is one
		}
		if err := p.load(child); err != nil {
			return err
		}
	}
	return nil
}

// linesWithTabs splits a file into lines as yaml.v3 counts them.
func linesWithTabs(data []byte) []string {
	if bytes.IndexByte(data, '\t') < 0 || bytes.ContainsAny(data, "\u0085\u2028\u2029") {
		return nil
	}
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), "\n")
	for i, line := range lines {
		if strings.ContainsFunc(line, func(r rune) bool { return r > unicode.MaxASCII }) {
			lines[i] = ""
		}
	}
	return lines
}

// tabBeside tells whether a tab comes before a node, as in JSON that is indented
// by tabs, or in or after a plain scalar. (After other nodes it does not show.)
func (p pyYAML) tabBeside(n *yaml.Node) bool {
	at := n.Column - 1
	if n.Line < 1 || n.Line > len(p.lines) || at < 0 || at > len(p.lines[n.Line-1]) {
		return false
	}
	before, rest := p.lines[n.Line-1][:at], p.lines[n.Line-1][at:]
	if strings.HasSuffix(before, "\t") {
		return true
	}
	after, here := strings.CutPrefix(rest, n.Value)
	plain := here && n.Kind == yaml.ScalarNode && n.Style == 0
	return plain && (strings.Contains(n.Value, "\t") || strings.HasPrefix(after, "\t"))
}

func (p pyYAML) tagged(n *yaml.Node) error {
	fits := false
	switch tag := n.ShortTag(); tag {
	case "!!map", "!!set":
		fits = n.Kind == yaml.MappingNode
	case "!!seq", "!!omap", "!!pairs":
		fits = n.Kind == yaml.SequenceNode
	case tagString, tagNull, tagBool, tagInt, tagFloat, tagTimestamp, "!!binary":
		var value any
		fits = n.Kind == yaml.ScalarNode && (tag == tagString || n.Decode(&value) == nil)
	}
	if !fits {
		return fmt.Errorf("the tag %.100q, which not every reader takes here", n.Tag)
	}
	return nil
}

// plain checks a scalar without quotes and tag. What only looks like a number or
// a time, as 2019-02-30 does, is a string to others.
func (p pyYAML) plain(n *yaml.Node) error {
	if n.Value == "=" || n.Value == "<<" {
		return fmt.Errorf("a plain %s, which is no string to every reader", n.Value)
	}
	if n.Value == "" || !strings.ContainsRune("+-0123456789", rune(n.Value[0])) {
		return nil
	}
	if yamlInts.MatchString(n.Value) {
		if _, ok := readInt(n.Value); !ok {
			return errors.New("a number that does not exist")
		}
	}
	if timeParts(n.Value) == nil {
		return nil
	}
	if _, ok := readTime(n.Value); !ok {
		return errors.New("a date or time that does not exist")
	}
	return nil
}
