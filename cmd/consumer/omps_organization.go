package main

import (
	"fmt"
	"reflect"

	"gopkg.in/yaml.v3"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func (c *ompsConverter) organizations(s ompsSetting) {
	list, ok := c.entries(s)
	if !ok {
		c.put(c.root, "", "organizations", s, func(ompsSetting) *yaml.Node { return nil })
		return
	}
	section := mappingNode()
	for _, e := range list {
		c.put(section, "organizations", e.name, e.ompsSetting, func(s ompsSetting) *yaml.Node { return c.organization(e.name, s) })
	}
	if len(list) > 0 {
		c.root.Content = append(c.root.Content, textNode("organizations"), section)
	}
}

// organization is one, or nil when its value is no dictionary.
func (c *ompsConverter) organization(name string, s ompsSetting) *yaml.Node {
	fields, ok := c.fields(s, "public", "oauth_token", "replace_registry", "package_name_suffix", "repository_suffix", "csv_annotations")
	if !ok {
		return nil
	}
	node, at := mappingNode(), joinPath("organizations", name)
	first := !c.explained
	c.explained = true
	fixed := func(key string, value *yaml.Node, comments ...string) {
		if !first {
			comments = nil
		}
		c.put(node, at, key, s, func(ompsSetting) *yaml.Node { return value }, comments...)
	}
	fixed("match", &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle},
		"OMPS published only what it was asked for. Koji packages that match a pattern here,",
		`such as "*", are published by themselves as their builds complete.`)
	accept := encodeValue(reflect.ValueOf(true))
	c.put(node, at, "accept_archives", s, func(ompsSetting) *yaml.Node { return accept },
		"As OMPS took zip files, which skip the gate there as here. OMPS pushed them with the caller's",
		"credentials and this service with its own: guard omps.request.push."+oneLine(events.SubjectToken(name))+", or say false.")
	c.targetOf(fixed, name)
	if field, ok := fields["public"]; ok {
		c.put(node, at, "public", field, c.truth)
	}
	if field, ok := fields["oauth_token"]; ok {
		c.oauthToken(fixed, name, field)
	}
	field, ok := fields["replace_registry"]
	switch {
	case ok:
		c.list(node, at, "replace_registry", field, c.rule)
	case hasOddKeys(s.value): // of which it may be one
		c.put(node, at, "replace_registry", s, func(ompsSetting) *yaml.Node { return nil })
	}
	c.suffix(node, at, fields)
	if field, ok := fields["csv_annotations"]; ok {
		c.annotations(node, at, field)
	}
	return node
}

// targetOf writes the target and how to log in there. OMPS had no credentials
// of its own for that.
func (c *ompsConverter) targetOf(fixed func(string, *yaml.Node, ...string), name string) {
	kind := textNode(string(c.options.Target))
	if c.options.Target == pipeline.TargetAppRegistry {
		fixed("target", kind, "As in OMPS. Quay has no app registry any more, from 3.9 on.")
		c.secret(fixed, "app_registry_token_file", name+"-app-registry-token",
			"what the callers of OMPS sent as Authorization, such as: basic bXlvcmcrcm9ib3Q6…")
		return
	}
	fixed("target", kind,
		"Bundle images. OMPS pushed to the app registry, which Quay has no more from 3.9 on;",
		"consumer config from-omps --target app-registry keeps it.",
		"OMPS pushed with the token of its caller. The service needs robot accounts of its own:",
		"push_username: "+oneLine(name)+"+ROBOT",
		"push_password_file: secrets/"+oneLine(name)+"-password")
}

// oauthToken writes where the token is to be. What it is does not matter, so it
// may be computed.
func (c *ompsConverter) oauthToken(fixed func(string, *yaml.Node, ...string), name string, s ompsSetting) {
	switch {
	case s.value.kind == pyText && s.value.text == "":
		return
	case s.value.kind == pyNoLiteral:
		c.remark(s.value.line, s.key+" is not a literal: write what it comes to into its file", false)
	case s.value.kind != pyText:
		c.wrong(s, "a text")
	}
	c.secret(fixed, "oauth_token_file", name+"-oauth-token", fmt.Sprintf("the oauth_token of line %d", s.value.line))
}

// secret writes the path of a secret file, and that it is to be made.
func (c *ompsConverter) secret(fixed func(string, *yaml.Node, ...string), key, file, content string) {
	path := "secrets/" + file
	c.secrets = append(c.secrets, oneLine(path+": "+content))
	fixed(key, textNode(path))
}

// suffix writes the suffix, which OMPS called something else at first.
func (c *ompsConverter) suffix(node *yaml.Node, at string, fields map[string]ompsSetting) {
	s, ok := fields["package_name_suffix"]
	old, older := fields["repository_suffix"]
	switch {
	case ok && older:
		c.remark(old.value.line, old.key+" has no effect beside package_name_suffix, as in OMPS", false)
	case older:
		s = old
	case !ok:
		return
	}
	c.put(node, at, "package_name_suffix", s, c.text)
}

// list writes a list, each item made by read.
func (c *ompsConverter) list(node *yaml.Node, at, key string, s ompsSetting, read func(ompsSetting) *yaml.Node) {
	c.put(node, at, key, s, func(s ompsSetting) *yaml.Node {
		if s.value.kind != pyList {
			return c.wrong(s, "a list")
		}
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i, value := range s.value.items {
			item, path := ompsSetting{itemPath(s.key, i), value}, itemPath(joinPath(at, key), i)
			made := read(item)
			c.origins[path] = item
			if made == nil {
				made, c.left[path] = textNode(setByHand), true
			}
			list.Content = append(list.Content, made)
		}
		return list
	})
}

// rule is an entry of replace_registry, or nil when a part of it cannot be
// taken over.
func (c *ompsConverter) rule(s ompsSetting) *yaml.Node {
	return c.record(s, []ompsField{{"old", c.text, true}, {"new", c.text, true}, {"regexp", c.truth, false}})
}

// annotations writes csv_annotations, which may be a dictionary too.
func (c *ompsConverter) annotations(node *yaml.Node, at string, s ompsSetting) {
	if s.value.kind != pyDict {
		c.list(node, at, "csv_annotations", s, c.annotation)
		return
	}
	list := pyValue{kind: pyList, line: s.value.line}
	all, _ := c.entries(s)
	for _, e := range all {
		name := pyValue{kind: pyText, line: e.value.line, text: e.name, parts: 1}
		list.items = append(list.items, pyValue{kind: pyDict, line: e.value.line, entries: []pyEntry{
			{pyValue{kind: pyText, text: "name", parts: 1}, name},
			{pyValue{kind: pyText, text: "value", parts: 1}, e.value},
		}})
	}
	c.list(node, at, "csv_annotations", ompsSetting{s.key, list}, c.annotation)
}

func (c *ompsConverter) annotation(s ompsSetting) *yaml.Node {
	return c.record(s, []ompsField{{"name", c.text, true}, {"value", c.text, true}})
}

// ompsField is a key of a small dictionary, the same here and there.
type ompsField struct {
	key    string
	read   func(ompsSetting) *yaml.Node
	needed bool
}

// record is a small dictionary as it is, or nil when a part of it cannot be
// taken over.
func (c *ompsConverter) record(s ompsSetting, keys []ompsField) *yaml.Node {
	known := make([]string, len(keys))
	for i, k := range keys {
		known[i] = k.key
	}
	fields, ok := c.fields(s, known...)
	if !ok {
		return nil
	}
	node := mappingNode()
	for _, k := range keys {
		field, there := fields[k.key]
		switch {
		case there:
			value := k.read(field)
			ok = ok && value != nil
			node.Content = append(node.Content, textNode(k.key), value)
		case k.needed:
			c.missing(s, k.key)
			ok = false
		}
	}
	if !ok {
		return nil
	}
	return node
}
