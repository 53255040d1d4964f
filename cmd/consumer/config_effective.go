package main

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// redacted stands where a secret would.
const redacted = "[redacted]"

// Effective is the configuration as YAML with every key, defaults included,
// always in the same order. Files are named as they were written; behind one
// whose secret was read stands [redacted]. Read under the same file name, it is
// the same configuration.
func (c Config) Effective() ([]byte, error) {
	return encodeYAML(encodeValue(reflect.ValueOf(c)), "")
}

func encodeValue(v reflect.Value) *yaml.Node {
	switch value := v.Interface().(type) {
	case string:
		return textNode(value)
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(value)}
	case int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(value)}
	case float64:
		node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: strconv.FormatFloat(value, 'f', -1, 64)}
		if decimal.MatchString(node.Value) {
			node.Tag = "!!int"
		}
		return node
	case time.Duration:
		return textNode(formatDuration(value))
	case ByteSize:
		node := textNode(value.String())
		if decimal.MatchString(node.Value) {
			node.Tag = "!!int"
		}
		return node
	case File:
		return textNode(value.Written)
	case SecretFile:
		node := textNode(value.Written)
		if value.Secret != "" {
			node.LineComment = redacted
		}
		return node
	}
	switch v.Kind() {
	case reflect.Pointer:
		return encodeValue(v.Elem())
	case reflect.Struct:
		return encodeStruct(v)
	case reflect.Map:
		return encodeMap(v)
	case reflect.Slice:
		return encodeSlice(v)
	}
	panic(fmt.Sprintf("no way to encode %s", v.Type()))
}

func encodeStruct(v reflect.Value) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	absent := ""
	for _, k := range keysOf(v.Type()) {
		field := v.FieldByIndex(k.field.Index)
		if field.Kind() == reflect.Pointer && field.IsNil() {
			absent = k.name + " is left out"
			continue
		}
		key := textNode(k.name)
		key.HeadComment, absent = absent, ""
		node.Content = append(node.Content, key, encodeValue(field))
	}
	return node
}

func encodeMap(v reflect.Value) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		node.Content = append(node.Content, textNode(key.String()), encodeValue(v.MapIndex(key)))
	}
	return node
}

func encodeSlice(v reflect.Value) *yaml.Node {
	node := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range v.Len() {
		node.Content = append(node.Content, encodeValue(v.Index(i)))
	}
	return node
}

// textNode is quoted where plain letters would be read as something else.
func textNode(s string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if s == "" {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}
