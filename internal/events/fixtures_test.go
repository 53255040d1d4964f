package events

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/tidwall/gjson"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/schemas"
)

const (
	operatorNVR = "int-test-operator-metadata-container-v0.9.2-1"
	operatorID  = 1873402
)

func newReader(t testing.TB, organizations ...string) Reader {
	t.Helper()
	set, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	return Reader{Organizations: organizations, Schemas: set}
}

// captured is a whole message of a bus, compact.
func captured(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(gjson.GetBytes(data, "@ugly").Raw)
}

// capturedBody is what the bus carried: the message without its envelope.
func capturedBody(t testing.TB, name string) []byte {
	t.Helper()
	return []byte(gjson.GetBytes(captured(t, name), "body").Raw)
}

func newTestEvent(eventType string, data []byte) event.Event {
	e := event.New()
	e.SetID("4711")
	e.SetSource("https://koji.example.com/kojihub")
	e.SetType(eventType)
	if data != nil {
		e.SetDataContentType("application/json")
		e.DataEncoded = data
	}
	return e
}

func structured(t testing.TB, eventType string, data []byte) []byte {
	t.Helper()
	_, payload, err := EncodeStructured(newTestEvent(eventType, data))
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func mustJSON(t testing.TB, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func wantError(t *testing.T, err error, class pipeline.Class, reason pipeline.Reason) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s %s", class, reason)
	}
	if pipeline.ClassOf(err) != class || pipeline.ReasonOf(err) != reason {
		t.Fatalf("%s %s (%v), want %s %s", pipeline.ClassOf(err), pipeline.ReasonOf(err), err, class, reason)
	}
}
