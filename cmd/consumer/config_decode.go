package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// maxConfigValues bounds the keys and list items that are read, each counted
// again for every alias that leads to it. A real configuration has hundreds.
const maxConfigValues = 500_000

// decodeConfig sets in c what the YAML in data says and records what it cannot
// read. It is stricter than yaml.v3: nothing is ignored, converted or merged.
func decodeConfig(f *faults, data []byte, c *Config) {
	if len(data) > maxConfigBytes {
		f.add("", fmt.Sprintf("cannot be read: larger than %s", ByteSize(maxConfigBytes)))
		return
	}
	documents := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := documents.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return // an empty file
	case err != nil:
		f.syntax(err)
		return
	}
	var next yaml.Node
	switch err := documents.Decode(&next); {
	case err == nil:
		f.addAt(next.Line, "", "holds more than one YAML document")
	case !errors.Is(err, io.EOF):
		f.syntax(err)
	}
	root := doc.Content[0]
	if root.ShortTag() == "!!null" {
		return // comments and nothing else
	}
	d := decoder{faults: f, left: maxConfigValues}
	d.value("", root, reflect.ValueOf(c).Elem())
}

// syntaxLine finds the line in what yaml.v3 says.
var syntaxLine = regexp.MustCompile(`^line (\d+): `)

func (f *faults) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := syntaxLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	if strings.HasPrefix(text, "unknown anchor") {
		// The rest of the text is the file's: a password that begins with *.
		text = "a value that begins with * must be quoted"
	}
	f.addAt(line, "", "is not YAML: "+text)
}

// decoder walks YAML nodes and Go values side by side.
type decoder struct {
	*faults
	left int // keys and items that may still be read
}

func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	d.lines[path] = n.Line
	if n.ShortTag() == "!!null" {
		d.add(path, "is empty: give it a value or leave the key out")
		return
	}
	switch target := v.Addr().Interface().(type) {
	case **GreenwaveConfig:
		g := defaultGreenwave()
		*target = &g
		d.structure(path, n, v.Elem())
	case *BusConfig:
		*target = defaultBus()
		d.structure(path, n, v)
	case *map[string]OrganizationConfig:
		d.mapping(path, n, func(key, path string, value *yaml.Node) {
			org := defaultOrganization()
			d.value(path, value, reflect.ValueOf(&org).Elem())
			(*target)[key] = org
		})
	default:
		d.plain(path, n, v)
	}
}

// spend takes one from what is left and tells whether there was one.
func (d *decoder) spend() bool {
	if d.left == 0 {
		d.add("", fmt.Sprintf("has more than %d values", maxConfigValues))
		return false
	}
	d.left--
	return true
}

func (d *decoder) plain(path string, n *yaml.Node, v reflect.Value) {
	switch {
	case setScalar(n, v.Addr().Interface(), func(expected string) { d.add(path, "expects "+expected) }):
	case v.Kind() == reflect.Struct:
		d.structure(path, n, v)
	case v.Kind() == reflect.Slice:
		d.sequence(path, n, v)
	default:
		panic(fmt.Sprintf("no way to decode %s", v.Type()))
	}
}

func (d *decoder) structure(path string, n *yaml.Node, v reflect.Value) {
	fields := make(map[string]reflect.StructField)
	keys := keysOf(v.Type())
	for _, k := range keys {
		fields[k.name] = k.field
	}
	d.mapping(path, n, func(key, path string, value *yaml.Node) {
		field, ok := fields[key]
		switch {
		case !ok:
			d.addAt(d.lines[path], path, "unknown key, "+keyHint(key, keyNames(keys)))
		default:
			d.value(path, value, v.FieldByIndex(field.Index))
		}
	})
}

// mapping calls each for every key, once.
func (d *decoder) mapping(path string, n *yaml.Node, each func(key, path string, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.add(path, "expects keys and values")
		return
	}
	first := make(map[string]int)
	for i := 0; i+1 < len(n.Content) && d.spend(); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := joinPath(path, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode:
			d.addAt(key.Line, path, "has a key that is not a text")
		case key.ShortTag() == "!!merge":
			d.addAt(key.Line, path, "merging with << is not supported, write the keys out")
		case first[key.Value] > 0:
			d.addAt(key.Line, at, fmt.Sprintf("is set twice, first on line %d", first[key.Value]))
		default:
			first[key.Value] = key.Line
			d.lines[at] = key.Line
			each(key.Value, at, value)
			d.lines[at] = key.Line
		}
	}
}

func (d *decoder) sequence(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.add(path, "expects a list")
		return
	}
	list := reflect.MakeSlice(v.Type(), 0, 0)
	for i, item := range n.Content {
		if !d.spend() {
			break
		}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(itemPath(path, i), item, element)
		list = reflect.Append(list, element)
	}
	v.Set(list)
}

// configKey is a key of a section and the field that holds it.
type configKey struct {
	name  string
	field reflect.StructField
}

// keysOf lists the keys of a section's type in the order of its fields.
func keysOf(t reflect.Type) []configKey {
	var keys []configKey
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" && name != "-" {
			keys = append(keys, configKey{name: name, field: t.Field(i)})
		}
	}
	return keys
}

func keyNames(keys []configKey) []string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = k.name
	}
	return list
}

// setScalar sets the value that target points to and tells whether it is of a
// type that one YAML scalar holds. A scalar of the wrong type is reported.
func setScalar(n *yaml.Node, target any, wrong func(expected string)) bool {
	var err error
	switch t := target.(type) {
	case *string:
		*t, err = textOf(n)
	case *File:
		t.Written, err = textOf(n)
	case *SecretFile:
		t.Written, err = textOf(n)
	case *bool:
		*t, err = boolOf(n)
	case *int:
		*t, err = intOf(n)
	case *float64:
		*t, err = partOf(n)
	case *time.Duration:
		*t, err = durationOf(n)
	case *ByteSize:
		*t, err = byteSizeOf(n)
	default:
		return false
	}
	if err != nil {
		wrong(err.Error())
	}
	return true
}
