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

// BuildEvent is an announcement made by hand. NVR or BuildID names the build.
type BuildEvent struct {
	NVR     string
	BuildID int64

	Source string    // of the event: a URI reference
	ID     string    // of the event: unique for its source
	Time   time.Time // of the event; zero: none
}

// PushEvent is a request for one organization. NVR or BuildID names the build.
type PushEvent struct {
	Organization string
	NVR          string
	BuildID      int64
	Repository   string // "": as configured
	Version      string // "": as in the manifests
	Force        bool   // although it is published already

	Source string    // of the event: a URI reference
	ID     string    // of the event: unique for its source
	Time   time.Time // of the event; zero: none
}

type requestData struct {
	NVR          string `json:"nvr,omitempty"`
	BuildID      int64  `json:"build_id,omitempty"`
	Organization string `json:"organization,omitempty"`
	Repository   string `json:"repository,omitempty"`
	Version      string `json:"version,omitempty"`
	Force        bool   `json:"force,omitempty"`
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
	e, err = newEvent(head{eventType: TypeBuildCompleted, source: b.Source, id: b.ID, subject: nvr.String(), time: b.Time},
		requestData{NVR: nvr.String(), BuildID: b.BuildID})
	return e, subject, err
}

// NewPushEvent makes a request and the subject to publish it on.
func NewPushEvent(p PushEvent) (e event.Event, subject string, err error) {
	if p.Organization == "" {
		return event.Event{}, "", errors.New("a request needs an organization")
	}
	nvr, err := nameBuild(p.NVR, p.BuildID)
	if err != nil {
		return event.Event{}, "", err
	}
	e, err = newEvent(head{eventType: TypePushRequested, source: p.Source, id: p.ID, subject: nvr.String(), time: p.Time}, requestData{
		NVR: nvr.String(), BuildID: p.BuildID, Organization: p.Organization,
		Repository: p.Repository, Version: p.Version, Force: p.Force,
	})
	return e, SubjectPushRequest + "." + SubjectToken(p.Organization), err
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
