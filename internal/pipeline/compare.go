package pipeline

import (
	"errors"
	"fmt"

	"gopkg.in/yaml.v3"
)

// checkEdit proves that the spans changed text and nothing else of a document:
// the edited one has the same nodes, of the same kinds, tags and anchors, and
// only scalars on lines that a span touches read differently.
func checkEdit(before, after document, spans []span) error {
	if before.more != after.more {
		return errors.New("rewriting changes the number of documents")
	}
	old, edited := flatten(before.root, nil), flatten(after.root, nil)
	if len(old) != len(edited) {
		return fmt.Errorf("rewriting changes the structure: %d nodes become %d", len(old), len(edited))
	}
	touched := lines(before.file.Data, spans)
	for i, b := range old {
		a := edited[i]
		if a.Kind != b.Kind || len(a.Content) != len(b.Content) || a.Anchor != b.Anchor {
			return fmt.Errorf("line %d: rewriting changes the structure", b.Line)
		}
		if a.Kind != yaml.AliasNode && a.ShortTag() != b.ShortTag() {
			return fmt.Errorf("line %d: rewriting turns %s into %s", b.Line, b.ShortTag(), a.ShortTag())
		}
		if len(after.repeated) > 0 && b.Kind == yaml.MappingNode && repeatsKey(a) && !repeatsKey(b) {
			return fmt.Errorf("line %d: rewriting makes two keys the same", b.Line)
		}
		if a.Value == b.Value {
			continue
		}
		if b.Kind == yaml.AliasNode {
			return fmt.Errorf("line %d: rewriting turns an alias to another anchor", b.Line)
		}
		last := 1 << 30
		if i+1 < len(old) {
			last = old[i+1].Line
		}
		if !touched.meet(b.Line, last) {
			return fmt.Errorf("line %d: rewriting changes a value that no rule matched", b.Line)
		}
	}
	return nil
}

// repeatsKey tells whether a mapping has a key twice. Real manifests do, and
// the last counts.
func repeatsKey(mapping *yaml.Node) bool {
	var size yamlSize
	size.findRepeated(mapping)
	return len(size.repeated) > 0
}

// flatten lists a document's nodes in the order of the file, aliases not
// followed.
func flatten(n *yaml.Node, list []*yaml.Node) []*yaml.Node {
	if n == nil {
		return list
	}
	list = append(list, n)
	for _, child := range n.Content {
		list = flatten(child, list)
	}
	return list
}

// lineRanges are the first and last lines of spans, in order.
type lineRanges [][2]int

// lines tells on which lines of data the spans lie, the first line being 1.
func lines(data []byte, spans []span) lineRanges {
	ranges := make(lineRanges, len(spans))
	line, at := 1, 0
	upTo := func(end int) int {
		for at < end {
			if n := lineBreak(data, at); n > 0 && at+n <= end {
				line, at = line+1, at+n
			} else {
				at++
			}
		}
		return line
	}
	for i, s := range spans {
		ranges[i][0] = upTo(s.start)
		ranges[i][1] = upTo(s.end)
	}
	return ranges
}

// meet tells whether a range touches the lines from first to last.
func (r lineRanges) meet(first, last int) bool {
	lo, hi := 0, len(r)
	for lo < hi {
		if mid := (lo + hi) / 2; r[mid][1] < first {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(r) && r[lo][0] <= last
}
