package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// BusMessage is a message of a bus that knows neither NATS nor CloudEvents.
type BusMessage struct {
	ID     string                   // the bus's; "": none
	Topic  string                   // where it was sent to; "": not told
	Time   time.Time                // when it was sent; zero: not told
	Header func(name string) string // "" for what is not there
	Body   []byte
}

const (
	// maxBusID bounds an id that is taken as it is; a longer one is hashed.
	maxBusID = 255
	// maxTrace bounds what is passed on of a trace: https://www.w3.org/TR/trace-context/
	// wants at least 512 bytes to be.
	maxTrace = 512
)

// bridged is the event that a message of a bus stands for.
type bridged struct {
	id, nvr   string
	msg       nats.Msg
	shortened []byte // data that says the least that is needed; nil: msg has it
	refused   error  // what is wrong with the body, so that msg has shortened
}

// busEvent makes the event that a message of the bus named source stands for.
// Its data is the body as it is, or where our reader refuses that, what it says
// of the build. Its id is the message's, or else a hash of its content, so that
// what comes twice is the same event twice.
//
// The error is Ignored for what is no event of ours, such as a build that only
// begins, and Malformed for what should be one and says nothing that can be
// read.
func (r Reader) busEvent(source string, m BusMessage) (bridged, error) {
	eventType := busType(m)
	switch {
	case eventType == "":
		return bridged{}, pipeline.Ignore(pipeline.ReasonUnknownType, errors.New("no announcement and no decision"))
	case eventType == TypeBuildCompleted && !maybeComplete(m):
		return bridged{}, notComplete(m.Header("new"))
	}
	object, err := parseObject(m.Body)
	if err != nil {
		return bridged{}, pipeline.Malform(pipeline.ReasonUnreadableEvent, err)
	}
	var b bridged
	b.msg.Subject = subjectOf[eventType]
	if eventType == TypeDecisionUpdated {
		b.nvr, b.shortened, err = bridgedDecision(object)
	} else {
		b.nvr, b.shortened, err = bridgedBuild(object, eventType)
	}
	if err != nil {
		return bridged{}, err
	}
	e := event.New()
	b.id = busID(eventType, m)
	e.SetID(b.id)
	e.SetSource(source)
	e.SetType(eventType)
	e.SetSubject(b.nvr)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = m.Body
	if at := busTime(m); !at.IsZero() {
		e.SetTime(at)
	}
	for _, name := range [...]string{extTraceParent, extTraceState} {
		if value := m.Header(name); value != "" && len(value) <= maxTrace && checkText(value) == nil {
			e.SetExtension(name, value)
		}
	}
	if err := b.readableBy(r, &e); err != nil {
		return bridged{}, err
	}
	if b.msg.Header, b.msg.Data, err = EncodeBinary(e); err != nil {
		return bridged{}, pipeline.Malform(pipeline.ReasonInvalidEvent, err)
	}
	// Of the event's identity, so that two bridges on one bus are as one, and of its
	// content: a sender may count its messages anew with each connection.
	b.msg.Header.Set(jetstream.MsgIDHeader, "bus-"+digest(source, eventType, b.id, string(m.Body)))
	return b, nil
}

// maxWhole is how long a body may be, in bytes, to be passed on as it is. Those of
// Koji have some KiB; to read one takes up to fifty times its length.
const maxWhole = 256 << 10

// readableBy puts what is shortened into e where r refuses what e has, since the
// service would make a dead letter of it, and where that is too long to find out.
// What r does not want is left to it.
func (b *bridged) readableBy(r Reader, e *event.Event) error {
	err := fmt.Errorf("body of %d bytes is longer than %d", len(e.DataEncoded), maxWhole)
	if len(e.DataEncoded) <= maxWhole {
		_, err = r.Trigger(b.msg.Subject, *e)
	}
	if err == nil || pipeline.ClassOf(err) == pipeline.Ignored {
		return nil
	}
	b.refused, e.DataEncoded, b.shortened = err, b.shortened, nil
	if _, err := r.Trigger(b.msg.Subject, *e); err != nil {
		return fmt.Errorf("shortened: %w", err)
	}
	return nil
}

// subjectOf is where each type is published: with nothing behind it, so that the
// rights of a bridge can be as narrow.
var subjectOf = map[string]string{
	TypeBuildCompleted:  SubjectBuildCompleted,
	TypeBuildPromoted:   SubjectBuildPromoted,
	TypeDecisionUpdated: SubjectDecisionUpdated,
}

func notComplete(state string) error {
	return pipeline.Ignore(pipeline.ReasonNotComplete, fmt.Errorf("build is %s", cut(state, 100)))
}

// bridgedBuild reads which build is announced, and whether it is to be.
func bridgedBuild(object raw, eventType string) (nvr string, shortened []byte, err error) {
	a, err := readAnnouncement(recordOf(object), eventType == TypeBuildPromoted)
	switch {
	case err != nil:
		return "", nil, pipeline.Malform(pipeline.ReasonInvalidEvent, err)
	case a.Attribute != "" && a.Attribute != "state":
		return "", nil, pipeline.Ignore(pipeline.ReasonUnknownType, fmt.Errorf("change of a build's %q", cut(a.Attribute, 100)))
	case a.Claim.State != pipeline.StateUnknown && a.Claim.State != pipeline.StateComplete:
		return "", nil, notComplete(a.Claim.State.String())
	case a.Claim.Draft:
		return "", nil, pipeline.Ignore(pipeline.ReasonDraft, errors.New("build is a draft"))
	case !a.names():
		return "", nil, pipeline.Malform(pipeline.ReasonInvalidEvent, errors.New("names no build"))
	}
	var least struct {
		NVR     string `json:"nvr,omitempty"`
		BuildID int64  `json:"build_id,omitempty"`
	}
	if least.BuildID = a.BuildID; !a.NVR.IsZero() {
		least.NVR = a.NVR.String()
	}
	shortened, err = json.Marshal(least)
	return least.NVR, shortened, err
}

// bridgedDecision reads which build Greenwave has decided on.
func bridgedDecision(object raw) (nvr string, shortened []byte, err error) {
	u := readUpdate(unwrapped(object))
	if u.subjectType != "" && u.subjectType != kojiBuild {
		return "", nil, pipeline.Ignore(pipeline.ReasonNothingWaits, fmt.Errorf("decision on a %q", cut(u.subjectType, 100)))
	}
	parsed, err := pipeline.ParseNVR(u.nvr)
	if err != nil {
		return "", nil, pipeline.Malform(pipeline.ReasonInvalidEvent, fmt.Errorf("subject_identifier: %w", err))
	}
	shortened, err = json.Marshal(map[string]any{
		"subject_type": kojiBuild, "subject_identifier": u.nvr, "policies_satisfied": u.satisfied,
		"decision_context": u.context, "product_version": u.productVersion,
	})
	return parsed.String(), shortened, err
}

// busID is the message's id, or a hash where that is none that an event can
// have. Koji's plugin sends none; its bodies hold the times of what they tell.
func busID(eventType string, m BusMessage) string {
	switch {
	case strings.TrimSpace(m.ID) == "":
	case len(m.ID) > maxBusID || checkText(m.ID) != nil:
		return digest(m.ID)
	default:
		return m.ID
	}
	sent := ""
	if !m.Time.IsZero() {
		sent = strconv.FormatInt(m.Time.UnixNano(), 10)
	}
	return digest(eventType, sent, string(m.Body))
}

// busTime is when a message was sent, by the bus or by fedora-messaging's own
// header; zero where neither tells, or has a year that an event's time cannot
// have: AMQP 0.9.1 counts seconds, and who counts milliseconds is far ahead.
func busTime(m BusMessage) time.Time {
	at, err := time.Parse(time.RFC3339, strings.TrimSpace(m.Header("sent-at")))
	if err != nil {
		at = m.Time
	}
	if year := at.UTC().Year(); year < 1 || year > 9999 {
		return time.Time{}
	}
	return at
}
