package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The builds of the captured hub, as far as their shape goes.
func capturedBuilds() []Build {
	archive := []byte("an archive")
	return []Build{
		{ID: 1873402, NVR: "int-test-operator-metadata-container-v0.9.2-1", Archive: archive, Subtypes: []string{"operator_appregistry"}},
		{ID: 1873404, NVR: "int-old-operator-metadata-container-v0.6.1-4", Archive: archive, Form: FormLogs},
		{ID: 1873405, NVR: "int-lost-operator-metadata-container-v0.6.2-1", Archive: archive, Form: FormLogs, MissingArchive: true},
		{ID: 1873406, NVR: "plain-app-container-1.2.3-5", Form: FormNone},
		{ID: 1873408, NVR: "int-oldvol-operator-metadata-container-v0.5.0-2", Archive: archive, Form: FormLogs, Volume: "vol3"},
		{ID: 1873410, NVR: "int-test-operator-metadata-container-v0.9.4-1", State: StateBuilding},
		{ID: 1873411, NVR: "int-test-operator-metadata-container-v0.9.4-2", State: StateFailed},
		{ID: 1873412, NVR: "int-test-operator-metadata-container-v0.9.4-3", State: StateCanceled},
		{ID: 1873413, NVR: "int-gone-operator-metadata-container-v0.1.0-1", Archive: archive, State: StateDeleted},
		{ID: 1873415, NVR: "hello-rpm-2.10-4.el8", NoExtra: true, Draft: true},
	}
}

// Each captured request, sent to the stand-in, is answered in the shape that
// the real hub answered it: the same keys in the same order, the same types,
// nil where it says nil. Faults are the same word for word.
func TestKojiAnswersAsTheRealHub(t *testing.T) {
	t.Parallel()
	captureDir(t)
	url := startKoji(t, capturedBuilds()...).URL()
	for _, name := range []string{
		"getAPIVersion", "getKojiVersion", "fault-unknown-method",
		"getBuild-operator-by-nvr", "getBuild-operator-by-id", "getBuild-operator-by-nvr-strict-kwarg",
		"getBuild-old-style-operator", "getBuild-old-style-operator-zip-missing", "getBuild-old-style-on-volume",
		"getBuild-non-operator", "getBuild-deleted", "getBuild-building", "getBuild-failed", "getBuild-canceled",
		"getBuild-draft",
		"getBuild-not-found-id", "getBuild-not-found-nvr", "getBuild-not-found-strict", "getBuild-not-an-nvr",
		"getBuild-fault-nil-argument", "getBuild-fault-no-argument", "getBuild-fault-too-many-arguments",
		"getBuild-fault-wrong-type",
		"getBuildLogs-new-style", "getBuildLogs-old-style", "getBuildLogs-old-style-zip-missing",
		"getBuildLogs-old-style-on-volume", "getBuildLogs-none", "getBuildLogs-fault-unknown-build",
		"listArchives-all", "listArchives-image", "listArchives-operator-manifests",
		"listArchives-operator-manifests-positional", "listArchives-deleted-build",
		"listArchives-empty", "listArchives-unknown-build", "listArchives-fault-unknown-type",
		"listBuilds-count", "listBuilds-empty",
		"listBuilds-fault-unknown-keyword", "listBuilds-fault-bad-order",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, wantErr := decodeAnswer(t, capture(t, "koji/"+name+".response.xml"))
			answer := do(t, http.MethodPost, url+hubPath, "text/xml", string(capture(t, "koji/"+name+".request.xml")))
			if answer.status != http.StatusOK || answer.header.Get("Content-Type") != "text/xml" || answer.header.Get("Koji-Version") == "" {
				t.Fatalf("answer is %+v", answer)
			}
			got, gotErr := decodeAnswer(t, []byte(answer.body))
			if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
				t.Fatalf("fault is %v, want %v", gotErr, wantErr)
			}
			if got, want := shape(got), shape(want); got != want {
				t.Errorf("shape is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// shape is a value without its texts and numbers, and without telling how many
// alike stand in a row. Keys that are themselves image names are alike.
func shape(v any) string {
	switch v := v.(type) {
	case object:
		var parts []string
		for _, m := range v {
			name := m.name
			if strings.Contains(name, "/") && !strings.HasPrefix(name, "application/") {
				name = "IMAGE"
			}
			parts = append(parts, name+":"+shape(m.value))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, shape(e))
		}
		return "[" + strings.Join(slices.Compact(parts), " ") + "]"
	}
	return fmt.Sprintf("%T", v)
}

func TestKojiRefusesWhatIsNoCall(t *testing.T) {
	t.Parallel()
	url := startKoji(t).URL() + hubPath
	for name, tc := range map[string]struct {
		method, body string
		status       int
		answer       string
	}{
		"empty":   {http.MethodPost, "", 400, "Invalid request: Empty request\n"},
		"not xml": {http.MethodPost, "this is not xml", 400, "Invalid request: "},
		"get":     {http.MethodGet, "", 405, "Method Not Allowed\nThis is an XML-RPC server. Only POST requests are accepted.\n"},
	} {
		got := do(t, tc.method, url, "text/xml", tc.body)
		if got.status != tc.status || !strings.HasPrefix(got.body, tc.answer) || got.header.Get("Content-Type") != "text/plain" {
			t.Errorf("%s is answered %+v", name, got)
		}
	}
}

func TestKojiTellsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	archive := []byte("0123456789")
	k, server := newKoji(t)
	id, err := k.AddBuild(Build{
		NVR: "b-container-1.0-1", Archive: archive, Checksum: "sha256", ArchiveName: "m.zip",
		Subtypes: []string{"operator_bundle"}, ImageLabels: map[string]string{"b": "2", "a": "<1>"},
	})
	if err != nil {
		t.Fatal(err)
	}
	list := callHub(t, server, "listArchives", id, nil, nil, nil, "operator-manifests").([]any)
	a := list[0].(object)
	if a.get("checksum") != "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882" ||
		a.get("checksum_type") != int64(2) || a.get("size") != int64(10) || a.get("filename") != "m.zip" {
		t.Errorf("archive is %v", a)
	}
	images := callHub(t, server, "listArchives", object{{"buildID", id}, {"type", "image"}, {"__starstar", true}}).([]any)
	docker := images[0].(object).get("extra").(object).get("docker").(object)
	labels := docker.get("config").(object).get("config").(object).get("Labels").(object)
	if want := (object{{"a", "<1>"}, {"b", "2"}}); !slices.Equal(labels, want) {
		t.Errorf("labels are %v, want %v", labels, want)
	}
	named := callHub(t, server, "listArchives", object{{"buildID", id}, {"filename", "other.zip"}, {"__starstar", true}}).([]any)
	if len(named) != 0 {
		t.Errorf("archives of another name are %v", named)
	}
	info := callHub(t, server, "getBuild", object{{"name", "b-container"}, {"version", "1.0"}, {"release", "1"}}).(object)
	subtypes := info.get("extra").(object).get("osbs_build").(object).get("subtypes").([]any)
	if info.get("id") != id || !slices.Equal(subtypes, []any{"operator_bundle"}) {
		t.Errorf("build %v has subtypes %v", info.get("id"), subtypes)
	}
}

func TestKojiFaultsWhereItCannotAnswer(t *testing.T) {
	t.Parallel()
	k, server := newKoji(t, Build{ID: 5, NVR: "b-container-1.0-1"})
	star := member{"__starstar", true}
	for _, tc := range []struct {
		method string
		params []any
		want   string
	}{
		{"listArchives", []any{object{{"buildID", int64(5)}, {"checksum", "x"}, star}}, "fault 1000: the sandbox does not filter archives by checksum"},
		{"listArchives", nil, "fault 1000: the sandbox lists archives of one build only"},
		{"listArchives", []any{object{{"nosuch", "x"}, star}}, "fault 1019: list_archives() got an unexpected keyword argument 'nosuch'"},
		{"getBuild", []any{int64(5), object{{"buildInfo", int64(5)}, star}}, "fault 1019: get_build() got multiple values for argument 'buildInfo'"},
		{"getBuild", []any{object{{"name", "x"}}}, "fault 1000: did not provide name, version, and release"},
		{"getBuild", []any{int64(6), true}, "fault 1000: No such build: 6"},
		{"getBuild", []any{true}, "fault 1000: Invalid type for argument: <class 'bool'>"},
		{"getBuild", []any{1.5}, "fault 1000: Invalid type for argument: <class 'float'>"},
		{"getBuild", []any{"a-"}, "fault 1000: invalid format: a-"},
		{"getBuild", []any{"a--1"}, "fault 1000: invalid format: a--1"},
	} {
		if _, err := tryHub(t, server, tc.method, tc.params...); err == nil || err.Error() != tc.want {
			t.Errorf("%s%v: %v, want %s", tc.method, tc.params, err, tc.want)
		}
	}
	k.SetOffline("temporary outage")
	if _, err := tryHub(t, server, "getBuild", int64(5)); err == nil || err.Error() != "fault 1014: temporary outage" {
		t.Errorf("offline: %v", err)
	}
	k.SetOffline("")
	if _, err := tryHub(t, server, "getBuild", int64(5)); err != nil {
		t.Errorf("back online: %v", err)
	}
}

// What the hub says of an archive leads to its bytes.
func TestKojiServesFiles(t *testing.T) {
	t.Parallel()
	archive := []byte("PK the archive")
	const dir = "packages/b-container/1.0/1/"
	for name, tc := range map[string]struct {
		build  Build
		path   string
		status int
	}{
		"archive":           {Build{}, dir + "files/operator-manifests/operator_manifests.zip", 200},
		"named":             {Build{ArchiveName: "m.zip"}, dir + "files/operator-manifests/m.zip", 200},
		"on a volume":       {Build{Volume: "vol3"}, "vol/vol3/" + dir + "files/operator-manifests/operator_manifests.zip", 200},
		"not on its volume": {Build{Volume: "vol3"}, dir + "files/operator-manifests/operator_manifests.zip", 404},
		"among the logs":    {Build{Form: FormLogs}, dir + "data/logs/./operator_manifests.zip", 200},
		"missing":           {Build{MissingFile: true}, dir + "files/operator-manifests/operator_manifests.zip", 404},
		"missing log":       {Build{Form: FormLogs, MissingFile: true}, dir + "data/logs/operator_manifests.zip", 404},
		"deleted":           {Build{State: StateDeleted}, dir + "files/operator-manifests/operator_manifests.zip", 404},
		"no such":           {Build{}, "packages/", 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.build.NVR, tc.build.Archive = "b-container-1.0-1", archive
			url := startKoji(t, tc.build).URL() + filesPath + tc.path
			got := do(t, http.MethodGet, url, "", "")
			if got.status != tc.status {
				t.Fatalf("status is %d, want %d", got.status, tc.status)
			}
			if got.status != 200 {
				return
			}
			if got.body != string(archive) || got.header.Get("Content-Type") != "application/zip" {
				t.Errorf("answer is %+v", got)
			}
			if put := do(t, http.MethodPut, url, "", "x"); put.status != http.StatusMethodNotAllowed {
				t.Errorf("a PUT is answered %+v", put)
			}
		})
	}
	if got := do(t, http.MethodGet, startKoji(t).URL()+"/elsewhere", "", ""); got.status != 404 {
		t.Errorf("elsewhere is answered %+v", got)
	}
}

// The knobs make the hub say what the file is not.
func TestKojiLies(t *testing.T) {
	t.Parallel()
	_, server := newKoji(t,
		Build{ID: 1, NVR: "b-container-1.0-1", Archive: []byte("abc")},
		Build{ID: 2, NVR: "b-container-1.0-2", Archive: []byte("abc"), WrongChecksum: true},
		Build{ID: 3, NVR: "b-container-1.0-3", Archive: []byte("abc"), WrongSize: true},
		Build{ID: 4, NVR: "b-container-1.0-4", Archive: []byte("abc"), MissingArchive: true},
	)
	archives := func(id int64) []any {
		return callHub(t, server, "listArchives", id, nil, nil, nil, "operator-manifests").([]any)
	}
	honest := archives(1)[0].(object)
	if honest.get("checksum") != "900150983cd24fb0d6963f7d28e17f72" || honest.get("size") != int64(3) {
		t.Errorf("the honest hub says %v", honest)
	}
	if a := archives(2)[0].(object); a.get("checksum") == honest.get("checksum") || a.get("size") != int64(3) {
		t.Errorf("with a wrong checksum it says %v", a)
	}
	if a := archives(3)[0].(object); a.get("checksum") != honest.get("checksum") || a.get("size") != int64(2) {
		t.Errorf("with a wrong size it says %v", a)
	}
	if a := archives(4); len(a) != 0 {
		t.Errorf("without the archive it says %v", a)
	}
}

func TestAddBuild(t *testing.T) {
	t.Parallel()
	k := NewKoji()
	for _, tc := range []struct {
		build Build
		id    int64 // 0: an error
	}{
		{Build{NVR: "a-1-1"}, SampleBuildID},
		{Build{NVR: "a-1-1"}, 0},
		{Build{NVR: "a-1-2", ID: SampleBuildID}, 0},
		{Build{NVR: "a-1-2", ID: 2_000_000}, 2_000_000},
		{Build{NVR: "a-1-3"}, 2_000_001},
		{Build{NVR: "nodashes"}, 0},
		{Build{NVR: "a-1-4", Checksum: "crc32"}, 0},
		{Build{NVR: "a-1-5", Draft: true}, 2_000_002},
	} {
		id, err := k.AddBuild(tc.build)
		if id != tc.id || (err == nil) != (tc.id != 0) {
			t.Errorf("adding %+v gives %d, %v", tc.build, id, err)
		}
	}
	if r := k.byNVR["a-1-5,draft_2000002"]; r == nil {
		t.Error("the draft has no draft's release")
	}
}

func TestKojiIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	k, server := newKoji(t, Build{NVR: "first-container-1.0-1"})
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			id, err := k.AddBuild(Build{NVR: fmt.Sprintf("b-container-1.0-%d", i), Archive: []byte("abc")})
			if err != nil {
				t.Fatal(err)
			}
			if info := callHub(t, server, "getBuild", id).(object); info.get("release") != fmt.Sprint(i) {
				t.Errorf("build %d is %v", id, info.get("nvr"))
			}
			callHub(t, server, "listArchives", int64(SampleBuildID))
			k.SetOffline("")
		})
	}
}
