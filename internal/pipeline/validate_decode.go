package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// decode reads a node into one of Kubernetes' types by way of JSON, as every
// Kubernetes tool does, with keys in their exact case. Unknown keys are passed
// over; a value of a wrong type is an error.
func decode(n *yaml.Node, into any) error {
	data, err := appendJSON(nil, n)
	if err != nil {
		return err
	}
	if err := utiljson.Unmarshal(data, into); err != nil {
		return fmt.Errorf("does not decode: %w", err)
	}
	return nil
}

// appendJSON writes a node as JSON by the rules of sigs.k8s.io/yaml: YAML 1.1 for
// words, timestamps as strings, and of a repeated key the last.
func appendJSON(out []byte, n *yaml.Node) ([]byte, error) {
	n = follow(n)
	switch {
	case n == nil:
		return append(out, "null"...), nil
	case n.Kind == yaml.MappingNode:
		return appendMapping(out, n)
	case n.Kind == yaml.SequenceNode:
		out = append(out, '[')
		for i, item := range n.Content {
			if i > 0 {
				out = append(out, ',')
			}
			var err error
			if out, err = appendJSON(out, item); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	}
	return appendScalar(out, n)
}

func appendMapping(out []byte, n *yaml.Node) ([]byte, error) {
	last := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		last[n.Content[i].Value] = i
	}
	out = append(out, '{')
	first := true
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if last[key] != i {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(appendString(out, key), ':')
		var err error
		if out, err = appendJSON(out, n.Content[i+1]); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

func appendScalar(out []byte, n *yaml.Node) ([]byte, error) {
	if value, ok := boolean(n); ok {
		return strconv.AppendBool(out, value), nil
	}
	if word := letterBooleans[n.Value]; word != "" && n.Style == 0 {
		return append(out, word...), nil
	}
	switch n.ShortTag() {
	case tagNull:
		return append(out, "null"...), nil
	case tagInt, tagFloat:
		var value any
		if err := n.Decode(&value); err != nil {
			return nil, fmt.Errorf("line %d: %w", n.Line, err)
		}
		if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			return nil, fmt.Errorf("line %d: %w", n.Line, errNoJSON)
		}
		return fmt.Appendf(out, "%v", value), nil
	}
	return appendString(out, n.Value), nil
}

var errNoJSON = errors.New("a number that JSON does not have")

func appendString(out []byte, s string) []byte {
	if !strings.ContainsFunc(s, escaped) {
		return append(append(append(out, '"'), s...), '"')
	}
	quoted, err := json.Marshal(s)
	if err != nil { // a string always has a form in JSON
		return append(out, `""`...)
	}
	return append(out, quoted...)
}

// escaped tells whether JSON may write a character as another one than itself.
func escaped(r rune) bool {
	return r < ' ' || r > '~' || r == '"' || r == '\\' || r == '<' || r == '>' || r == '&'
}
