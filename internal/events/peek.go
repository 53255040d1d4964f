package events

import (
	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Kind is what sort of event a message holds.
type Kind uint8

// The kinds.
const (
	KindOther        Kind = iota // not ours: to be Ignored as ReasonUnknownType
	KindAnnouncement             // a build is complete, or promoted
	KindRequest                  // somebody asks for one organization
	KindDecision                 // the gate has changed its mind about a build
)

func (k Kind) String() string {
	return [...]string{"other", "announcement", "request", "decision"}[k]
}

// Peeked is what a first look at a message tells. For an announcement or a
// request, Claim says what is known of it, for pipeline.Lookup.Concerns.
type Peeked struct {
	Kind  Kind
	Claim pipeline.Claim
}

// Peek looks just far enough into a message to tell what is not ours, at a
// small part of the price of Decode and Trigger: a bus carries far more builds
// than a service publishes. What it rules out, Trigger would never return
// without an error; what it is not sure of it lets pass, with less of a Claim.
// What is not ours by what can be read of it need not be valid JSON.
// The errors are Malformed, or Ignored for a decision that is not our gate's.
func (r Reader) Peek(subject string, header nats.Header, data []byte) (Peeked, error) {
	other := Peeked{Kind: KindOther, Claim: pipeline.Claim{State: pipeline.StateUnknown}}
	var eventType string
	m, err := open(header, data, skimObject)
	if err == nil {
		eventType, err = m.eventType()
	}
	switch kindOf(subject, eventType) {
	case KindAnnouncement:
		return peekAnnouncement(m, eventType), nil
	case KindDecision:
		return r.peekDecision(m)
	case KindRequest:
		request := Peeked{Kind: KindRequest, Claim: other.Claim}
		request.Claim.Organization, err = r.organization(subject, eventType, "")
		return request, err
	}
	switch {
	case err != nil && m.ours(subject):
		return other, pipeline.Malform(pipeline.ReasonInvalidEvent, err)
	case !ownSubject(subject):
		return other, nil
	case err != nil:
		return other, pipeline.Malform(pipeline.ReasonUnreadableEvent, err)
	}
	return other, unknownType(subject, eventType)
}

func peekAnnouncement(m message, eventType string) Peeked {
	p := Peeked{Kind: KindAnnouncement, Claim: pipeline.Claim{State: pipeline.StateUnknown}}
	data := m.record()
	if data == nil {
		return p
	}
	a, err := readAnnouncement(data, eventType == TypeBuildPromoted)
	switch {
	case err != nil:
	case a.Attribute != "" && a.Attribute != "state":
		p.Kind = KindOther
	default:
		p.Claim = a.Claim
	}
	return p
}
