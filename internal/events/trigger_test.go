package events

import (
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestTriggerOfAnnouncement(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	nvr := pipeline.NVR{Name: "int-test-operator-metadata-container", Version: "v0.9.2", Release: "1"}
	plugin := string(capturedBody(t, "protonmsg-build-complete.json"))
	fedora := string(capturedBody(t, "fedora-messaging-build-state-change.json"))
	promoted := string(capturedBody(t, "protonmsg-build-promote.json"))
	for _, tt := range []struct {
		name, eventType, data, subject string
		nvr                            pipeline.NVR
		id                             int64
		complete                       bool
	}{
		{name: "nvr", data: `{"nvr":"` + operatorNVR + `"}`, nvr: nvr},
		{name: "build_id", data: `{"build_id":1873402}`, id: operatorID},
		{name: "build_id as 1.873402e6", data: `{"build_id":1.873402e6}`, id: operatorID},
		{name: "largest build_id", data: `{"build_id":9007199254740991}`, id: 9007199254740991},
		{name: "both", data: `{"nvr":"` + operatorNVR + `","build_id":1873402}`, nvr: nvr, id: operatorID},
		{name: "parts", data: `{"name":"int-test-operator-metadata-container","version":"v0.9.2","release":"1"}`, nvr: nvr},
		{name: "nvr and parts", data: `{"nvr":"` + operatorNVR + `","name":"int-test-operator-metadata-container","version":"v0.9.2","release":"1","state":1}`, nvr: nvr, complete: true},
		{name: "some parts", data: `{"build_id":1873402,"name":"x"}`, id: operatorID},
		{name: "state by name", data: `{"build_id":1873402,"state":"complete"}`, id: operatorID, complete: true},
		{name: "state that only Koji knows", data: `{"build_id":1873402,"state":"SHIPPED"}`, id: operatorID},
		{name: "states that differ", data: `{"build_id":1873402,"state":0,"new":1}`, id: operatorID},
		{name: "nulls", data: `{"nvr":null,"build_id":1873402,"name":null,"state":null,"draft":null,"attribute":null}`, id: operatorID},
		{name: "extra with manifests", data: `{"build_id":1873402,"extra":{"typeinfo":{"operator-manifests":{"archive":"a.zip"}}}}`, id: operatorID},
		{name: "extra with manifests of old", data: `{"build_id":1873402,"extra":{"operator_manifests_archive":"a.zip"}}`, id: operatorID},
		{name: "event subject", data: `{}`, subject: operatorNVR, nvr: nvr},
		{name: "event subject and no data", subject: operatorNVR, nvr: nvr},
		{name: "event subject and a state", data: ` { "state" : 1 } `, subject: operatorNVR, nvr: nvr, complete: true},
		{name: "event subject that is none of our business", data: `{"build_id":1873402}`, subject: "x", id: operatorID},
		{name: "plugin", data: plugin, nvr: nvr, id: operatorID, complete: true},
		{name: "plugin, whole message", data: string(captured(t, "protonmsg-build-complete.json")), nvr: nvr, id: operatorID, complete: true},
		{name: "plugin, under msg", data: `{"msg":` + plugin + `}`, nvr: nvr, id: operatorID, complete: true},
		{name: "plugin, id alone", data: `{"attribute":"state","new":1,"info":{"id":1873402}}`, id: operatorID, complete: true},
		{name: "plugin, extra dropped", data: `{"attribute":"state","new":1,"info":{"build_id":1873402,"state":1}}`, id: operatorID, complete: true},
		{name: "fedora", data: fedora, nvr: nvr, id: operatorID, complete: true},
		{name: "fedora, whole message", data: string(captured(t, "fedora-messaging-build-state-change.json")), nvr: nvr, id: operatorID, complete: true},
		{name: "flat, whatever else", data: `{"build_id":1873402,"body":"text","info":7,"msg":[]}`, id: operatorID},
		{name: "flat, id is not the build's", data: `{"build_id":1873402,"id":"86efb676"}`, id: operatorID},
		{name: "promoted, flat", eventType: TypeBuildPromoted, data: `{"build_id":1873402}`, id: operatorID},
		{name: "promoted, build", eventType: TypeBuildPromoted, data: `{"draft_release":"1,draft_1873402","target_release":"1","build":{"build_id":1873402,"nvr":"` + operatorNVR + `","state":1}}`, nvr: nvr, id: operatorID, complete: true},
		{name: "promoted, under body", eventType: TypeBuildPromoted, data: `{"body":{"build":{"id":1873402}}}`, id: operatorID},
		{name: "promoted, the capture, of an operator", eventType: TypeBuildPromoted, data: strings.Replace(promoted, `"extra":null`, `"extra":{"operator_manifests_archive":"a.zip"}`, 1), nvr: pipeline.NVR{Name: "hello-rpm", Version: "2.10", Release: "5.el8"}, id: 1873416, complete: true},
		{name: "some of the parts beside info", data: `{"name":"x","info":{"build_id":1873402,"state":1}}`, id: operatorID, complete: true},
		{name: "some of the parts beside body", data: `{"name":"x","version":"1","body":{"nvr":"` + operatorNVR + `"}}`, nvr: nvr},
		{name: "nulls beside info", data: `{"nvr":null,"build_id":null,"name":null,"info":{"build_id":1873402}}`, id: operatorID},
		{name: "nulls beside body", data: `{"nvr":"","info":null,"msg":null,"body":{"build_id":1873402,"info":null}}`, id: operatorID},
		{name: "parts under body, beside a null nvr", data: `{"body":{"nvr":null,"name":"x","info":{"id":1873402}}}`, id: operatorID},
		{name: "event subject and a null nvr", data: `{"nvr":null,"state":1}`, subject: operatorNVR, nvr: nvr, complete: true},
		{name: "event subject and an empty nvr", data: `{"nvr":""}`, subject: operatorNVR, nvr: nvr},
		{name: "last of repeated members", data: `{"build_id":1,"build_id":1873402,"state":3,"state":1}`, id: operatorID, complete: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			eventType := tt.eventType
			if eventType == "" {
				eventType = TypeBuildCompleted
			}
			e := newTestEvent(eventType, []byte(tt.data))
			if tt.subject != "" {
				e.SetSubject(tt.subject)
			}
			got, err := r.Trigger("koji.build.completed", e)
			if err != nil {
				t.Fatal(err)
			}
			want := pipeline.Trigger{
				ID: "4711", Source: "https://koji.example.com/kojihub", Type: eventType, NVR: tt.nvr, BuildID: tt.id,
				SaysComplete: tt.complete,
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
	// The promotion that was captured is of an RPM: its extra is null.
	_, err := r.Trigger("koji.build.promoted", newTestEvent(TypeBuildPromoted, []byte(promoted)))
	wantError(t, err, pipeline.Ignored, pipeline.ReasonNotAnOperatorBuild)
}

func TestTriggerIgnores(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	for _, tt := range []struct {
		name, data string
		reason     pipeline.Reason
	}{
		{"building", `{"nvr":"a-1-1","state":0}`, pipeline.ReasonNotComplete},
		{"deleted", `{"nvr":"a-1-1","state":"DELETED"}`, pipeline.ReasonNotComplete},
		{"failed, new", `{"build_id":1,"attribute":"state","old":0,"new":3}`, pipeline.ReasonNotComplete},
		{"canceled, plugin", `{"attribute":"state","new":4,"info":{"build_id":1,"state":4}}`, pipeline.ReasonNotComplete},
		{"a state that Koji has not yet", `{"nvr":"a-1-1","state":7}`, pipeline.ReasonNotComplete},
		{"draft", `{"nvr":"a-1-1","draft":true}`, pipeline.ReasonDraft},
		{"draft by release", `{"nvr":"a-1-1,draft_77"}`, pipeline.ReasonDraft},
		{"extra null", `{"nvr":"a-1-1","extra":null}`, pipeline.ReasonNotAnOperatorBuild},
		{"extra empty", `{"nvr":"a-1-1","extra":{}}`, pipeline.ReasonNotAnOperatorBuild},
		{"extra of an image", `{"nvr":"a-1-1","extra":{"typeinfo":{"image":{}}}}`, pipeline.ReasonNotAnOperatorBuild},
		{"archive null", `{"nvr":"a-1-1","extra":{"operator_manifests_archive":null,"typeinfo":{"operator-manifests":{"archive":null}}}}`, pipeline.ReasonNotAnOperatorBuild},
		{"another attribute", `{"attribute":"volume_id","old":0,"new":1,"info":{"build_id":1}}`, pipeline.ReasonUnknownType},
		{"not ours, and malformed as well", `{"nvr":"a-1-1","state":0,"version":7}`, pipeline.ReasonNotComplete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := r.Trigger("koji.build.completed", newTestEvent(TypeBuildCompleted, []byte(tt.data)))
			wantError(t, err, pipeline.Ignored, tt.reason)
		})
	}
}

func TestTriggerRefuses(t *testing.T) {
	t.Parallel()
	r := newReader(t, "myorg")
	long := strings.Repeat("x", 1000)
	for _, tt := range []struct{ name, eventType, data, says string }{
		{"not JSON", TypeBuildCompleted, `hello`, "not JSON"},
		{"not an object", TypeBuildCompleted, `"a-1-1"`, "not an object"},
		{"nothing", TypeBuildCompleted, ``, "missing property 'nvr'"},
		{"no build", TypeBuildCompleted, `{"state":1}`, "missing property 'build_id'"},
		{"nulls", TypeBuildCompleted, `{"nvr":null}`, "'/nvr': got null"},
		{"empty", TypeBuildCompleted, `{"nvr":""}`, "'/nvr': minLength"},
		{"empty parts", TypeBuildCompleted, `{"name":"a","version":"1","release":""}`, "'/release': minLength"},
		{"null body", TypeBuildCompleted, `{"body":null}`, "'/body': got null"},
		{"info beside a null nvr", TypeBuildCompleted, `{"nvr":null,"info":{"build_id":1,"state":"weird","draft":"yes"}}`, "'/info/draft': got string"},
		{"info of nothing beside a null nvr", TypeBuildCompleted, `{"nvr":null,"info":{"state":"weird"}}`, "at '/info': missing property 'nvr'"},
		{"null id in info", TypeBuildCompleted, `{"info":{"id":null}}`, "'/info/id': got null"},
		{"name alone", TypeBuildCompleted, `{"name":"a"}`, "missing properties 'version', 'release'"},
		{"no NVR", TypeBuildCompleted, `{"nvr":"a-1"}`, `"a-1" is not name-version-release`},
		{"NVR with a slash", TypeBuildCompleted, `{"nvr":"a/b-1-1"}`, "character"},
		{"NVR a number", TypeBuildCompleted, `{"nvr":5}`, "'/nvr'"},
		{"NVR too long", TypeBuildCompleted, `{"nvr":"` + long + `-1-1"}`, "512"},
		{"id in quotes", TypeBuildCompleted, `{"build_id":"5"}`, "'/build_id': got string"},
		{"id zero", TypeBuildCompleted, `{"build_id":0}`, "'/build_id'"},
		{"id negative", TypeBuildCompleted, `{"build_id":-1}`, "'/build_id'"},
		{"id a fraction", TypeBuildCompleted, `{"build_id":1.5}`, "'/build_id'"},
		{"id of 2^53", TypeBuildCompleted, `{"build_id":9007199254740992}`, "'/build_id'"},
		{"id beyond all bounds", TypeBuildCompleted, `{"build_id":1e999999999}`, "'/build_id'"},
		{"id a boolean", TypeBuildCompleted, `{"info":{"build_id":true}}`, "'/info/build_id'"},
		{"draft a string", TypeBuildCompleted, `{"nvr":"a-1-1","draft":"no"}`, "'/draft'"},
		{"state negative", TypeBuildCompleted, `{"nvr":"a-1-1","state":-1}`, "'/state'"},
		{"extra a string", TypeBuildCompleted, `{"nvr":"a-1-1","extra":""}`, "'/extra'"},
		{"info a string", TypeBuildCompleted, `{"info":"x"}`, "'/info'"},
		{"wrapped twice", TypeBuildCompleted, `{"body":{"msg":{"nvr":"a-1-1"}}}`, "'/body'"},
		{"promotion of the wrong type", TypeBuildCompleted, `{"build":{"nvr":"a-1-1"}}`, "missing property"},
		{"nvr contradicts name", TypeBuildCompleted, `{"nvr":"a-1-1","name":"b"}`, `contradicts name "b"`},
		{"nvr contradicts version", TypeBuildCompleted, `{"nvr":"a-1-1","version":"2"}`, `contradicts version "2"`},
		{"nvr contradicts release", TypeBuildCompleted, `{"info":{"nvr":"a-1-1","release":"2"}}`, `at /info: nvr "a-1-1" contradicts release "2"`},
		{"dash in a version", TypeBuildCompleted, `{"name":"a","version":"1-2","release":"1"}`, "dash"},
		{"ids contradict", TypeBuildCompleted, `{"msg":{"info":{"build_id":1,"id":2}}}`, `at /msg/info: build_id 1 contradicts id 2`},
		{"request for nothing", TypePushRequested, `{}`, "missing property 'nvr'"},
		{"request without data", TypePushRequested, ``, "missing property 'nvr'"},
		{"request of another organization", TypePushRequested, `{"nvr":"a-1-1","organization":"other"}`, `organization "other"`},
		{"force a word", TypePushRequested, `{"nvr":"a-1-1","force":"yes"}`, "'/force'"},
		{"repository with a dot dot", TypePushRequested, `{"nvr":"a-1-1","repository":"../x"}`, "'/repository'"},
		{"version a number", TypePushRequested, `{"nvr":"a-1-1","version":3}`, "'/version'"},
		{"request with a null nvr", TypePushRequested, `{"nvr":null}`, "'/nvr': got null"},
		{"request with a bad nvr", TypePushRequested, `{"nvr":"a"}`, "name-version-release"},
		{"request with nulls", TypePushRequested, `{"build_id":null,"archive":null}`, "'/archive': got null"},
		{"archive of nothing", TypePushRequested, `{"archive":{}}`, "'/archive'"},
		{"archive a string", TypePushRequested, `{"archive":"UEsDBA=="}`, "'/archive': got string"},
		{"archive of nulls", TypePushRequested, `{"archive":{"object":null,"inline":null}}`, "'/archive/object': got null"},
		{"archive beside an nvr", TypePushRequested, `{"archive":{"inline":"UEsDBA=="},"nvr":"a-1-1"}`, "names a build beside an archive"},
		{"archive beside a build id", TypePushRequested, `{"archive":{"object":"a/b"},"build_id":1}`, "names a build beside an archive"},
		{"archive beside a build id of no sense", TypePushRequested, `{"archive":{"object":"a/b"},"build_id":"x"}`, "names a build beside an archive"},
		{"archive twice", TypePushRequested, `{"archive":{"object":"a/b","inline":"UEsDBA=="}}`, "has both object and inline"},
		{"object without a bucket", TypePushRequested, `{"archive":{"object":"a.zip"}}`, "'/archive/object'"},
		{"object without a name", TypePushRequested, `{"archive":{"object":"a/"}}`, "'/archive/object'"},
		{"object a number", TypePushRequested, `{"archive":{"object":5}}`, "'/archive/object': got number"},
		{"object too long", TypePushRequested, `{"archive":{"object":"a/` + long + `"}}`, "512"},
		{"inline that is empty", TypePushRequested, `{"archive":{"inline":""}}`, "'/archive/inline': minLength"},
		{"inline that is nothing but padding", TypePushRequested, `{"archive":{"inline":"=\n="}}`, "archive inline: empty"},
		{"inline a list", TypePushRequested, `{"archive":{"inline":[80,75]}}`, "'/archive/inline': got array"},
		{"inline in hexadecimal", TypePushRequested, `{"archive":{"inline":"0x504b!"}}`, "archive inline: illegal base64 data at input byte 6"},
		{"inline cut off", TypePushRequested, `{"archive":{"inline":"UEsDB"}}`, "archive inline: illegal base64"},
		{"inline with padding inside", TypePushRequested, `{"archive":{"inline":"UEs=DBA="}}`, "archive inline: illegal base64"},
		{"delete nothing", TypeDeleteRequested, `{}`, "missing property 'repository'"},
		{"delete without data", TypeDeleteRequested, ``, "missing property 'repository'"},
		{"delete an empty repository", TypeDeleteRequested, `{"repository":""}`, "'/repository'"},
		{"delete another's repository", TypeDeleteRequested, `{"repository":"../other/etcd"}`, "'/repository'"},
		{"delete by a template", TypeDeleteRequested, `{"repository":"{package}"}`, "'/repository'"},
		{"delete for another organization", TypeDeleteRequested, `{"repository":"etcd","organization":"other"}`, `organization "other"`},
		{"delete too long a version", TypeDeleteRequested, `{"repository":"etcd","version":"` + long + `"}`, "128"},
		// What may be a mistake does not delete everything.
		{"delete an empty version", TypeDeleteRequested, `{"repository":"etcd","version":""}`, "'/version': minLength"},
		{"delete a null", TypeDeleteRequested, `{"repository":"etcd","version":null}`, "'/version': got null"},
		{"delete a version by another name", TypeDeleteRequested, `{"repository":"etcd","release":"1.0.0"}`, "'release' not allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			subject := "koji.build.completed"
			switch tt.eventType {
			case TypePushRequested:
				subject = "omps.request.push.myorg"
			case TypeDeleteRequested:
				subject = "omps.request.delete.myorg"
			}
			_, err := r.Trigger(subject, newTestEvent(tt.eventType, []byte(tt.data)))
			wantError(t, err, pipeline.Malformed, pipeline.ReasonInvalidEvent)
			if !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 1500 {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
		})
	}
}

func TestTriggerOfRequest(t *testing.T) {
	t.Parallel()
	r := newReader(t, "myorg", "my.org")
	request := pipeline.Trigger{
		ID: "4711", Source: "https://koji.example.com/kojihub", Type: TypePushRequested,
		Kind: pipeline.PushRequested, Organization: "myorg",
	}
	with := func(change func(*pipeline.Trigger)) pipeline.Trigger {
		tr := request
		change(&tr)
		return tr
	}
	for _, tt := range []struct {
		name, subject, data, eventSubject string
		want                              pipeline.Trigger
	}{
		{"nvr", "omps.request.push.myorg", `{"nvr":"a-1-2"}`, "", with(func(tr *pipeline.Trigger) { tr.NVR = pipeline.NVR{Name: "a", Version: "1", Release: "2"} })},
		{"event subject", "omps.request.push.myorg", ``, "a-1-2", with(func(tr *pipeline.Trigger) { tr.NVR = pipeline.NVR{Name: "a", Version: "1", Release: "2"} })},
		{"event subject and a null nvr", "omps.request.push.myorg", `{"nvr":null,"archive":null}`, "a-1-2", with(func(tr *pipeline.Trigger) { tr.NVR = pipeline.NVR{Name: "a", Version: "1", Release: "2"} })},
		{"all", "omps.request.push.myorg", `{"build_id":5,"organization":"myorg","repository":"etcd","version":"3.0.0","force":true}`, "", with(func(tr *pipeline.Trigger) {
			tr.BuildID, tr.Repository, tr.Version, tr.Force = 5, "etcd", "3.0.0", true
		})},
		{"dotted organization", "omps.request.push.my_org", `{"build_id":5}`, "", with(func(tr *pipeline.Trigger) { tr.BuildID, tr.Organization = 5, "my.org" })},
		{"dotted organization in data", "omps.request.push.my_org", `{"build_id":5,"organization":"my.org"}`, "", with(func(tr *pipeline.Trigger) { tr.BuildID, tr.Organization = 5, "my.org" })},
		{"not configured", "omps.request.push.other", `{"build_id":5}`, "", with(func(tr *pipeline.Trigger) { tr.BuildID, tr.Organization = 5, "other" })},
		{"not configured, with its name", "omps.request.push.other_org", `{"build_id":5,"organization":"other.org"}`, "", with(func(tr *pipeline.Trigger) { tr.BuildID, tr.Organization = 5, "other.org" })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newTestEvent(TypePushRequested, []byte(tt.data))
			if tt.eventSubject != "" {
				e.SetSubject(tt.eventSubject)
			}
			got, err := r.Trigger(tt.subject, e)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// The organization comes from a guarded subject or not at all.
func TestRequestsNeedTheirSubject(t *testing.T) {
	t.Parallel()
	r := newReader(t, "myorg")
	for _, tt := range []struct{ eventType, subject string }{
		{TypePushRequested, "koji.build.completed"},
		{TypePushRequested, "koji.build.tag"},
		{TypePushRequested, "omps.request.push"},
		{TypePushRequested, "omps.request.push."},
		{TypePushRequested, "omps.request.push.myorg.x"},
		{TypePushRequested, "omps.request.delete.myorg"},
		{TypeDeleteRequested, "omps.request.push.myorg"},
	} {
		_, err := r.Trigger(tt.subject, newTestEvent(tt.eventType, []byte(`{"nvr":"a-1-1","organization":"myorg"}`)))
		wantError(t, err, pipeline.Malformed, pipeline.ReasonInvalidEvent)
	}
}

// Who may ask for one organization may not announce builds to all.
func TestAnnouncementsHaveNoPlaceAmongRequests(t *testing.T) {
	t.Parallel()
	r := newReader(t, "myorg")
	for _, eventType := range []string{TypeBuildCompleted, TypeBuildPromoted} {
		e := newTestEvent(eventType, []byte(`{"nvr":"a-1-1"}`))
		_, err := r.Trigger("omps.request.push.myorg", e)
		wantError(t, err, pipeline.Malformed, pipeline.ReasonUnknownType)
		_, err = r.Peek("omps.request.push.myorg", nil, structured(t, eventType, []byte(`{"nvr":"a-1-1"}`)))
		wantError(t, err, pipeline.Malformed, pipeline.ReasonUnknownType)
	}
}

func TestUnknownTypes(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	for subject, class := range map[string]pipeline.Class{
		"koji.build.completed": pipeline.Malformed, "koji.build.completed.etcd": pipeline.Malformed,
		"koji.build.promoted": pipeline.Malformed, "koji.build.promoted.a.b": pipeline.Malformed,
		"omps.request.push.myorg": pipeline.Malformed, "omps.request.restart": pipeline.Malformed,
		"koji.build.tag": pipeline.Ignored, "koji.build.completedness": pipeline.Ignored, "koji": pipeline.Ignored,
	} {
		for _, eventType := range []string{"org.koji.build.tagged.v1", TypeDecisionUpdated, TypePublished, "Org.Koji.Build.Completed.v1"} {
			_, err := r.Trigger(subject, newTestEvent(eventType, []byte(`{}`)))
			wantError(t, err, class, pipeline.ReasonUnknownType)
		}
	}
	if _, err := r.Trigger("any.subject", newTestEvent(TypeBuildCompleted, []byte(`{"build_id":1}`))); err != nil {
		t.Errorf("our type on another subject: %v", err)
	}
}
