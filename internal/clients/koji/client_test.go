package koji

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const archiveName = "operator_manifests.zip"

func nvr(t *testing.T, s string) pipeline.NVR {
	t.Helper()
	n, err := pipeline.ParseNVR(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFindBuildCaptured(t *testing.T) {
	t.Parallel()
	appRegistry := []string{"operator_appregistry"}
	client := newClient(t, replay(t), nil)
	for _, c := range []struct {
		byID int64
		nvr  string
		want pipeline.HubBuild
	}{
		{0, "int-test-operator-metadata-container-v0.9.2-1", pipeline.HubBuild{
			ID: 1873402, State: pipeline.StateComplete, Volume: "DEFAULT",
			ManifestsArchive: archiveName, LogArchive: archiveName, Subtypes: appRegistry,
		}},
		{1873402, "int-test-operator-metadata-container-v0.9.2-1", pipeline.HubBuild{
			ID: 1873402, State: pipeline.StateComplete, Volume: "DEFAULT",
			ManifestsArchive: archiveName, LogArchive: archiveName, Subtypes: appRegistry,
		}},
		{0, "int-vol-operator-metadata-container-v1.0.0-7", pipeline.HubBuild{
			ID: 1873407, State: pipeline.StateComplete, Volume: "vol3",
			ManifestsArchive: archiveName, LogArchive: archiveName, Subtypes: appRegistry,
		}},
		{0, "int-old-operator-metadata-container-v0.6.1-4", pipeline.HubBuild{
			ID: 1873404, State: pipeline.StateComplete, Volume: "DEFAULT", LogArchive: archiveName,
		}},
		{0, "int-oldvol-operator-metadata-container-v0.5.0-2", pipeline.HubBuild{
			ID: 1873408, State: pipeline.StateComplete, Volume: "vol3", LogArchive: archiveName,
		}},
		{0, "int-gone-operator-metadata-container-v0.1.0-1", pipeline.HubBuild{
			ID: 1873413, State: pipeline.StateDeleted, Volume: "DEFAULT",
			ManifestsArchive: archiveName, LogArchive: archiveName,
		}},
		{0, "int-test-operator-metadata-container-v0.9.4-1", pipeline.HubBuild{
			ID: 1873410, State: pipeline.StateBuilding, Volume: "DEFAULT",
		}},
		{0, "plain-app-container-1.2.3-5", pipeline.HubBuild{
			ID: 1873406, State: pipeline.StateComplete, Volume: "DEFAULT",
		}},
		{0, "hello-rpm-2.10-3.el8", pipeline.HubBuild{
			ID: 1873414, State: pipeline.StateComplete, Volume: "DEFAULT",
		}},
		{0, "hello-rpm-2.10-4.el8,draft_1873415", pipeline.HubBuild{
			ID: 1873415, State: pipeline.StateComplete, Volume: "DEFAULT", Draft: true,
		}},
	} {
		c.want.NVR = nvr(t, c.nvr)
		asked := c.want.NVR
		if c.byID != 0 {
			asked = pipeline.NVR{}
		}
		got, err := client.FindBuild(t.Context(), c.byID, asked)
		if err != nil {
			t.Errorf("%s: %v", c.nvr, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.nvr, diff)
		}
	}
}

func TestFindBuildNotFound(t *testing.T) {
	t.Parallel()
	client := newClient(t, replay(t), nil)
	for name, find := range map[string]func() (pipeline.HubBuild, error){
		"nvr": func() (pipeline.HubBuild, error) {
			return client.FindBuild(t.Context(), 0, nvr(t, "no-such-container-1.0-1"))
		},
		"id": func() (pipeline.HubBuild, error) { return client.FindBuild(t.Context(), 999999999, pipeline.NVR{}) },
	} {
		_, err := find()
		if pipeline.ReasonOf(err) != pipeline.ReasonBuildNotFound || pipeline.ClassOf(err) != pipeline.Transient {
			t.Errorf("%s: %s %s: %v", name, pipeline.ClassOf(err), pipeline.ReasonOf(err), err)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file   string
		code   int
		reason pipeline.Reason
	}{
		{"fault-server-offline.response.xml", 1014, pipeline.ReasonKojiUnavailable},
		{"fault-server-lockout.response.xml", 1014, pipeline.ReasonKojiUnavailable},
		{"fault-server-dbdown.response.xml", 1014, pipeline.ReasonKojiUnavailable},
		{"fault-not-authorized.response.xml", 1004, pipeline.ReasonKojiUnavailable},
		{"getBuildLogs-fault-unknown-build.response.xml", 1000, pipeline.ReasonKojiUnavailable},
		{"getBuild-not-an-nvr.response.xml", 1000, pipeline.ReasonBuildNotFound},
	} {
		client := newClient(t, always(capture(t, c.file)), nil)
		_, err := client.FindBuild(t.Context(), 1, pipeline.NVR{})
		fault := (*Fault)(nil)
		if !errors.As(err, &fault) || fault.Code != c.code || fault.Message == "" {
			t.Errorf("%s: %v", c.file, err)
		}
		if pipeline.ClassOf(err) != pipeline.Transient || pipeline.ReasonOf(err) != c.reason {
			t.Errorf("%s: %s %s", c.file, pipeline.ClassOf(err), pipeline.ReasonOf(err))
		}
	}
	for _, code := range []int{1, 999, 1001, 1019} {
		if got := (&Fault{Code: code, Message: "invalid format: x"}).Reason(); got != pipeline.ReasonKojiUnavailable {
			t.Errorf("fault %d: %s", code, got)
		}
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	if err := newClient(t, replay(t), nil).Ping(t.Context()); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"<string>1</string>", "<nil/>"} {
		if err := newClient(t, always(answer(bad)), nil).Ping(t.Context()); err == nil {
			t.Errorf("%s is taken for a version", bad)
		}
	}
}

func TestPingFiles(t *testing.T) {
	t.Parallel()
	var code atomic.Int64
	c := newClient(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead || r.URL.Path != "/kojifiles/" {
			t.Errorf("asked for %s %s", r.Method, r.URL.Path)
		}
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		w.WriteHeader(int(code.Load()))
	})
	for n := int64(200); n < 600; n++ {
		code.Store(n)
		err := c.PingFiles(t.Context())
		if (err == nil) != (n < 500) {
			t.Errorf("%d: %v", n, err)
		}
		if err != nil && !strings.Contains(err.Error(), strconv.FormatInt(n, 10)) {
			t.Errorf("%d: %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.PingFiles(ctx); pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable {
		t.Errorf("no answer: %v", err)
	}
}

// build is a complete build; edits override or add members, "" removes one.
func build(edits ...string) string {
	members := []string{
		"id", "<int>7</int>", "name", "<string>a</string>", "version", "<string>1</string>",
		"release", "<string>2</string>", "state", "<int>1</int>",
	}
	for i := 0; i < len(edits); i += 2 {
		if at := slices.Index(members, edits[i]); at >= 0 {
			members = slices.Delete(members, at, at+2)
		}
		if edits[i+1] != "" {
			members = append(members, edits[i], edits[i+1])
		}
	}
	return structure(members...)
}

// TestOddTypes: whatever the builder put into a build counts as absent when
// it has another type than expected.
func TestOddTypes(t *testing.T) {
	t.Parallel()
	text := func(s string) string { return "<string>" + s + "</string>" }
	typed := func(value string) string {
		return structure("typeinfo", structure(manifestsType, structure("archive", value)))
	}
	odd := []string{"<nil/>", "<int>5</int>", "<boolean>1</boolean>", "<string></string>", array(), array(text("x")), structure()}
	plain := pipeline.HubBuild{ID: 7, NVR: pipeline.NVR{Name: "a", Version: "1", Release: "2"}, State: pipeline.StateComplete}
	var cases []string
	for _, v := range odd {
		cases = append(cases,
			build("extra", v), build("draft", strings.ReplaceAll(v, "<boolean>1", "<boolean>0")), build("volume_name", v),
			build("extra", structure("typeinfo", v)),
			build("extra", structure("typeinfo", structure(manifestsType, v))),
			build("extra", typed(v)),
			build("extra", structure("operator_manifests_archive", v)),
			build("extra", structure("osbs_build", v)),
			build("extra", structure("osbs_build", structure("subtypes", v))),
		)
	}
	for _, xml := range append(cases, build("volume_name", "")) {
		got, err := newBuild(t, xml)
		if xml == build("extra", structure("osbs_build", structure("subtypes", array(text("x"))))) {
			got.Subtypes = nil // the one that is as it should be
		}
		if diff := cmp.Diff(plain, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", xml, err, diff)
		}
	}
	mixed := array("<nil/>", text("b"), "<int>1</int>", text("c"))
	got, err := newBuild(t, build("extra", structure("osbs_build", structure("subtypes", mixed))))
	if !slices.Equal(got.Subtypes, []string{"b", "c"}) || err != nil {
		t.Errorf("subtypes %v, %v", got.Subtypes, err)
	}
	if got, err := newBuild(t, build("extra", typed(text("x.zip")))); got.ManifestsArchive != "x.zip" || err != nil {
		t.Errorf("archive %q, %v", got.ManifestsArchive, err)
	}
}

func newBuild(t *testing.T, xml string) (pipeline.HubBuild, error) {
	t.Helper()
	value, err := decode(answer(xml))
	if err != nil {
		t.Fatalf("%s: %v", xml, err)
	}
	return readBuild(value)
}

// TestMalformedBuilds: a build that the hub does not name, or whose state it
// does not tell, is not an answer.
func TestMalformedBuilds(t *testing.T) {
	t.Parallel()
	for _, xml := range []string{
		"<int>7</int>", "<string>a-1-2</string>", array(build()), "<boolean>0</boolean>", structure(),
		build("id", ""), build("id", "<nil/>"), build("id", "<string>7</string>"), build("id", "<int>0</int>"),
		build("id", "<int>-7</int>"), build("id", "<double>7</double>"), build("id", "<int>8</int>"),
		build("name", ""), build("name", "<int>1</int>"), build("name", "<string>../a</string>"), build("version", "<string>..</string>"),
		build("version", "<nil/>"), build("release", "<string>2-3</string>"), build("release", "<string>2 3</string>"),
		build("state", ""), build("state", "<nil/>"), build("state", "<int>-1</int>"), build("state", "<int>5</int>"),
		build("state", "<string>1</string>"), build("state", "<i8>4294967297</i8>"),
	} {
		_, err := newClient(t, always(answer(xml)), nil).FindBuild(t.Context(), 7, pipeline.NVR{})
		if pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable || pipeline.ClassOf(err) != pipeline.Transient {
			t.Errorf("%s: %s %s: %v", xml, pipeline.ClassOf(err), pipeline.ReasonOf(err), err)
		}
	}
}
