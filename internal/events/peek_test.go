package events

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestPeek(t *testing.T) {
	t.Parallel()
	r := newReader(t, "my.org")
	unknown := pipeline.Claim{State: pipeline.StateUnknown}
	complete := pipeline.Claim{Package: "int-test-operator-metadata-container", State: pipeline.StateComplete}
	data := func(json string) []byte { return structured(t, TypeBuildCompleted, []byte(json)) }
	for _, tt := range []struct {
		name, subject string
		payload       []byte
		kind          Kind
		claim         pipeline.Claim
	}{
		{"plugin", "koji.build.completed", data(string(capturedBody(t, "protonmsg-build-complete.json"))), KindAnnouncement, complete},
		{"fedora", "koji.build.completed", data(string(capturedBody(t, "fedora-messaging-build-state-change.json"))), KindAnnouncement, complete},
		{"non-operator", "koji.x", data(string(capturedBody(t, "protonmsg-build-complete-non-operator.json"))), KindAnnouncement,
			pipeline.Claim{Package: "plain-app-container", State: pipeline.StateComplete, NoManifests: true}},
		{"draft", "koji.x", data(`{"nvr":"a-1-1","draft":true}`), KindAnnouncement, pipeline.Claim{Package: "a", State: pipeline.StateUnknown, Draft: true}},
		{"id alone", "koji.x", data(`{"build_id":1}`), KindAnnouncement, unknown},
		{"contradiction", "koji.x", data(`{"nvr":"a-1-1","name":"b","state":3}`), KindAnnouncement, unknown},
		{"data that is no object", "koji.x", data(`[]`), KindAnnouncement, unknown},
		{"another attribute", "koji.build.completed", data(`{"build_id":1,"attribute":"volume_id","new":1}`), KindOther, unknown},
		{"tag", "koji.build.tag", structured(t, "org.koji.build.tagged.v1", []byte(`{}`)), KindOther, unknown},
		{"no CloudEvent", "koji.build.tag", []byte(`{"tag":{}}`), KindOther, unknown},
		{"no JSON", "koji.build.tag", []byte(`<xml>`), KindOther, unknown},
		{"request", "omps.request.push.my_org", structured(t, TypePushRequested, []byte(`{}`)), KindRequest, pipeline.Claim{Organization: "my.org", State: pipeline.StateUnknown}},
		{"request for nobody we know", "omps.request.delete.x", structured(t, TypeDeleteRequested, []byte(`{}`)), KindRequest, pipeline.Claim{Organization: "x", State: pipeline.StateUnknown}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := r.Peek(tt.subject, nil, tt.payload)
			if err != nil {
				t.Fatal(err)
			}
			if want := (Peeked{Kind: tt.kind, Claim: tt.claim}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestPeekBinary(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	header, payload, err := EncodeBinary(newTestEvent(TypeBuildCompleted, []byte(`{"nvr":"a-1-1","state":3}`)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Peek("koji.build.completed", header, payload)
	if err != nil || got.Kind != KindAnnouncement || got.Claim.Package != "a" || got.Claim.State != pipeline.StateFailed {
		t.Errorf("%+v %v", got, err)
	}
	got, err = r.Peek("koji.build.completed", header, []byte("no JSON"))
	if err != nil || got.Kind != KindAnnouncement || got.Claim.State != pipeline.StateUnknown {
		t.Errorf("%+v %v", got, err)
	}
}

func TestPeekRefuses(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	for _, tt := range []struct {
		subject, payload string
		header           nats.Header
		reason           pipeline.Reason
	}{
		{"koji.build.completed", ``, nil, pipeline.ReasonUnreadableEvent},
		{"koji.build.completed", `{}`, nil, pipeline.ReasonUnreadableEvent},
		{"omps.request.push.x", `[]`, nats.Header{"Content-Type": {"application/cloudevents-batch+json"}}, pipeline.ReasonUnreadableEvent},
		{"koji.build.promoted", `{}`, nats.Header{"ce-specversion": {"1.0"}, "ce-type": {"%ff"}}, pipeline.ReasonUnreadableEvent},
		{"koji.build.promoted", `{}`, nats.Header{"ce-specversion": {"1.0"}}, pipeline.ReasonUnknownType},
		{"omps.request.push.x", `{"specversion":"1.0","type":"x"}`, nil, pipeline.ReasonUnknownType},
		{"koji.build.tag", `{"specversion":"1.0","type":"` + TypePushRequested + `"}`, nil, pipeline.ReasonInvalidEvent},
	} {
		_, err := r.Peek(tt.subject, tt.header, []byte(tt.payload))
		wantError(t, err, pipeline.Malformed, tt.reason)
	}
}

// checkAgreement: what Peek rules out, the whole way would rule out too.
func checkAgreement(t *testing.T, r Reader, lookup pipeline.Lookup, subject string, header nats.Header, payload []byte) {
	t.Helper()
	peeked, err := r.Peek(subject, header, payload)
	switch {
	case err != nil:
		class := pipeline.ClassOf(err)
		if class != pipeline.Malformed && (class != pipeline.Ignored || peeked.Kind != KindDecision) {
			t.Fatalf("Peek: %v is %s", err, class)
		}
	case peeked.Kind != KindOther:
		if _, err := lookup.Concerns(peeked.Claim); pipeline.ClassOf(err) != pipeline.Ignored {
			return
		}
	}
	e, err := Decode(subject, header, payload)
	if err == nil {
		var trigger pipeline.Trigger
		if trigger, err = r.Trigger(subject, e); err == nil {
			_, err = lookup.Concerns(pipeline.Claim{
				Package: trigger.NVR.Name, Organization: trigger.Organization, State: pipeline.StateUnknown,
			})
		}
	}
	if class := pipeline.ClassOf(err); err == nil || class != pipeline.Ignored && class != pipeline.Malformed {
		t.Fatalf("Peek rules out %+v what is wanted: %v\n%s %v\n%s", peeked, err, subject, header, payload)
	}
}

func wantedByTests() pipeline.Lookup {
	return pipeline.Lookup{Organizations: []pipeline.Organization{{Name: "myorg", Match: []string{"int-*", "a"}}}}
}

func TestPeekAgrees(t *testing.T) {
	t.Parallel()
	r, lookup := newGatedReader(t, "myorg"), wantedByTests()
	var fixtures [][]byte
	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "captures", "*.json"))
	own, _ := filepath.Glob("testdata/*.json")
	for _, file := range append(files, own...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fixtures = append(fixtures, []byte(gjson.GetBytes(data, "@ugly").Raw))
		if body := gjson.GetBytes(data, "body|@ugly"); body.IsObject() {
			fixtures = append(fixtures, []byte(body.Raw))
		}
	}
	for _, flat := range []string{
		`{"nvr":"a-1-1","state":1,"build_id":7,"draft":false,"extra":{"typeinfo":{"operator-manifests":{"archive":"x"}}}}`,
		`{"name":"a","version":"1","release":"1","attribute":"state","new":1}`, `{"build_id":7}`, `{}`, `[]`,
		`{"archive":{"object":"a/b"},"repository":"a","version":"1"}`, `{"archive":{"inline":"UEsDBA=="},"organization":"myorg"}`,
		`{"subject_type":"koji_build","subject_identifier":"a-1-1","decision_context":"omps_push","product_version":"cvp","policies_satisfied":true}`,
	} {
		fixtures = append(fixtures, []byte(flat))
	}
	subjects := []string{
		"koji.build.completed", "koji.build.promoted.a", "koji.build.tag", SubjectDecisionUpdated,
		"omps.request.push.myorg", "omps.request.push.other", "omps.request.delete.myorg",
	}
	types := []string{TypeBuildCompleted, TypeBuildPromoted, TypeDecisionUpdated, TypePushRequested, TypeDeleteRequested, "org.koji.build.tagged.v1"}
	random := rand.New(rand.NewPCG(3, 4))
	for _, fixture := range fixtures {
		for _, eventType := range types {
			for range 40 {
				data := mutate(random, fixture)
				header, payload, err := EncodeStructured(newTestEvent(eventType, data))
				if random.IntN(3) == 0 {
					header, payload, err = EncodeBinary(newTestEvent(eventType, data))
				}
				if err != nil {
					t.Fatal(err)
				}
				if random.IntN(4) == 0 {
					payload = mutate(random, payload)
				}
				if random.IntN(2) == 0 {
					delete(header, "Content-Type")
				}
				subject := subjects[random.IntN(len(subjects))]
				if eventType == TypeDecisionUpdated {
					subject = SubjectDecisionUpdated
				}
				checkAgreement(t, r, lookup, subject, header, payload)
			}
		}
	}
}

// mutate changes JSON by words that matter, or bytes at random.
func mutate(random *rand.Rand, data []byte) []byte {
	words := []string{
		`"state"`, `"new"`, `"attribute"`, `"nvr"`, `"name"`, `"version"`, `"release"`, `"build_id"`, `"id"`, `"draft"`,
		`"subject_type"`, `"subject_identifier"`, `"decision_context"`, `"product_version"`, `"policies_satisfied"`, `"koji_build"`, `"omps_push"`, `"cvp"`,
		`"extra"`, `"info"`, `"build"`, `"body"`, `"msg"`, `"typeinfo"`, `"operator-manifests"`, `"archive"`,
		`"operator_manifests_archive"`, `"object"`, `"inline"`, `"repository"`, `"type"`, `"data"`, `"data_base64"`, `"specversion"`, `"subject"`, `"na\u006de"`,
		`null`, `true`, `0`, `1`, `3`, `"COMPLETE"`, `"a"`, `"a-1-1"`, `{}`, `[]`, `""`, `1e400`, `"organization"`, `"volume_id"`,
	}
	data = bytes.Clone(data)
	for range random.IntN(4) {
		if len(data) == 0 {
			break
		}
		word := words[random.IntN(len(words))]
		switch at := random.IntN(len(data)); random.IntN(5) {
		case 0:
			data[at] = byte(random.Uint32())
		case 1:
			data = append(data[:at:at], append([]byte(word), data[at:]...)...)
		case 2: // one word for another
			data = bytes.Replace(data, []byte(words[random.IntN(len(words))]), []byte(word), 1)
		case 3: // one more member in some object
			if i := bytes.IndexByte(data[at:], '{'); i >= 0 {
				member := `{` + word + `:` + words[random.IntN(len(words))] + `,`
				data = append(data[:at+i:at+i], append([]byte(member), data[at+i+1:]...)...)
			}
		case 4:
			if json.Valid(data) {
				data = []byte(strings.Replace(string(data), ":1,", ":"+word+",", 1))
			}
		}
	}
	return data
}

// cutOffs are events that end at the first quote of a string.
func cutOffs() []string {
	return []string{`{"`, `{"data":{"`, `{"data":{"info":{"`, `{"type":"`, `{"subject_type":"`, `{"extra":{"`, `{"msg":{"`}
}

// What is cut off anywhere is no more than unreadable.
func TestPeekCutOff(t *testing.T) {
	r, lookup := newGatedReader(t, "myorg"), wantedByTests()
	events := cutOffs()
	whole := string(structured(t, TypeBuildCompleted, []byte(`{"info":{"nvr":"a-1-1","extra":{"typeinfo":{"operator-manifests":{"archive":"a"}}}}}`)))
	for i := range whole {
		events = append(events, whole[:i])
	}
	for _, payload := range events {
		for _, subject := range []string{"koji.build.completed", "koji.build.tag", SubjectDecisionUpdated, "omps.request.push.myorg"} {
			checkAgreement(t, r, lookup, subject, nats.Header{}, []byte(payload))
			for _, eventType := range []string{TypeBuildCompleted, TypeDecisionUpdated} {
				header := nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {eventType}}
				checkAgreement(t, r, lookup, subject, header, []byte(payload))
			}
		}
	}
}

func FuzzPeek(f *testing.F) {
	r, lookup := newGatedReader(f, "myorg"), wantedByTests()
	f.Add(SubjectDecisionUpdated, structured(f, TypeDecisionUpdated, capturedBody(f, "greenwave-decision-update-missing-to-passed-omps_push.json")), "", "")
	f.Add(SubjectDecisionUpdated, captured(f, "greenwave-decision-update-fedora-messaging-shape.json"), "Ce-Type", TypeDecisionUpdated)
	for _, file := range []string{"protonmsg-build-complete.json", "protonmsg-build-promote.json", "fedora-messaging-build-state-change.json"} {
		f.Add("koji.build.completed", structured(f, TypeBuildCompleted, capturedBody(f, file)), "", "")
		f.Add("koji.build.tag", captured(f, file), "Ce-Type", TypeBuildPromoted)
	}
	for _, cutOff := range cutOffs() {
		f.Add("koji.build.completed", []byte(cutOff), "", "")
		f.Add(SubjectDecisionUpdated, []byte(cutOff), "Ce-Type", TypeDecisionUpdated)
	}
	f.Add("omps.request.push.myorg", structured(f, TypePushRequested, []byte(`{"nvr":"a-1-1"}`)), "Content-Type", "application/cloudevents")
	f.Fuzz(func(t *testing.T, subject string, payload []byte, name, value string) {
		header := nats.Header{}
		if name != "" {
			header[name] = []string{value}
			if strings.HasPrefix(strings.ToLower(name), "ce-") {
				for _, more := range []string{"ce-specversion:1.0", "ce-id:1", "ce-source:/s", "ce-type:" + TypeBuildCompleted} {
					k, v, _ := strings.Cut(more, ":")
					if !strings.EqualFold(k, name) {
						header[k] = []string{v}
					}
				}
			}
		}
		checkAgreement(t, r, lookup, subject, header, payload)
	})
}

func benchmarkPayload(b *testing.B) []byte {
	b.Helper()
	data := capturedBody(b, "protonmsg-build-complete-non-operator.json")
	// Cut down to the 1.5 KiB that events of a bus have.
	var body map[string]any
	if err := json.Unmarshal(data, &body); err != nil {
		b.Fatal(err)
	}
	extra := body["info"].(map[string]any)["extra"].(map[string]any)
	delete(extra, "typeinfo")
	image := extra["image"].(map[string]any)
	delete(image, "index")
	delete(image, "media_types")
	return structured(b, TypeBuildCompleted, mustJSON(b, body))
}

func BenchmarkPeek(b *testing.B) {
	r, payload := newReader(b), benchmarkPayload(b)
	b.Logf("%d bytes", len(payload))
	b.ReportAllocs()
	for b.Loop() {
		p, err := r.Peek("koji.build.completed", nil, payload)
		if err != nil || !p.Claim.NoManifests {
			b.Fatal(p, err)
		}
	}
}

func BenchmarkPeekOtherType(b *testing.B) {
	r, payload := newReader(b), benchmarkPayload(b)
	payload = bytes.Replace(payload, []byte(TypeBuildCompleted), []byte("org.koji.build.untagged.v1"), 1)
	b.ReportAllocs()
	for b.Loop() {
		if p, err := r.Peek("koji.build.untag", nil, payload); err != nil || p.Kind != KindOther {
			b.Fatal(p, err)
		}
	}
}

func BenchmarkDecodeAndTrigger(b *testing.B) {
	r := newReader(b)
	payload := structured(b, TypeBuildCompleted, capturedBody(b, "protonmsg-build-complete.json"))
	b.ReportAllocs()
	for b.Loop() {
		e, err := Decode("koji.build.completed", nil, payload)
		if err == nil {
			_, err = r.Trigger("koji.build.completed", e)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
