package sandbox

import (
	"bytes"
	"encoding/xml"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A hub's answer, decoded and encoded again, is the same byte for byte: types,
// order, layout and escapes are all understood.
func TestAnswersOfARealHubSurviveARoundTrip(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "captures", "koji", "*.response.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no captures beside the checkout")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			value, fault := decodeAnswer(t, data)
			if got := encodeResponse(value, fault); !bytes.Equal(got, data) {
				t.Errorf("round trip gives\n%s\nwant\n%s", got, data)
			}
		})
	}
}

// decodeAnswer reads a methodResponse: its value, or the fault it is.
func decodeAnswer(t *testing.T, data []byte) (value any, err error) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(data))
	for {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("no value in %q: %v", data, err)
		}
		if start, ok := token.(xml.StartElement); !ok || start.Name.Local != "value" {
			continue
		}
		value, err := decodeValue(d, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, []byte("<fault>")) {
			return value, nil
		}
		o := value.(object)
		return nil, &rpcFault{code: o.get("faultCode").(int64), text: o.get("faultString").(string)}
	}
}

func TestEncodeResponse(t *testing.T) {
	t.Parallel()
	for want, value := range map[string]any{
		"<int>2147483647</int>":               int64(math.MaxInt32),
		"<i8>2147483648</i8>":                 int64(math.MaxInt32 + 1),
		"<i8>-2147483649</i8>":                int64(math.MinInt32 - 1),
		"<double>1.0</double>":                1.0,
		"<double>0.25</double>":               0.25,
		"<boolean>1</boolean>":                true,
		"<nil/>":                              nil,
		"<string>a &lt;&amp;&gt; b </string>": "a <&> b ",
		"<array><data>\n</data>":              []any{},
		"<struct>\n</struct>":                 object{},
	} {
		if got := string(encodeResponse(value, nil)); !strings.Contains(got, want) {
			t.Errorf("%v is encoded as %s, want %s in it", value, got, want)
		}
	}
}

func TestDecodeCall(t *testing.T) {
	t.Parallel()
	call := func(values string) string {
		return "<?xml version='1.0'?><methodCall><methodName>m</methodName><params>" + values + "</params></methodCall>"
	}
	deep := strings.Repeat("<value><array><data>", 40) + strings.Repeat("</data></array></value>", 40)
	for name, tc := range map[string]struct {
		body   string
		params []any // nil: an error is wanted
	}{
		"no parameters":      {call(""), []any{}},
		"untyped is string":  {call("<param><value> a </value></param>"), []any{" a "}},
		"i4":                 {call("<param><value><i4>-7</i4></value></param>"), []any{int64(-7)}},
		"nil and bool":       {call("<param><value><nil/></value></param><param><value><boolean>0</boolean></value></param>"), []any{nil, false}},
		"not xml":            {"this is not xml", nil},
		"cut off":            {call("<param><value><int>1</int></value></param>")[:80], nil},
		"no method":          {"<methodCall><params></params></methodCall>", nil},
		"number of no digit": {call("<param><value><int>x</int></value></param>"), nil},
		"unknown type":       {call("<param><value><date>1</date></value></param>"), nil},
		"too deep":           {call("<param>" + deep + "</param>"), nil},
		"element in string":  {call("<param><value><string><b/></string></value></param>"), nil},
		"nameless member":    {call("<param><value><struct><member><value>1</value></member></struct></value></param>"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			method, params, err := decodeCall([]byte(tc.body))
			if (err != nil) != (tc.params == nil) {
				t.Fatalf("error is %v", err)
			}
			if err == nil && (method != "m" || !slices.Equal(params, tc.params)) {
				t.Errorf("method %q with %v, want m with %v", method, params, tc.params)
			}
		})
	}
}
