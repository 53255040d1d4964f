package events

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// maxAttribute bounds the value of an attribute in bytes. Some are passed on
// in the headers of other messages.
const maxAttribute = 4 << 10

// event decodes m. The reading is ours, since the SDK's own takes neither
// header names in any case nor percent-encoding, and slices out of range on a
// data_base64 that is no string; the model and its validation are the SDK's.
func (m message) event() (event.Event, error) {
	if m.binary {
		return m.fromHeaders()
	}
	return m.envelope.decode()
}

// fromHeaders decodes the binary form.
func (m message) fromHeaders() (event.Event, error) {
	if object, err := parseObject(m.data); err == nil && object.member("specversion") != "" {
		return event.Event{}, errors.New("both ce- headers and a whole event as payload")
	}
	given := make(map[string][]string, len(m.header))
	for name, values := range m.header {
		if attribute, ok := attributeName(name); ok {
			attribute = strings.ToLower(attribute)
			given[attribute] = append(given[attribute], values...)
		}
	}
	ec, version := &event.EventContextV1{}, ""
	for name, values := range given {
		value, err := headerValue(values)
		if err == nil {
			err = setAttribute(ec, name, value)
		}
		if err != nil && matters(name) {
			return event.Event{}, fmt.Errorf("header ce-%s: %w", name, err)
		}
		if name == "specversion" {
			version = value
		}
	}
	// As in the binding for HTTP, which bridges follow.
	if _, _, err := mime.ParseMediaType(m.contentType); err == nil && ec.DataContentType == nil {
		if err := setAttribute(ec, "datacontenttype", m.contentType); err != nil {
			return event.Event{}, fmt.Errorf("header content-type: %w", err)
		}
	}
	return valid(event.Event{Context: ec, DataEncoded: m.data}, version)
}

// matters tells whether an attribute that is invalid makes the event invalid.
// Nothing comes of other extensions, so that one which breaks the rules for
// its name or value is left out, and the build it came with is still read.
func matters(name string) bool {
	switch strings.ToLower(name) {
	case extCorrelation, extCausation, extTraceParent, extTraceState:
		return true
	}
	return isCore(name)
}

func isCore(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema":
		return true
	}
	return false
}

// decode decodes the structured form.
func (env envelope) decode() (event.Event, error) {
	ec := &event.EventContextV1{}
	var err error
	eachMember(env.object, 0, func(name string, i int) int {
		end := valueEnd(env.object, i)
		if value := env.object[i:end]; err == nil && name != "data" && name != "data_base64" && value.given() {
			err = setJSONAttribute(ec, name, value)
		}
		return end
	})
	if err != nil {
		return event.Event{}, err
	}
	e := event.Event{Context: ec}
	if err := env.decodeData(&e); err != nil {
		return event.Event{}, err
	}
	return valid(e, env.specVersion.text())
}

func (env envelope) decodeData(e *event.Event) error {
	switch {
	case env.data != "" && env.dataBytes != "":
		return errors.New("both data and data_base64")
	case env.dataBytes != "":
		if !env.dataBytes.isString() {
			return errors.New("data_base64: not a string")
		}
		data, err := base64.StdEncoding.DecodeString(env.dataBytes.text())
		if err != nil {
			return fmt.Errorf("data_base64: %w", err)
		}
		e.DataEncoded, e.DataBase64 = data, true
	case env.data.isString() && !jsonData(*e):
		e.DataEncoded = []byte(env.data.text())
	case env.data != "":
		e.DataEncoded = []byte(env.data)
	}
	return nil
}

// jsonData tells whether the data of e is declared as JSON, which is also what
// no declaration means.
func jsonData(e event.Event) bool {
	if e.DataContentType() == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(e.DataContentType())
	return err == nil && (strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json"))
}

// valid checks a decoded event as a whole.
func valid(e event.Event, version string) (event.Event, error) {
	if version != specVersion {
		return event.Event{}, fmt.Errorf("specversion %q: only %s is read", cut(version, 100), specVersion)
	}
	return e, validate(e)
}

// validate is the SDK's validation, with one error a line made one line.
func validate(e event.Event) error {
	if err := e.Validate(); err != nil {
		return errors.New(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	return nil
}

// setJSONAttribute sets the attribute that a member of a structured event
// stands for.
func setJSONAttribute(ec *event.EventContextV1, name string, value raw) error {
	typed, err := attributeValue(value)
	if err == nil {
		err = setAttribute(ec, name, typed)
	}
	if err != nil && matters(name) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// attributeValue turns a JSON value into a CloudEvents one. Only an extension
// may be other than a string.
func attributeValue(value raw) (any, error) {
	switch {
	case value.isString():
		return value.text(), nil
	case value == "true" || value == "false":
		return value == "true", nil
	case value.isNumber():
		if n := value.number(); n == math.Trunc(n) && math.Abs(n) <= math.MaxInt32 {
			return int32(n), nil
		}
	}
	return nil, errors.New("neither a string, a boolean nor a 32 bit integer")
}

// setAttribute sets one attribute. An optional one that is empty is not there.
func setAttribute(ec *event.EventContextV1, name string, value any) error {
	text, isText := value.(string)
	if isText {
		if err := checkText(text); err != nil {
			return err
		}
	}
	if isCore(name) {
		if !isText {
			return errors.New("not a string")
		}
		return setCore(ec, name, text)
	}
	if strings.EqualFold(name, "data") {
		return errors.New("not the name of an attribute")
	}
	return ec.SetExtension(name, value)
}

func setCore(ec *event.EventContextV1, name, text string) (err error) {
	switch name {
	case "id":
		ec.ID = text
	case "type":
		ec.Type = text
	case "subject":
		ec.Subject = optional(text)
	case "datacontenttype":
		ec.DataContentType = optional(text)
	case "time":
		ec.Time, err = types.ParseTimestamp(text)
	case "source":
		ref := types.ParseURIRef(text)
		if ref == nil {
			return errors.New("not a URI reference")
		}
		ec.Source = *ref
	case "dataschema":
		if ec.DataSchema = types.ParseURI(text); ec.DataSchema == nil && text != "" {
			return errors.New("not a URI")
		}
	}
	return err
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// checkText refuses what no attribute may hold, by the type system of the
// CloudEvents specification.
func checkText(s string) error {
	switch {
	case len(s) > maxAttribute:
		return fmt.Errorf("%d bytes are more than %d", len(s), maxAttribute)
	case !utf8.ValidString(s):
		return errors.New("not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("holds a control character")
	}
	return nil
}
