package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// finish checks what was written, and writes it.
func (c *ompsConverter) finish() (OMPSConversion, error) {
	data, err := encodeYAML(c.root, "")
	if err != nil {
		return OMPSConversion{}, err
	}
	c.check(data)
	slices.SortStableFunc(c.remarks, func(a, b OMPSRemark) int { return cmp.Compare(a.Line, b.Line) })
	c.remarks = slices.Compact(c.remarks)
	if data, err = encodeYAML(c.root, c.header()); err != nil {
		return OMPSConversion{}, err
	}
	return OMPSConversion{YAML: data, Remarks: c.remarks}, nil
}

// check reports what the configuration's own checks find, at the lines that it
// comes from.
func (c *ompsConverter) check(data []byte) {
	f := newFaults(c.options.Name)
	config := DefaultConfig()
	decodeConfig(f, data, &config)
	config.check(f)
	for _, fault := range f.list {
		path := fault.Path
		for path != "" && c.origins[path].key == "" {
			path = path[:max(0, strings.LastIndexAny(path, ".["))]
		}
		if !c.left[path] {
			s := c.origins[path]
			c.remark(s.value.line, fmt.Sprintf("%s: %s: set it by hand", s.key, fault.Text), true)
		}
	}
}

func mappingNode() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func encodeYAML(root *yaml.Node, header string) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&yaml.Node{Kind: yaml.DocumentNode, HeadComment: header, Content: []*yaml.Node{root}}); err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	return out.Bytes(), nil
}

// header is what a person is told at the top.
func (c *ompsConverter) header() string {
	byHand, noted := "", ""
	for _, r := range c.remarks {
		line := fmt.Sprintf("\n  line %d: %s", r.Line, r.Text)
		if r.ByHand {
			byHand += line
		} else {
			noted += line
		}
	}
	text := oneLine(fmt.Sprintf("Made by `consumer config from-omps` of class %s of %s.", c.options.Section, c.options.Name)) +
		"\nWhen its secret files are written: consumer check -c FILE" +
		"\nOMPS pushed to any organization that its caller had a token for. Here each has to be listed;" +
		"\nNAME: {match: []} will do for one without rules of its own."
	for _, part := range []struct{ title, lines string }{
		{"To be set by hand:", byHand},
		{"To be known:", noted},
		{"Secret files, beside this one and for the service alone to read:", strings.Join(append([]string{""}, c.secrets...), "\n  ")},
		{"Without a successor:", strings.Join(append([]string{""}, c.gone...), "\n  ")},
	} {
		if part.lines != "" {
			text += "\n\n" + part.title + part.lines
		}
	}
	return text
}
