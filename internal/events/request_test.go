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
