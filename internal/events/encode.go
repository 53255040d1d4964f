package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"
)

// EncodeStructured writes e as one JSON object, with its Content-Type. Data
// that is not JSON goes as a string, or as data_base64 where it is no text.
func EncodeStructured(e event.Event) (nats.Header, []byte, error) {
	if _, err := attributesOf(e); err != nil {
		return nil, nil, err
	}
	switch data := e.DataEncoded; {
	case len(data) == 0:
		e.DataEncoded = nil
	case jsonData(e):
		// The SDK would copy what is not JSON into its output, and writes
		// structured syntax suffixes as strings.
		e.DataBase64 = !json.Valid(data) || strings.HasSuffix(e.DataMediaType(), "+json")
	default:
		e.DataBase64 = !utf8.Valid(data)
	}
	payload, err := e.MarshalJSON()
	if err != nil {
		return nil, nil, fmt.Errorf("encode event: %w", err)
	}
	return nats.Header{"Content-Type": {mediaType + "+json"}}, payload, nil
}

// EncodeBinary writes each attribute of e as a ce- header, percent-encoded,
// and its data as the payload.
func EncodeBinary(e event.Event) (nats.Header, []byte, error) {
	attributes, err := attributesOf(e)
	if err != nil {
		return nil, nil, err
	}
	header := make(nats.Header, len(attributes))
	for name, value := range attributes {
		header["ce-"+name] = []string{percentEncode(value)}
	}
	return header, e.DataEncoded, nil
}

// attributesOf lists the attributes of a valid event in their text form.
func attributesOf(e event.Event) (map[string]string, error) {
	if err := validate(e); err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	if e.SpecVersion() != specVersion {
		return nil, fmt.Errorf("encode event: specversion %s: only %s is written", e.SpecVersion(), specVersion)
	}
	attributes := map[string]string{
		"specversion": specVersion, "id": e.ID(), "source": e.Source(), "type": e.Type(),
	}
	for name, value := range map[string]string{
		"subject": e.Subject(), "datacontenttype": e.DataContentType(), "dataschema": e.DataSchema(),
	} {
		if value != "" {
			attributes[name] = value
		}
	}
	if !e.Time().IsZero() {
		attributes["time"] = types.FormatTime(e.Time())
	}
	for name, value := range e.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			return nil, fmt.Errorf("encode event: %s: %w", name, err)
		}
		attributes[name] = text
	}
	for name, value := range attributes {
		if err := checkText(value); err != nil {
			return nil, fmt.Errorf("encode event: %s: %w", name, err)
		}
	}
	return attributes, nil
}
