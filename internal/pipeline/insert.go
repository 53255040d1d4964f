package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// insertEntries returns the span that adds entries to metadata.annotations, which
// have none of them. annotations may be missing or null.
func insertEntries(doc document, entries []entry) (span, error) {
	metaKey, meta, err := editable(doc.root, "metadata")
	if err != nil {
		return span{}, err
	}
	if meta == nil || meta.Kind != yaml.MappingNode {
		return span{}, fmt.Errorf("metadata is %s, not a mapping", kindOf(meta))
	}
	notesKey, notes, err := editable(meta, "annotations")
	if err != nil {
		return span{}, err
	}
	data, flow := doc.file.Data, flowEntries(entries)
	switch {
	case notes == nil:
		return insertInto(data, metaKey, meta, `"annotations": {`+flow+`}`, func(indent, newline string) string {
			return indent + "annotations:" + newline + blockEntries(entries, indent+"  ", newline)
		})
	case notes.Kind == yaml.MappingNode:
		return insertInto(data, notesKey, notes, flow, func(indent, newline string) string {
			return blockEntries(entries, indent, newline)
		})
	case kindOf(notes) == "null":
		return replaceScalar(data, notes, meta, "{"+flow+"}")
	}
	return span{}, fmt.Errorf("line %d: annotations is %s, not a mapping", notes.Line, kindOf(notes))
}

// flowEntries writes entries as in JSON. Every escape of a quoted Go string is
// one of YAML's too.
func flowEntries(entries []entry) string {
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = strconv.Quote(e.key) + ": " + strconv.Quote(e.value)
	}
	return strings.Join(list, ", ")
}

func blockEntries(entries []entry, indent, newline string) string {
	var out strings.Builder
	for _, e := range entries {
		out.WriteString(indent + strconv.Quote(e.key) + ": " + strconv.Quote(e.value) + newline)
	}
	return out.String()
}

// insertInto returns the span that puts entries in front of those of a mapping,
// which is key's value: flow where it is written in braces, and else the lines
// that block makes, below key's own line.
func insertInto(data []byte, key, mapping *yaml.Node, flow string, block func(indent, newline string) string) (span, error) {
	at, err := offset(data, mapping)
	if err != nil {
		return span{}, err
	}
	if mapping.Style&yaml.FlowStyle != 0 {
		if at >= len(data) || data[at] != '{' {
			return span{}, fmt.Errorf("line %d: %w", mapping.Line, errNotWhereItShouldBe)
		}
		if len(mapping.Content) > 0 {
			flow += ", "
		}
		return span{at + 1, at + 1, []byte(flow)}, nil
	}
	indent := bytes.Repeat([]byte(" "), mapping.Column-1)
	if mapping.Line <= key.Line || !bytes.HasSuffix(data[:at], indent) {
		return span{}, errors.New("is laid out in a way that takes no further lines")
	}
	start, err := offset(data, key)
	if err != nil {
		return span{}, err
	}
	below := lineEnd(data, start)
	newline := data[below : below+lineBreak(data, below)]
	below += len(newline)
	return span{below, below, []byte(block(string(indent), string(newline)))}, nil
}
