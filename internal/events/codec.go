package events

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	mediaType   = "application/cloudevents"
	specVersion = "1.0"
)

// Decode reads a CloudEvent 1.0 out of a NATS message, by the NATS protocol
// binding of the CloudEvents specification, tolerantly:
//
//   - structured, when a Content-Type begins with application/cloudevents, or
//     when there is no ce- header and the payload is a JSON object with
//     specversion;
//   - binary, when there is a ce-specversion header.
//
// Header names may have any letter case. A message that cannot be read is
// Malformed where only our input belongs or when its type is one of ours, and
// Ignored on any other subject.
func Decode(subject string, header nats.Header, data []byte) (event.Event, error) {
	m, err := open(header, data, parseObject)
	if err != nil {
		return event.Event{}, unreadable(subject, pipeline.ReasonUnreadableEvent, err)
	}
	e, err := m.event()
	if err == nil {
		return e, nil
	}
	err = fmt.Errorf("cloudevent: %w", err)
	if m.ours(subject) {
		return event.Event{}, pipeline.Malform(pipeline.ReasonInvalidEvent, err)
	}
	return event.Event{}, unreadable(subject, pipeline.ReasonInvalidEvent, err)
}

// unreadable classes an error on a message that no type makes ours.
func unreadable(subject string, reason pipeline.Reason, err error) error {
	if ownSubject(subject) {
		return pipeline.Malform(reason, err)
	}
	return pipeline.Ignore(pipeline.ReasonUnknownType, err)
}

// message is a CloudEvent of which only the form is known.
type message struct {
	envelope envelope // structured form; zero in binary form

	binary      bool
	header      nats.Header
	contentType string
	data        []byte
	parse       openObject
}

// envelope is a structured event: the whole object, and those of its members
// that are looked at before any other. One that is null is as if it were not
// there.
type envelope struct {
	object                                  raw
	specVersion, eventType, data, dataBytes raw
	record                                  *record // of data; nil where that is no object
}

// openObject returns data as a JSON object, checked as far as is needed.
type openObject func(data []byte) (raw, error)

// open finds out in which form a message holds a CloudEvent.
func open(header nats.Header, data []byte, parse openObject) (message, error) {
	contentType, attributes, version := look(header)
	structured := isStructured(contentType)
	switch {
	case structured && attributes:
		return message{}, errors.New("both a cloudevents content type and ce- headers")
	case structured:
		if err := checkFormat(contentType); err != nil {
			return message{}, err
		}
	case attributes && !version:
		return message{}, errors.New("ce- headers without ce-specversion")
	case attributes && len(data) > maxPayload:
		return message{}, fmt.Errorf("payload of %d bytes is larger than %d", len(data), maxPayload)
	case attributes:
		return message{binary: true, header: header, contentType: contentType, data: data, parse: parse}, nil
	}
	object, err := parse(data)
	if err != nil {
		return message{}, fmt.Errorf("no cloudevent: %w", err)
	}
	m := message{}
	var whole bool
	if m.envelope, whole = readEnvelope(object); !whole {
		return message{}, fmt.Errorf("no cloudevent: %w", errNotJSON)
	}
	if !structured && m.envelope.specVersion == "" {
		return message{}, errors.New("no cloudevent: neither ce- headers nor specversion in the payload")
	}
	return m, nil
}

// look finds the content type, and whether there are attributes and the one
// attribute that makes the binary form. Of several content types one that
// makes the structured form counts.
func look(header nats.Header) (contentType string, attributes, version bool) {
	for name, values := range header {
		if _, ok := attributeName(name); ok {
			attributes = true
			version = version || strings.EqualFold(name, "ce-specversion")
		} else if strings.EqualFold(name, "content-type") {
			for _, value := range values {
				value = strings.TrimSpace(value)
				if contentType == "" || isStructured(value) || value < contentType && !isStructured(contentType) {
					contentType = value
				}
			}
		}
	}
	return contentType, attributes, version
}

func isStructured(contentType string) bool {
	return len(contentType) >= len(mediaType) && strings.EqualFold(contentType[:len(mediaType)], mediaType)
}

// attributeName is what follows ce- in the name of a header.
func attributeName(header string) (string, bool) {
	if len(header) < 3 || !strings.EqualFold(header[:3], "ce-") {
		return "", false
	}
	return header[3:], true
}

// checkFormat refuses what is not the JSON event format.
func checkFormat(contentType string) error {
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	switch media = strings.TrimSpace(media); {
	case media == mediaType || media == mediaType+"+json":
		return nil
	case strings.HasPrefix(media, mediaType+"-batch"):
		return errors.New("a batch of cloudevents: send one event in a message")
	}
	return fmt.Errorf("event format %q: only JSON is read", cut(media, 100))
}

// readEnvelope also tells whether the object is whole.
func readEnvelope(object raw) (env envelope, whole bool) {
	env.object = object
	end, closed := eachMember(object, 0, func(name string, i int) (end int) {
		var field *raw
		switch name {
		case "specversion":
			field = &env.specVersion
		case "type":
			field = &env.eventType
		case "data_base64":
			field = &env.dataBytes
		case "data":
			return env.readData(i)
		default:
			return valueEnd(object, i)
		}
		end = valueEnd(object, i)
		if value := object[i:end]; value.given() {
			*field = value
		}
		return end
	})
	return env, closed && end == len(object)
}

func (env *envelope) readData(i int) (end int) {
	if i < len(env.object) && env.object[i] == '{' {
		env.record = new(record)
		end, _ = env.record.scan(env.object, i, 0)
		env.data = env.object[i:end]
		return end
	}
	end = valueEnd(env.object, i)
	if value := env.object[i:end]; value.given() {
		env.data, env.record = value, nil
	}
	return end
}

// eventType is the type attribute, without a look at the others.
func (m message) eventType() (string, error) {
	if !m.binary {
		return m.envelope.eventType.text(), nil
	}
	eventType, err := headerValue(m.typeHeaders())
	if err != nil {
		return "", fmt.Errorf("header ce-type: %w", err)
	}
	return eventType, nil
}

// typeHeaders are the values of all headers that name the type.
func (m message) typeHeaders() (values []string) {
	for name, more := range m.header {
		if strings.EqualFold(name, "ce-type") {
			values = append(values, more...)
		}
	}
	return values
}

// ours tells whether the type is one of ours on the subject. Of several, which
// are an error, one is enough: what may have been meant for us is never dropped
// in silence.
func (m message) ours(subject string) bool {
	if !m.binary {
		return kindOf(subject, m.envelope.eventType.text()) != KindOther
	}
	for _, value := range m.typeHeaders() {
		eventType, err := headerValue([]string{value})
		if err == nil && kindOf(subject, eventType) != KindOther {
			return true
		}
	}
	return false
}

// record is the event's data where it is an object that can be had without
// decoding the event, and nil elsewhere.
func (m message) record() *record {
	if !m.binary {
		if m.envelope.dataBytes != "" {
			return nil
		}
		return m.envelope.record
	}
	if object := m.object(); object != "" {
		if r, whole := wholeRecord(object); whole {
			return r
		}
	}
	return nil
}

// object is the same as text, and empty elsewhere.
func (m message) object() raw {
	if !m.binary {
		if m.envelope.dataBytes != "" || !m.envelope.data.isObject() {
			return ""
		}
		return m.envelope.data
	}
	object, err := m.parse(m.data)
	if err != nil {
		return ""
	}
	return object
}
