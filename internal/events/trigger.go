package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/schemas"
)

// Reader reads triggers out of events. It needs Schemas.
type Reader struct {
	Organizations []string // the configured names; no two have the same SubjectToken
	Schemas       *schemas.Set
	Gate          GateScope
}

// Trigger reads what e asks for. Its errors are
//
//   - Ignored: a type that is not ours on a subject that is not ours either,
//     and a build that says itself that nobody wants it;
//   - Malformed: a type that is not ours where only our input belongs, data
//     that its schema refuses or that contradicts itself, a request whose
//     organization is not that of its subject.
//
// A build is named by the data or, where that names none, by the event's
// subject attribute, which then has to be an NVR. A request with an archive by
// hand, or to delete, is about no build whatever that attribute says.
func (r Reader) Trigger(subject string, e event.Event) (pipeline.Trigger, error) {
	t := pipeline.Trigger{ID: e.ID(), Source: e.Source(), Type: e.Type()}
	t.Correlation = extension(e, extCorrelation)
	switch kindOf(subject, t.Type) {
	case KindAnnouncement:
		return r.announced(t, e)
	case KindRequest:
		t.Kind = pipeline.PushRequested
		if t.Type == TypeDeleteRequested {
			t.Kind = pipeline.DeleteRequested
		}
		return r.requested(subject, t, e)
	case KindDecision:
		t.Kind = pipeline.DecisionUpdated
		return r.decided(t, e)
	}
	return t, unknownType(subject, t.Type)
}

func unknownType(subject, eventType string) error {
	err := fmt.Errorf("event type %q on %s", cut(eventType, 200), subject)
	if ownSubject(subject) {
		return pipeline.Malform(pipeline.ReasonUnknownType, err)
	}
	return pipeline.Ignore(pipeline.ReasonUnknownType, err)
}

func (r Reader) announced(t pipeline.Trigger, e event.Event) (pipeline.Trigger, error) {
	data, err := dataOf(e)
	if err != nil {
		return t, err
	}
	a, readErr := readAnnouncement(recordOf(data), t.Type == TypeBuildPromoted)
	if readErr == nil {
		if err := a.unwanted(); err != nil {
			return t, err
		}
	}
	if err := r.check(t.Type, data, a.names() || readErr != nil, e); err != nil {
		return t, err
	}
	if readErr != nil {
		return t, pipeline.Malform(pipeline.ReasonInvalidEvent, readErr)
	}
	t.NVR, t.BuildID, t.SaysComplete = a.NVR, a.BuildID, a.complete()
	return named(t, e)
}

// unwanted tells why no organization whatever would want this build.
func (a announcement) unwanted() error {
	if a.Attribute != "" && a.Attribute != "state" {
		return pipeline.Ignore(pipeline.ReasonUnknownType, fmt.Errorf("change of a build's %q", cut(a.Attribute, 100)))
	}
	claim := a.Claim
	claim.Package = ""
	anybody := pipeline.Lookup{Organizations: []pipeline.Organization{{Match: []string{"*"}}}}
	_, err := anybody.Concerns(claim)
	return err
}

func (r Reader) requested(subject string, t pipeline.Trigger, e event.Event) (pipeline.Trigger, error) {
	data, err := dataOf(e)
	if err != nil {
		return t, err
	}
	t.Organization, err = r.organization(subject, t.Type, data.member("organization").text())
	if err != nil {
		return t, err
	}
	if t.Kind == pipeline.PushRequested {
		return r.pushRequested(t, data, e)
	}
	if err := r.check(t.Type, data, true, e); err != nil {
		return t, err
	}
	t.Repository, t.Version = data.member("repository").text(), data.member("version").text()
	return t, nil
}

// pushRequested reads a request's data. Its version is that to publish as, not
// the build's.
func (r Reader) pushRequested(t pipeline.Trigger, data raw, e event.Event) (pipeline.Trigger, error) {
	build, archive := &record{nvr: data.member("nvr"), buildID: data.member("build_id")}, data.member("archive")
	if err := oneSource(build, archive); err != nil {
		return t, pipeline.Malform(pipeline.ReasonInvalidEvent, err)
	}
	if err := r.check(t.Type, data, build.names() || archive.given(), e); err != nil {
		return t, err
	}
	t.Repository, t.Version = data.member("repository").text(), data.member("version").text()
	t.Force = data.member("force") == "true"
	var err error
	if archive.given() {
		t.Given, err = readGiven(archive)
	} else if t.NVR, err = build.readNVR(); err == nil {
		t.BuildID, err = build.readID(false)
	}
	switch {
	case err != nil:
		return t, pipeline.Malform(pipeline.ReasonInvalidEvent, err)
	case archive.given():
		return t, nil
	}
	return named(t, e)
}

// oneSource says in plain words what the schema refuses as well: whoever asks
// for two things would get one of them.
func oneSource(build *record, archive raw) error {
	switch {
	case archive.given() && build.names():
		return errors.New("data: names a build beside an archive: a request is for one of them")
	case archive.member("object").given() && archive.member("inline").given():
		return errors.New("data: archive has both object and inline: it is one of them")
	}
	return nil
}

// readGiven reads an archive by hand that the schema has let pass.
func readGiven(archive raw) (pipeline.Given, error) {
	if object := archive.member("object").text(); object != "" {
		return pipeline.Given{Object: object}, nil
	}
	// Line breaks mean nothing to the decoder, and padding nothing to us.
	text := strings.TrimRight(archive.member("inline").text(), "=\r\n")
	data, err := base64.RawStdEncoding.DecodeString(text)
	if err == nil && len(data) == 0 {
		err = errors.New("empty")
	}
	if err != nil {
		return pipeline.Given{}, fmt.Errorf("data: archive inline: %w", err)
	}
	return pipeline.Given{Inline: string(data)}, nil
}

// organization is the configured one whose token a request's subject ends
// with. The subject alone decides, since it is what NATS permissions guard:
// another one in the data is an error. Where none is configured it is what the
// request says, so that whoever asks hears so.
func (r Reader) organization(subject, eventType, inData string) (string, error) {
	prefix := SubjectPushRequest
	if eventType == TypeDeleteRequested {
		prefix = SubjectDeleteRequest
	}
	token, ok := strings.CutPrefix(subject, prefix+".")
	if !ok || token == "" || strings.Contains(token, ".") {
		return "", pipeline.Malform(pipeline.ReasonInvalidEvent,
			fmt.Errorf("event type %s is taken on %s.ORGANIZATION, not on %s", eventType, prefix, subject))
	}
	organization := token
	if inData != "" && SubjectToken(inData) == token {
		organization = inData
	}
	for _, name := range r.Organizations {
		if SubjectToken(name) == token {
			organization = name
		}
	}
	if inData != "" && inData != organization {
		return "", pipeline.Malform(pipeline.ReasonInvalidEvent,
			fmt.Errorf("organization %q in a request to %q on %s", cut(inData, 100), organization, subject))
	}
	return organization, nil
}

// dataOf is the data of an event as a JSON object, whatever its content type
// says. No data at all is an empty object.
func dataOf(e event.Event) (raw, error) {
	if len(e.DataEncoded) == 0 {
		return "{}", nil
	}
	data, err := parseObject(e.DataEncoded)
	if err != nil {
		return data, pipeline.Malform(pipeline.ReasonInvalidEvent, fmt.Errorf("data: %w", err))
	}
	return data, nil
}

// check holds data against the schema of its type. Data that names no build
// is checked as if its nvr were the one in the event's subject, unless it has
// something else there.
func (r Reader) check(eventType string, data raw, names bool, e event.Event) error {
	document := []byte(data)
	if nvr, err := pipeline.ParseNVR(e.Subject()); err == nil && !names && !data.member("nvr").filled() {
		document = withNVR(document, nvr)
	}
	if err := r.Schemas.Validate(eventType, document); err != nil {
		return pipeline.Malform(pipeline.ReasonInvalidEvent, fmt.Errorf("data: %w", err))
	}
	return nil
}

// withNVR adds a member to a JSON object. As the last one it also stands for a
// null before it.
func withNVR(object []byte, nvr pipeline.NVR) []byte {
	name, err := json.Marshal(nvr.String())
	if err != nil {
		return object
	}
	members := bytes.TrimSpace(object[1 : len(object)-1])
	comma := ","
	if len(members) == 0 {
		comma = ""
	}
	return fmt.Appendf(nil, `{%s%s"nvr":%s}`, members, comma, name)
}

// named takes the build from the event's subject where the data names none.
func named(t pipeline.Trigger, e event.Event) (pipeline.Trigger, error) {
	if !t.NVR.IsZero() || t.BuildID != 0 {
		return t, nil
	}
	nvr, err := pipeline.ParseNVR(e.Subject())
	if err != nil {
		return t, pipeline.Malform(pipeline.ReasonInvalidEvent,
			errors.New("names no build: data needs nvr, build_id, or name, version and release"))
	}
	t.NVR = nvr
	return t, nil
}
