package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/schemas"
)

// inbox is a NATS server with streams for all that comes in, without a service.
func inbox(t *testing.T) *system {
	t.Helper()
	s := &system{t: t, nats: eventstest.Start(t)}
	o := provisionOptions(DefaultConfig())
	o.Names = events.DefaultNames()
	if err := events.Provision(t.Context(), s.jetStream(), o); err != nil {
		t.Fatal(err)
	}
	return s
}

func writeArchive(t *testing.T, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifests.zip")
	if err := os.WriteFile(path, append([]byte("PK"), bytes.Repeat([]byte{0xff}, max(size-2, 0))...)[:size], 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What the commands print and send is what the service reads.
func TestEventsOfPeople(t *testing.T) {
	t.Parallel()
	set, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	s, reader := inbox(t), events.Reader{Organizations: []string{"my.org"}, Schemas: set}
	etcd := pipeline.NVR{Name: "etcd-container", Version: "1.0", Release: "1"}
	push := pipeline.Trigger{Type: events.TypePushRequested, Kind: pipeline.PushRequested, Organization: "my.org"}
	remove := pipeline.Trigger{Type: events.TypeDeleteRequested, Kind: pipeline.DeleteRequested, Organization: "my.org", Repository: "etcd"}
	with := func(t pipeline.Trigger, change func(*pipeline.Trigger)) pipeline.Trigger { change(&t); return t }
	for _, tt := range []struct {
		args            string
		subject, stream string
		want            pipeline.Trigger
	}{
		{"push --organization my.org --nvr etcd-container-1.0-1 --version 3.0.0 --repository r --force", "omps.request.push.my_org", "OMPS_REQUESTS",
			with(push, func(tr *pipeline.Trigger) { tr.NVR, tr.Version, tr.Repository, tr.Force = etcd, "3.0.0", "r", true })},
		{"push --organization my.org --build-id 7", "omps.request.push.my_org", "OMPS_REQUESTS", with(push, func(tr *pipeline.Trigger) { tr.BuildID = 7 })},
		{"push --organization my.org --object uploads/a.zip", "omps.request.push.my_org", "OMPS_REQUESTS",
			with(push, func(tr *pipeline.Trigger) { tr.Given.Object = "uploads/a.zip" })},
		{"push --organization my.org --archive " + writeArchive(t, 3), "omps.request.push.my_org", "OMPS_REQUESTS",
			with(push, func(tr *pipeline.Trigger) { tr.Given.Inline = "PK\xff" })},
		{"delete --organization my.org --repository etcd --version 3.0.0", "omps.request.delete.my_org", "OMPS_REQUESTS",
			with(remove, func(tr *pipeline.Trigger) { tr.Version = "3.0.0" })},
		{"delete --organization my.org --repository etcd --all", "omps.request.delete.my_org", "OMPS_REQUESTS", remove},
		{"decision --nvr etcd-container-1.0-1", "greenwave.decision.updated", "GREENWAVE",
			pipeline.Trigger{Type: events.TypeDecisionUpdated, Kind: pipeline.DecisionUpdated, NVR: etcd, SaysSatisfied: true}},
		{"decision --nvr etcd-container-1.0-1 --satisfied=false", "greenwave.decision.updated", "GREENWAVE",
			pipeline.Trigger{Type: events.TypeDecisionUpdated, Kind: pipeline.DecisionUpdated, NVR: etcd}},
	} {
		args := append([]string{"event"}, strings.Fields(tt.args)...)
		code, out, errs := command(t, append(args, "--id", "i", "--source", "/me")...)
		if code != exitDone || strings.Count(out, "\n") != 1 {
			t.Errorf("event %s: exit %d: %q %s", tt.args, code, out, errs)
			continue
		}
		tt.want.ID, tt.want.Source = "i", "/me"
		e, err := events.Decode(tt.subject, nats.Header{}, []byte(out))
		if err == nil {
			var got pipeline.Trigger
			if got, err = reader.Trigger(tt.subject, e); err == nil && got != tt.want {
				t.Errorf("event %s reads as %+v, want %+v", tt.args, got, tt.want)
			}
		}
		if err != nil {
			t.Errorf("event %s cannot be read: %v", tt.args, err)
		}
		code, out, errs = command(t, append(args, "--publish", "-s", s.nats.URL)...)
		if code != exitDone || !strings.Contains(out, " to "+tt.subject+": stream "+tt.stream+", sequence ") {
			t.Errorf("event %s --publish: exit %d: %q %s", tt.args, code, out, errs)
		}
	}
}

func TestEventUsage(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"push --organization o":                                    "at least one of the flags",
		"push --organization o --nvr a-1-1 --object a/b":           "none of the others",
		"push --organization o --object a/b --archive x.zip":       "none of the others",
		"push --organization o --nvr a-1-1 --build-id 1":           "none of the others",
		"push --organization o --object a":                         "BUCKET/NAME",
		"push --organization o --object=":                          "neither",
		"push --organization o --archive=":                         "neither",
		"push --organization o --archive no-such-file":             "--archive no-such-file: no such file",
		"push --organization o --archive .":                        "--archive .: is a directory",
		"push --organization o --archive " + writeArchive(t, 0):    "is empty",
		"push --organization o --nvr a-1-1 --version 1 --all":      "unknown flag",
		"delete --repository r --all":                              `"organization" not set`,
		"delete --organization o --all":                            `"repository" not set`,
		"delete --organization o --repository r":                   "at least one of the flags",
		"delete --organization o --repository r --version=":        "--all",
		"delete --organization o --repository r --all=false":       "--all",
		"delete --organization o --repository r --all --version":   "needs an argument",
		"delete --organization o --repository r --all --version 1": "none of the others",
		"delete --organization o --repository ../r --all":          "/repository",
		"delete --organization o --repository= --all":              "needs a repository",
		"delete --organization= --repository r --all":              "needs an organization",
		"decision":         `"nvr" not set`,
		"decision --nvr a": "name-version-release",
	} {
		code, out, errs := command(t, append([]string{"event"}, strings.Fields(args)...)...)
		if code != exitUsage || out != "" || !strings.Contains(errs, says) {
			t.Errorf("event %s: exit %d, does not say %q: %q %q", args, code, says, out, errs)
		}
	}
}

// What no message can hold is told before anything is sent.
func TestEventOfALargeArchive(t *testing.T) {
	t.Parallel()
	s := inbox(t)
	event := []string{"event", "push", "--organization", "o", "--archive"}
	publish := []string{"--publish", "-s", s.nats.URL}
	for _, tt := range []struct {
		size int
		more []string
		fits bool
	}{
		{700 << 10, nil, true},
		{700 << 10, publish, true},
		{800 << 10, nil, false},
		{800 << 10, publish, false},
		{7 << 20, publish, false},
		{events.MaxEvent + 1, nil, false},
	} {
		code, out, errs := command(t, append(append(event[:len(event):len(event)], writeArchive(t, tt.size)), tt.more...)...)
		if tt.fits && (code != exitDone || errs != "") {
			t.Errorf("%d bytes %v: exit %d: %s", tt.size, tt.more, code, errs)
		}
		if !tt.fits && (code != exitUsage || out != "" || !strings.Contains(errs, "nats object put") || !strings.Contains(errs, "--object")) {
			t.Errorf("%d bytes %v: exit %d: %d bytes, %s", tt.size, tt.more, code, len(out), errs)
		}
	}
	stream, err := s.jetStream().Stream(t.Context(), "OMPS_REQUESTS")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d events were sent", n)
	}
}
