package events

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestTriggerOfArchive(t *testing.T) {
	t.Parallel()
	r := newReader(t, "myorg")
	want := func(change func(*pipeline.Trigger)) pipeline.Trigger {
		tr := pipeline.Trigger{
			ID: "4711", Source: "https://koji.example.com/kojihub", Type: TypePushRequested,
			Kind: pipeline.PushRequested, Organization: "myorg",
		}
		change(&tr)
		return tr
	}
	inline := want(func(tr *pipeline.Trigger) { tr.Given.Inline = "PK\x03\x04" })
	object := want(func(tr *pipeline.Trigger) { tr.Given.Object = "uploads/a.zip" })
	for _, tt := range []struct {
		name, data string
		want       pipeline.Trigger
	}{
		{"object", `{"archive":{"object":"uploads/a.zip"}}`, object},
		{"object, and nulls", `{"archive":{"object":"uploads/a.zip","inline":null},"nvr":null,"build_id":null}`, object},
		{"object, and an empty nvr", `{"archive":{"object":"uploads/a.zip"},"nvr":""}`, object},
		{"object of a folder", `{"archive":{"object":"uploads/my/a b.zip"}}`, want(func(tr *pipeline.Trigger) { tr.Given.Object = "uploads/my/a b.zip" })},
		{"inline", `{"archive":{"inline":"UEsDBA=="}}`, inline},
		{"inline, and a null", `{"archive":{"inline":"UEsDBA==","object":null}}`, inline},
		{"inline without padding", `{"archive":{"inline":"UEsDBA"}}`, inline},
		{"inline with line breaks", `{"archive":{"inline":"UEs\nDB\r\nA=\n=\n"}}`, inline},
		{"inline with escapes", `{"archive":{"inline":"\u0055EsDBA=="}}`, inline},
		{"all", `{"archive":{"inline":"UEsDBA=="},"organization":"myorg","repository":"etcd","version":"3.0.0","force":true}`, want(func(tr *pipeline.Trigger) {
			tr.Given.Inline, tr.Repository, tr.Version, tr.Force = "PK\x03\x04", "etcd", "3.0.0", true
		})},
	} {
		for _, subject := range []string{"", "a-1-2"} { // of the event: that of an archive makes no build of it
			e := newTestEvent(TypePushRequested, []byte(tt.data))
			if subject != "" {
				e.SetSubject(subject)
			}
			got, err := r.Trigger("omps.request.push.myorg", e)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			} else if got != tt.want {
				t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
			}
		}
	}
}

func TestTriggerOfDeletion(t *testing.T) {
	t.Parallel()
	r := newReader(t, "my.org")
	for _, tt := range []struct{ subject, data, organization, repository, version string }{
		{"omps.request.delete.my_org", `{"repository":"etcd","version":"3.0.0"}`, "my.org", "etcd", "3.0.0"},
		{"omps.request.delete.my_org", `{"repository":"etcd"}`, "my.org", "etcd", ""},
		{"omps.request.delete.my_org", `{"repository":"a/b.c-d","organization":"my.org"}`, "my.org", "a/b.c-d", ""},
		{"omps.request.delete.my_org", `{"repository":"etcd","organization":null}`, "my.org", "etcd", ""},
		{"omps.request.delete.other", `{"repository":"etcd"}`, "other", "etcd", ""}, // to be answered that it is not configured
	} {
		e := newTestEvent(TypeDeleteRequested, []byte(tt.data))
		e.SetSubject("a-1-2")
		got, err := r.Trigger(tt.subject, e)
		want := pipeline.Trigger{
			ID: "4711", Source: "https://koji.example.com/kojihub", Type: TypeDeleteRequested, Kind: pipeline.DeleteRequested,
			Organization: tt.organization, Repository: tt.repository, Version: tt.version,
		}
		if err != nil || got != want {
			t.Errorf("%s: got %+v %v, want %+v", tt.data, got, err, want)
		}
	}
}

// The schema alone refuses what the code refuses in plainer words.
func TestSchemaTakesOneArchive(t *testing.T) {
	t.Parallel()
	set := newReader(t).Schemas
	for _, data := range []string{
		`{"archive":{"object":"a/b"},"nvr":"a-1-1"}`, `{"archive":{"object":"a/b"},"build_id":1}`,
		`{"archive":{"object":"a/b","inline":"UEsDBA=="}}`,
	} {
		if set.Validate(TypePushRequested, []byte(data)) == nil {
			t.Errorf("taken: %s", data)
		}
	}
}

// An archive as large as a message may be comes through whole.
func TestTriggerOfALargeArchive(t *testing.T) {
	t.Parallel()
	archive := bytes.Repeat([]byte("PK\x03\x04\xff"), 1<<20)
	data := `{"archive":{"inline":"` + base64.StdEncoding.EncodeToString(archive) + `"}}`
	payload := structured(t, TypePushRequested, []byte(data))
	const subject = "omps.request.push.myorg"
	r := newReader(t, "myorg")
	if p, err := r.Peek(subject, nil, payload); err != nil || p.Kind != KindRequest {
		t.Fatalf("%+v %v", p, err)
	}
	e, err := Decode(subject, nil, payload)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Trigger(subject, e)
	if err != nil || got.Given.Inline != string(archive) {
		t.Errorf("%d bytes %v", len(got.Given.Inline), err)
	}
	payload = structured(t, TypePushRequested, []byte(strings.Replace(data, `"}}`, strings.Repeat("A", MaxEvent)+`"}}`, 1)))
	_, err = Decode(subject, nil, payload)
	wantError(t, err, pipeline.Malformed, pipeline.ReasonUnreadableEvent)
}
