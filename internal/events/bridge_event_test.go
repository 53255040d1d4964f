package events

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func headers(pairs ...string) func(string) string {
	all := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return all[name] }
}

const (
	hubBody      = `{"attribute":"state","old":0,"new":1,"info":{"build_id":7,"id":7,"name":"etcd-container","version":"1.0","release":"1","nvr":"etcd-container-1.0-1","state":1}}`
	promoteBody  = `{"draft_release":"1,draft_7","target_release":"1","build":{"build_id":7,"name":"etcd-container","version":"1.0","release":"1","nvr":"etcd-container-1.0-1","state":1,"draft":false},"user":{"id":1}}`
	fedoraBody   = `{"name":"etcd-container","version":"1.0","release":"1","build_id":7,"attribute":"state","old":0,"new":1,"instance":"primary"}`
	decisionBody = `{"policies_satisfied":true,"subject_type":"koji_build","subject_identifier":"etcd-container-1.0-1","decision_context":"omps_push","product_version":"cvp"}`
)

func TestBusEvents(t *testing.T) {
	t.Parallel()
	with := func(body, old, changed string) string { return strings.Replace(body, old, changed, 1) }
	complete, umb, fedora := "topic://VirtualTopic.eng.brew.build.complete", "VirtualTopic.eng.greenwave.decision.update", "org.fedoraproject.prod.buildsys.build.state.change"
	none := headers()
	for name, c := range map[string]struct {
		m       BusMessage
		subject string          // "": an error
		reason  pipeline.Reason // of the error
	}{
		"hub, by topic":                 {BusMessage{Topic: complete, Header: none, Body: []byte(hubBody)}, "koji.build.completed", ""},
		"hub, by queue":                 {BusMessage{Topic: "queue://Consumer.x.VirtualTopic.eng.brew.build.complete", Header: none, Body: []byte(hubBody)}, "koji.build.completed", ""},
		"hub, by prefix alone":          {BusMessage{Topic: "/topic/build.complete", Header: none, Body: []byte(hubBody)}, "koji.build.completed", ""},
		"hub, by property":              {BusMessage{Topic: "builds", Header: headers("type", "BuildStateChange", "new", "COMPLETE"), Body: []byte(hubBody)}, "koji.build.completed", ""},
		"hub, by body":                  {BusMessage{Header: none, Body: []byte(hubBody)}, "koji.build.completed", ""},
		"hub, wrapped":                  {BusMessage{Header: none, Body: []byte(`{"body":` + hubBody + `}`)}, "koji.build.completed", ""},
		"promoted, by topic":            {BusMessage{Topic: "x.build.promote", Header: none, Body: []byte(promoteBody)}, "koji.build.promoted", ""},
		"promoted, by property":         {BusMessage{Header: headers("type", "BuildPromote"), Body: []byte(promoteBody)}, "koji.build.promoted", ""},
		"promoted, by body":             {BusMessage{Header: none, Body: []byte(promoteBody)}, "koji.build.promoted", ""},
		"fedora, by topic":              {BusMessage{Topic: fedora, Header: none, Body: []byte(fedoraBody)}, "koji.build.completed", ""},
		"fedora, by body":               {BusMessage{Topic: "q", Header: none, Body: []byte(fedoraBody)}, "koji.build.completed", ""},
		"decision, by topic":            {BusMessage{Topic: umb, Header: none, Body: []byte(`{"msg":` + decisionBody + `,"topic":"x"}`)}, "greenwave.decision.updated", ""},
		"decision, by body":             {BusMessage{Header: none, Body: []byte(`{"msg":` + decisionBody + `}`)}, "greenwave.decision.updated", ""},
		"decision, bare":                {BusMessage{Topic: "org.fedoraproject.prod.greenwave.decision.update", Header: none, Body: []byte(decisionBody)}, "greenwave.decision.updated", ""},
		"state in the body unknown":     {BusMessage{Topic: complete, Header: none, Body: []byte(`{"info":{"nvr":"etcd-container-1.0-1"}}`)}, "koji.build.completed", ""},
		"building, by property":         {BusMessage{Topic: fedora, Header: headers("new", "BUILDING"), Body: []byte("not looked at")}, "", "build-not-complete"},
		"building, by body":             {BusMessage{Topic: fedora, Header: none, Body: []byte(with(fedoraBody, `"new":1`, `"new":0`))}, "", "build-not-complete"},
		"failed, by its own state":      {BusMessage{Header: headers("type", "BuildStateChange"), Body: []byte(with(with(hubBody, `"new":1`, `"new":3`), `"state":1`, `"state":3`))}, "", "build-not-complete"},
		"draft":                         {BusMessage{Topic: complete, Header: none, Body: []byte(with(hubBody, `"state":1`, `"state":1,"draft":true`))}, "", "draft-build"},
		"another attribute":             {BusMessage{Topic: fedora, Header: none, Body: []byte(with(fedoraBody, `"attribute":"state"`, `"attribute":"volume_id"`))}, "", "unknown-type"},
		"tag":                           {BusMessage{Topic: "x.build.tag", Header: headers("type", "Tag"), Body: []byte(with(promoteBody, "target_release", "tag"))}, "", "unknown-type"},
		"task":                          {BusMessage{Topic: "x.task.closed", Header: headers("type", "TaskStateChange"), Body: []byte(`{"attribute":"state","old":"OPEN","new":"CLOSED","info":{"id":7,"method":"build"}}`)}, "", "unknown-type"},
		"another word":                  {BusMessage{Topic: "x.rebuild.complete", Header: none, Body: []byte(`{}`)}, "", "unknown-type"},
		"no topic and no JSON":          {BusMessage{Header: none, Body: []byte("hello")}, "", "unknown-type"},
		"nothing":                       {BusMessage{Header: none}, "", "unknown-type"},
		"decision on a compose":         {BusMessage{Topic: umb, Header: none, Body: []byte(with(decisionBody, "koji_build", "compose"))}, "", "nothing-waits"},
		"not JSON":                      {BusMessage{Topic: complete, Header: none, Body: []byte(hubBody[1:])}, "", "unreadable-event"},
		"no object":                     {BusMessage{Topic: complete, Header: none, Body: []byte("[]")}, "", "unreadable-event"},
		"no body":                       {BusMessage{Topic: complete, Header: none}, "", "unreadable-event"},
		"no build":                      {BusMessage{Topic: complete, Header: none, Body: []byte(`{"new":1}`)}, "", "invalid-event"},
		"contradiction":                 {BusMessage{Topic: complete, Header: none, Body: []byte(with(hubBody, `"version":"1.0"`, `"version":"2.0"`))}, "", "invalid-event"},
		"decision without a subject":    {BusMessage{Topic: umb, Header: none, Body: []byte(`{"msg":{}}`)}, "", "invalid-event"},
		"decision on something unknown": {BusMessage{Topic: umb, Header: none, Body: []byte(with(decisionBody, "etcd-container-1.0-1", "etcd"))}, "", "invalid-event"},
	} {
		b, err := newReader(t).busEvent("/bus/x", c.m)
		if c.subject == "" {
			if err == nil || pipeline.ReasonOf(err) != c.reason {
				t.Errorf("%s: %+v %v, want %s", name, b, err, c.reason)
			}
			continue
		}
		if err != nil || b.msg.Subject != c.subject || b.nvr != "etcd-container-1.0-1" || string(b.msg.Data) != string(c.m.Body) {
			t.Errorf("%s: %+v %v", name, b, err)
			continue
		}
		wanted(t, name, b)
	}
}

// TestBodiesThatTheServiceRefuses: what they say of the build is passed on.
func TestBodiesThatTheServiceRefuses(t *testing.T) {
	t.Parallel()
	const nvr = `{"nvr":"etcd-container-1.0-1"}`
	for body, want := range map[string]string{
		`{"nvr":"etcd-container-1.0-1","build_id":"7"}`:                                                                      nvr,
		`{"nvr":"etcd-container-1.0-1","draft":"yes"}`:                                                                       nvr,
		`{"attribute":7,"new":1,"info":{"nvr":"etcd-container-1.0-1"}}`:                                                      nvr,
		`{"new":"COMPLETE","info":{"nvr":"etcd-container-1.0-1","id":7,"extra":"none"}}`:                                     `{"nvr":"etcd-container-1.0-1","build_id":7}`,
		`{"new":1,"info":{"nvr":"etcd-container-1.0-1","name":"etcd-container","version":1.0,"release":1}}`:                  nvr,
		`{"policies_satisfied":true,"subject_identifier":"etcd-container-1.0-1","decision_context":7,"product_version":"x"}`: `{"decision_context":"","policies_satisfied":true,"product_version":"x","subject_identifier":"etcd-container-1.0-1","subject_type":"koji_build"}`,
	} {
		topic := "x.build.complete"
		if strings.Contains(body, "policies") {
			topic = "x.greenwave.decision.update"
		}
		b, err := newReader(t).busEvent("/bus/x", BusMessage{Topic: topic, Header: headers(), Body: []byte(body)})
		if err != nil || string(b.msg.Data) != want || b.shortened != nil || b.refused == nil {
			t.Errorf("%s: %s %v", body, b.msg.Data, err)
			continue
		}
		wanted(t, body, b)
	}
	long := strings.Replace(decisionBody, "cvp", strings.Repeat("x", 513), 1) // which is no more readable when shortened
	_, err := newReader(t).busEvent("/bus/x", BusMessage{Topic: "x.greenwave.decision.update", Header: headers(), Body: []byte(long)})
	if pipeline.ClassOf(err) != pipeline.Malformed || pipeline.ReasonOf(err) != pipeline.ReasonInvalidEvent {
		t.Errorf("a long product_version: %v", err)
	}
}

// wanted: both the data as it came and the data for want of room are read as
// the build that they are about.
func wanted(t *testing.T, name string, b bridged) {
	t.Helper()
	r := newReader(t)
	for _, data := range b.each() {
		e, err := Decode(b.msg.Subject, b.msg.Header, data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		trigger, err := r.Trigger(b.msg.Subject, e)
		if err != nil || trigger.NVR.String() != "etcd-container-1.0-1" || e.Source() != "/bus/x" || e.Subject() != "etcd-container-1.0-1" {
			t.Errorf("%s: %+v %v from %s", name, trigger, err, data)
		}
		if trigger.Kind == pipeline.DecisionUpdated && !trigger.SaysSatisfied {
			t.Errorf("%s: not satisfied by %s", name, data)
		}
	}
}

// TestBusEventIdentity: what is one message is one event, and what is not is not.
func TestBusEventIdentity(t *testing.T) {
	t.Parallel()
	reader := newReader(t)
	sent := time.Date(2026, 11, 22, 7, 26, 7, 0, time.UTC)
	base := BusMessage{ID: "ID:1", Topic: "x.build.complete", Header: headers(), Body: []byte(hubBody)}
	seen := make(map[string]string)
	for _, c := range []struct {
		name, source, id string // id "": a hash
		change           func(*BusMessage)
	}{
		{"as it is", "/a", "ID:1", func(*BusMessage) {}},
		{"another bus", "/b", "ID:1", func(*BusMessage) {}},
		{"another id", "/a", "ID:2", func(m *BusMessage) { m.ID = "ID:2" }},
		{"another type", "/a", "ID:1", func(m *BusMessage) { m.Topic, m.Body = "x.build.promote", []byte(promoteBody) }},
		{"the same id, another body", "/a", "ID:1", func(m *BusMessage) { m.Body = append([]byte(hubBody), '\n') }},
		{"a long id", "/a", "", func(m *BusMessage) { m.ID = strings.Repeat("a", 256) }},
		{"an id with a control character", "/a", "", func(m *BusMessage) { m.ID = "a\x00" }},
		{"no id", "/a", "", func(m *BusMessage) { m.ID = "" }},
		{"a blank id, another type", "/a", "", func(m *BusMessage) { m.ID, m.Topic, m.Body = " \u00a0", "x.build.promote", []byte(promoteBody) }},
		{"no id, another body", "/a", "", func(m *BusMessage) { m.ID, m.Body = "", append([]byte(hubBody), ' ') }},
		{"no id, another time", "/a", "", func(m *BusMessage) { m.ID, m.Time = "", sent }},
	} {
		m := base
		c.change(&m)
		b, err := reader.busEvent(c.source, m)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if c.id != "" && b.id != c.id || c.id == "" && (len(b.id) != 32 || strings.Trim(b.id, "0123456789abcdef") != "") {
			t.Errorf("%s: id %q, want %q", c.name, b.id, c.id)
		}
		key := b.msg.Header.Get("Nats-Msg-Id")
		if other, taken := seen[key]; taken || key == "" {
			t.Errorf("%s has the message id %q of %q", c.name, key, other)
		}
		seen[key] = c.name
		if again, err := reader.busEvent(c.source, m); err != nil || again.msg.Header.Get("Nats-Msg-Id") != key {
			t.Errorf("%s: not the same the second time", c.name)
		}
	}
}

func TestBusEventAttributes(t *testing.T) {
	t.Parallel()
	reader := newReader(t)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	m := BusMessage{
		Topic: "x.build.complete", Time: time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC), Body: []byte(hubBody),
		Header: headers("traceparent", trace, "tracestate", strings.Repeat("a", 513), "secret", "hunter2"),
	}
	b, err := reader.busEvent("/bus/x", m)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Decode(b.msg.Subject, b.msg.Header, b.msg.Data)
	if err != nil || !e.Time().Equal(m.Time) || e.Type() != TypeBuildCompleted || e.DataContentType() != "application/json" {
		t.Errorf("%v %v", e, err)
	}
	if got := e.Extensions(); len(got) != 1 || got["traceparent"] != trace {
		t.Errorf("extensions %v", got)
	}
	m.Header = headers("sent-at", "2026-11-22T07:26:07.017625+00:00")
	if b, err = reader.busEvent("/bus/x", m); err != nil {
		t.Fatal(err)
	}
	if got := b.msg.Header.Get("ce-time"); got != "2026-11-22T07:26:07.017625Z" {
		t.Errorf("time %q, want fedora-messaging's own", got)
	}
}

// TestLongBodies: a body that would take much memory to read is passed on shortened,
// whatever NATS takes.
func TestLongBodies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size  int
		whole bool
	}{{maxWhole, true}, {maxWhole + 1, false}, {maxPayload, false}} {
		body := hubBody + strings.Repeat(" ", c.size-len(hubBody))
		b, err := newReader(t).busEvent("/bus/x", BusMessage{Topic: "x.build.complete", Header: headers(), Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		if whole := string(b.msg.Data) == body; whole != c.whole || whole != (b.refused == nil) {
			t.Errorf("%d bytes became %d, and are refused with %v", c.size, len(b.msg.Data), b.refused)
		}
		wanted(t, fmt.Sprint(c.size), b)
	}
}

// TestBusEventTime: a time that no event can have is left out, and costs nobody
// the event.
func TestBusEventTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at     time.Time
		sentAt string
		want   string
	}{
		"none":                        {sentAt: "yesterday"},
		"milliseconds for seconds":    {at: time.Unix(1763800000000, 0)},
		"the largest number":          {at: time.Unix(1<<63-1, 0)},
		"long ago":                    {at: time.Unix(-1<<40, 0)},
		"the last second":             {at: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), want: "9999-12-31T23:59:59Z"},
		"the last year, but here":     {sentAt: "9999-12-31T23:59:59-01:00"},
		"the last year, here and now": {sentAt: "9999-12-31T23:59:59+01:00", want: "9999-12-31T22:59:59Z"},
	} {
		m := BusMessage{Topic: "x.build.complete", Time: c.at, Header: headers("sent-at", c.sentAt), Body: []byte(hubBody)}
		b, err := newReader(t).busEvent("/bus/x", m)
		if err != nil || b.msg.Header.Get("ce-time") != c.want {
			t.Errorf("%s: time %q, %v", name, b.msg.Header.Get("ce-time"), err)
			continue
		}
		wanted(t, name, b)
	}
}

// TestCapturesAsBusMessages takes what real senders sent, with what their
// brokers tell of it and without.
func TestCapturesAsBusMessages(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("..", "..", "..", "shared", "captures")
	builds, _ := filepath.Glob(filepath.Join(folder, "*.json"))
	decisions, _ := filepath.Glob(filepath.Join(folder, "greenwave-*", "greenwave-decision-update-*.json"))
	if len(builds) == 0 || len(decisions) == 0 {
		t.Skip("no captures beside the checkout")
	}
	passed, reader := make(map[string]int), newReader(t)
	for _, file := range append(builds, decisions...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all := gjson.ParseBytes(data)
		body := all.Get("body")
		if !body.IsObject() {
			continue // the wire capture and the schema
		}
		topic := all.Get("address").String() + all.Get("topic").String() + all.Get("destination").String()
		told := func(name string) string {
			return all.Get("props."+name).String() + all.Get("headers."+name).String()
		}
		want, wantErr := reader.busEvent("/bus/x", BusMessage{Topic: topic, Header: told, Body: []byte(body.Raw)})
		got, gotErr := reader.busEvent("/bus/x", BusMessage{Header: headers(), Body: []byte(body.Raw)})
		if want.msg.Subject != got.msg.Subject || want.nvr != got.nvr || (wantErr == nil) != (gotErr == nil) {
			t.Errorf("%s: by its topic %s %s %v, by its body %s %s %v", file, want.msg.Subject, want.nvr, wantErr, got.msg.Subject, got.nvr, gotErr)
		}
		if want.refused != nil {
			t.Errorf("%s: %v", file, want.refused)
		}
		if wantErr != nil && pipeline.ClassOf(wantErr) != pipeline.Ignored {
			t.Errorf("%s: %v", file, wantErr)
		}
		passed[want.msg.Subject]++
		if complete := told("new") == "COMPLETE" || body.Get("new").Int() == 1; complete && want.msg.Subject != SubjectBuildCompleted {
			t.Errorf("%s: %v", file, wantErr)
		}
	}
	if passed[SubjectBuildCompleted] < 5 || passed[SubjectBuildPromoted] < 1 || passed[SubjectDecisionUpdated] != len(decisions) || passed[""] < 5 {
		t.Errorf("passed %v of %d builds and %d decisions", passed, len(builds), len(decisions))
	}
}

// each is the data with which the event may be published.
func (b bridged) each() [][]byte {
	if b.shortened == nil {
		return [][]byte{b.msg.Data}
	}
	return [][]byte{b.msg.Data, b.shortened}
}

// FuzzBusEvent: whatever a bus brings is an event that our own reader takes or
// does not want, or an error with a class.
func FuzzBusEvent(f *testing.F) {
	reader := newReader(f)
	for _, body := range []string{hubBody, promoteBody, fedoraBody, decisionBody, `{"msg":` + decisionBody + `}`, "[]"} {
		f.Add("ID:1", "x.build.complete", "COMPLETE", body, int64(1763800000))
		f.Add("", "", "", body, int64(1763800000000))
	}
	f.Add("ID:1", "x.build.complete", "", `{"nvr":"etcd-container-1.0-1","build_id":"7","extra":"none"}`, int64(0))
	f.Fuzz(func(t *testing.T, id, topic, state, body string, sent int64) {
		m := BusMessage{ID: id, Topic: topic, Time: time.Unix(sent, 0), Header: headers("new", state, "traceparent", id, "sent-at", id), Body: []byte(body)}
		b, err := reader.busEvent("/bus/x", m)
		if err != nil {
			if class := pipeline.ClassOf(err); class != pipeline.Ignored && class != pipeline.Malformed {
				t.Errorf("%s: %v", class, err)
			}
			return
		}
		for _, data := range b.each() {
			e, err := Decode(b.msg.Subject, b.msg.Header, data)
			if err == nil {
				_, err = reader.Trigger(b.msg.Subject, e)
			}
			if err != nil && pipeline.ClassOf(err) != pipeline.Ignored {
				t.Errorf("not read: %v from %s", err, data)
			}
		}
	})
}
