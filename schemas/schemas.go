package schemas

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed *.json asyncapi.yaml
var files embed.FS

// Files holds every schema and asyncapi.yaml.
func Files() fs.FS { return files }

// BaseURL is what the $id of every schema begins with; the file name follows.
const BaseURL = "https://github.com/omps-consumer/omps-consumer/schemas/"

// typeKeyword is our own keyword at the root of a schema: the type of the
// events whose data it describes.
const typeKeyword = "x-event-type"

const (
	maxFaults = 10  // listed in an error
	maxFault  = 300 // bytes of one
)

// Set holds the compiled schemas. It is safe for concurrent use.
type Set struct {
	byType map[string]*jsonschema.Schema
}

// Load compiles the embedded schemas. It fails only when they are faulty.
func Load() (*Set, error) {
	compiler := jsonschema.NewCompiler()
	types := make(map[string]string) // event type to URL
	names, err := fs.Glob(files, "*.json")
	if err != nil {
		return nil, fmt.Errorf("schemas: %w", err)
	}
	for _, name := range names {
		if err := add(compiler, types, name); err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
	}
	set := &Set{byType: make(map[string]*jsonschema.Schema, len(types))}
	for eventType, url := range types {
		if set.byType[eventType], err = compiler.Compile(url); err != nil {
			return nil, fmt.Errorf("schemas: %w", err)
		}
	}
	return set, nil
}

func add(compiler *jsonschema.Compiler, types map[string]string, name string) error {
	data, err := files.ReadFile(name)
	if err != nil {
		return err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if schema, ok := document.(map[string]any); ok {
		if eventType, ok := schema[typeKeyword].(string); ok {
			types[eventType] = BaseURL + name
		}
	}
	return compiler.AddResource(BaseURL+name, document)
}

// Types lists the event types that have a schema, sorted.
func (s *Set) Types() []string { return slices.Sorted(maps.Keys(s.byType)) }

// Validate checks the data of an event. The error lists what is wrong, each
// with the JSON pointer of where, bounded in number and length.
func (s *Set) Validate(eventType string, data []byte) error {
	schema, ok := s.byType[eventType]
	if !ok {
		return fmt.Errorf("no schema for event type %q", eventType)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	err = schema.Validate(document)
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	return errors.New(strings.Join(faults(invalid), "; "))
}

// faults lists the ends of the tree of causes: each is one thing wrong.
func faults(invalid *jsonschema.ValidationError) []string {
	var texts []string
	more := 0
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			walk(cause)
		}
		if len(e.Causes) > 0 {
			return
		}
		if text := bounded(e.Error()); len(texts) == maxFaults {
			more++
		} else if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	walk(invalid)
	slices.Sort(texts)
	if more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return texts
}

func bounded(s string) string {
	if len(s) <= maxFault {
		return s
	}
	return strings.ToValidUTF8(s[:maxFault], "") + "…"
}
