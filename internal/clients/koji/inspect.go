package koji

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// maxDepth bounds how deep elements nest: the codec calls itself for each
// level. A struct in a struct takes four.
const maxDepth = 512

// shape is what an element holds: its steps in this order, each one of several
// names, or with many the first step any number of times. No steps: text.
type shape struct {
	steps [][]string
	many  bool
}

// grammar is how Koji's hub writes an answer, by the XML-RPC specification with
// its extensions nil and i8. The empty name is the document.
//
//nolint:gochecknoglobals // a table that never changes
var grammar = map[string]shape{
	"":               {steps: [][]string{{"methodResponse"}}},
	"methodResponse": {steps: [][]string{{"params", "fault"}}},
	"params":         {steps: [][]string{{"param"}}},
	"param":          {steps: [][]string{{"value"}}},
	"fault":          {steps: [][]string{{"value"}}},
	"value": {steps: [][]string{{
		"string", "int", "i4", "i8", "boolean", "double", "dateTime.iso8601", "base64", "nil", "struct", "array",
	}}},
	"struct": {steps: [][]string{{"member"}}, many: true},
	"member": {steps: [][]string{{"name"}, {"value"}}},
	"array":  {steps: [][]string{{"data"}}},
	"data":   {steps: [][]string{{"value"}}, many: true},
}

// element is one that is open, with what it has held so far.
type element struct {
	shape
	name     string
	children int
	texts    int
}

// inspect holds an answer against the grammar and tells whether it is a fault.
// The codec needs that: it takes an empty value, a member without a value and
// text in pieces for something else than they are, and follows any depth.
func inspect(data []byte) (isFault bool, err error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	open := []element{{shape: grammar[""]}}
	for {
		token, err := d.Token()
		top := &open[len(open)-1]
		switch {
		case errors.Is(err, io.EOF):
			return isFault, top.close()
		case err != nil:
			return false, fmt.Errorf("answer is not XML: %s", clients.OneLine(err.Error(), maxMessage))
		}
		switch t := token.(type) {
		case xml.StartElement:
			if err := top.enter(t.Name.Local); err != nil {
				return false, err
			}
			if len(open) == maxDepth {
				return false, fmt.Errorf("answer nests deeper than %d elements", maxDepth)
			}
			isFault = isFault || t.Name.Local == "fault"
			open = append(open, element{shape: grammar[t.Name.Local], name: t.Name.Local})
		case xml.EndElement:
			if err := top.close(); err != nil {
				return false, err
			}
			open = open[:len(open)-1]
		case xml.CharData:
			if err := top.text(t); err != nil {
				return false, err
			}
		case xml.ProcInst:
			if len(open) > 1 || top.children > 0 {
				return false, errors.New("answer is not XML-RPC: instruction after its start")
			}
		default:
			return false, errors.New("answer is not XML-RPC: comment or declaration")
		}
	}
}

// enter tells whether a child of this name may come next.
func (e *element) enter(name string) error {
	step := e.children
	if e.many {
		step = 0
	}
	if step >= len(e.steps) || !slices.Contains(e.steps[step], name) {
		return fmt.Errorf("answer is not XML-RPC: unexpected <%s> in <%s>", clients.OneLine(name, 40), e.name)
	}
	e.children++
	return nil
}

// close tells whether the element may end here.
func (e *element) close() error {
	if !e.many && e.children < len(e.steps) {
		return fmt.Errorf("answer is not XML-RPC: incomplete <%s>", e.name)
	}
	return nil
}

// text tells whether text may stand here: in one piece where text alone is
// held, and nothing but blanks elsewhere.
func (e *element) text(t []byte) error {
	e.texts++
	if e.steps == nil && e.texts == 1 || len(bytes.TrimSpace(t)) == 0 && e.steps != nil {
		return nil
	}
	return fmt.Errorf("answer is not XML-RPC: unexpected text in <%s>", e.name)
}
