package schemas

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func load(t *testing.T) *Set {
	t.Helper()
	set, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Every file is a schema of the draft it names, under the $id of its name.
func TestFiles(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(Files(), "*.json")
	if err != nil || len(names) < 11 {
		t.Fatalf("%v %v", names, err)
	}
	compiler := jsonschema.NewCompiler()
	for _, name := range names {
		if err := add(compiler, map[string]string{}, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		if _, err := compiler.Compile(BaseURL + name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		data, err := fs.ReadFile(Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		var head struct {
			Schema string `json:"$schema"`
			ID     string `json:"$id"`
			Title  string `json:"title"`
		}
		if err := json.Unmarshal(data, &head); err != nil {
			t.Fatal(err)
		}
		if head.Schema != "https://json-schema.org/draft/2020-12/schema" || head.ID != BaseURL+name || head.Title == "" {
			t.Errorf("%s begins with %+v", name, head)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	set := load(t)
	const (
		completed = "org.koji.build.completed.v1"
		decision  = "org.greenwave.decision.updated.v1"
		published = "org.koji.operator-manifests.published.v1"
		waiting   = "org.koji.operator-manifests.waiting.v1"
		deleted   = "org.koji.operator-manifests.deleted.v1"
		common    = `"repeated":false,"tries":1,"durations_ms":{},"trigger":{"id":"1","source":"/s","type":"t"}`
		pushed    = `"bundles":[{"version":"1","csv":"c","repository":"o/r","reference":"q/o/r@sha256:` +
			`0000000000000000000000000000000000000000000000000000000000000000","tags":[],"channels":[]}],`
		source  = `"organization":"o","package":"p","archive":{"name":"a.zip"},`
		build   = `"nvr":"a-1-1","build_id":1,"target":"oci",` + source
		app     = `"nvr":"a-1-1","build_id":1,"target":"app-registry","outcome":"published",` + source
		push    = "org.koji.operator-manifests.push-requested.v1"
		remove  = "org.koji.operator-manifests.delete-requested.v1"
		asked   = `"repeated":false,"tries":1,"durations_ms":{},"trigger":{"id":"1","source":"/s","type":"` + push + `"}`
		byHand  = `"target":"oci","outcome":"published",` + source + pushed
		promote = "org.koji.build.promoted.v1"
	)
	for _, tt := range []struct{ eventType, data, says string }{ // "": valid
		{completed, `{"nvr":"a-1-1","more":{}}`, ""},
		{completed, `{"nvr":5}`, "at '/nvr': got number"},
		{completed, `{"body":{"info":{"build_id":"x"}}}`, "at '/body/info/build_id': got string"},
		{completed, `[]`, "got array, want object"},
		{completed, `{`, "not JSON"},
		{completed, `{}{}`, "not JSON"},
		{decision, `{"subject_type":"koji_build","subject_identifier":"a-1-1","policies_satisfied":true}`, ""},
		{decision, `{"msg":{"subject_type":"koji_build","subject_identifier":"a-1-1","policies_satisfied":true}}`, ""},
		{decision, `{"msg":{"subject_type":"koji_build"}}`, "at '/msg': missing properties"},
		{decision, `{}`, "missing properties"},
		{completed, `{"nvr":null}`, "at '/nvr': got null"},
		{completed, `{"build_id":null,"name":"x"}`, "at '/build_id': got null"},
		{completed, `{"name":"x","info":{"build_id":1}}`, ""},
		{completed, `{"name":"x","body":{"nvr":"a-1-1"}}`, ""},
		{completed, `{"nvr":null,"info":{"state":"weird","draft":"yes"}}`, "at '/info/draft'"},
		{completed, `{"body":{"nvr":null,"info":{"build_id":1,"draft":"yes"}}}`, "at '/body/info/draft'"},
		{promote, `{"nvr":null,"build":{"build_id":1,"draft":"yes"}}`, "at '/build/draft'"},
		{promote, `{"msg":{"name":"x","build":{"build_id":1}}}`, ""},
		{promote, `{"build":null}`, "at '/build': got null"},
		{push, `{"nvr":"a-1-1","build_id":null,"archive":null}`, ""},
		{push, `{"archive":{"inline":"UEsDBA=="}}`, ""},
		{push, `{"nvr":null}`, "at '/nvr': got null"},
		{push, `{"build_id":null}`, "at '/build_id': got null"},
		{push, `{"archive":null}`, "at '/archive': got null"},
		{push, `{"archive":{"inline":"UEsDBA==","object":"a/b"}}`, "at '/archive'"},
		{push, `{"archive":{"inline":"UEsDBA==","object":null},"nvr":"","build_id":null}`, ""},
		{push, `{"archive":{"object":"a/b/c"}}`, ""},
		{push, `{"archive":{"object":"a"}}`, "at '/archive/object'"},
		{push, `{"archive":{}}`, "at '/archive': missing property"},
		{push, `{"archive":{"object":"a/b"},"nvr":"a-1-1"}`, "at '/nvr'"},
		{push, `{"archive":{"object":"a/b"},"build_id":1}`, "at '/build_id'"},
		{remove, `{"repository":"etcd"}`, ""},
		{remove, `{"repository":"a/b","version":"1.0.0","organization":null}`, ""},
		{remove, `{"version":"1.0.0"}`, "missing property 'repository'"},
		{remove, `{"repository":"etcd","version":""}`, "at '/version': minLength"},
		{remove, `{"repository":"etcd","version":null}`, "at '/version': got null"},
		{remove, `{"repository":"etcd","Version":"1.0.0"}`, "'Version' not allowed"},
		{remove, `{"repository":"/etcd"}`, "at '/repository'"},
		{published, `{` + build + pushed + `"outcome":"published",` + common + `}`, ""},
		{published, `{` + build + `"outcome":"published",` + common + `}`, "missing property 'bundles'"},
		{published, `{` + build + `"bundles":[],"outcome":"published",` + common + `}`, "at '/bundles': minItems"},
		{published, `{` + build + `"release":{"version":"1"},"outcome":"published",` + common + `}`, "missing property 'bundles'"},
		{published, `{` + app + `"release":{"version":"1"},` + common + `}`, ""},
		{published, `{` + app + common + `}`, "missing property 'release'"},
		{published, `{` + build + `"outcome":"rejected",` + common + `}`, "at '/outcome'"},
		{published, `{` + build + `"outcome":"published","surplus":1,` + common + `}`, "'surplus' not allowed"},
		{published, `{` + build + `"outcome":"published","error":{"reason":"internal","message":"x"},` + common + `}`, "at '/error'"},
		{published, `{"outcome":"published",` + common + `}`, "missing properties"},
		{published, `{` + byHand + asked + `}`, ""},
		{published, `{` + byHand + common + `}`, "missing property 'nvr'"},
		{published, `{"nvr":"a-1-1",` + byHand + asked + `}`, "'build_id' required, if 'nvr' exists"},
		{published, `{"build_id":1,` + byHand + asked + `}`, "'nvr' required, if 'build_id' exists"},
		{published, `{"nvr":"a-1-1","build_id":1,` + byHand + asked + `}`, ""},
		{published, `{` + strings.Replace(byHand, `"archive":{"name":"a.zip"},`, "", 1) + asked + `}`, "missing property 'archive'"},
		{published, `{` + app + `"release":{"version":"1","repository":"o/r","digest":"md5:0"},` + common + `}`, "at '/release/digest'"},
		{waiting, `{"nvr":"a-1-1","outcome":"waiting","error":{"reason":"gate-waiting","message":"x"},` + common + `}`, ""},
		{waiting, `{"nvr":"a-1-1","outcome":"waiting","error":{"reason":"internal","message":"x"},` + common + `}`, "at '/error/reason'"},
		{waiting, `{"nvr":"a-1-1","outcome":"waiting","error":{"reason":"gate-waiting","message":"x"},` +
			strings.Replace(common, "false", "true", 1) + `}`, "at '/repeated'"},
		{waiting, `{"nvr":"a-1-1","outcome":"waiting",` + common + `}`, "'error'"},
		{waiting, `{"nvr":"a-1-1","outcome":"waiting","error":{"reason":"tired","message":"x"},` + common + `}`, "at '/error/reason'"},
		{deleted, `{"organization":"o","repository":"o/r","deleted":[],"outcome":"deleted",` + common + `}`, ""},
		{deleted, `{"organization":"o","repository":"o/r","deleted":["1.0.0"],"outcome":"deleted",` + common + `}`, ""},
		{deleted, `{"organization":"o","outcome":"deleted",` + common + `}`, "missing properties 'repository', 'deleted'"},
		{deleted, `{"organization":"o","repository":"o/r","deleted":"1.0.0","outcome":"deleted",` + common + `}`, "at '/deleted'"},
		{deleted, `{"organization":"o","repository":"o/r","deleted":[],"outcome":"deleted","error":{"reason":"internal","message":"x"},` + common + `}`, "at '/error'"},
		{"org.example.v1", `{}`, "no schema"},
	} {
		err := set.Validate(tt.eventType, []byte(tt.data))
		if tt.says == "" {
			if err != nil {
				t.Errorf("%s %s: %v", tt.eventType, tt.data, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s %s: %v does not say %q", tt.eventType, tt.data, err, tt.says)
		}
	}
}

// Whatever comes in, an error stays short.
func TestErrorsAreBounded(t *testing.T) {
	t.Parallel()
	set := load(t)
	long := strings.Repeat("é", 100_000)
	for _, data := range []string{
		`{"nvr":5,"build_id":"","name":1,"version":1,"release":1,"state":{},"draft":1,"extra":1,"attribute":1}`,
		`{"state":"` + long + `"}`,
		`{"info":{"nvr":"` + long + `"}}`,
	} {
		err := set.Validate("org.koji.build.completed.v1", []byte(data))
		if err == nil || len(err.Error()) > maxFaults*(maxFault+10)+20 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v", err)
		}
	}
	many := `{"surplus` + strings.Repeat(`":1,"surplus`, 1000) + `":1}`
	if err := set.Validate("org.koji.operator-manifests.published.v1", []byte(many)); err == nil || len(err.Error()) > 4000 {
		t.Errorf("%v", err)
	}
}

func TestFaultsAreCounted(t *testing.T) {
	t.Parallel()
	bundles := strings.TrimSuffix(strings.Repeat(`{"version":1},`, 30), ",")
	err := load(t).Validate("org.koji.operator-manifests.published.v1", []byte(`{"bundles":[`+bundles+`]}`))
	if err == nil || !strings.HasSuffix(err.Error(), " more") {
		t.Errorf("%v", err)
	}
}

// What Greenwave sent follows the schema of its events.
func TestCapturedDecisions(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob(filepath.Join("..", "..", "shared", "captures", "greenwave-*", "greenwave-decision-update-*.json"))
	if len(files) == 0 {
		t.Skip("no captures beside the checkout")
	}
	set := load(t)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var message struct{ Body json.RawMessage }
		if err := json.NewDecoder(bytes.NewReader(data)).Decode(&message); err != nil {
			t.Fatal(err)
		}
		if err := set.Validate("org.greenwave.decision.updated.v1", message.Body); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
