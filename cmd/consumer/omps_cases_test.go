package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// ompsBed is the service for the cases of OMPS's integration tests, with an app
// registry that knows some organizations.
type ompsBed struct {
	*system
	requests int
}

// tokenOf is what an organization's robot sends.
func tokenOf(organization string) string {
	return "basic " + base64.StdEncoding.EncodeToString([]byte(organization+"+robot:secret"))
}

// newOMPSBed starts it: int-test is public, private is not, suffixed alters
// names, replaced rewrites registries, foreign is somebody else's, and stranger
// has no credentials at all.
func newOMPSBed(t *testing.T) *ompsBed {
	t.Helper()
	own := func(name string) sandbox.Organization {
		return sandbox.Organization{Name: name, Username: name + "+robot", Password: "secret", OAuthToken: "oauth"}
	}
	folder := t.TempDir()
	secret := func(name, text string) string {
		file := path.Join(folder, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	token := func(of string) string {
		return "    app_registry_token_file: " + secret("token-of-"+of, tokenOf(of)) + "\n"
	}
	organization := func(name, more string) string {
		return fmt.Sprintf("  %s:\n    match: []\n    accept_archives: true\n    target: app-registry\n%s", name, more)
	}
	extra := organization("int-test", token("int-test")+"    public: true\n    oauth_token_file: "+secret("oauth", "oauth")+"\n") +
		organization("private", token("private")) +
		organization("suffixed", token("suffixed")+"    package_name_suffix: -suffix\n"+
			"    csv_annotations: [{name: example.com/package, value: \"the {package_name}\"}]\n") +
		organization("replaced", token("replaced")+"    replace_registry: [{old: quay.io, new: registry.example.com}, {old: '(docker)\\.io', new: '\\1.example.com', regexp: true}]\n") +
		organization("foreign", token("int-test")) +
		organization("stranger", "")
	return &ompsBed{system: newSystem(t, sandbox.Options{
		Organizations: []sandbox.Organization{own("int-test"), own("private"), own("suffixed"), own("replaced"), own("foreign"), own("stranger")},
	}, extra)}
}

// flatOperator is a package of one version whose files lie side by side.
func flatOperator(pkg string) []pipeline.File {
	short := map[string]string{"greetings.crd.yaml": "crd.yaml", pkg + ".package.yaml": "packages.yaml"}
	var files []pipeline.File
	for _, f := range sandbox.SampleOf(pkg, "1.0.0") {
		name := path.Base(f.Path)
		if s, ok := short[name]; ok {
			name = s
		} else {
			name = "csv.yaml"
		}
		files = append(files, pipeline.File{Path: name, Data: f.Data})
	}
	slices.SortFunc(files, func(a, b pipeline.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// nestedOperator is a package of three versions, each in its folder.
func nestedOperator(pkg string) []pipeline.File {
	var files []pipeline.File
	for _, version := range []string{"0.6.1", "0.9.0", "0.9.2"} {
		for _, f := range sandbox.SampleOf(pkg, version) {
			if strings.Contains(f.Path, "/") || version == "0.9.2" {
				files = append(files, f)
			}
		}
	}
	slices.SortFunc(files, func(a, b pipeline.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

func zipped(t *testing.T, files []pipeline.File) []byte {
	t.Helper()
	data, err := sandbox.Zip(files)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// edited is files with old replaced by new in each, at least once.
func edited(t *testing.T, files []pipeline.File, old, text string) []pipeline.File {
	t.Helper()
	out, found := slices.Clone(files), false
	for i, f := range out {
		found = found || bytes.Contains(f.Data, []byte(old))
		out[i].Data = bytes.ReplaceAll(f.Data, []byte(old), []byte(text))
	}
	if !found {
		t.Fatalf("%q is nowhere", old)
	}
	return out
}

// build adds a build to the hub and returns its NVR.
func (b *ompsBed) build(t *testing.T, pkg string, files []pipeline.File) string {
	t.Helper()
	nvr := pkg + "-container-1.0-1"
	if _, err := b.world.Koji.AddBuild(sandbox.Build{NVR: nvr, Archive: zipped(t, files)}); err != nil {
		t.Fatal(err)
	}
	return nvr
}

func (b *ompsBed) nextID() string {
	b.requests++
	return fmt.Sprintf("omps-%d", b.requests)
}

// send publishes a request and returns its id.
func (b *ompsBed) sendPush(t *testing.T, p events.PushEvent) string {
	t.Helper()
	p.Source, p.ID = "/omps-cases", b.nextID()
	e, subject, err := events.NewPushEvent(p)
	if err != nil {
		t.Fatal(err)
	}
	header, data, err := events.EncodeStructured(e)
	if err != nil {
		t.Fatal(err)
	}
	b.publish(subject, string(data), header)
	return p.ID
}

// push asks for a publication and returns its result.
func (b *ompsBed) push(t *testing.T, p events.PushEvent) events.ResultData {
	t.Helper()
	return b.answerTo(t, b.sendPush(t, p))
}

// remove asks for a deletion and returns its result.
func (b *ompsBed) remove(t *testing.T, organization, repository, version string) events.ResultData {
	t.Helper()
	id := b.nextID()
	e, subject, err := events.NewDeleteEvent(events.DeleteEvent{
		Organization: organization, Repository: repository, Version: version, Source: "/omps-cases", ID: id,
	})
	if err != nil {
		t.Fatal(err)
	}
	header, data, err := events.EncodeStructured(e)
	if err != nil {
		t.Fatal(err)
	}
	b.publish(subject, string(data), header)
	return b.answerTo(t, id)
}

func (b *ompsBed) answerTo(t *testing.T, id string) events.ResultData {
	t.Helper()
	r := b.next()
	if r.Trigger.ID != id {
		t.Fatalf("a result for %s, not %s: %+v", r.Trigger.ID, id, r)
	}
	return r
}

// cnr asks the app registry, as a client of Quay would.
func (b *ompsBed) cnr(t *testing.T, authorization, target string, answer any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.world.RegistryURL()+"/cnr/api/v1/packages/"+target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch answer := answer.(type) {
	case *[]byte:
		*answer = data
	default:
		if resp.StatusCode == http.StatusOK && json.Unmarshal(data, answer) != nil {
			t.Fatalf("%s: %s", target, data)
		}
	}
	return resp.StatusCode
}

// releases lists a repository's, sorted; none where it is not there.
func (b *ompsBed) releases(t *testing.T, authorization, repository string) (versions []string, status int) {
	t.Helper()
	var list []struct{ Release string }
	status = b.cnr(t, authorization, repository, &list)
	for _, r := range list {
		versions = append(versions, r.Release)
	}
	slices.Sort(versions)
	return versions, status
}

func (b *ompsBed) wantReleases(t *testing.T, repository string, want ...string) {
	t.Helper()
	got, _ := b.releases(t, tokenOf(path.Dir(repository)), repository)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("releases of %s: %s", repository, diff)
	}
}

// content is the files of a release, by their paths without the top folder.
func (b *ompsBed) content(t *testing.T, repository, version string) map[string]string {
	t.Helper()
	var blob []byte
	if status := b.cnr(t, tokenOf(path.Dir(repository)), repository+"/"+version+"/helm/pull", &blob); status != http.StatusOK {
		t.Fatalf("pull %s %s: %d %s", repository, version, status, blob)
	}
	files, err := sandbox.AppRelease{Blob: blob}.Files()
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string, len(files))
	for name, data := range files {
		texts[name] = string(data)
	}
	return texts
}

// packageName reads it out of a release of either layout.
func packageName(t *testing.T, files map[string]string) string {
	t.Helper()
	if bundle, flat := files["bundle.yaml"]; flat {
		var outer struct{ Data struct{ Packages string } }
		var packages []struct {
			PackageName string `yaml:"packageName"`
		}
		if yaml.Unmarshal([]byte(bundle), &outer) != nil || yaml.Unmarshal([]byte(outer.Data.Packages), &packages) != nil || len(packages) != 1 {
			t.Fatalf("bundle.yaml holds no package: %s", bundle)
		}
		return packages[0].PackageName
	}
	for name, text := range files {
		if !strings.HasSuffix(name, ".package.yaml") {
			continue
		}
		var pkg struct {
			PackageName string `yaml:"packageName"`
		}
		if err := yaml.Unmarshal([]byte(text), &pkg); err != nil {
			t.Fatal(err)
		}
		return pkg.PackageName
	}
	t.Fatalf("no package in %v", slices.Sorted(maps.Keys(files)))
	return ""
}

func paths(files []pipeline.File) []string {
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
	}
	return names
}

func wantPublished(t *testing.T, r events.ResultData, organization, repository, version string) {
	t.Helper()
	if r.Outcome != pipeline.OutcomePublished || r.Organization != organization || r.Release == nil ||
		r.Release.Version != version || r.Release.Repository != organization+"/"+repository || r.Repeated {
		t.Fatalf("%+v, release %+v, error %+v", r, r.Release, r.Error)
	}
}

func wantRejected(t *testing.T, r events.ResultData, reason pipeline.Reason, says string) {
	t.Helper()
	if r.Outcome != pipeline.OutcomeRejected || r.Error == nil || r.Error.Reason != reason {
		t.Fatalf("%+v, error %+v, release %+v", r, r.Error, r.Release)
	}
	if text := r.Error.Message + strings.Join(r.Error.Faults, "; "); !strings.Contains(strings.ToLower(text), strings.ToLower(says)) {
		t.Errorf("%q does not say %q", text, says)
	}
}

// TestOMPSCases does what the integration tests of OMPS 11.2 did, by events
// instead of HTTP. The names are those of OMPS's test functions; a name that
// OMPS used in two folders has the folder before it.
func TestOMPSCases(t *testing.T) {
	t.Parallel()
	b := newOMPSBed(t)
	for _, c := range ompsCases() {
		if !t.Run(c.name, func(t *testing.T) { c.run(t, b) }) {
			t.Log(b.log.String())
		}
	}
	checkOMPSNames(t)
}

// checkOMPSNames sees to it that no case of OMPS is missing, where the list of
// them is at hand.
func checkOMPSNames(t *testing.T) {
	t.Helper()
	list, err := os.ReadFile("../../../shared/corpus/OMPS-CASES.md")
	if err != nil {
		t.Logf("the list of OMPS's cases is not here, so nobody checks that all are there: %v", err)
		return
	}
	have := map[string]bool{}
	for _, c := range ompsCases() {
		have[c.name] = true
	}
	folder, rows := "", 0
	heading, row := regexp.MustCompile(`^## (\w+)`), regexp.MustCompile(`^\| (test_\w+)`)
	for line := range strings.Lines(string(list)) {
		if m := heading.FindStringSubmatch(line); m != nil {
			folder = m[1]
		}
		if m := row.FindStringSubmatch(line); m != nil {
			if rows++; !have[folder+"/"+m[1]] {
				t.Errorf("case %s/%s is not here", folder, m[1])
			}
		}
	}
	if rows != 34 {
		t.Errorf("the list has %d functions, not 34", rows)
	}
}
