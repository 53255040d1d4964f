package events

import (
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// What the command line sends, the service reads.
func TestBuildEvent(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	for _, tt := range []struct {
		build         BuildEvent
		subject, data string
		want          pipeline.Trigger
	}{
		{BuildEvent{NVR: "etcd.x-1-2"}, "koji.build.completed.etcd_x", `{"nvr":"etcd.x-1-2"}`, pipeline.Trigger{NVR: pipeline.NVR{Name: "etcd.x", Version: "1", Release: "2"}}},
		{BuildEvent{BuildID: 5}, "koji.build.completed", `{"build_id":5}`, pipeline.Trigger{BuildID: 5}},
		{BuildEvent{NVR: "a-1-2", BuildID: 5}, "koji.build.completed.a", `{"nvr":"a-1-2","build_id":5}`, pipeline.Trigger{NVR: pipeline.NVR{Name: "a", Version: "1", Release: "2"}, BuildID: 5}},
	} {
		tt.build.Source, tt.build.ID, tt.build.Time = "/by-hand", "1", testTime
		e, subject, err := NewBuildEvent(tt.build)
		if err != nil {
			t.Fatal(err)
		}
		if subject != tt.subject || string(e.Data()) != tt.data || e.Subject() != tt.build.NVR || !e.Time().Equal(testTime) {
			t.Errorf("%s %s", subject, e)
		}
		_, payload, err := EncodeStructured(e)
		if err != nil {
			t.Fatal(err)
		}
		read, err := Decode(subject, nil, payload)
		if err != nil {
			t.Fatal(err)
		}
		tt.want.ID, tt.want.Source, tt.want.Type = "1", "/by-hand", TypeBuildCompleted
		if got, err := r.Trigger(subject, read); err != nil || got != tt.want {
			t.Errorf("%+v %v, want %+v", got, err, tt.want)
		}
	}
}

func TestPushEvent(t *testing.T) {
	t.Parallel()
	e, subject, err := NewPushEvent(PushEvent{
		Organization: "my.org", NVR: "a-1-2", BuildID: 5, Repository: "etcd", Version: "3.0.0", Force: true, Source: "/by-hand", ID: "1",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := pipeline.Trigger{
		ID: "1", Source: "/by-hand", Type: TypePushRequested, Kind: pipeline.PushRequested, Organization: "my.org",
		NVR: pipeline.NVR{Name: "a", Version: "1", Release: "2"}, BuildID: 5, Repository: "etcd", Version: "3.0.0", Force: true,
	}
	if subject != "omps.request.push.my_org" {
		t.Error(subject)
	}
	for _, r := range []Reader{newReader(t, "my.org"), newReader(t)} {
		if got, err := r.Trigger(subject, e); err != nil || got != want {
			t.Errorf("%+v %v", got, err)
		}
	}
}

func TestPushEventWithArchive(t *testing.T) {
	t.Parallel()
	r := newReader(t, "my.org")
	for _, tt := range []struct {
		push PushEvent
		data string
		want pipeline.Given
	}{
		{PushEvent{Object: "uploads/a.zip"}, `{"archive":{"object":"uploads/a.zip"},"organization":"my.org"}`, pipeline.Given{Object: "uploads/a.zip"}},
		{PushEvent{Inline: []byte("PK\x03\x04")}, `{"archive":{"inline":"UEsDBA=="},"organization":"my.org"}`, pipeline.Given{Inline: "PK\x03\x04"}},
	} {
		tt.push.Organization, tt.push.Source, tt.push.ID = "my.org", "/by-hand", "1"
		e, subject, err := NewPushEvent(tt.push)
		if err != nil {
			t.Fatal(err)
		}
		if subject != "omps.request.push.my_org" || string(e.Data()) != tt.data || e.Subject() != "" {
			t.Errorf("%s %s", subject, e)
		}
		if got, err := r.Trigger(subject, e); err != nil || got.Given != tt.want || !got.NVR.IsZero() {
			t.Errorf("%+v %v", got, err)
		}
	}
}

func TestDeleteEvent(t *testing.T) {
	t.Parallel()
	r := newReader(t, "my.org")
	for version, data := range map[string]string{
		"3.0.0": `{"organization":"my.org","repository":"etcd","version":"3.0.0"}`,
		"":      `{"organization":"my.org","repository":"etcd"}`,
	} {
		e, subject, err := NewDeleteEvent(DeleteEvent{
			Organization: "my.org", Repository: "etcd", Version: version, Source: "/by-hand", ID: "1", Time: testTime,
		})
		if err != nil {
			t.Fatal(err)
		}
		if subject != "omps.request.delete.my_org" || string(e.Data()) != data || e.Subject() != "" || !e.Time().Equal(testTime) {
			t.Errorf("%s %s", subject, e)
		}
		want := pipeline.Trigger{
			ID: "1", Source: "/by-hand", Type: TypeDeleteRequested, Kind: pipeline.DeleteRequested,
			Organization: "my.org", Repository: "etcd", Version: version,
		}
		if got, err := r.Trigger(subject, e); err != nil || got != want {
			t.Errorf("%+v %v", got, err)
		}
	}
}

func TestDecisionEvent(t *testing.T) {
	t.Parallel()
	r := newGatedReader(t, "myorg")
	for _, satisfied := range []bool{true, false} {
		e, subject, err := NewDecisionEvent(DecisionEvent{NVR: "a-1-2", Satisfied: satisfied, Source: "/by-hand", ID: "1"})
		if err != nil {
			t.Fatal(err)
		}
		want := pipeline.Trigger{
			ID: "1", Source: "/by-hand", Type: TypeDecisionUpdated, Kind: pipeline.DecisionUpdated,
			NVR: pipeline.NVR{Name: "a", Version: "1", Release: "2"}, SaysSatisfied: satisfied,
		}
		got, err := r.Trigger(subject, e)
		if err != nil || got != want || subject != "greenwave.decision.updated" || e.Subject() != "a-1-2" {
			t.Errorf("%s: %+v %v", subject, got, err)
		}
	}
	for name, d := range map[string]DecisionEvent{
		"no build": {Source: "/s", ID: "1"}, "bad nvr": {NVR: "a", Source: "/s", ID: "1"}, "no source": {NVR: "a-1-1", ID: "1"},
	} {
		if _, _, err := NewDecisionEvent(d); err == nil {
			t.Error(name)
		}
	}
}

func TestRequestsByHandRefuse(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]PushEvent{
		"build id and object": {BuildID: 1, Object: "a/b"},
		"nvr and inline":      {NVR: "a-1-1", Inline: []byte("PK")},
		"object and inline":   {Object: "a/b", Inline: []byte("PK")},
		"empty inline":        {Inline: []byte{}},
	} {
		p.Organization, p.Source, p.ID = "o", "/s", "1"
		if e, _, err := NewPushEvent(p); err == nil {
			t.Errorf("push: %s: %s", name, e)
		}
	}
	for name, d := range map[string]DeleteEvent{
		"no organization": {Repository: "r", Source: "/s", ID: "1"},
		"no repository":   {Organization: "o", Version: "1.0.0", Source: "/s", ID: "1"},
		"no source":       {Organization: "o", Repository: "r", ID: "1"},
	} {
		if e, _, err := NewDeleteEvent(d); err == nil {
			t.Errorf("delete: %s: %s", name, e)
		}
	}
}

func TestEventsByHandRefuse(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]BuildEvent{
		"no build":  {Source: "/s", ID: "1"},
		"bad nvr":   {NVR: "a", Source: "/s", ID: "1"},
		"bad id":    {BuildID: -1, Source: "/s", ID: "1"},
		"large id":  {BuildID: 1 << 53, Source: "/s", ID: "1"},
		"no source": {BuildID: 1, ID: "1"},
		"no id":     {BuildID: 1, Source: "/s"},
	} {
		if _, _, err := NewBuildEvent(b); err == nil {
			t.Errorf("build: %s", name)
		}
		if _, _, err := NewPushEvent(PushEvent{Organization: "o", NVR: b.NVR, BuildID: b.BuildID, Source: b.Source, ID: b.ID}); err == nil {
			t.Errorf("push: %s", name)
		}
	}
	if _, _, err := NewPushEvent(PushEvent{BuildID: 1, Source: "/s", ID: "1"}); err == nil {
		t.Error("push: no organization")
	}
}
