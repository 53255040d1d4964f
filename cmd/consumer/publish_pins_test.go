package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// TestPublishPins moves the images of a bundle to a registry, which tells their
// digests: of the index of several architectures, and of nothing that is not
// there.
func TestPublishPins(t *testing.T) {
	t.Parallel()
	world, err := sandbox.Start(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	operand := world.RegistryHost() + "/mirror/sample-operator:1"
	ref, err := name.ParseReference(operand, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(100, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}

	byDigest := regexp.MustCompile(`sample-operator@sha256:[0-9a-f]{64}`)
	files := sandbox.SampleBundle()
	for i := range files {
		files[i].Data = byDigest.ReplaceAll(files[i].Data, []byte("sample-operator:1"))
	}
	archive := asZip(t, files)
	configure := func(more string) string {
		path := filepath.Join(t.TempDir(), "config.yaml")
		text := fmt.Sprintf(`
quay: {registry: %q, url: %q, plain_http: true, timeout: 10s}
organizations:
  myorg:
    accept_archives: true
    pin_digests: true
    replace_registry: [{old: quay.io/sample-org, new: %s/mirror, scope: images}]
    %s
`, world.RegistryHost(), world.RegistryURL(), world.RegistryHost(), more)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}

	args := []string{archive, "--organization", "myorg", "-c", configure("")}
	dry := publishReported(t, exitDone, append(args, "--dry-run")...)
	if diff := cmp.Diff([]string{operand}, dry.WouldResolve); diff != "" || len(dry.Pinned) != 0 {
		t.Errorf("dry run pins %v, would ask: %s", dry.Pinned, diff)
	}
	pushed := publishReported(t, exitDone, args...)
	for _, c := range pushed.Pinned {
		if c.Before != operand || c.After != world.RegistryHost()+"/mirror/sample-operator@"+digest.String() {
			t.Errorf("%+v", c)
		}
	}
	if len(pushed.Pinned) != 3 || pushed.Replacements[0].Count != 5 || len(pushed.WouldResolve) != 0 {
		t.Errorf("pinned %v, replaced %+v", pushed.Pinned, pushed.Replacements)
	}
	code, out, errs := command(t, append([]string{"publish"}, args...)...)
	if want := "pinned\n  - manifests/"; code != exitDone || !strings.Contains(out, want) || !strings.Contains(out, " → "+world.RegistryHost()+"/mirror/sample-operator@"+digest.String()) {
		t.Errorf("exit %d, output lacks %q: %s%s", code, want, out, errs)
	}

	if err := remote.Delete(ref); err != nil {
		t.Fatal(err)
	}
	for more, want := range map[string]string{"": "failed", "unreachable_images: reject": "rejected"} {
		report := publishReported(t, exitFailed, archive, "--organization", "myorg", "-c", configure(more))
		if report.Outcome != want || report.Error.Reason != pipeline.ReasonImageUnavailable || !strings.Contains(report.Error.Message, operand) {
			t.Errorf("%q: %s: %+v", more, report.Outcome, report.Error)
		}
	}
}
