package sandbox

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestSampleForms(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files []pipeline.File
		want  []string
	}{
		"package": {SamplePackage(), []string{
			"1.0.0/greetings.crd.yaml", "1.0.0/sample-operator.v1.0.0.clusterserviceversion.yaml",
			"1.1.0/greetings.crd.yaml", "1.1.0/sample-operator.v1.1.0.clusterserviceversion.yaml",
			"sample-operator.package.yaml",
		}},
		"first package": {SampleFirstPackage(), []string{
			"1.0.0/greetings.crd.yaml", "1.0.0/sample-operator.v1.0.0.clusterserviceversion.yaml",
			"sample-operator.package.yaml",
		}},
		"bundle": {SampleBundle(), []string{
			"manifests/greetings.crd.yaml", "manifests/sample-operator.v1.1.0.clusterserviceversion.yaml",
			"metadata/annotations.yaml",
		}},
		"bundle content": {SampleBundleContent(), []string{
			"greetings.crd.yaml", "sample-operator.v1.1.0.clusterserviceversion.yaml",
		}},
	} {
		var got []string
		for _, f := range tc.files {
			got = append(got, f.Path)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s holds %q, want %q", name, got, tc.want)
		}
	}
}

// What a reader of manifests relies on: every channel leads to a CSV, the CSVs
// replace each other, the examples are JSON, and there is something to rewrite.
func TestSampleIsConsistent(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][]pipeline.File{
		"package": SamplePackage(), "first package": SampleFirstPackage(),
	} {
		csvs := map[string]string{} // to what it replaces
		var pkg struct {
			PackageName string `yaml:"packageName"`
			Channels    []struct {
				Name       string `yaml:"name"`
				CurrentCSV string `yaml:"currentCSV"`
			} `yaml:"channels"`
		}
		for _, f := range files {
			switch {
			case strings.HasSuffix(f.Path, ".package.yaml"):
				if err := yaml.Unmarshal(f.Data, &pkg); err != nil {
					t.Fatal(err)
				}
			case strings.Contains(f.Path, "clusterserviceversion"):
				name, replaces := checkCSV(t, f)
				csvs[name] = replaces
			}
		}
		if pkg.PackageName != "sample-operator" || len(pkg.Channels) != 2 {
			t.Errorf("%s: package file says %+v", name, pkg)
		}
		for _, c := range pkg.Channels {
			if _, ok := csvs[c.CurrentCSV]; !ok {
				t.Errorf("%s: channel %s leads to %s, which is not there", name, c.Name, c.CurrentCSV)
			}
		}
		for csv, replaces := range csvs {
			if _, ok := csvs[replaces]; !ok && replaces != "" {
				t.Errorf("%s: %s replaces %s, which is not there", name, csv, replaces)
			}
		}
	}
}

func checkCSV(t *testing.T, f pipeline.File) (name, replaces string) {
	t.Helper()
	var csv struct {
		Metadata struct {
			Name        string            `yaml:"name"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"metadata"`
		Spec struct {
			Version  string `yaml:"version"`
			Replaces string `yaml:"replaces"`
			Images   []struct {
				Image string `yaml:"image"`
			} `yaml:"relatedImages"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal(f.Data, &csv); err != nil {
		t.Fatal(err)
	}
	if csv.Metadata.Name != "sample-operator.v"+csv.Spec.Version || !strings.HasPrefix(f.Path, csv.Spec.Version+"/") {
		t.Errorf("%s names itself %s of version %s", f.Path, csv.Metadata.Name, csv.Spec.Version)
	}
	if !json.Valid([]byte(csv.Metadata.Annotations["alm-examples"])) {
		t.Errorf("%s: examples are no JSON", f.Path)
	}
	if len(csv.Spec.Images) != 2 || strings.Count(string(f.Data), "quay.io/sample-org/") < 7 {
		t.Errorf("%s names %d related images, quay.io %d times", f.Path, len(csv.Spec.Images), strings.Count(string(f.Data), "quay.io/"))
	}
	return csv.Metadata.Name, csv.Spec.Replaces
}

func TestSampleOfAnotherNameAndVersion(t *testing.T) {
	t.Parallel()
	same := func(a, b pipeline.File) bool { return a.Path == b.Path && bytes.Equal(a.Data, b.Data) }
	if !slices.EqualFunc(SampleOf("sample-operator", "1.0.0"), SampleFirstPackage(), same) {
		t.Error("under its own name the sample is another")
	}
	var paths []string
	for _, f := range SampleOf("other", "2.3.4") {
		paths = append(paths, f.Path)
		for _, old := range []string{"sample-operator", "1.0.0"} {
			if strings.Contains(string(f.Data), old) {
				t.Errorf("%s holds %s", f.Path, old)
			}
		}
	}
	want := []string{"2.3.4/greetings.crd.yaml", "2.3.4/other.v2.3.4.clusterserviceversion.yaml", "other.package.yaml"}
	if !slices.Equal(paths, want) {
		t.Errorf("paths are %q, want %q", paths, want)
	}
}

func TestSampleBundleLabelsAreItsAnnotations(t *testing.T) {
	t.Parallel()
	var file struct {
		Annotations map[string]string `yaml:"annotations"`
	}
	files := SampleBundle()
	if err := yaml.Unmarshal(files[len(files)-1].Data, &file); err != nil {
		t.Fatal(err)
	}
	if labels := SampleBundleLabels(); !maps.Equal(labels, file.Annotations) {
		t.Errorf("labels are %v, annotations %v", labels, file.Annotations)
	}
}

func TestZipIsReproducibleAndAsOSBSPacks(t *testing.T) {
	t.Parallel()
	data := SampleArchive()
	if !bytes.Equal(data, SampleArchive()) {
		t.Error("the same files give different bytes")
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	want := SamplePackage()
	if len(r.File) != len(want) {
		t.Fatalf("archive has %d entries, want %d", len(r.File), len(want))
	}
	for i, f := range r.File {
		if f.Method != zip.Deflate || f.Mode() != 0o644 || f.Name != want[i].Path {
			t.Errorf("entry %d is %s, method %d, mode %v", i, f.Name, f.Method, f.Mode())
		}
		content, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(content); err != nil || !bytes.Equal(got, want[i].Data) {
			t.Errorf("%s differs: %v", f.Name, err)
		}
	}
	if b := SampleBundleArchive(); bytes.Equal(b, data) || len(b) == 0 {
		t.Error("the bundle's archive is the package's")
	}
}

func TestZipDirAndItsErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b.yaml", "a.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.yaml", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	got, err := ZipDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Zip([]pipeline.File{
		{Path: "a.yaml", Data: []byte("a.yaml")}, {Path: "a/b.yaml", Data: []byte("a/b.yaml")},
	})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the directory's archive differs from its files': %v", err)
	}
	if _, err := ZipDir(filepath.Join(dir, "no-such")); err == nil {
		t.Error("a directory that is not there is packed")
	}
	if _, err := Zip([]pipeline.File{{Path: strings.Repeat("x", 1<<16)}}); err == nil || len(err.Error()) > 200 {
		t.Errorf("a name of 64 KiB: %v", err)
	}
}
