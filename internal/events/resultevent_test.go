package events

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/schemas"
)

var testTime = time.Date(2026, 11, 22, 7, 26, 7, 0, time.UTC)

func published() ResultInput {
	cause := newTestEvent(TypeBuildCompleted, nil)
	cause.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	cause.SetExtension("tracestate", "a=b")
	return ResultInput{
		Outcome: pipeline.OutcomePublished, Tries: 2, Cause: cause, Source: "/omps-consumer", Time: testTime,
		Result: pipeline.Result{
			Trigger:      pipeline.Trigger{ID: cause.ID(), Source: cause.Source(), Type: cause.Type()},
			Organization: "my.org", NVR: pipeline.NVR{Name: "etcd-container", Version: "1.0", Release: "1"}, BuildID: operatorID,
			Package: "etcd", Target: pipeline.TargetOCI,
			Archive: pipeline.Archive{
				Name: "operator_manifests.zip", Size: 20480,
				Checksum: pipeline.Checksum{Algorithm: "md5", Hex: "d41d8cd98f00b204e9800998ecf8427e"},
			},
			ArchiveBytes: 20480,
			Decision:     &pipeline.Decision{Satisfied: true, Summary: "all passed", Policies: []string{"omps_cvp"}},
			Files:        []string{"etcd.package.yaml"},
			Replacements: []pipeline.Replacement{{Old: "quay.io", New: "example.com", Count: 3}},
			Warnings:     []string{"first"},
			Publication: pipeline.Publication{
				Bundles: []pipeline.PushedBundle{{
					Version: "0.9.4", CSV: "etcdoperator.v0.9.4", Repository: "my.org/etcd",
					Reference: "quay.io/my.org/etcd@sha256:" + strings.Repeat("0", 64), Tags: []string{"0.9.4"},
				}},
				Visibility: pipeline.VisibilityPublic, Warnings: []string{"second"},
			},
			Durations: map[pipeline.StageName]time.Duration{pipeline.StageLookup: 12 * time.Millisecond, pipeline.StagePush: 90 * time.Millisecond},
		},
	}
}

// released is what was published in an app registry.
func released() ResultInput {
	in := published()
	in.Result.Target, in.Result.Publication.Bundles = pipeline.TargetAppRegistry, nil
	in.Result.Publication.Release = &pipeline.PushedRelease{
		Version: "3.0.0", Repository: "my.org/etcd", Digest: "sha256:" + strings.Repeat("0", 64),
	}
	return in
}

// byHand is what came of an archive by hand that in came of.
func byHand(in ResultInput) ResultInput {
	trigger := &in.Result.Trigger
	trigger.Kind, trigger.Type, trigger.Organization = pipeline.PushRequested, TypePushRequested, in.Result.Organization
	trigger.Given.Object = "uploads/etcd.zip"
	in.Result.NVR, in.Result.BuildID, in.Result.Decision = pipeline.NVR{}, 0, nil
	in.Result.Archive = pipeline.Archive{
		Name: trigger.Given.Object, Size: -1, Checksum: pipeline.Checksum{Algorithm: "sha256", Hex: strings.Repeat("0", 64)},
	}
	return in
}

// deleted is what came of a request to delete that ended with err.
func deleted(outcome pipeline.Outcome, err error, versions ...string) ResultInput {
	cause := newTestEvent(TypeDeleteRequested, nil)
	return ResultInput{
		Outcome: outcome, Tries: 1, Cause: cause, Source: "/omps-consumer", Time: testTime,
		Result: pipeline.Result{
			Trigger: pipeline.Trigger{
				ID: cause.ID(), Source: cause.Source(), Type: cause.Type(), Kind: pipeline.DeleteRequested,
				Organization: "my.org", Repository: "a/etcd.x",
			},
			Organization: "my.org", Target: pipeline.TargetAppRegistry, Repository: "my.org/a/etcd.x", Deleted: versions,
			Durations: map[pipeline.StageName]time.Duration{pipeline.StageDelete: 7 * time.Millisecond},
			Err:       err,
		},
	}
}

func failed(outcome pipeline.Outcome, err error) ResultInput {
	in := published()
	in.Outcome, in.Result.Err, in.Result.Publication, in.Result.Package = outcome, err, pipeline.Publication{}, ""
	return in
}

func TestResultEvent(t *testing.T) {
	t.Parallel()
	e, subject, err := newResultEvent(published())
	if err != nil {
		t.Fatal(err)
	}
	if want := "omps.result.published.my_org.etcd"; subject != want {
		t.Errorf("subject %s, want %s", subject, want)
	}
	attributes, err := attributesOf(e)
	if err != nil {
		t.Fatal(err)
	}
	delete(attributes, "id")
	want := map[string]string{
		"specversion": "1.0", "type": TypePublished, "source": "/omps-consumer", "subject": "etcd-container-1.0-1",
		"time": "2026-11-22T07:26:07Z", "datacontenttype": "application/json", "correlationid": "4711", "causationid": "4711",
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b",
	}
	if diff := cmp.Diff(want, attributes); diff != "" {
		t.Error(diff)
	}
	const data = `{"nvr":"etcd-container-1.0-1","build_id":1873402,"organization":"my.org","package":"etcd","outcome":"published",` +
		`"target":"oci","bundles":[{"version":"0.9.4","csv":"etcdoperator.v0.9.4","repository":"my.org/etcd",` +
		`"reference":"quay.io/my.org/etcd@sha256:0000000000000000000000000000000000000000000000000000000000000000",` +
		`"tags":["0.9.4"],"channels":[]}],"files":["etcd.package.yaml"],"replacements":[{"old":"quay.io","new":"example.com","count":3}],` +
		`"archive":{"name":"operator_manifests.zip","checksum":"md5:d41d8cd98f00b204e9800998ecf8427e","bytes":20480},` +
		`"decision":{"satisfied":true,"summary":"all passed","policies":["omps_cvp"]},"repeated":false,"visibility":"public",` +
		`"warnings":["first","second"],"tries":2,"durations_ms":{"lookup":12,"push":90},` +
		`"trigger":{"id":"4711","source":"https://koji.example.com/kojihub","type":"org.koji.build.completed.v1"}}`
	if diff := cmp.Diff(data, string(e.Data())); diff != "" {
		t.Error(diff)
	}
}

// An archive by hand has no build, and so no event subject.
func TestResultEventOfAnArchive(t *testing.T) {
	t.Parallel()
	for _, in := range []ResultInput{byHand(published()), byHand(released())} {
		e, subject, err := newResultEvent(in)
		if err != nil {
			t.Fatal(err)
		}
		if subject != "omps.result.published.my_org.etcd" || e.Subject() != "" {
			t.Errorf("%s %q", subject, e.Subject())
		}
		d, err := DataOf(e)
		if err != nil {
			t.Fatal(err)
		}
		want := &ArchiveData{Name: "uploads/etcd.zip", Checksum: "sha256:" + strings.Repeat("0", 64), Bytes: 20480}
		if diff := cmp.Diff(want, d.Archive); diff != "" || d.NVR != "" || d.BuildID != 0 || d.Decision != nil {
			t.Errorf("%+v %s", d, diff)
		}
		if diff := cmp.Diff(in.Result.Publication.Release, d.Release); diff != "" {
			t.Error(diff)
		}
	}
}

func TestResultEventOfADeletion(t *testing.T) {
	t.Parallel()
	e, subject, err := newResultEvent(deleted(pipeline.OutcomeDeleted, nil, "1.0.0", "2.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	const data = `{"organization":"my.org","outcome":"deleted","target":"app-registry","repository":"my.org/a/etcd.x",` +
		`"deleted":["1.0.0","2.0.0"],"repeated":false,"tries":1,"durations_ms":{"delete":7},` +
		`"trigger":{"id":"4711","source":"https://koji.example.com/kojihub","type":"org.koji.operator-manifests.delete-requested.v1"}}`
	if diff := cmp.Diff(data, string(e.Data())); diff != "" {
		t.Error(diff)
	}
	if subject != "omps.result.deleted.my_org.etcd_x" || e.Type() != TypeDeleted || e.Subject() != "" {
		t.Errorf("%s %s %q", subject, e.Type(), e.Subject())
	}
	_, subject, err = newResultEvent(deleted(pipeline.OutcomeRejected, pipeline.Reject(pipeline.ReasonPackageNotFound, errTest)))
	if err != nil || subject != "omps.result.rejected.my_org.etcd_x" {
		t.Errorf("%s %v", subject, err)
	}
	early := deleted(pipeline.OutcomeRejected, pipeline.Reject(pipeline.ReasonUnknownOrganization, errTest))
	early.Result.Repository = ""
	if _, subject, err = newResultEvent(early); err != nil || subject != "omps.result.rejected.my_org._" {
		t.Errorf("%s %v", subject, err)
	}
}

func TestResultEventKeepsCorrelation(t *testing.T) {
	t.Parallel()
	in := published()
	in.Result.Trigger.Correlation = "the first"
	e, _, err := newResultEvent(in)
	if err != nil {
		t.Fatal(err)
	}
	if e.Extensions()["correlationid"] != "the first" || e.Extensions()["causationid"] != "4711" {
		t.Errorf("extensions %v", e.Extensions())
	}
	in.Cause, in.Result.Trigger.Correlation = event.Event{}, ""
	if e, _, err = newResultEvent(in); err != nil || e.Extensions()["correlationid"] != "4711" {
		t.Errorf("without a cause: %v %v", e.Extensions(), err)
	}
}

// What is written is what the schemas allow, for every outcome, with all that
// a result can hold and with nothing.
func TestResultEventsFollowTheirSchema(t *testing.T) {
	t.Parallel()
	set, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	decision := pipeline.Decision{Summary: "no", Unsatisfied: []pipeline.Requirement{
		{Type: "test-result-failed", Testcase: "t", ResultID: 7, Details: "d"}, {Type: "other"},
	}}
	faults := &pipeline.Invalid{Faults: []pipeline.Fault{{File: "a.yaml", Path: "spec", Text: "bad"}}}
	inputs := []ResultInput{
		published(), released(), byHand(published()), byHand(released()),
		deleted(pipeline.OutcomeDeleted, nil, "1.0.0", "2.0.0"), deleted(pipeline.OutcomeDeleted, nil),
		deleted(pipeline.OutcomeFailed, errTest, "1.0.0"), deleted(pipeline.OutcomeRejected, errTest),
		byHand(failed(pipeline.OutcomeRejected, pipeline.Reject(pipeline.ReasonArchiveNotAccepted, errTest))),
	}
	for _, outcome := range []pipeline.Outcome{pipeline.OutcomeRejected, pipeline.OutcomeFailed, pipeline.OutcomeWaiting} {
		for _, reason := range pipeline.Reasons() {
			for _, stage := range pipeline.StageNames() {
				if outcome == pipeline.OutcomeWaiting && reason != pipeline.ReasonGateWaiting {
					continue // only a gate makes a build wait
				}
				in := failed(outcome, &pipeline.StageError{Stage: stage, Err: pipeline.Reject(reason, faults)})
				in.Result.Decision = &decision
				inputs = append(inputs, in)
			}
		}
	}
	for _, outcome := range []pipeline.Outcome{pipeline.OutcomeRejected, pipeline.OutcomeFailed} {
		bare := failed(outcome, errors.New("x"))
		bare.Result = pipeline.Result{Trigger: bare.Result.Trigger, Err: bare.Result.Err}
		inputs = append(inputs, bare)
	}
	for _, in := range inputs {
		e, subject, err := newResultEvent(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := set.Validate(e.Type(), e.Data()); err != nil {
			t.Fatalf("%v\n%s", err, e.Data())
		}
		if !strings.HasPrefix(subject, "omps.result."+string(in.Outcome)+".") || strings.Count(subject, ".") != 4 {
			t.Errorf("subject %s", subject)
		}
		d, err := DataOf(e)
		if err != nil {
			t.Fatal(err)
		}
		if again := string(mustEncode(t, d)); again != string(e.Data()) {
			t.Errorf("reads as %s, was %s", again, e.Data())
		}
	}
}

func mustEncode(t *testing.T, value any) []byte {
	t.Helper()
	data, err := encodeJSON(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestResultEventError(t *testing.T) {
	t.Parallel()
	invalid := &pipeline.Invalid{Faults: []pipeline.Fault{{File: "a.yaml", Path: "spec", Text: "bad"}, {Text: "worse"}}}
	err := &pipeline.StageError{Stage: pipeline.StagePrepare, Err: pipeline.Reject(pipeline.ReasonInvalidManifests, invalid)}
	e, subject, err2 := newResultEvent(failed(pipeline.OutcomeRejected, err))
	if err2 != nil {
		t.Fatal(err2)
	}
	d, err2 := DataOf(e)
	if err2 != nil {
		t.Fatal(err2)
	}
	want := &ErrorData{
		Reason: pipeline.ReasonInvalidManifests, Message: "prepare: a.yaml: spec: bad (and 1 more)",
		Stage: pipeline.StagePrepare, Faults: []string{"a.yaml: spec: bad", "worse"},
	}
	if diff := cmp.Diff(want, d.Error); diff != "" {
		t.Error(diff)
	}
	if subject != "omps.result.rejected.my_org._" || e.Type() != TypeRejected {
		t.Errorf("%s on %s", e.Type(), subject)
	}
}

func TestResultEventRefuses(t *testing.T) {
	t.Parallel()
	noSource := published()
	noSource.Source = ""
	for name, in := range map[string]ResultInput{
		"deleted, but published":  deleted(pipeline.OutcomePublished, nil),
		"published, but deleted":  failed(pipeline.OutcomeDeleted, nil),
		"deleted with an error":   deleted(pipeline.OutcomeDeleted, errors.New("x")),
		"deleted by a push":       failed(pipeline.OutcomeDeleted, errors.New("x")),
		"deletion without either": deleted(pipeline.OutcomeRejected, nil),
		"ignored":                 failed(pipeline.OutcomeIgnored, errors.New("x")),
		"unknown":                 failed("lost", errors.New("x")),
		"published with an error": failed(pipeline.OutcomePublished, errors.New("x")),
		"rejected without one":    failed(pipeline.OutcomeRejected, nil),
		"no source":               noSource,
	} {
		if e, _, err := newResultEvent(in); err == nil {
			t.Errorf("%s: %s", name, e)
		}
	}
}

// The id is the same exactly when the same thing is told.
func TestResultID(t *testing.T) {
	t.Parallel()
	id := func(change func(*ResultInput)) string {
		in := published()
		change(&in)
		return resultID(in)
	}
	announced := id(func(*ResultInput) {})
	if len(announced) != 32 {
		t.Errorf("id %s", announced)
	}
	for name, change := range map[string]func(*ResultInput){
		"another trigger": func(in *ResultInput) { in.Result.Trigger.ID, in.Result.Trigger.Source = "x", "/y" },
		"another time":    func(in *ResultInput) { in.Time, in.Tries = time.Time{}, 9 },
		"repeated":        func(in *ResultInput) { in.Result.Publication.Repeated = true },
		"a warning":       func(in *ResultInput) { in.Result.Publication.Warnings = []string{"x"} },
	} {
		if id(change) != announced {
			t.Errorf("%s changes the id of an announcement's result", name)
		}
	}
	seen := map[string]string{announced: "as it is"}
	request := func(change func(*ResultInput)) func(*ResultInput) {
		return func(in *ResultInput) {
			in.Result.Trigger.Kind = pipeline.PushRequested
			change(in)
		}
	}
	for name, change := range map[string]func(*ResultInput){
		"organization":           func(in *ResultInput) { in.Result.Organization = "other" },
		"nvr":                    func(in *ResultInput) { in.Result.NVR.Release = "2" },
		"checksum":               func(in *ResultInput) { in.Result.Archive.Checksum.Hex = "00" },
		"outcome":                func(in *ResultInput) { in.Outcome = pipeline.OutcomeFailed },
		"shifted parts":          func(in *ResultInput) { in.Result.Organization, in.Result.NVR.Name = "my.orge", "tcd-container" },
		"no nvr":                 func(in *ResultInput) { in.Result.NVR = pipeline.NVR{} },
		"no nvr, another build":  func(in *ResultInput) { in.Result.NVR, in.Result.BuildID = pipeline.NVR{}, 6 },
		"request":                request(func(*ResultInput) {}),
		"request's id":           request(func(in *ResultInput) { in.Result.Trigger.ID = "x" }),
		"request's source":       request(func(in *ResultInput) { in.Result.Trigger.Source = "x" }),
		"request's organization": request(func(in *ResultInput) { in.Result.Organization = "x" }),
		"request's outcome":      request(func(in *ResultInput) { in.Outcome = pipeline.OutcomeRejected }),
		"request to delete":      func(in *ResultInput) { *in = deleted(pipeline.OutcomeDeleted, nil) },
		"another one": func(in *ResultInput) {
			*in = deleted(pipeline.OutcomeDeleted, nil)
			in.Result.Trigger.ID = "x"
		},
		"release":              func(in *ResultInput) { *in = released() },
		"release's version":    func(in *ResultInput) { *in = released(); in.Result.Publication.Release.Version = "4.0.0" },
		"release's repository": func(in *ResultInput) { *in = released(); in.Result.Publication.Release.Repository = "my.org/x" },
		"release's digest":     func(in *ResultInput) { *in = released(); in.Result.Publication.Release.Digest = "sha256:1" },
	} {
		if other, ok := seen[id(change)]; ok {
			t.Errorf("%s has the same id as %s", name, other)
		}
		seen[id(change)] = name
	}
}

func TestDataOfRefuses(t *testing.T) {
	t.Parallel()
	for _, e := range []event.Event{newTestEvent(TypeBuildCompleted, []byte(`{}`)), newTestEvent(TypePublished, []byte(`[]`)), newTestEvent(TypePublished, nil)} {
		if d, err := DataOf(e); err == nil {
			t.Errorf("%s reads as %+v", e, d)
		}
	}
}

func TestSubjectToken(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "_", "myorg": "myorg", "my.org": "my_org", "a b\tc\nd": "a_b_c_d", "*": "_", "a>": "a_", "Ü-1+x": "Ü-1+x",
		"a\x00b\x7f": "a_b_", "\xff": "_", "a\u00a0b": "a_b", strings.Repeat("€", 100): strings.Repeat("€", 85),
	} {
		if got := SubjectToken(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	if got := ResultSubject(pipeline.OutcomeFailed, "", "a.b"); got != "omps.result.failed._.a_b" {
		t.Error(got)
	}
}
