package main

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

const configSchema = "../../schemas/config.v1.json"

func mustCompileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(configSchema)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// plainYAML reads YAML into maps, lists and scalars.
func plainYAML(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// fullSample is a configuration in which every section is there.
func fullSample() Config {
	c := DefaultConfig()
	greenwave, org, bus := defaultGreenwave(), defaultOrganization(), defaultBus()
	greenwave.URL = "https://greenwave.example.com"
	org.ReplaceRegistry = []RuleConfig{{Old: "quay.io", New: "example.com"}}
	org.CSVAnnotations = []AnnotationConfig{{Name: "example.com/a"}}
	c.Greenwave = &greenwave
	bus.Name, bus.Protocol, bus.URLs, bus.Addresses = "koji", "amqp-1.0", []string{"amqps://broker.example.com"}, []string{"queue://a"}
	c.Bridge.Sources = []BusConfig{bus}
	c.Organizations["myorg"] = org
	return c
}

// sections calls visit for every section type of the configuration with its
// schema, and follows the schema's references.
func sections(t *testing.T, visit func(path string, keys []configKey, schema map[string]any)) {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal([]byte(mustRead(t, configSchema)), &root); err != nil {
		t.Fatal(err)
	}
	defs := root["$defs"].(map[string]any)
	follow := func(schema any) map[string]any {
		s, _ := schema.(map[string]any)
		if ref, ok := s["$ref"].(string); ok {
			s, _ = defs[filepath.Base(ref)].(map[string]any)
		}
		return s
	}
	var walk func(path string, typ reflect.Type, schema map[string]any)
	walk = func(path string, typ reflect.Type, schema map[string]any) {
		switch {
		case schema == nil:
			t.Errorf("%s is not in the schema", path)
		case typ.Kind() == reflect.Pointer:
			walk(path, typ.Elem(), schema)
		case typ.Kind() == reflect.Map && typ.Elem().Kind() == reflect.Struct:
			walk(path+".*", typ.Elem(), follow(schema["additionalProperties"]))
		case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct:
			walk(path+"[]", typ.Elem(), follow(schema["items"]))
		case typ.Kind() == reflect.Struct && len(keysOf(typ)) > 0:
			visit(path, keysOf(typ), schema)
			properties, _ := schema["properties"].(map[string]any)
			for _, k := range keysOf(typ) {
				walk(path+"."+k.name, k.field.Type, follow(properties[k.name]))
			}
		}
	}
	walk("", reflect.TypeFor[Config](), root)
}

func TestSchemaHasTheSameKeys(t *testing.T) {
	t.Parallel()
	visited := 0
	sections(t, func(path string, keys []configKey, schema map[string]any) {
		visited++
		properties, _ := schema["properties"].(map[string]any)
		var want, got []string
		for name := range properties {
			want = append(want, name)
		}
		got = keyNames(keys)
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("keys of %q (-schema +struct):\n%s", path, diff)
		}
		if schema["additionalProperties"] != false {
			t.Errorf("the schema of %q takes other keys", path)
		}
	})
	const sectionTypes = 24
	if visited != sectionTypes {
		t.Errorf("%d sections, want %d", visited, sectionTypes)
	}
}

// TestSchemaHasTheSameDefaults also shows that Effective has every key.
func TestSchemaHasTheSameDefaults(t *testing.T) {
	t.Parallel()
	effective, err := fullSample().Effective()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{"": plainYAML(t, string(effective))}
	var find func(path string, v any)
	find = func(path string, v any) {
		values[path] = v
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				if path == ".organizations" {
					key = "*"
				}
				find(path+"."+key, value)
			}
		case []any:
			for _, item := range v {
				find(path+"[]", item)
			}
		}
	}
	find("", values[""])
	// What a full sample has and a default has not.
	values[".bridge.sources"], values[".bridge.sources[].urls"], values[".bridge.sources[].addresses"] = []any{}, []any{}, []any{}
	values[".organizations"] = map[string]any{}
	values[".organizations.*.replace_registry"] = []any{}
	values[".organizations.*.replace_registry[].new"] = ""
	values[".organizations.*.csv_annotations"] = []any{}

	sections(t, func(path string, keys []configKey, schema map[string]any) {
		for _, k := range keys {
			at := path + "." + k.name
			value, ok := values[at]
			if !ok {
				t.Errorf("%s is not in the effective configuration", at)
				continue
			}
			property := schema["properties"].(map[string]any)[k.name].(map[string]any)
			want, ok := property["default"]
			if !ok {
				continue
			}
			if n, isInt := value.(int); isInt {
				value = float64(n)
			}
			if at == ".quay.timeout" {
				want = "1m" // which 60s is
			}
			if at == ".greenwave.timeout" {
				want = "1m10s"
			}
			if diff := cmp.Diff(want, value); diff != "" {
				t.Errorf("default of %s (-schema +code):\n%s", at, diff)
			}
		}
	})
}

func TestExample(t *testing.T) {
	t.Parallel()
	text := mustRead(t, exampleConfig)
	if err := mustCompileSchema(t).Validate(plainYAML(t, text)); err != nil {
		t.Errorf("schema: %v", err)
	}
	c := mustParse(t, exampleConfig, text, none)
	if len(c.Warnings) != 1 || !strings.HasSuffix(c.Warnings[0], "organizations.myorg.push_username: is empty: images are pushed without a login") {
		t.Errorf("warnings: %v", c.Warnings)
	}

	// Its values are the defaults, as it says, except for the few it names.
	want := fullSample()
	org := want.Organizations["myorg"]
	org.ReplaceRegistry, org.CSVAnnotations = c.Organizations["myorg"].ReplaceRegistry, []AnnotationConfig{}
	want.Organizations["myorg"] = org
	want.Bridge.Sources[0].Addresses = c.Bridge.Sources[0].Addresses
	wantText, err := want.Effective()
	if err != nil {
		t.Fatal(err)
	}
	gotText, err := c.Effective()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(wantText), string(gotText)); diff != "" {
		t.Errorf("example (-defaults +example):\n%s", diff)
	}
	if len(org.ReplaceRegistry) == 0 {
		t.Error("the example has no rule")
	}
	notShown(t, "", plainYAML(t, string(gotText)), plainYAML(t, text))
}

// notShown reports what is in the effective configuration and not in a file.
func notShown(t *testing.T, path string, effective, file any) {
	t.Helper()
	switch effective := effective.(type) {
	case map[string]any:
		section, _ := file.(map[string]any)
		for key, value := range effective {
			if _, ok := section[key]; !ok {
				t.Errorf("%s.%s is not shown", path, key)
				continue
			}
			notShown(t, path+"."+key, value, section[key])
		}
	case []any:
		list, _ := file.([]any)
		if len(effective) > 0 && len(list) > 0 {
			notShown(t, path+"[0]", effective[0], list[0])
		}
	}
}

// TestSchemaRefuses: what is wrong by its form alone is refused by both, and
// what the service takes the schema takes.
func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	schema := mustCompileSchema(t)
	good := []string{mustRead(t, "testdata/config/good/full.yaml"), "{}"}
	effective, err := fullConfig(t).Effective()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(good, string(effective)) {
		if err := schema.Validate(plainYAML(t, text)); err != nil {
			t.Errorf("schema: %v\nin %s", err, text)
		}
	}
	for _, text := range []string{
		"organisations: {}",
		"intake: {workers: 0}",
		"intake: {workers: '8'}",
		"intake: {ack_wait: 30}",
		"intake: {max_age: 1d}",
		"intake: {build_timeout: 30}",
		"limits: {file_bytes: 20 MiB}",
		"limits: {file_bytes: 1.5}",
		"nats: {replicas: 2}",
		"nats: {durable: a.b}",
		"nats: {manage: 1}",
		"koji: {hub_url: ftp://koji.example.com}",
		"koji: {hub_url: 'https://user:x@koji.example.com'}",
		"greenwave: {}",
		"greenwave:",
		"quay: {registry: https://quay.io}",
		"ops: {listen: 8080}",
		"ops: {listen: localhost}",
		"log: {level: trace}",
		"results: {source: ''}",
		"default_release_version: '1.0'",
		"bridge: {source: []}",
		"bridge: {sources: [{}]}",
		"bridge: {sources: [{name: a, protocol: amqp, urls: [amqp://a], addresses: [a]}]}",
		"bridge: {sources: [{name: a b, protocol: amqp-1.0, urls: [amqp://a], addresses: [a]}]}",
		"bridge: {sources: [{name: a, protocol: amqp-1.0, urls: [], addresses: [a]}]}",
		"bridge: {sources: [{name: a, protocol: amqp-1.0, urls: ['amqp://user:x@a'], addresses: [a]}]}",
		"bridge: {sources: [{name: a, protocol: amqp-1.0, urls: [https://a], addresses: [a]}]}",
		"bridge: {sources: [{name: a, protocol: amqp-1.0, urls: [amqp://a], addresses: [a], prefetch: 0}]}",
		"bridge: {sources: [{name: a, protocol: amqp-1.0, urls: [amqp://a], addresses: [a], password: x}]}",
		"organizations: {My Org: {}}",
		"organizations: {x: {}}",
		"organizations: {myorg: {tags: []}}",
		"organizations: {myorg: {target: appregistry}}",
		"organizations: {myorg: {push_password: x}}",
		"organizations: {myorg: {pin_digests: 'yes'}}",
		"organizations: {myorg: {unreachable_images: ignore}}",
		"organizations: {myorg: {bundle_defaults: {channel: alpha}}}",
		"organizations: {myorg: {bundle_defaults: {channels: [a b]}}}",
		"organizations: {myorg: {replace_registry: [{old: quay.io, new: x.io, scope: image}]}}",
		"organizations: {myorg: {accept_archives: ''}}",
		"organizations: {myorg: {csv_annotations: [1]}}",
		"organizations: {myorg: {csv_annotations: {}}}",
		"organizations: {myorg: {csv_annotations: [{value: x}]}}",
		"organizations: {myorg: {csv_annotations: [{name: '', value: x}]}}",
		"organizations: {myorg: {csv_annotations: [{name: a, value: x, values: y}]}}",
		"organizations: {myorg: {package_name_suffix: -Operator}}",
		"organizations: {myorg: {app_registry_token: x}}",
		"organizations: {myorg: {bundle_defaults: }}",
		"organizations: {myorg: {package_name_suffix: false}}",
		"organizations: {myorg: {replace_registry: [{new: x}]}}",
		"organizations: {myorg: {replace_registry: [{old: a, new: x, regex: true}]}}",
	} {
		if err := schema.Validate(plainYAML(t, text)); err == nil {
			t.Errorf("the schema takes %s", text)
		}
		if _, err := ParseConfig("c.yaml", []byte(text), none); err == nil {
			t.Errorf("ParseConfig takes %s", text)
		}
	}
}
