package events

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// By the example of the HTTP protocol binding, section 3.1.3.2.
func TestEncodeBinaryIsExact(t *testing.T) {
	t.Parallel()
	e := newTestEvent(TypePublished, []byte(`{"a": 1}`))
	e.SetSubject("Euro € 😀 \"100%\"")
	e.SetTime(time.Date(2026, 11, 22, 7, 26, 7, 0, time.UTC))
	e.SetExtension("count", 3)
	header, data, err := EncodeBinary(e)
	if err != nil {
		t.Fatal(err)
	}
	want := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"4711"}, "ce-source": {"https://koji.example.com/kojihub"}, "ce-type": {TypePublished},
		"ce-subject": {"Euro%20%E2%82%AC%20%F0%9F%98%80%20%22100%25%22"}, "ce-time": {"2026-11-22T07:26:07Z"},
		"ce-datacontenttype": {"application/json"}, "ce-count": {"3"},
	}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Error(diff)
	}
	if string(data) != `{"a": 1}` {
		t.Errorf("data %s", data)
	}
}

func TestEncodeStructuredIsExact(t *testing.T) {
	t.Parallel()
	header, payload, err := EncodeStructured(newTestEvent(TypePublished, []byte(`{"a": 1}`)))
	if err != nil {
		t.Fatal(err)
	}
	if got := header.Get("Content-Type"); got != "application/cloudevents+json" || len(header) != 1 {
		t.Errorf("header %v", header)
	}
	want := `{"specversion":"1.0","id":"4711","source":"https://koji.example.com/kojihub",` +
		`"type":"org.koji.operator-manifests.published.v1","datacontenttype":"application/json","data":{"a": 1}}`
	if string(payload) != want {
		t.Errorf("payload %s", payload)
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*event.Event){
		"no id":             func(e *event.Event) { e.SetID("") },
		"specversion 0.3":   func(e *event.Event) { e.SetSpecVersion("0.3") },
		"control character": func(e *event.Event) { e.SetSubject("a\nb") },
		"no UTF-8":          func(e *event.Event) { e.SetSubject("\xff") },
		"long":              func(e *event.Event) { e.SetExtension("x", strings.Repeat("x", maxAttribute+1)) },
	} {
		e := newTestEvent(TypePublished, nil)
		change(&e)
		if _, _, err := EncodeStructured(e); err == nil {
			t.Errorf("%s: written structured", name)
		}
		if _, _, err := EncodeBinary(e); err == nil {
			t.Errorf("%s: written binary", name)
		}
	}
}

// Whatever is written reads back, in both forms.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		e := randomEvent(random)
		sent, err := attributesOf(e)
		if err != nil {
			t.Fatal(err)
		}
		for name, encode := range map[string]func(event.Event) (nats.Header, []byte, error){
			"structured": EncodeStructured, "binary": EncodeBinary,
		} {
			header, payload, err := encode(e)
			if err != nil {
				t.Fatal(name, err)
			}
			got, err := Decode("s", header, payload)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, payload)
			}
			read, err := attributesOf(got)
			if err != nil {
				t.Fatal(name, err)
			}
			if diff := cmp.Diff(sent, read); diff != "" {
				t.Fatalf("%s: %s", name, diff)
			}
			if !bytes.Equal(got.Data(), e.Data()) {
				t.Fatalf("%s: data %q of %q, want %q", name, got.Data(), payload, e.Data())
			}
		}
	}
}

func randomEvent(random *rand.Rand) event.Event {
	alphabet := []rune("aZ09 \"%\\/-_.~!<>&€😀\u00e9\u2028:{}[],'")
	text := func() string {
		var b strings.Builder
		b.WriteRune('x')
		for range random.IntN(20) {
			b.WriteRune(alphabet[random.IntN(len(alphabet))])
		}
		b.WriteRune('x')
		return b.String()
	}
	e := event.New()
	e.SetID(text())
	e.SetType(text())
	e.SetSource("https://example.com/a%20b?c=" + "d")
	if random.IntN(2) == 0 {
		e.SetSubject(text())
	}
	if random.IntN(2) == 0 {
		e.SetTime(time.Unix(random.Int64N(4e9), random.Int64N(1e9)).UTC())
	}
	if random.IntN(3) == 0 {
		e.SetDataSchema("https://example.com/schema")
	}
	for i, value := range []any{text(), int32(random.Uint32()), random.IntN(2) == 0, []byte(text()), types.URI{}, ""} {
		if random.IntN(3) == 0 {
			e.SetExtension("ext"+string(rune('a'+i)), value)
		}
	}
	contentTypes := []string{"", "application/json", "text/json", "application/vnd.x+json; v=1", "text/plain", "application/octet-stream"}
	if ct := contentTypes[random.IntN(len(contentTypes))]; ct != "" {
		e.SetDataContentType(ct)
	}
	data := [][]byte{nil, []byte(`{"a":[1,2,{"b":null}], "c": "\u20ac"}`), []byte(`"text"`), []byte(text()), {0, 255, 128}, []byte("{broken")}
	e.DataEncoded = data[random.IntN(len(data))]
	return e
}

func FuzzBinaryHeaders(f *testing.F) {
	f.Add("ce-subject", "a%20b", "ce-x", `"q\"uoted"`)
	f.Add("CE-Time", "2026-11-22T07:26:07Z", "content-type", "text/plain")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		header := nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}}
		header[name1] = append(header[name1], value1)
		header[name2] = append(header[name2], value2)
		e, err := Decode("koji.build.completed", header, nil)
		if err != nil {
			if pipeline.ClassOf(err) != pipeline.Malformed {
				t.Fatalf("%v is %s", err, pipeline.ClassOf(err))
			}
			return
		}
		checkRoundTrip(t, e)
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(flatEvent), "")
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"AAE=","x":1}`), "application/cloudevents")
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"x"}`), "")
	f.Fuzz(func(t *testing.T, payload []byte, contentType string) {
		header := nats.Header{}
		if contentType != "" {
			header["Content-Type"] = []string{contentType}
		}
		e, err := Decode("koji.build.completed", header, payload)
		if err != nil {
			if pipeline.ClassOf(err) != pipeline.Malformed {
				t.Fatalf("%v is %s", err, pipeline.ClassOf(err))
			}
			return
		}
		checkRoundTrip(t, e)
	})
}

// checkRoundTrip: what was read can be written and reads the same. A source
// may be normalised once, as net/url does.
func checkRoundTrip(t *testing.T, e event.Event) {
	t.Helper()
	sent, err := attributesOf(e)
	if err != nil {
		return // normalised to something longer than allowed
	}
	for _, encode := range []func(event.Event) (nats.Header, []byte, error){EncodeStructured, EncodeBinary} {
		header, payload, err := encode(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode("koji.build.completed", header, payload)
		if err != nil {
			t.Fatalf("%v\n%q %q", err, header, payload)
		}
		read, err := attributesOf(got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sent, read); diff != "" {
			t.Fatal(diff)
		}
		if want := significant(e.Data()); !bytes.Equal(significant(got.Data()), want) {
			t.Fatalf("data %q, want %q", got.Data(), want)
		}
	}
}

// significant leaves out what the JSON format does not keep: blanks around
// data, and data that is null.
func significant(data []byte) []byte {
	data = bytes.Trim(data, " \t\r\n")
	if string(data) == "null" {
		return nil
	}
	return data
}
