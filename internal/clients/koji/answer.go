package koji

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// maxDepth bounds how deep elements nest: the reader calls itself for each
// value in a value. A struct in a struct takes four.
const maxDepth = 512

// decode reads the value of an XML-RPC answer, or its fault as a *Fault.
//
// It reads what Koji's hub writes, by the XML-RPC specification with its
// extensions nil and i8, and refuses all else. The codec's own decoder takes an
// empty value, a member without a value and text in pieces for something else
// than they are, follows any depth, and takes twenty times as long.
func decode(data []byte) (any, error) {
	r := reader{tokens: tokens{left: data}}
	value, isFault, err := r.answer()
	if err != nil {
		return nil, fmt.Errorf("answer is not XML-RPC: %w", err)
	}
	if isFault {
		return nil, readFault(value)
	}
	return value, nil
}

// reader reads an answer from its first byte to its last.
type reader struct {
	tokens
	depth int // elements that are open
}

// declaration may stand before an answer. What has another encoding is not read.
var declaration = regexp.MustCompile(`^<\?xml version=['"]1\.0['"](?: encoding=['"](?i:utf-8)['"])?\s*\?>`)

func (r *reader) answer() (value any, isFault bool, err error) {
	r.blanks()
	r.left = r.left[len(declaration.Find(r.left)):]
	if err := r.begin("methodResponse"); err != nil {
		return nil, false, err
	}
	kind, err := r.open()
	switch {
	case err != nil:
	case string(kind) == "fault":
		isFault = true
		value, err = r.value()
	case string(kind) == "params":
		value, err = r.param()
	default:
		err = unexpected(kind)
	}
	if err == nil {
		err = r.close(string(kind))
	}
	if err == nil {
		err = r.close("methodResponse")
	}
	if r.blanks(); err == nil && len(r.left) > 0 {
		err = errors.New("more after its end")
	}
	return value, isFault, err
}

func (r *reader) param() (any, error) {
	if err := r.begin("param"); err != nil {
		return nil, err
	}
	value, err := r.value()
	if err != nil {
		return nil, err
	}
	return value, r.close("param")
}

func (r *reader) value() (value any, err error) {
	if err := r.begin("value"); err != nil {
		return nil, err
	}
	kind, err := r.open()
	if err != nil {
		return nil, err
	}
	switch string(kind) {
	case "struct":
		value, err = r.structure()
	case "array":
		value, err = r.array()
	default:
		value, err = r.scalar(kind)
	}
	if err != nil {
		return nil, err
	}
	if err := r.close(string(kind)); err != nil {
		return nil, err
	}
	return value, r.close("value")
}

// structure reads members. Of two with one name the last counts.
func (r *reader) structure() (map[string]any, error) {
	var fields map[string]any
	for r.more() {
		if err := r.begin("member"); err != nil {
			return nil, err
		}
		name, err := r.name()
		if err != nil {
			return nil, err
		}
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		if err := r.close("member"); err != nil {
			return nil, err
		}
		if fields == nil {
			fields = make(map[string]any)
		}
		fields[name] = value
	}
	return fields, nil
}

func (r *reader) name() (string, error) {
	if err := r.begin("name"); err != nil {
		return "", err
	}
	name, err := r.text()
	if err != nil {
		return "", err
	}
	return name, r.close("name")
}

func (r *reader) array() ([]any, error) {
	if err := r.begin("data"); err != nil {
		return nil, err
	}
	list := []any{}
	for r.more() {
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, r.close("data")
}

// scalar reads a value that is text. An empty string is nil: the readers of
// values take both for nothing.
func (r *reader) scalar(kind []byte) (any, error) {
	text, err := r.text()
	if err != nil {
		return nil, err
	}
	var value any
	switch string(kind) {
	case "string", "base64", "dateTime.iso8601":
		if text != "" {
			value = text
		}
	case "int", "i4", "i8":
		value, err = strconv.ParseInt(text, 10, 64)
	case "double":
		value, err = strconv.ParseFloat(text, 64)
	case "boolean":
		if value = text == "1"; text != "0" && text != "1" {
			err = errors.New("neither 0 nor 1")
		}
	case "nil":
		if text != "" {
			err = errors.New("not empty")
		}
	default:
		return nil, unexpected(kind)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s", kind, clients.OneLine(err.Error(), maxMessage))
	}
	return value, nil
}

// begin reads the start of an element of this name.
func (r *reader) begin(name string) error {
	got, err := r.open()
	if err == nil && string(got) != name {
		err = unexpected(got)
	}
	return err
}

// open reads the start of an element and tells its name.
func (r *reader) open() ([]byte, error) {
	name, end, err := r.tag()
	switch {
	case err != nil:
		return nil, err
	case end:
		return nil, fmt.Errorf("incomplete <%s>", clients.OneLine(string(name), 40))
	case r.depth == maxDepth-1:
		return nil, fmt.Errorf("nests deeper than %d elements", maxDepth)
	}
	r.depth++
	return name, nil
}

// close reads the end of an element of this name.
func (r *reader) close(name string) error {
	got, end, err := r.tag()
	if err == nil && (!end || string(got) != name) {
		err = unexpected(got)
	}
	r.depth--
	return err
}

func unexpected(name []byte) error {
	return fmt.Errorf("unexpected <%s>", clients.OneLine(string(bytes.TrimSpace(name)), 40))
}
