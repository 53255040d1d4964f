package events

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// newGatedReader is one whose gate is that of the captured decisions.
func newGatedReader(t testing.TB, organizations ...string) Reader {
	t.Helper()
	r := newReader(t, organizations...)
	r.Gate = GateScope{Context: "omps_push", ProductVersion: "cvp"}
	return r
}

const (
	waived    = "greenwave-decision-update-failed-to-waived-omps_push.json"
	fromFails = "greenwave-decision-update-missing-to-failed-omps_push.json"
	passes    = "greenwave-decision-update-missing-to-passed-omps_push.json"
	fedora    = "greenwave-decision-update-fedora-messaging-shape.json"
)

func encoders() map[string]func(event.Event) (nats.Header, []byte, error) {
	return map[string]func(event.Event) (nats.Header, []byte, error){"structured": EncodeStructured, "binary": EncodeBinary}
}

// checkDecision: the data says so in both content modes, and Peek lets it pass.
func checkDecision(t *testing.T, r Reader, data []byte, nvr string, satisfied bool) {
	t.Helper()
	e := newTestEvent(TypeDecisionUpdated, data)
	e.SetExtension(extCorrelation, "0")
	for mode, encode := range encoders() {
		header, payload, err := encode(e)
		if err != nil {
			t.Fatal(err)
		}
		peeked, err := r.Peek(SubjectDecisionUpdated, header, payload)
		if err != nil || peeked.Kind != KindDecision {
			t.Errorf("%s: peeked %+v, %v", mode, peeked, err)
		}
		got, err := Decode(SubjectDecisionUpdated, header, payload)
		if err != nil {
			t.Fatal(err)
		}
		want := pipeline.Trigger{
			ID: e.ID(), Source: e.Source(), Type: TypeDecisionUpdated, Correlation: "0",
			Kind: pipeline.DecisionUpdated, NVR: mustNVR(t, nvr), SaysSatisfied: satisfied,
		}
		if trigger, err := r.Trigger(SubjectDecisionUpdated, got); err != nil || trigger != want {
			t.Errorf("%s: %+v, %v, want %+v", mode, trigger, err, want)
		}
	}
}

func TestDecisionForms(t *testing.T) {
	t.Parallel()
	r := newGatedReader(t)
	for file, satisfied := range map[string]bool{waived: true, fromFails: false, passes: true, fedora: true} {
		whole := captured(t, file)
		bare := gjson.GetBytes(whole, "body.msg").Raw
		if bare == "" {
			bare = gjson.GetBytes(whole, "body").Raw
		}
		for form, data := range map[string]string{
			"bare": bare, "under msg": `{"msg":` + bare + `}`, "under body": `{"body":` + bare + `}`,
			"under body and msg": `{"body":{"msg":` + bare + `}}`, "whole": string(whole),
		} {
			t.Run(file+" "+form, func(t *testing.T) {
				t.Parallel()
				checkDecision(t, r, []byte(data), operatorNVR, satisfied)
			})
		}
	}
}

// TestCapturedDecisions reads all that are kept beside the checkout.
func TestCapturedDecisions(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "captures", "greenwave-*", "greenwave-decision-update-*.json"))
	if len(files) == 0 {
		t.Skip("no captures beside the checkout")
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		decision := gjson.GetBytes(data, "body")
		if msg := decision.Get("msg"); msg.Exists() {
			decision = msg
		}
		r := newGatedReader(t)
		r.Gate.Context = decision.Get("decision_context").String()
		satisfied := decision.Get("policies_satisfied").Bool()
		checkDecision(t, r, []byte(gjson.GetBytes(data, "@ugly").Raw), operatorNVR, satisfied)
		checkDecision(t, r, []byte(decision.Get("@ugly").Raw), operatorNVR, satisfied)

		r.Gate.Context = "another"
		checkNotOurs(t, r, gjson.GetBytes(data, "@ugly").Raw)
	}
}

// checkNotOurs: both ways of reading ignore the data.
func checkNotOurs(t *testing.T, r Reader, data string) {
	t.Helper()
	e := newTestEvent(TypeDecisionUpdated, []byte(data))
	_, err := r.Trigger(SubjectDecisionUpdated, e)
	wantError(t, err, pipeline.Ignored, pipeline.ReasonNothingWaits)
	for _, encode := range encoders() {
		header, payload, err := encode(e)
		if err != nil {
			t.Fatal(err)
		}
		peeked, err := r.Peek(SubjectDecisionUpdated, header, payload)
		wantError(t, err, pipeline.Ignored, pipeline.ReasonNothingWaits)
		if peeked.Kind != KindDecision {
			t.Errorf("peeked %+v", peeked)
		}
	}
}

// decision is Greenwave's body with some members changed: "" takes one out.
func decision(changes ...string) string {
	members := []string{
		`"subject_type":"koji_build"`, `"subject_identifier":"a-1-1"`, `"decision_context":"omps_push"`,
		`"product_version":"cvp"`, `"policies_satisfied":true`,
	}
	for _, change := range changes {
		name, value, _ := strings.Cut(change, "=")
		for i, m := range members {
			if strings.HasPrefix(m, `"`+name+`"`) {
				members[i] = fmt.Sprintf("%q:%s", name, value)
				if value == "" {
					members = append(members[:i], members[i+1:]...)
					break
				}
			}
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestDecisionsOfOthers(t *testing.T) {
	t.Parallel()
	r := newGatedReader(t)
	for _, change := range []string{
		`subject_type="redhat-module"`, `subject_type="bodhi_update"`, `subject_type="KOJI_BUILD"`,
		`decision_context="osci_compose_gate"`, `decision_context="omps_push_two"`, `product_version="fedora-42"`,
	} {
		checkNotOurs(t, r, decision(change))
		checkNotOurs(t, r, `{"msg":`+decision(change)+`}`)
		checkNotOurs(t, r, `{"destination":"/topic/x","body":{"msg":`+decision(change)+`}}`)
	}
	// A decision that does not say what it is for may be ours, and so is any
	// where our gate asks for nothing in particular.
	for _, data := range []string{
		decision(), decision("decision_context="), decision("product_version=null"), decision(`decision_context=""`),
	} {
		checkDecision(t, r, []byte(data), "a-1-1", true)
	}
	open := newReader(t)
	checkDecision(t, open, []byte(decision(`decision_context="x"`, `product_version="y"`)), "a-1-1", true)
	checkDecision(t, open, []byte(decision("policies_satisfied=false")), "a-1-1", false)
	checkNotOurs(t, open, decision(`subject_type="compose"`))
}

func TestMalformedDecisions(t *testing.T) {
	t.Parallel()
	r := newGatedReader(t)
	for _, tt := range []struct{ name, data, says string }{
		{"nothing", ``, "missing properties"},
		{"no object", `[]`, "data"},
		{"no build", decision("subject_identifier="), "'subject_identifier'"},
		{"no subject type", decision("subject_type="), "'subject_type'"},
		{"no word on it", decision("policies_satisfied="), "'policies_satisfied'"},
		{"yes is no boolean", decision(`policies_satisfied="true"`), "'/policies_satisfied'"},
		{"1 is no boolean", decision("policies_satisfied=1"), "'/policies_satisfied'"},
		{"no NVR", decision(`subject_identifier="a"`), "subject_identifier"},
		{"number for a build", decision("subject_identifier=7"), "'/subject_identifier'"},
		{"too long", decision(`subject_identifier="` + strings.Repeat("a", 600) + `-1-1"`), "'/subject_identifier'"},
		{"msg is no object", `{"msg":"x"}`, "'/msg'"},
		{"under msg", `{"msg":` + decision("policies_satisfied=null") + `}`, "'/msg/policies_satisfied'"},
		{"body and a decision", `{"body":` + decision() + `,"msg":{}}`, "'/msg'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newTestEvent(TypeDecisionUpdated, []byte(tt.data))
			e.SetSubject("a-1-1") // which does not stand for the build of a decision
			_, err := r.Trigger(SubjectDecisionUpdated, e)
			wantError(t, err, pipeline.Malformed, pipeline.ReasonInvalidEvent)
			if !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 1500 {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
		})
	}
	// Only on the subject of decisions do they count.
	for _, subject := range []string{"koji.build.completed", "omps.request.push.myorg", "greenwave.decision.updated.x"} {
		_, err := r.Trigger(subject, newTestEvent(TypeDecisionUpdated, []byte(decision())))
		wantError(t, err, pipeline.Malformed, pipeline.ReasonUnknownType)
	}
}

// A yes is looked at again for as long as a run may have asked the gate before
// it, and not often: there are many that concern nobody.
func TestNothingWaits(t *testing.T) {
	t.Parallel()
	yes, no := pipeline.Trigger{SaysSatisfied: true}, pipeline.Trigger{}
	wantError(t, nothingWaits(no, 0), pipeline.Ignored, pipeline.ReasonNothingWaits)
	var age time.Duration
	looks := 1
	for ; pipeline.ClassOf(nothingWaits(yes, age)) == pipeline.Transient && looks < 100; looks++ {
		err := nothingWaits(yes, age)
		wantError(t, err, pipeline.Transient, pipeline.ReasonNothingWaits)
		age += Judge([]pipeline.Result{{Err: err}}, uint64(looks), age, DefaultPolicy(), 0).Delay
	}
	wantError(t, nothingWaits(yes, age), pipeline.Ignored, pipeline.ReasonNothingWaits)
	if age < noteLag || looks < 3 || looks > 10 {
		t.Errorf("%d looks in %s", looks, age)
	}
}
