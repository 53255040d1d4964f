package events

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// DeadLetter is a message that could not be served, with what became of it.
// What the letter does not say is empty.
type DeadLetter struct {
	Sequence uint64    // in the dead-letter stream
	Time     time.Time // when that stream stored it

	Reason, Error, Stage string
	Tries                uint64

	Stream           string // that held the original
	OriginalSequence uint64 // in that stream
	OriginalTime     time.Time
	Subject          string // of the original
	Omitted          string // what of the original did not fit, as in HeaderOmitted

	// Header is the original's, but for headers of its own that began with
	// Omps-: those are not kept.
	Header nats.Header
	Data   []byte // the original's payload
	Bytes  int    // how long Data is

	Event LetterEvent
}

// LetterEvent is what can be read of the event in a dead letter, valid or not.
type LetterEvent struct {
	ID, Type, Source string
	NVR              string
	BuildID          int64 // 0 where there is none
}

// newDeadLetter reads a message of the dead-letter stream. Any message is one.
func newDeadLetter(msg stored) DeadLetter {
	l := DeadLetter{
		Sequence: msg.sequence, Time: msg.time,
		Reason: strings.TrimPrefix(msg.subject, subjectDeadLetter+"."),
		Error:  msg.header.Get(HeaderError), Stage: msg.header.Get(HeaderStage), Tries: headerNumber(msg.header, HeaderTries),
		Stream: msg.header.Get(HeaderStream), OriginalSequence: headerNumber(msg.header, HeaderSequence),
		Subject: msg.header.Get(HeaderSubject), Omitted: msg.header.Get(HeaderOmitted),
		Header: originalHeader(msg.header), Data: msg.data, Bytes: len(msg.data),
	}
	l.OriginalTime = originalTime(msg.header, l)
	l.Event = readLetterEvent(l)
	return l
}

func headerNumber(header nats.Header, name string) uint64 {
	n, err := strconv.ParseUint(header.Get(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// originalHeader takes back what merged did.
func originalHeader(header nats.Header) nats.Header {
	original := make(nats.Header, len(header))
	for name, values := range header {
		switch {
		case hasPrefixFold(name, headerKept) && isOrder(name[len(headerKept):]):
			original[name[len(headerKept):]] = values
		case hasPrefixFold(name, "Omps-"), hasPrefixFold(name, "Nats-"):
		default:
			original[name] = values
		}
	}
	return original
}

// originalTime is when the original was stored, which the letter's message id
// ends with.
func originalTime(header nats.Header, l DeadLetter) time.Time {
	rest, ok := strings.CutPrefix(header.Get(nats.MsgIdHdr), fmt.Sprintf("dead-%s-%d-", l.Stream, l.OriginalSequence))
	if !ok {
		return time.Time{}
	}
	nanos, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// readLetterEvent never fails: a letter can be anything, even what made the
// decoder panic.
func readLetterEvent(l DeadLetter) (found LetterEvent) {
	defer func() { _ = recover() }()
	m, err := open(l.Header, l.Data, parseObject)
	if err != nil {
		if body, err := parseObject(l.Data); err == nil { // no event, and yet perhaps what one should hold
			found.readBuild(recordOf(body))
		}
		return found
	}
	found.ID, found.Type, found.Source = m.attribute("id"), m.attribute("type"), m.attribute("source")
	data := m.record()
	if data == nil {
		data = m.encodedRecord()
	}
	found.readBuild(data)
	if nvr, err := pipeline.ParseNVR(m.attribute("subject")); err == nil && found.NVR == "" && found.BuildID == 0 {
		found.NVR = nvr.String()
	}
	return found
}

func (e *LetterEvent) readBuild(data *record) {
	if data == nil {
		return
	}
	a, err := readAnnouncement(data, e.Type == TypeBuildPromoted)
	if err != nil {
		return
	}
	e.NVR, e.BuildID = a.NVR.String(), a.BuildID
}

// attribute is the text of an attribute of an event that may be invalid, ""
// where it has none.
func (m message) attribute(name string) string {
	if !m.binary {
		return m.envelope.object.member(name).text()
	}
	for header, values := range m.header {
		if found, ok := attributeName(header); ok && strings.EqualFold(found, name) {
			if value, err := headerValue(values); err == nil {
				return value
			}
		}
	}
	return ""
}

// encodedRecord is the data where the event has to be decoded for it.
func (m message) encodedRecord() *record {
	e, err := m.event()
	if err != nil {
		return nil
	}
	data, err := dataOf(e)
	if err != nil {
		return nil
	}
	return recordOf(data)
}
