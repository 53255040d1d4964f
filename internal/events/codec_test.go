package events

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const flatEvent = `{"specversion":"1.0","id":"1","source":"/by-hand","type":"org.koji.build.completed.v1","data":{"nvr":"a-1-1"}}`

// The forms that people and bridges send.
func TestDecodeTakes(t *testing.T) {
	t.Parallel()
	lower := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/by-hand"}, "ce-type": {TypeBuildCompleted},
	}
	with := func(h nats.Header, more ...string) nats.Header {
		out := nats.Header{}
		for k, v := range h {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = append(out[more[i]], more[i+1])
		}
		return out
	}
	upper := nats.Header{}
	for k, v := range lower {
		upper[strings.ToUpper(k)] = v
	}
	for _, tt := range []struct {
		name    string
		header  nats.Header
		payload string
		subject string // of the event
		data    string
	}{
		{"nats pub SUBJECT JSON", nil, flatEvent, "", `{"nvr":"a-1-1"}`},
		{"leading blanks", nil, " \n\t" + flatEvent + "\n", "", `{"nvr":"a-1-1"}`},
		{"nats pub -H Content-Type", nats.Header{"Content-Type": {"application/cloudevents+json"}}, flatEvent, "", `{"nvr":"a-1-1"}`},
		{"content type in capitals", nats.Header{"CONTENT-TYPE": {"Application/CloudEvents+JSON; charset=UTF-8"}}, flatEvent, "", `{"nvr":"a-1-1"}`},
		{"content type without a format", nats.Header{"content-type": {"application/cloudevents"}}, flatEvent, "", `{"nvr":"a-1-1"}`},
		{"other headers", nats.Header{"Nats-Msg-Id": {"1"}, "Content-Type": {"application/json"}}, flatEvent, "", `{"nvr":"a-1-1"}`},
		{"nats pub -H ce-…", lower, `{"nvr":"a-1-1"}`, "", `{"nvr":"a-1-1"}`},
		{"-H CE-…", upper, `{"nvr":"a-1-1"}`, "", `{"nvr":"a-1-1"}`},
		{"-H 'ce-subject: …'", with(lower, "Ce-Subject", " a-1-1 "), ``, "a-1-1", ``},
		{"percent-encoded", with(lower, "ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"), `{}`, "Euro € 😀", `{}`},
		{"decoded once", with(lower, "ce-subject", "%2541"), `{}`, "%41", `{}`},
		{"a percent sign by hand", with(lower, "ce-subject", "100% %zz %4"), `{}`, "100% %zz %4", `{}`},
		{"quoted", with(lower, "ce-subject", `"a \"b\" \\ c%21"`), `{}`, `a "b" \ c!`, `{}`},
		{"repeated", with(lower, "ce-subject", "a", "ce-subject", "a", "CE-SUBJECT", "a"), `{}`, "a", `{}`},
		{"empty optional", with(lower, "ce-subject", "", "ce-time", "", "ce-dataschema", ""), `{}`, "", `{}`},
		{"HTTP content type", with(lower, "Content-Type", "application/json"), `{}`, "", `{}`},
		{"HTTP content type that is none", with(lower, "Content-Type", "a b c"), `{}`, "", `{}`},
		{"several content types", nats.Header{"Content-Type": {"text/plain", "application/cloudevents+json"}, "content-type": {"application/json"}}, flatEvent, "", `{"nvr":"a-1-1"}`},
		{"binary data", with(lower, "ce-datacontenttype", "application/octet-stream"), "\x00\xff", "", "\x00\xff"},
		{"data_base64", nil, strings.Replace(flatEvent, `"data":{"nvr":"a-1-1"}`, `"data_base64":"eyJudnIiOiJhLTEtMSJ9"`, 1), "", `{"nvr":"a-1-1"}`},
		{"data first", nil, `{"data":{"nvr":"a-1-1"},"type":"org.koji.build.completed.v1","source":"/by-hand","id":"1","specversion":"1.0"}`, "", `{"nvr":"a-1-1"}`},
		{"null members", nil, strings.Replace(flatEvent, `"id":"1"`, `"id":"1","subject":null,"time":null,"data_base64":null,"ext":null`, 1), "", `{"nvr":"a-1-1"}`},
		{"no data", nil, strings.Replace(flatEvent, `,"data":{"nvr":"a-1-1"}`, ``, 1), "", ``},
		{"data that is text", nil, strings.Replace(flatEvent, `"data":{"nvr":"a-1-1"}`, `"datacontenttype":"text/plain","data":"a\n"`, 1), "", "a\n"},
		{"repeated member, the last one counts", nil, strings.Replace(flatEvent, `"id":"1"`, `"id":"0","id":"1"`, 1), "", `{"nvr":"a-1-1"}`},
		{"an empty member name", nil, strings.Replace(flatEvent, `"data":`, `"data":{"":1},"data":`, 1), "", `{"nvr":"a-1-1"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := Decode("koji.build.completed", tt.header, []byte(tt.payload))
			if err != nil {
				t.Fatal(err)
			}
			if e.ID() != "1" || e.Source() != "/by-hand" || e.Type() != TypeBuildCompleted {
				t.Errorf("got %s", e)
			}
			if e.Subject() != tt.subject || string(e.Data()) != tt.data {
				t.Errorf("subject %q data %q, want %q %q", e.Subject(), e.Data(), tt.subject, tt.data)
			}
		})
	}
}

func TestDecodeKeepsExtensions(t *testing.T) {
	t.Parallel()
	payload := strings.Replace(flatEvent, `"id"`, `"traceparent":"00-1-2-01","count":3,"flag":true,"empty":"","id"`, 1)
	e, err := Decode("s", nil, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	header := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"},
		"CE-TraceParent": {"00-1-2-01"}, "ce-count": {"3"}, "ce-flag": {"true"}, "ce-empty": {""},
	}
	b, err := Decode("s", header, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"traceparent": "00-1-2-01", "count": int32(3), "flag": true, "empty": ""} {
		if got := e.Extensions()[name]; got != want {
			t.Errorf("structured: %s is %#v, want %#v", name, got, want)
		}
	}
	for name, want := range map[string]any{"traceparent": "00-1-2-01", "count": "3", "flag": "true", "empty": ""} {
		if got := b.Extensions()[name]; got != want {
			t.Errorf("binary: %s is %#v, want %#v", name, got, want)
		}
	}
}

// Nothing comes of an extension that we do not know: one that breaks the rules
// is left out, and what is beside it is kept.
func TestDecodeLeavesOutBadExtensions(t *testing.T) {
	t.Parallel()
	want := map[string]any{"good": "x"}
	for name, member := range map[string]string{
		"too large a number": `"ts":1700000000000`, "a fraction": `"x":1.5`, "an object": `"x":{"a":[1]}`, "a list": `"x":[]`,
		"bad name": `"koji_task":"1"`, "empty name": `"":"x"`, "named data": `"Data":"x"`, "named as an attribute": `"ID":"2"`,
		"a control character": `"x":"a\n"`, "too long": `"x":"` + strings.Repeat("x", maxAttribute+1) + `"`,
	} {
		e, err := Decode("koji.build.completed", nil, []byte(strings.Replace(flatEvent, `"id"`, member+`,"good":"x","id"`, 1)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, e.Extensions()); diff != "" || e.ID() != "1" || string(e.Data()) != `{"nvr":"a-1-1"}` {
			t.Errorf("%s: %s %s", name, e, diff)
		}
	}
	for _, bad := range []nats.Header{
		{"ce-koji_task": {"1"}}, {"ce-": {"1"}}, {"ce-data": {"x"}}, {"ce-x": {`"a`}}, {"ce-x": {"%ff"}}, {"ce-x": {"a%0A"}},
		{"ce-x": {"a", "b", "a"}}, {"ce-x": {"a"}, "Ce-X": {"b"}, "CE-x": {"a"}}, {"ce-x": {strings.Repeat("%", 3*maxAttribute+3)}},
	} {
		header := nats.Header{
			"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {TypeBuildCompleted}, "ce-good": {"x"},
		}
		maps.Copy(header, bad)
		e, err := Decode("koji.build.completed", header, []byte(`{"nvr":"a-1-1"}`))
		if err != nil {
			t.Errorf("%.100v: %v", bad, err)
		} else if diff := cmp.Diff(want, e.Extensions()); diff != "" {
			t.Errorf("%.100v: %s", bad, diff)
		}
	}
}

// What a message is does not depend on the order in which a map of headers is
// gone through, and whatever may have been meant for us is not dropped.
func TestSeveralTypes(t *testing.T) {
	t.Parallel()
	r := newReader(t, "myorg")
	for _, tt := range []struct {
		subject string
		types   nats.Header
		class   pipeline.Class
		kind    Kind // where there is no error
	}{
		{"koji.other", nats.Header{"ce-type": {TypeBuildCompleted}, "Ce-Type": {"zzz"}}, pipeline.Malformed, 0},
		{"koji.other", nats.Header{"ce-type": {"zzz"}, "Ce-Type": {"%FF"}, "CE-TYPE": {TypeBuildPromoted}}, pipeline.Malformed, 0},
		{"koji.other", nats.Header{"ce-type": {"zzz", TypeBuildCompleted}}, pipeline.Malformed, 0},
		{"koji.other", nats.Header{"ce-type": {TypePushRequested}, "Ce-Type": {"zzz"}}, pipeline.Malformed, 0},
		{"koji.other", nats.Header{"ce-type": {TypeBuildPromoted}, "Ce-Type": {TypeBuildCompleted}}, pipeline.Malformed, 0},
		{"koji.build.completed", nats.Header{"ce-type": {"zzz"}, "Ce-Type": {"yyy"}}, pipeline.Malformed, 0},
		{"omps.request.push.myorg", nats.Header{"ce-type": {TypePushRequested}, "Ce-Type": {TypeDeleteRequested}}, pipeline.Malformed, 0},
		{"koji.other", nats.Header{"ce-type": {"zzz"}, "Ce-Type": {"yyy"}}, pipeline.Ignored, KindOther},
		{"koji.build.completed", nats.Header{"ce-type": {TypeBuildCompleted}, "Ce-Type": {`"` + TypeBuildCompleted + `"`}}, 0, KindAnnouncement},
	} {
		for range 50 { // each a new map, in a new order
			header := nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}}
			maps.Copy(header, tt.types)
			_, err := Decode(tt.subject, header, []byte(`{"nvr":"a-1-1"}`))
			if (err == nil) != (tt.class == 0) || err != nil && pipeline.ClassOf(err) != tt.class {
				t.Fatalf("Decode %s %v: %v", tt.subject, tt.types, err)
			}
			peeked, err := r.Peek(tt.subject, header, []byte(`{"nvr":"a-1-1"}`))
			if (err != nil) != (tt.class == pipeline.Malformed) || peeked.Kind != tt.kind {
				t.Fatalf("Peek %s %v: %+v %v", tt.subject, tt.types, peeked, err)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	event := func(old, replacement string) string { return strings.Replace(flatEvent, old, replacement, 1) }
	binary := func(name string, values ...string) nats.Header {
		h := nats.Header{
			"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/by-hand"}, "ce-type": {TypeBuildCompleted},
		}
		if name != "" {
			h[name] = values
		}
		return h
	}
	ceJSON := nats.Header{"Content-Type": {"application/cloudevents+json"}}
	for _, tt := range []struct {
		name    string
		header  nats.Header
		payload string
		reason  pipeline.Reason
		says    string
	}{
		{"empty", nil, ``, pipeline.ReasonUnreadableEvent, "empty payload"},
		{"blank", nil, " \n", pipeline.ReasonUnreadableEvent, "empty payload"},
		{"text", nil, `hello`, pipeline.ReasonUnreadableEvent, "not JSON"},
		{"an array", nil, `[1]`, pipeline.ReasonUnreadableEvent, "not an object"},
		{"a string", nil, `"x"`, pipeline.ReasonUnreadableEvent, "not an object"},
		{"a number", nil, `1`, pipeline.ReasonUnreadableEvent, "not an object"},
		{"a boolean", nil, `true`, pipeline.ReasonUnreadableEvent, "not an object"},
		{"null", nil, `null`, pipeline.ReasonUnreadableEvent, "not an object"},
		{"two objects", nil, `{}{}`, pipeline.ReasonUnreadableEvent, "not JSON"},
		{"no specversion", nil, `{"nvr":"a-1-1"}`, pipeline.ReasonUnreadableEvent, "neither ce- headers nor specversion"},
		{"no UTF-8", nil, "{\"specversion\":\"\xff\"}", pipeline.ReasonUnreadableEvent, "not UTF-8"},
		{"deep", nil, strings.Repeat("[", 1<<20), pipeline.ReasonUnreadableEvent, "nested deeper"},
		{"large", nil, strings.Repeat(" ", maxPayload) + `{"a":"` + strings.Repeat("x", maxPayload) + `"}`, pipeline.ReasonUnreadableEvent, "larger"},
		{"large, binary", binary(""), strings.Repeat("x", maxPayload+1), pipeline.ReasonUnreadableEvent, "larger"},
		{"batch", nats.Header{"Content-Type": {"application/cloudevents-batch+json"}}, `[]`, pipeline.ReasonUnreadableEvent, "batch"},
		{"avro", nats.Header{"Content-Type": {"application/cloudevents+avro"}}, `x`, pipeline.ReasonUnreadableEvent, "only JSON"},
		{"both forms", binary("content-type", "application/cloudevents+json"), flatEvent, pipeline.ReasonUnreadableEvent, "both"},
		{"both forms, undeclared", binary(""), flatEvent, pipeline.ReasonInvalidEvent, "whole event as payload"},
		{"no ce-specversion", nats.Header{"ce-id": {"1"}}, flatEvent, pipeline.ReasonUnreadableEvent, "without ce-specversion"},
		{"declared without specversion", ceJSON, `{"id":"1","source":"/s","type":"t"}`, pipeline.ReasonInvalidEvent, "specversion"},
		{"specversion 0.3", nil, event("1.0", "0.3"), pipeline.ReasonInvalidEvent, "only 1.0"},
		{"specversion 2", binary("ce-specversion", "2.0"), `{}`, pipeline.ReasonInvalidEvent, "only 1.0"},
		{"specversion a number", nil, event(`"1.0"`, `1`), pipeline.ReasonInvalidEvent, "specversion"},
		{"no id", nil, event(`"id":"1",`, ``), pipeline.ReasonInvalidEvent, "id: MUST"},
		{"empty id", binary("ce-id", ""), `{}`, pipeline.ReasonInvalidEvent, "id: MUST"},
		{"no source", nil, event(`"source":"/by-hand",`, ``), pipeline.ReasonInvalidEvent, "source"},
		{"no type", nil, event(`"type":"org.koji.build.completed.v1",`, ``), pipeline.ReasonInvalidEvent, "type"},
		{"id a number", nil, event(`"id":"1"`, `"id":1`), pipeline.ReasonInvalidEvent, "id: not a string"},
		{"bad source", nil, event(`/by-hand`, `:%zz`), pipeline.ReasonInvalidEvent, "source: not a URI"},
		{"bad time", nil, event(`"id"`, `"time":"yesterday","id"`), pipeline.ReasonInvalidEvent, "time"},
		{"bad data content type", nil, event(`"id"`, `"datacontenttype":"a b c","id"`), pipeline.ReasonInvalidEvent, "datacontenttype"},
		{"control character", nil, event(`"id":"1"`, `"id":"1\n"`), pipeline.ReasonInvalidEvent, "control character"},
		{"control character, binary", binary("ce-subject", "a%0A"), `{}`, pipeline.ReasonInvalidEvent, "control character"},
		{"long attribute", nil, event(`"id":"1"`, `"id":"`+strings.Repeat("x", maxAttribute+1)+`"`), pipeline.ReasonInvalidEvent, "more than"},
		{"long header", binary("ce-subject", strings.Repeat("%", 3*maxAttribute+3)), `{}`, pipeline.ReasonInvalidEvent, "more than"},
		{"correlationid an object", nil, event(`"id"`, `"correlationid":{},"id"`), pipeline.ReasonInvalidEvent, "correlationid: neither"},
		{"causationid a fraction", nil, event(`"id"`, `"causationid":1.5,"id"`), pipeline.ReasonInvalidEvent, "causationid: neither"},
		{"traceparent with a line break", nil, event(`"id"`, `"traceparent":"a\n","id"`), pipeline.ReasonInvalidEvent, "traceparent: holds"},
		{"TraceState too long", binary("ce-TraceState", strings.Repeat("x", maxAttribute+1)), `{}`, pipeline.ReasonInvalidEvent, "tracestate: 4097 bytes"},
		{"different traceparents", binary("ce-traceparent", "a", "b"), `{}`, pipeline.ReasonInvalidEvent, "traceparent: different"},
		{"data twice", nil, event(`"data"`, `"data_base64":"e30=","data"`), pipeline.ReasonInvalidEvent, "both data"},
		{"data_base64 a number", nil, event(`"data":{"nvr":"a-1-1"}`, `"data_base64":5`), pipeline.ReasonInvalidEvent, "data_base64"},
		{"data_base64 bad", nil, event(`"data":{"nvr":"a-1-1"}`, `"data_base64":"***"`), pipeline.ReasonInvalidEvent, "data_base64"},
		{"invalid UTF-8 in a header", binary("ce-subject", "%ff"), `{}`, pipeline.ReasonInvalidEvent, "not UTF-8"},
		{"raw invalid UTF-8 in a header", binary("ce-subject", "\xff"), `{}`, pipeline.ReasonInvalidEvent, "not UTF-8"},
		{"different values", binary("ce-subject", "a", "b"), `{}`, pipeline.ReasonInvalidEvent, "different"},
		{"different values by case", binary("CE-ID", "2"), `{}`, pipeline.ReasonInvalidEvent, "different"},
		{"open quote", binary("ce-subject", `"a`), `{}`, pipeline.ReasonInvalidEvent, "quote"},
		{"text after a quote", binary("ce-subject", `"a"b`), `{}`, pipeline.ReasonInvalidEvent, "quote"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode("koji.build.completed.a", tt.header, []byte(tt.payload))
			wantError(t, err, pipeline.Malformed, tt.reason)
			if !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 500 || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q does not say %q in one short line", err, tt.says)
			}
		})
	}
}

// On a bus that others use, what cannot be read is theirs, unless it has one
// of our types.
func TestDecodeOnOtherSubjects(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		subject, payload string
		class            pipeline.Class
		reason           pipeline.Reason
	}{
		{"koji.build.tag", `{"tag":{}}`, pipeline.Ignored, pipeline.ReasonUnknownType},
		{"koji.build.tag", `<xml/>`, pipeline.Ignored, pipeline.ReasonUnknownType},
		{"koji.build.tag", ``, pipeline.Ignored, pipeline.ReasonUnknownType},
		{"koji.build.tag", `{"specversion":"1.0","type":"x"}`, pipeline.Ignored, pipeline.ReasonUnknownType},
		{"koji.build.tag", `{"specversion":"1.0","type":"org.koji.build.completed.v1"}`, pipeline.Malformed, pipeline.ReasonInvalidEvent},
		{"koji.build.completedness", `{}`, pipeline.Ignored, pipeline.ReasonUnknownType},
		{"koji.build.completed", `{}`, pipeline.Malformed, pipeline.ReasonUnreadableEvent},
		{"koji.build.promoted.x", `{}`, pipeline.Malformed, pipeline.ReasonUnreadableEvent},
		{"omps.request.push.org", `{}`, pipeline.Malformed, pipeline.ReasonUnreadableEvent},
		{"omps.request", `{}`, pipeline.Malformed, pipeline.ReasonUnreadableEvent},
	} {
		_, err := Decode(tt.subject, nil, []byte(tt.payload))
		if pipeline.ClassOf(err) != tt.class || pipeline.ReasonOf(err) != tt.reason {
			t.Errorf("%s %s: %v is %s %s", tt.subject, tt.payload, err, pipeline.ClassOf(err), pipeline.ReasonOf(err))
		}
	}
}

func TestDeepButBalancedIsRead(t *testing.T) {
	t.Parallel()
	many := `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":[` + strings.Repeat(`{"a":"}\"]"},`, 5000) + `1]}`
	if _, err := Decode("s", nil, []byte(many)); err != nil {
		t.Error(err)
	}
}
