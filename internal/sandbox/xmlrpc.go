package sandbox

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// The values of XML-RPC are nil, bool, int64, float64, string, []any and
// object. This codec is the hub's side of the protocol and deliberately shares
// nothing with the client's, so that neither hides a misreading of the other.

// object is an XML-RPC struct. Its order is kept: a hub's answers have one.
type object []member

type member struct {
	name  string
	value any
}

// get is the value of a member; nil when there is none.
func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// has tells whether there is such a member, of whatever value.
func (o object) has(name string) bool {
	for _, m := range o {
		if m.name == name {
			return true
		}
	}
	return false
}

// rpcFault is an XML-RPC fault. The codes are koji/__init__.py's.
type rpcFault struct {
	code int64
	text string
}

const (
	faultGeneric  = 1000 // GenericError
	faultOffline  = 1014 // ServerOffline
	faultBadParam = 1019 // ParameterError
)

func (f *rpcFault) Error() string { return fmt.Sprintf("fault %d: %s", f.code, f.text) }

func genericFault(format string, args ...any) error {
	return &rpcFault{code: faultGeneric, text: fmt.Sprintf(format, args...)}
}

// maxXMLDepth bounds how deeply a request's values nest.
const maxXMLDepth = 32

// decodeCall reads a methodCall.
func decodeCall(data []byte) (method string, params []any, err error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	var text strings.Builder
	for {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF) && method != "":
			return method, params, nil
		case err != nil:
			return "", nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			text.Reset()
			if t.Name.Local == "value" {
				v, err := decodeValue(d, 0)
				if err != nil {
					return "", nil, err
				}
				params = append(params, v)
			}
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			if t.Name.Local == "methodName" {
				method = strings.TrimSpace(text.String())
			}
		}
	}
}

// decodeValue reads the inside of a value element up to and with its end.
func decodeValue(d *xml.Decoder, depth int) (any, error) {
	if depth > maxXMLDepth {
		return nil, fmt.Errorf("values nest deeper than %d", maxXMLDepth)
	}
	var (
		bare  strings.Builder
		value any
		typed bool
	)
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.CharData:
			bare.Write(t)
		case xml.StartElement:
			if value, err = decodeTyped(d, t.Name.Local, depth); err != nil {
				return nil, err
			}
			typed = true
		case xml.EndElement:
			if typed {
				return value, nil
			}
			return bare.String(), nil
		}
	}
}

func decodeTyped(d *xml.Decoder, kind string, depth int) (any, error) {
	switch kind {
	case "struct":
		return decodeStruct(d, depth)
	case "array":
		return decodeArray(d, depth)
	case "nil":
		return nil, d.Skip()
	}
	text, err := elementText(d)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "int", "i4", "i8":
		return strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	case "double":
		return strconv.ParseFloat(strings.TrimSpace(text), 64)
	case "boolean":
		return strings.TrimSpace(text) == "1", nil
	case "string":
		return text, nil
	}
	return nil, fmt.Errorf("unknown type %q", kind)
}

func decodeStruct(d *xml.Decoder, depth int) (any, error) {
	o := object{}
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "name":
				name, err := elementText(d)
				if err != nil {
					return nil, err
				}
				o = append(o, member{name: name})
			case "value":
				if len(o) == 0 {
					return nil, errors.New("struct member has no name")
				}
				if o[len(o)-1].value, err = decodeValue(d, depth+1); err != nil {
					return nil, err
				}
			}
		case xml.EndElement:
			if t.Name.Local == "struct" {
				return o, nil
			}
		}
	}
}

func decodeArray(d *xml.Decoder, depth int) (any, error) {
	list := []any{}
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name.Local != "value" {
				continue
			}
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		case xml.EndElement:
			if t.Name.Local == "array" {
				return list, nil
			}
		}
	}
}

// elementText is the text of an element that holds nothing else.
func elementText(d *xml.Decoder) (string, error) {
	var text strings.Builder
	for {
		token, err := d.Token()
		if err != nil {
			return "", err
		}
		switch t := token.(type) {
		case xml.CharData:
			text.Write(t)
		case xml.StartElement:
			return "", fmt.Errorf("unexpected element %q", t.Name.Local)
		case xml.EndElement:
			return text.String(), nil
		}
	}
}

// encodeResponse writes a methodResponse, byte for byte as Koji's marshaller
// lays it out. An error that is an *rpcFault becomes one; any other is a fault of
// code 1, as an exception inside a real hub is.
func encodeResponse(result any, err error) []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version='1.0'?>\n<methodResponse>\n")
	if err != nil {
		f := &rpcFault{code: 1, text: err.Error()}
		errors.As(err, &f)
		b.WriteString("<fault>\n")
		encodeValue(&b, object{{"faultCode", f.code}, {"faultString", f.text}})
		b.WriteString("</fault>\n</methodResponse>\n")
		return b.Bytes()
	}
	b.WriteString("<params>\n<param>\n")
	encodeValue(&b, result)
	b.WriteString("</param>\n</params>\n</methodResponse>\n")
	return b.Bytes()
}

func encodeValue(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("<value><nil/></value>")
	case bool:
		digit := "0"
		if v {
			digit = "1"
		}
		b.WriteString("<value><boolean>" + digit + "</boolean></value>\n")
	case int64:
		tag := "int"
		if v > math.MaxInt32 || v < math.MinInt32 {
			tag = "i8"
		}
		fmt.Fprintf(b, "<value><%s>%d</%[1]s></value>\n", tag, v)
	case float64:
		b.WriteString("<value><double>" + pythonFloat(v) + "</double></value>\n")
	case string:
		b.WriteString("<value><string>" + escape(v) + "</string></value>\n")
	case []any:
		b.WriteString("<value><array><data>\n")
		for _, e := range v {
			encodeValue(b, e)
		}
		b.WriteString("</data></array></value>\n")
	case object:
		b.WriteString("<value><struct>\n")
		for _, m := range v {
			b.WriteString("<member>\n<name>" + escape(m.name) + "</name>\n")
			encodeValue(b, m.value)
			b.WriteString("</member>\n")
		}
		b.WriteString("</struct></value>\n")
	default:
		panic(fmt.Sprintf("sandbox: %T is no XML-RPC value", v))
	}
}

// pythonFloat is Python's repr of a float: always with a point.
func pythonFloat(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
