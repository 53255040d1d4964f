package events

import (
	"encoding/json"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/schemas"
)

// eventTypes lists every type with the subjects it goes over.
func eventTypes() map[string][]string {
	result := func(outcome string) []string {
		return []string{SubjectResult + "." + outcome + ".{organization}.{package}"}
	}
	return map[string][]string{
		TypeBuildCompleted:  {SubjectBuildCompleted, SubjectBuildCompleted + ".{package}"},
		TypeBuildPromoted:   {SubjectBuildPromoted, SubjectBuildPromoted + ".{package}"},
		TypeDecisionUpdated: {SubjectDecisionUpdated},
		TypePushRequested:   {SubjectPushRequest + ".{organization}"},
		TypeDeleteRequested: {SubjectDeleteRequest + ".{organization}"},
		TypePublished:       result("published"), TypeRejected: result("rejected"), TypeFailed: result("failed"),
		TypeWaiting: result("waiting"), TypeDeleted: result("deleted"),
	}
}

func TestEveryTypeHasASchema(t *testing.T) {
	t.Parallel()
	set, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for eventType := range eventTypes() {
		types = append(types, eventType)
	}
	slices.Sort(types)
	if diff := cmp.Diff(types, set.Types()); diff != "" {
		t.Error(diff)
	}
}

type ref struct {
	Ref string `yaml:"$ref"`
}

type asyncAPI struct {
	AsyncAPI string `yaml:"asyncapi"`
	Info     struct{ Title, Version string }
	Channels map[string]struct {
		Address    string
		Messages   map[string]ref
		Parameters map[string]ref
		JetStream  struct {
			Stream   string
			Subjects []string
		} `yaml:"x-jetstream"`
	}
	Operations map[string]struct {
		Action   string
		Channel  ref
		Bindings struct{ NATS map[string]string }
	}
	Components struct {
		Messages map[string]struct {
			Name    string
			Payload struct{ Schema ref }
		}
		Parameters map[string]any
	}
}

func readAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	data, err := fs.ReadFile(schemas.Files(), "asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc asyncAPI
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.AsyncAPI != "3.0.0" || doc.Info.Title == "" || doc.Info.Version == "" {
		t.Fatalf("%+v", doc.Info)
	}
	return doc
}

// asyncapi.yaml says what the code does: each type, its subjects, its schema.
func TestAsyncAPINamesEveryType(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	addresses := map[string][]string{}
	for name, channel := range doc.Channels {
		if len(channel.Messages) != 1 {
			t.Errorf("channel %s has %d messages", name, len(channel.Messages))
		}
		for _, message := range channel.Messages {
			target, ok := doc.Components.Messages[strings.TrimPrefix(message.Ref, "#/components/messages/")]
			if !ok {
				t.Fatalf("channel %s: no message %s", name, message.Ref)
			}
			addresses[target.Name] = append(addresses[target.Name], channel.Address)
		}
		for parameter, r := range channel.Parameters {
			if _, ok := doc.Components.Parameters[strings.TrimPrefix(r.Ref, "#/components/parameters/")]; !ok || !strings.Contains(channel.Address, "{"+parameter+"}") {
				t.Errorf("channel %s: parameter %s", name, parameter)
			}
		}
		if strings.Count(channel.Address, "{") != len(channel.Parameters) {
			t.Errorf("channel %s: %s has other parameters than %v", name, channel.Address, channel.Parameters)
		}
		prefix := strings.TrimSuffix(strings.Join(channel.JetStream.Subjects, " "), ">")
		if channel.JetStream.Stream == "" || prefix == "" || !strings.HasPrefix(channel.Address, prefix) {
			t.Errorf("channel %s: %s is not in stream %+v", name, channel.Address, channel.JetStream)
		}
	}
	for _, subjects := range addresses {
		slices.Sort(subjects)
	}
	if diff := cmp.Diff(eventTypes(), addresses); diff != "" {
		t.Error(diff)
	}
}

func TestAsyncAPIPayloads(t *testing.T) {
	t.Parallel()
	for name, message := range readAsyncAPI(t).Components.Messages {
		var schema struct {
			ID        string `json:"$id"`
			EventType string `json:"x-event-type"`
		}
		file := path.Clean(message.Payload.Schema.Ref)
		data, err := fs.ReadFile(schemas.Files(), file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &schema); err != nil {
			t.Fatal(err)
		}
		if schema.EventType != message.Name || schema.ID != schemas.BaseURL+file {
			t.Errorf("message %s is %s, %s describes %s", name, message.Name, schema.ID, schema.EventType)
		}
	}
}

func TestAsyncAPIOperations(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	used := map[string]string{}
	for name, operation := range doc.Operations {
		channel := strings.TrimPrefix(operation.Channel.Ref, "#/channels/")
		used[channel] = operation.Action
		if operation.Bindings.NATS["bindingVersion"] != "0.1.0" {
			t.Errorf("operation %s: bindings %v", name, operation.Bindings)
		}
	}
	want := map[string]string{}
	for name, channel := range doc.Channels {
		want[name] = "receive"
		if strings.HasPrefix(channel.Address, SubjectResult+".") {
			want[name] = "send"
		}
	}
	if diff := cmp.Diff(want, used); diff != "" {
		t.Error(diff)
	}
}

type schemaNode struct {
	Properties           map[string]schemaNode `json:"properties"`
	Items                *schemaNode           `json:"items"`
	Enum                 []string              `json:"enum"`
	Ref                  string                `json:"$ref"`
	Defs                 map[string]schemaNode `json:"$defs"`
	AdditionalProperties *bool                 `json:"additionalProperties"`
}

// The closed sets and the members of result.v1.json are those of the code.
func TestResultSchemaIsTheCode(t *testing.T) {
	t.Parallel()
	data, err := fs.ReadFile(schemas.Files(), "result.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema schemaNode
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	words := func(list any) (out []string) {
		for i := range reflect.ValueOf(list).Len() {
			out = append(out, reflect.ValueOf(list).Index(i).String())
		}
		slices.Sort(out)
		return out
	}
	errorSchema := schema.Properties["error"]
	for name, pair := range map[string][2][]string{
		"reasons": {words(pipeline.Reasons()), words(errorSchema.Properties["reason"].Enum)},
		"stages":  {words(pipeline.StageNames()), words(errorSchema.Properties["stage"].Enum)},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, outcome := range pipeline.Outcomes() {
		if outcome != pipeline.OutcomeIgnored && !slices.Contains(schema.Properties["outcome"].Enum, string(outcome)) {
			t.Errorf("outcome %s is missing", outcome)
		}
	}
	compareMembers(t, "", reflect.TypeFor[ResultData](), schema, schema.Defs)
}

func compareMembers(t *testing.T, at string, structure reflect.Type, schema schemaNode, defs map[string]schemaNode) {
	t.Helper()
	for structure.Kind() == reflect.Pointer || structure.Kind() == reflect.Slice {
		structure = structure.Elem()
		if schema.Items != nil {
			schema = *schema.Items
		}
		if name, ok := strings.CutPrefix(schema.Ref, "#/$defs/"); ok {
			schema = defs[name]
		}
	}
	if structure.Kind() != reflect.Struct {
		return
	}
	if schema.AdditionalProperties == nil || *schema.AdditionalProperties {
		t.Errorf("%s allows what we never write", at)
	}
	var fields, members []string
	for i := range structure.NumField() {
		field := structure.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fields = append(fields, name)
		compareMembers(t, at+"/"+name, field.Type, schema.Properties[name], defs)
	}
	for name := range schema.Properties {
		members = append(members, name)
	}
	slices.Sort(fields)
	slices.Sort(members)
	if diff := cmp.Diff(fields, members); diff != "" {
		t.Errorf("%s: %s", at, diff)
	}
}
