package sandbox

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func startWorld(t *testing.T, o Options) *World {
	t.Helper()
	w, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// ask puts the question about a build to the World's Greenwave.
func ask(t *testing.T, w *World, nvr string) string {
	t.Helper()
	return do(t, http.MethodPost, w.GreenwaveURL()+decisionPath, "application/json", questionOf(nvr)).body
}

func TestWorldHoldsItsSampleBuilds(t *testing.T) {
	t.Parallel()
	w := startWorld(t, Options{})
	const satisfied, failed, missing = `"policies_satisfied":true`, "test-result-failed", "test-result-missing"
	for _, tc := range []struct{ nvr, extra, gate, file string }{
		{SampleNVR, "operator_appregistry", satisfied, "packages/sample-operator-container/1.0.0/1"},
		{UpdateNVR, "operator_appregistry", satisfied, "packages/sample-operator-container/1.1.0/1"},
		{RejectedNVR, "operator_appregistry", failed, "packages/sample-operator-container/1.1.0/2"},
		{WaitingNVR, "operator_appregistry", missing, "packages/sample-operator-container/1.1.0/3"},
		{BundleNVR, "operator_bundle", satisfied, "packages/sample-operator-bundle-container/1.1.0/1"},
		{PlainNVR, "container_build", satisfied, ""},
	} {
		body := "<methodCall><methodName>getBuild</methodName><params><param><value><string>" + tc.nvr +
			"</string></value></param></params></methodCall>"
		if got := do(t, http.MethodPost, w.HubURL(), "text/xml", body); !strings.Contains(got.body, tc.extra) {
			t.Errorf("the hub says of %s: %s", tc.nvr, got.body)
		}
		if got := ask(t, w, tc.nvr); !strings.Contains(got, tc.gate) {
			t.Errorf("Greenwave says of %s: %s", tc.nvr, got)
		}
		if tc.file == "" {
			continue
		}
		url := w.FilesURL() + tc.file + "/files/operator-manifests/operator_manifests.zip"
		if got := do(t, http.MethodGet, url, "", ""); got.status != http.StatusOK || !strings.HasPrefix(got.body, "PK") {
			t.Errorf("GET %s is answered %d", url, got.status)
		}
	}
	if got := do(t, http.MethodGet, w.RegistryURL()+"/v2/", "", ""); got.status != http.StatusOK {
		t.Errorf("the registry answers %d %s", got.status, got.body)
	}
}

func TestWorldIsAsItsOptionsSay(t *testing.T) {
	t.Parallel()
	w := startWorld(t, Options{
		Gate: GateMissing, Archive: []byte("not a zip"),
		Organizations: []Organization{{Name: "mine", Username: "mine+robot", Password: "secret"}},
	})
	if got := ask(t, w, SampleNVR); !strings.Contains(got, "test-result-missing") {
		t.Errorf("Greenwave says %s", got)
	}
	url := w.FilesURL() + "packages/sample-operator-container/1.0.0/1/files/operator-manifests/operator_manifests.zip"
	if got := do(t, http.MethodGet, url, "", ""); got.body != "not a zip" {
		t.Errorf("the archive is %q", got.body)
	}
	if got := do(t, http.MethodGet, "http://"+w.RegistryHost()+"/v2/", "", ""); got.status != http.StatusUnauthorized {
		t.Errorf("the registry answers %d", got.status)
	}
	for _, o := range []Options{{Gate: "ajar"}, {Host: "203.0.113.1"}} {
		if w, err := Start(o); err == nil {
			w.Close()
			t.Errorf("a World starts with %+v", o)
		}
	}
}

// The reference validator of bundles has nothing to say against the samples.
func TestSamplesPassOPM(t *testing.T) {
	t.Parallel()
	opm, err := exec.LookPath("opm")
	if err != nil {
		t.Skip("no opm to validate with")
	}
	w := startWorld(t, Options{})
	home := opmHome(t, w.RegistryHost())
	bundle := SampleBundle()
	first := []pipeline.File{bundle[len(bundle)-1]}
	for _, f := range SampleFirstPackage() {
		if name, ok := strings.CutPrefix(f.Path, "1.0.0/"); ok {
			first = append(first, pipeline.File{Path: "manifests/" + name, Data: f.Data})
		}
	}
	for tag, files := range map[string][]pipeline.File{"1.1.0": bundle, "1.0.0": first} {
		ref := reference(t, w.RegistryServer, "samples/sample-operator:"+tag)
		if err := remote.Write(ref, bundleImage(t, files), remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"alpha", "bundle", "validate", "--image-builder", "none", "--use-http", "--tag", ref.String(), "--optional-validators", "operatorhub,bundle-objects"},
			{"render", "--use-http", ref.String()},
		} {
			cmd := exec.CommandContext(t.Context(), opm, args...)
			cmd.Dir, cmd.Env = home, append(os.Environ(), "HOME="+home, "TMPDIR="+home)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("opm %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
	}
}

// opmHome is a home in which opm pulls from that registry: over plain HTTP,
// which `validate` does not do for a flag, and without asking for signatures.
func opmHome(t *testing.T, registry string) string {
	t.Helper()
	home := t.TempDir()
	dir := filepath.Join(home, ".config", "containers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"policy.json":     `{"default": [{"type": "insecureAcceptAnything"}]}`,
		"registries.conf": fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", registry),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

func bundleImage(t *testing.T, files []pipeline.File) v1.Image {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.Path, Mode: 0o644, Size: int64(len(f.Data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(buf.Bytes(), types.DockerUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.Config(image, v1.Config{Labels: SampleBundleLabels()})
	if err != nil {
		t.Fatal(err)
	}
	return image
}
