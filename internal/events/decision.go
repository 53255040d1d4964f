package events

import (
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// GateScope is what our gate asks Greenwave for. A decision made for another
// context or product says nothing about our builds. Empty fields take any.
type GateScope struct{ Context, ProductVersion string }

// kojiBuild is Greenwave's subject type of an NVR.
const kojiBuild = "koji_build"

// update is what Greenwave says when a decision changes: its
// docs/messaging.rst, and the stored messages that the tests read.
type update struct {
	subjectType, nvr        string
	context, productVersion string
	satisfied               bool
}

// readUpdate reads Greenwave's body, bare or under msg, as its message bus has
// it.
func readUpdate(data raw) update {
	if msg := data.member("msg"); msg.isObject() {
		data = msg
	}
	return update{
		subjectType: data.member("subject_type").text(), nvr: data.member("subject_identifier").text(),
		context: data.member("decision_context").text(), productVersion: data.member("product_version").text(),
		satisfied: data.member("policies_satisfied") == "true",
	}
}

// concerns tells why an update is not about a build that our gate decides on,
// or nil.
func (s GateScope) concerns(u update) error {
	other := func(what, is, want string) error {
		return pipeline.Ignore(pipeline.ReasonNothingWaits, fmt.Errorf("decision for %s %q, not %q", what, cut(is, 100), want))
	}
	switch {
	case u.subjectType != "" && u.subjectType != kojiBuild:
		return other("subject type", u.subjectType, kojiBuild)
	case u.context != "" && s.Context != "" && u.context != s.Context:
		return other("context", u.context, s.Context)
	case u.productVersion != "" && s.ProductVersion != "" && u.productVersion != s.ProductVersion:
		return other("product version", u.productVersion, s.ProductVersion)
	}
	return nil
}

// unwrapped is the body in what a bridge sends that passes on a whole message.
func unwrapped(data raw) raw {
	if body := data.member("body"); body.isObject() && !data.member("msg").given() && !data.member("subject_identifier").given() {
		return body
	}
	return data
}

// decided reads the build that a decision is about.
func (r Reader) decided(t pipeline.Trigger, e event.Event) (pipeline.Trigger, error) {
	data, err := dataOf(e)
	if err != nil {
		return t, err
	}
	data = unwrapped(data)
	u := readUpdate(data)
	if err := r.Gate.concerns(u); err != nil {
		return t, err
	}
	if err := r.check(t.Type, data, true, e); err != nil {
		return t, err
	}
	t.NVR, err = pipeline.ParseNVR(u.nvr)
	if err != nil {
		return t, pipeline.Malform(pipeline.ReasonInvalidEvent, fmt.Errorf("subject_identifier: %w", err))
	}
	t.SaysSatisfied = u.satisfied
	return t, nil
}

// peekDecision rules out decisions that are none of ours. The ledger, which
// knows the builds that wait, is asked later: not by the intake.
func (r Reader) peekDecision(m message) (Peeked, error) {
	p := Peeked{Kind: KindDecision, Claim: pipeline.Claim{State: pipeline.StateUnknown}}
	object := m.object()
	if object == "" {
		return p, nil // Decode says what is wrong with it
	}
	return p, r.Gate.concerns(readUpdate(unwrapped(object)))
}
