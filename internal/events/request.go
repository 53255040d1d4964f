package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// BuildEvent is an announcement made by hand, or by a comparison with the hub.
// NVR or BuildID names the build.
type BuildEvent struct {
	NVR     string
	BuildID int64
	// Reconciled: the hub was asked and says that the build is complete, which
	// nobody had told, or so it seems.
	Reconciled bool

	Source string    // of the event: a URI reference
	ID     string    // of the event: unique for its source
	Time   time.Time // of the event; zero: none
}

// MaxEvent is the size in bytes of the largest message that the service reads.
// Servers take 1 MiB unless they are configured to take more.
const MaxEvent = maxPayload

// PushEvent is a request for one organization, for a build that NVR or BuildID
// names, or with an archive by hand: either Object or Inline.
type PushEvent struct {
	Organization string
	NVR          string
	BuildID      int64
	Object       string // BUCKET/NAME in an object store
	Inline       []byte // the archive itself
	Repository   string // "": as configured
	Version      string // "": as the manifests or the registry say
	Force        bool   // although it is published already

	Source string    // of the event: a URI reference
	ID     string    // of the event: unique for its source
	Time   time.Time // of the event; zero: none
}

// DeleteEvent is a request to delete what one organization has published.
type DeleteEvent struct {
	Organization string
	Repository   string // without the organization
	Version      string // "": every one

	Source string    // of the event: a URI reference
	ID     string    // of the event: unique for its source
	Time   time.Time // of the event; zero: none
}

// DecisionEvent says that Greenwave's decision on a build has changed.
type DecisionEvent struct {
	NVR       string
	Satisfied bool // all policies are

	Source string    // of the event: a URI reference
	ID     string    // of the event: unique for its source
	Time   time.Time // of the event; zero: none
}

// extReconciled marks an announcement that comes of a comparison with the hub.
const extReconciled = "reconciled"

type requestData struct {
	NVR          string     `json:"nvr,omitempty"`
	BuildID      int64      `json:"build_id,omitempty"`
	State        int        `json:"state,omitempty"` // of a build that is announced
	Archive      *givenData `json:"archive,omitempty"`
	Organization string     `json:"organization,omitempty"`
	Repository   string     `json:"repository,omitempty"`
	Version      string     `json:"version,omitempty"`
	Force        bool       `json:"force,omitempty"`
}

type givenData struct {
	Object string `json:"object,omitempty"`
	Inline []byte `json:"inline,omitempty"` // as base64
}

type decisionData struct {
	SubjectType       string `json:"subject_type"`
	SubjectIdentifier string `json:"subject_identifier"`
	PoliciesSatisfied bool   `json:"policies_satisfied"`
}

// NewBuildEvent makes an announcement and the subject to publish it on.
func NewBuildEvent(b BuildEvent) (e event.Event, subject string, err error) {
	nvr, err := nameBuild(b.NVR, b.BuildID)
	if err != nil {
		return event.Event{}, "", err
	}
	subject = SubjectBuildCompleted
	if nvr.Name != "" {
		subject += "." + SubjectToken(nvr.Name)
	}
	data := requestData{NVR: nvr.String(), BuildID: b.BuildID}
	if b.Reconciled {
		data.State = int(pipeline.StateComplete)
	}
	e, err = newEvent(head{eventType: TypeBuildCompleted, source: b.Source, id: b.ID, subject: nvr.String(), time: b.Time}, data)
	if err == nil && b.Reconciled {
		e.SetExtension(extReconciled, true)
	}
	return e, subject, err
}

// NewPushEvent makes a request and the subject to publish it on.
func NewPushEvent(p PushEvent) (e event.Event, subject string, err error) {
	if p.Organization == "" {
		return event.Event{}, "", errors.New("a request needs an organization")
	}
	data, err := requestOf(p)
	if err != nil {
		return event.Event{}, "", err
	}
	e, err = newEvent(head{eventType: TypePushRequested, source: p.Source, id: p.ID, subject: data.NVR, time: p.Time}, data)
	return e, SubjectPushRequest + "." + SubjectToken(p.Organization), err
}

// requestOf is the data of a request for either a build or an archive.
func requestOf(p PushEvent) (requestData, error) {
	data := requestData{Organization: p.Organization, Repository: p.Repository, Version: p.Version, Force: p.Force}
	given := p.Object != "" || len(p.Inline) > 0
	switch {
	case given && (p.NVR != "" || p.BuildID != 0):
		return data, errors.New("both a build and an archive")
	case p.Object != "" && len(p.Inline) > 0:
		return data, errors.New("both an object and an inline archive")
	case given:
		data.Archive = &givenData{Object: p.Object, Inline: p.Inline}
		return data, nil
	}
	nvr, err := nameBuild(p.NVR, p.BuildID)
	data.NVR, data.BuildID = nvr.String(), p.BuildID
	return data, err
}

// NewDeleteEvent makes a request and the subject to publish it on.
func NewDeleteEvent(d DeleteEvent) (e event.Event, subject string, err error) {
	switch {
	case d.Organization == "":
		return event.Event{}, "", errors.New("a request needs an organization")
	case d.Repository == "":
		return event.Event{}, "", errors.New("a request to delete needs a repository")
	}
	e, err = newEvent(head{eventType: TypeDeleteRequested, source: d.Source, id: d.ID, time: d.Time},
		requestData{Organization: d.Organization, Repository: d.Repository, Version: d.Version})
	return e, SubjectDeleteRequest + "." + SubjectToken(d.Organization), err
}

// NewDecisionEvent makes an event with the words of Greenwave that the service
// reads, and the subject to publish it on. It names no context and no product,
// and so is about those of any gate.
func NewDecisionEvent(d DecisionEvent) (e event.Event, subject string, err error) {
	nvr, err := pipeline.ParseNVR(d.NVR)
	if err != nil {
		return event.Event{}, "", err
	}
	e, err = newEvent(head{eventType: TypeDecisionUpdated, source: d.Source, id: d.ID, subject: nvr.String(), time: d.Time},
		decisionData{SubjectType: kojiBuild, SubjectIdentifier: nvr.String(), PoliciesSatisfied: d.Satisfied})
	return e, SubjectDecisionUpdated, err
}

func nameBuild(nvr string, id int64) (pipeline.NVR, error) {
	switch {
	case nvr == "" && id == 0:
		return pipeline.NVR{}, errors.New("neither an NVR nor a build id")
	case id < 0 || id > maxID:
		return pipeline.NVR{}, fmt.Errorf("build id %d is not a positive integer below 2^53", id)
	case nvr == "":
		return pipeline.NVR{}, nil
	}
	return pipeline.ParseNVR(nvr)
}

// head holds the attributes that every event of ours has.
type head struct {
	eventType, source, id, subject string
	time                           time.Time
}

// newEvent makes a valid event with JSON data.
func newEvent(h head, data any) (event.Event, error) {
	encoded, err := encodeJSON(data)
	if err != nil {
		return event.Event{}, fmt.Errorf("encode %s: %w", h.eventType, err)
	}
	e := event.New(specVersion)
	e.SetType(h.eventType)
	e.SetSource(h.source)
	e.SetID(h.id)
	if h.subject != "" {
		e.SetSubject(h.subject)
	}
	if !h.time.IsZero() {
		e.SetTime(h.time)
	}
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = encoded
	if _, err := attributesOf(e); err != nil {
		return event.Event{}, err
	}
	return e, nil
}

// encodeJSON is json.Marshal without the escapes that only HTML needs.
func encodeJSON(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
