package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// publishConfig writes a configuration for a registry, with an organization for
// each target and one that takes no archives. The files that it names are there
// only where the test writes them.
func publishConfig(t *testing.T, registry, rest string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf(`
nats: {url: "nats://%[1]s", credentials_file: no-credentials}
koji: {hub_url: "http://%[1]s/hub", root_url: "http://%[1]s/files"}
greenwave: {url: "http://%[1]s"}
quay: {registry: "%[1]s", url: "http://%[1]s", plain_http: true, timeout: 10s}
%[2]s
organizations:
  myorg:
    accept_archives: true
    push_username: myorg+robot
    push_password_file: password
    replace_registry: [{old: quay.io, new: registry.example.com}]
  apps:
    accept_archives: true
    target: app-registry
    push_username: apps+robot
    push_password_file: password
    replace_registry: [{old: quay.io, new: registry.example.com}]
  closed: {push_username: closed+robot, push_password_file: no-password}
`, registry, rest)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// offline is a configuration of servers that nobody may so much as connect to.
func offline(t *testing.T, rest string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Errorf("%s connected", conn.RemoteAddr())
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return publishConfig(t, listener.Addr().String(), rest)
}

// registryWorld is a registry that lets only the robots in, and a configuration
// for it.
func registryWorld(t *testing.T) (*sandbox.World, string) {
	t.Helper()
	world, err := sandbox.Start(sandbox.Options{Organizations: []sandbox.Organization{
		{Name: "myorg", Username: "myorg+robot", Password: "s3cret"}, {Name: "apps", Username: "apps+robot", Password: "s3cret"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	config := publishConfig(t, world.RegistryHost(), "")
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "password"), []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return world, config
}

// asZip and asFolder put files on the disk.
func asZip(t *testing.T, files []pipeline.File) string {
	t.Helper()
	data, err := sandbox.Zip(files)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "manifests.zip")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func asFolder(t *testing.T, files []pipeline.File) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// flat is package manifests in one folder.
func flat() []pipeline.File {
	files := sandbox.SampleFirstPackage()
	for i := range files {
		files[i].Path = strings.TrimPrefix(files[i].Path, "1.0.0/")
	}
	return files
}

// publishReported runs publish --json, and returns what it reports.
func publishReported(t *testing.T, wantCode int, args ...string) publishReport {
	t.Helper()
	code, out, errs := command(t, append([]string{"publish", "--json"}, args...)...)
	var report publishReport
	if err := json.Unmarshal([]byte(out), &report); err != nil || strings.Count(out, "\n") != 1 {
		t.Fatalf("publish %v: exit %d, stdout is not one line of JSON: %q %s", args, code, out, errs)
	}
	if code != wantCode {
		t.Fatalf("publish %v: exit %d, want %d: %s", args, code, wantCode, errs)
	}
	return report
}

func layoutDigests(t *testing.T, dir string) []string {
	t.Helper()
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, d := range manifest.Manifests {
		if _, err := path.Image(d.Digest); err != nil {
			t.Error(err)
		}
		digests = append(digests, d.Digest.String())
	}
	return digests
}

func digestsOf(r publishReport) []string {
	var digests []string
	for _, b := range r.Bundles {
		_, digest, _ := strings.Cut(b.Reference, "@")
		digests = append(digests, digest)
	}
	return digests
}

// What a dry run tells, what lies in a layout and what is pushed are the same,
// of a zip file and of a folder.
func TestPublishIsOneAndTheSame(t *testing.T) {
	t.Parallel()
	world, config := registryWorld(t)
	for name, files := range map[string][]pipeline.File{"nested": sandbox.SamplePackage(), "flat": flat(), "bundle": sandbox.SampleBundle()} {
		unseen := offline(t, "")
		for n, archive := range []string{asZip(t, files), asFolder(t, files)} {
			args := []string{archive, "--organization", "myorg", "--repository", name}
			dry := publishReported(t, exitDone, append(args, "-c", unseen, "--dry-run")...)
			dir := filepath.Join(t.TempDir(), "layout")
			written := publishReported(t, exitDone, append(args, "-c", unseen, "--to", dir)...)
			pushed := publishReported(t, exitDone, append(args, "-c", config)...)

			want := digestsOf(pushed)
			if len(want) == 0 || !slices.Equal(want, digestsOf(dry)) || !slices.Equal(want, digestsOf(written)) || !slices.Equal(want, layoutDigests(t, dir)) {
				t.Errorf("%s: pushed %v, dry run %v, written %v, in the layout %v", name, want, digestsOf(dry), digestsOf(written), layoutDigests(t, dir))
			}
			if got := world.Registry.Contents("myorg/" + name).Digests; !slices.Equal(slices.Sorted(slices.Values(want)), got) {
				t.Errorf("%s: the registry has %v, want %v", name, got, want)
			}
			for i, b := range pushed.Bundles {
				_, b.Reference, _ = strings.Cut(b.Reference, "/")
				for _, other := range []publishReport{dry, written} {
					o := other.Bundles[i]
					_, o.Reference, _ = strings.Cut(o.Reference, "/")
					if diff := cmp.Diff(b, o); diff != "" {
						t.Errorf("%s: %s", name, diff)
					}
				}
			}
			if dry.Outcome != "would-publish" || !dry.DryRun || written.Outcome != "written" || written.To != dir || pushed.Outcome != "published" {
				t.Errorf("%s: outcomes %s, %s, %s", name, dry.Outcome, written.Outcome, pushed.Outcome)
			}
			if pushed.Repeated != (n > 0) {
				t.Errorf("%s: repeated is %t of %s", name, pushed.Repeated, archive)
			}
		}
	}
}

func TestPublishToAppRegistry(t *testing.T) {
	t.Parallel()
	world, config := registryWorld(t)
	for i, files := range [][]pipeline.File{sandbox.SamplePackage(), flat()} {
		args := []string{asZip(t, files), "--organization", "apps", "--version", fmt.Sprintf("%d.0.0", i+3)}
		unseen := offline(t, "")
		dry := publishReported(t, exitDone, append(args, "-c", unseen, "--dry-run")...)
		dir := filepath.Join(t.TempDir(), "content")
		written := publishReported(t, exitDone, append(args, "-c", unseen, "--to", dir)...)
		pushed := publishReported(t, exitDone, append(args, "-c", config)...)
		if pushed.Release == nil || dry.Release == nil || written.Release == nil || *dry.Release != *pushed.Release || *written.Release != *pushed.Release {
			t.Errorf("dry run %+v, written %+v, pushed %+v", dry.Release, written.Release, pushed.Release)
		}
		release := world.Registry.Releases("apps/sample-operator")[i]
		if release.Digest != pushed.Release.Digest {
			t.Errorf("the registry has %+v, pushed %+v", release, pushed.Release)
		}
		if _, err := os.Stat(filepath.Join(dir, "sample-operator-"+pushed.Release.Version+".tar.gz")); err != nil {
			t.Error(err)
		}
	}
	next := publishReported(t, exitDone, asZip(t, flat()), "--organization", "apps", "-c", config, "--dry-run")
	refused := publishReported(t, exitFailed, asZip(t, flat()), "--organization", "apps", "--repository", "a/b", "-c", config, "--dry-run")
	if refused.Outcome != "rejected" || refused.Error.Reason != pipeline.ReasonQuayRefused || refused.Release != nil {
		t.Errorf("%+v", refused)
	}
	if next.Release.Version != "" || len(next.Bundles) != 0 {
		t.Errorf("%+v %v", next.Release, next.Bundles)
	}
}

func TestPublishSaysWhatItWouldDo(t *testing.T) {
	t.Parallel()
	config := offline(t, "")
	code, out, errs := command(t, "publish", asZip(t, sandbox.SamplePackage()), "--organization", "myorg", "-c", config, "--dry-run")
	if code != exitDone || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	for _, want := range []string{
		"--- a/1.0.0/sample-operator.v1.0.0.clusterserviceversion.yaml\n+++ b/1.0.0/sample-operator.v1.0.0.clusterserviceversion.yaml\n@@ -",
		"\n-    containerImage: quay.io/sample-org/sample-operator@", "\n+    containerImage: registry.example.com/sample-org/sample-operator@",
		"\n--- /dev/null\n+++ b/1.1.0/metadata/annotations.yaml\n@@ -0,0 +1,7 @@\n+annotations:\n",
		"\nreplaced\n  ", " × quay.io → registry.example.com\n",
		"\nwould be published: package sample-operator for myorg\n  sample-operator.v1.0.0\n    version     1.0.0\n    image       127.0.0.1:",
		"\n    tags        1.1.0\n    channels    ", "stable (default)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") || strings.Contains(out, "greetings.crd.yaml\n+++") {
		t.Errorf("output has colours, or a file that did not change:\n%s", out)
	}
}

func TestPublishPushes(t *testing.T) {
	t.Parallel()
	world, config := registryWorld(t)
	archive := asZip(t, sandbox.SampleBundle())
	for _, want := range []string{"published: package sample-operator for myorg\n", "published: package sample-operator for myorg, which was there already\n"} {
		code, out, errs := command(t, "publish", archive, "--organization", "myorg", "-c", config)
		if code != exitDone || errs != "" || !strings.Contains(out, want+"  sample-operator.v1.1.0\n    version     1.1.0\n    image       "+world.RegistryHost()+"/myorg/sample-operator@sha256:") {
			t.Errorf("exit %d: %s%s", code, out, errs)
		}
		if strings.Contains(out, "+++") {
			t.Errorf("a push prints a diff:\n%s", out)
		}
	}
	if got := slices.Collect(maps.Keys(world.Registry.Contents("myorg/sample-operator").Tags)); !slices.Equal(got, []string{"1.1.0"}) {
		t.Errorf("tags are %v", got)
	}

	// The secrets of others are not asked for, one's own are.
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "password"), []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	report := publishReported(t, exitFailed, archive, "--organization", "myorg", "-c", config)
	if report.Outcome != "failed" || report.Error.Reason != pipeline.ReasonUnauthorized || report.Error.Stage != pipeline.StagePush {
		t.Errorf("%s: %+v", report.Outcome, report.Error)
	}
	code, out, errs := command(t, "publish", archive, "--organization", "myorg", "-c", config)
	if code != exitFailed || !strings.HasPrefix(errs, "consumer: failed, unauthorized: push: ") || !strings.Contains(out, "failed: unauthorized\n  - push: ") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if strings.Contains(out+errs, "wrong") {
		t.Errorf("the password is told: %s%s", out, errs)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(config), "password")); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := command(t, "publish", archive, "--organization", "myorg", "-c", config); code != exitUsage || !strings.Contains(errs, "push_password_file: cannot read") || out != "" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestPublishRejects(t *testing.T) {
	t.Parallel()
	config := offline(t, "")
	files := sandbox.SampleBundle()
	for i, f := range files {
		files[i].Data = []byte(strings.ReplaceAll(string(f.Data), "  version: 1.1.0", "  version: one\x7fpoint\u202eone"))
	}
	broken := asZip(t, files)
	report := publishReported(t, exitFailed, broken, "--organization", "myorg", "-c", config, "--dry-run")
	if report.Outcome != "rejected" || report.Error.Reason != pipeline.ReasonInvalidManifests || len(report.Error.Faults) == 0 || report.Bundles != nil {
		t.Errorf("%+v", report)
	}

	for i := range files {
		files[i].Data = []byte(strings.ReplaceAll(string(files[i].Data), "\x7f", " "))
	}
	broken = asZip(t, files)
	report = publishReported(t, exitFailed, broken, "--organization", "myorg", "-c", config, "--dry-run")
	if report.Package != "sample-operator" || len(report.Error.Faults) == 0 || len(report.Files) != 1 || !strings.Contains(report.Files[0].Diff, "+    containerImage: registry.example.com/") {
		t.Errorf("%+v", report)
	}
	code, out, errs := command(t, "publish", broken, "--organization", "myorg", "-c", config, "--dry-run")
	if code != exitFailed || !strings.Contains(out, "\nrejected: invalid-manifests\n  - manifests/sample-operator.v1.1.0.clusterserviceversion.yaml: spec.version: ") ||
		!strings.Contains(out, "+    containerImage: registry.example.com/") || strings.Contains(out, "would be") || !strings.HasPrefix(errs, "consumer: rejected, invalid-manifests: prepare: ") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	if code, _, _ := command(t, "publish", broken, "--organization", "myorg", "-c", config, "--to", dir); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
}

func TestPublishUsage(t *testing.T) {
	t.Parallel()
	config, archive, dir := offline(t, ""), asZip(t, sandbox.SampleBundle()), t.TempDir()
	full := asFolder(t, sandbox.SampleBundle())
	link := filepath.Join(dir, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{archive + " -c " + config, `"organization"`},
		{archive + " --organization myorg", `"config"`},
		{"--organization myorg -c " + config, "accepts 1 arg"},
		{archive + " --organization myogr --dry-run -c " + config, "did you mean myorg?"},
		{archive + " --organization nothing-like-it --dry-run -c " + config, "known here are apps, closed, myorg"},
		{archive + " --organization closed -c " + config, "set accept_archives: true for it in " + config},
		{archive + " --organization myorg --dry-run --to x -c " + config, "none of the others can be"},
		{archive + " --organization myorg --dry-run --version 1.0.0 -c " + config, "version is its ClusterServiceVersion's"},
		{archive + " --organization apps --dry-run --version one -c " + config, `"one" is not int.int.int`},
		{archive + " --organization myorg --dry-run --repository A/b -c " + config, `"A/b" cannot be a repository's name`},
		{archive + " --organization myorg --to " + full + " -c " + config, "is not empty"},
		{archive + " --organization myorg --to " + archive + " -c " + config, "is no folder"},
		{archive + " --organization myorg --to " + link + " -c " + config, "is no folder"},
		{archive + " --organization myorg --to " + dir + "/no/such -c " + config, "the folder above it: no such file or directory"},
		{archive + " --organization myorg --to " + archive + "/x -c " + config, "not a directory"},
		{dir + "/no-such.zip --organization myorg --dry-run -c " + config, "no-such.zip: no such file or directory"},
		{os.DevNull + " --organization myorg --dry-run -c " + config, "is neither a file nor a folder"},
		{archive + " --organization myorg --dry-run -c " + archive, "is not YAML"},
		{archive + " --organization myorg --dry-run -c " + dir + "/no-such.yaml", "cannot be read"},
	} {
		code, out, errs := command(t, append([]string{"publish"}, strings.Fields(tt.args)...)...)
		if code != exitUsage || out != "" || !strings.HasPrefix(errs, "consumer: ") && !strings.Contains(errs, "Usage") || !strings.Contains(errs, tt.want) {
			t.Errorf("publish %s: exit %d: %s%s, want %q", tt.args, code, out, errs, tt.want)
		}
	}
}

// An organization that takes no archives may be tried all the same.
func TestPublishWithoutAccepting(t *testing.T) {
	t.Parallel()
	config, archive := offline(t, ""), asZip(t, sandbox.SampleBundle())
	dry := publishReported(t, exitDone, archive, "--organization", "closed", "-c", config, "--dry-run")
	written := publishReported(t, exitDone, archive, "--organization", "closed", "-c", config, "--to", t.TempDir()) // an empty folder
	if len(dry.Bundles) != 1 || !slices.Equal(digestsOf(dry), digestsOf(written)) {
		t.Errorf("dry run %v, written %v", dry.Bundles, written.Bundles)
	}
}
