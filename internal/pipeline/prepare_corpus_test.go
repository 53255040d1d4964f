package pipeline

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// anyLabels are those of a bundle image, for bare content.
func anyLabels() map[string]string {
	return map[string]string{labelPackage: "gadgets", labelChannels: "stable"}
}

// TestRealOperators: every real archive that is not refused for a reason becomes
// bundles whose labels and annotations agree.
func TestRealOperators(t *testing.T) {
	for _, name := range realCorpus(t, "packagemanifest-flat", "packagemanifest-nested", "packagemanifest-odd", "bundle", "bundle-osbs") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			files, err := ReadArchive(readFile(t, name), DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			order := orderOf(t, files)
			if filepath.Base(filepath.Dir(name)) == "bundle-osbs" { // it has no package of its own
				order.Manifests.Build.Labels = anyLabels()
			}
			rel, err := Prepare{}.Do(t.Context(), order)
			if says, ok := refusedReal[filepath.Base(name)]; ok {
				if !strings.Contains(strings.Join(FaultsOf(err), "\n"), says) {
					t.Errorf("%v does not say %q", err, says)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v: %v", err, FaultsOf(err))
			}
			for _, b := range rel.Bundles {
				checkAnnotations(t, b)
			}
		})
	}
}

func checkAnnotations(t *testing.T, b Bundle) {
	t.Helper()
	for _, f := range b.Files {
		if f.Path != "metadata/annotations.yaml" {
			continue
		}
		var notes struct{ Annotations map[string]string }
		if err := yaml.Unmarshal(f.Data, &notes); err != nil {
			t.Fatal(err)
		}
		notes.Annotations[LabelBuildID], notes.Annotations[LabelBuildNVR] = "1873402", "gadgets-container-1.0-7"
		if diff := cmp.Diff(notes.Annotations, b.Labels); diff != "" {
			t.Errorf("%s: labels differ from annotations: %s", b.CSV, diff)
		}
		return
	}
	t.Errorf("%s: no annotations", b.CSV)
}
