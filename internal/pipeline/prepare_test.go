package pipeline

import (
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files under testdata")

// folder reads every file below dir, sorted by path.
func folder(tb testing.TB, dir string) []File {
	tb.Helper()
	var files []File
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		files = append(files, File{Path: name, Data: data})
		return err
	})
	if err != nil || len(files) == 0 {
		tb.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

func orderOf(tb testing.TB, files []File) Order {
	tb.Helper()
	org := sampleOrganizations()[0]
	org.Rules = []Rule{mustRule(tb, "quay.io", "registry.example.com", false)}
	return Order{Organization: org, Manifests: manifestsOf(tb, files)}
}

func manifestsOf(tb testing.TB, files []File) Manifests {
	tb.Helper()
	m := Manifests{Build: Build{ID: 1873402, NVR: NVR{"gadgets-container", "1.0", "7"}}, Files: files}
	var err error
	if m.operator, m.faults, err = readOperator(tb.Context(), files); err != nil {
		tb.Fatal(err)
	}
	return m
}

// TestPrepare packs the archives under testdata/prepare.
func TestPrepare(t *testing.T) {
	dirs, err := filepath.Glob("testdata/prepare/*/in")
	if err != nil || len(dirs) < 4 {
		t.Fatalf("%d cases, %v", len(dirs), err)
	}
	for _, in := range dirs {
		golden := filepath.Join(filepath.Dir(in), "want.txt")
		t.Run(filepath.Base(filepath.Dir(in)), func(t *testing.T) {
			rel, err := Prepare{}.Do(t.Context(), orderOf(t, folder(t, in)))
			if err != nil {
				t.Fatalf("%v: %v", err, FaultsOf(err))
			}
			got := describe(rel)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// describe writes a release as text: what is new or rewritten in full, and
// the names of the rest.
func describe(rel Release) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n", rel.Package)
	for _, r := range rel.Replacements {
		fmt.Fprintf(&b, "replacement %s %s %d\n", r.Old, r.New, r.Count)
	}
	for _, w := range rel.Warnings {
		fmt.Fprintf(&b, "warning %s\n", w)
	}
	for _, bundle := range rel.Bundles {
		fmt.Fprintf(&b, "\n=== %s %s\n%s %v\nchannels %v default %q\n", bundle.CSV, bundle.Version,
			bundle.Repository, bundle.Tags, bundle.Channels, bundle.DefaultChannel)
		for _, key := range slices.Sorted(maps.Keys(bundle.Labels)) {
			fmt.Fprintf(&b, "%s=%s\n", key, bundle.Labels[key])
		}
		for _, f := range bundle.Files {
			fmt.Fprintf(&b, "--- %s\n", f.Path)
			if strings.Contains(f.Path, "csv") || strings.HasPrefix(f.Path, "metadata/ann") {
				b.Write(f.Data)
			}
		}
	}
	return b.String()
}

// operator-courier took no notice of a CSV beside the version folders.
func TestStrayCSVIsOnlyAWarning(t *testing.T) {
	files := append(folder(t, "testdata/prepare/nested/in"),
		File{"stray.yaml", []byte("kind: ClusterServiceVersion\nmetadata: {name: gadgets.v1.2.0}\nspec: {version: v1}\n")})
	rel, err := Prepare{}.Do(t.Context(), orderOf(t, files))
	if err != nil || len(rel.Bundles) != 3 {
		t.Fatalf("%d bundles, %v", len(rel.Bundles), err)
	}
	if said := strings.Join(rel.Warnings, "\n"); !strings.Contains(said, "beside the version folders") {
		t.Errorf("warnings: %s", said)
	}
}

// An image is one wherever it stands.
func TestImageReferences(t *testing.T) {
	doc, err := parseYAML(File{"x.yaml", []byte(`
image: a/b
containerImage: &c quay.io/c:1
env:
  - {name: RELATED_IMAGE_X, value: x.io/related:1}
  - {name: OPERAND, value: y.io:5000/operand@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}
  - {name: URL, value: "https://z.io/page:1"}
  - {name: PLAIN, value: z.io/no/tag}
copy: {image: *c}
args: ["--image=no", "w.io/list/item:v1"]
`)})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range imagesIn(doc.root, maxImages) {
		for _, at := range s.refs {
			got = append(got, registryOf(at.of(s.node.Value)))
		}
	}
	if diff := cmp.Diff([]string{"docker.io", "quay.io", "x.io", "y.io:5000", "w.io"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestChannelsOf(t *testing.T) {
	of := func(name, replaces string, skips ...string) csv {
		return csv{manifest: manifest{name: name}, replaces: replaces, skips: skips}
	}
	csvs := []csv{of("1", ""), of("2", "1"), of("beta1", ""), of("beta2", "beta1"), of("3", "2", "beta2", "gone"), of("loop", "loop"), of("a", "b"), of("b", "a")}
	channels := []channel{{"stable", "3"}, {"old", "2"}, {"loop", "loop"}, {"ring", "a"}}
	want := map[string][]string{
		"1": {"old", "stable"}, "2": {"old", "stable"}, "3": {"stable"},
		"beta2": {"stable"}, // skipped: there, but what it replaces is not
		"loop":  {"loop"}, "a": {"ring"}, "b": {"ring"},
	}
	got := channelsOf(channels, csvs)
	for _, c := range csvs {
		if diff := cmp.Diff(want[c.name], got[c.name]); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestRegistryOf(t *testing.T) {
	for ref, want := range map[string]string{
		"quay.io/a/b:1": "quay.io", "a/b": "docker.io", "b": "docker.io", "localhost/b": "localhost",
		"host:5000/b@sha256:0": "host:5000", "https://quay.io/a": "quay.io", "oci://quay.io/a": "quay.io",
	} {
		if got := registryOf(ref); got != want {
			t.Errorf("%s is from %s, not %s", ref, want, got)
		}
	}
}

func TestRequestOverrides(t *testing.T) {
	order := orderOf(t, folder(t, "testdata/prepare/bundle/in"))
	order.Manifests.Build.Trigger.Repository = "elsewhere"
	rel, err := Prepare{}.Do(t.Context(), order)
	if err != nil || rel.Bundles[0].Repository != "all/elsewhere" {
		t.Errorf("%+v, %v", rel.Bundles, err)
	}
	order.Manifests.Build.Trigger.Repository = "../elsewhere"
	if _, err := (Prepare{}).Do(t.Context(), order); ClassOf(err) != Rejected {
		t.Errorf("a path as a repository: %v", err)
	}
}

func TestBundleTags(t *testing.T) {
	nvr := NVR{"x-container", "1.0", "1"}
	cases := []struct {
		templates []string
		version   string
		nvr       NVR
		several   bool
		want      string
	}{
		{[]string{"{version}", "{nvr}"}, "1.2.3", nvr, false, "1.2.3 x-container-1.0-1"},
		{[]string{"{version}", "{nvr}"}, "1.2.3", nvr, true, "1.2.3 x-container-1.0-1-1.2.3"},
		{[]string{"v{version}", "latest"}, "1.2.3", nvr, true, "v1.2.3 latest-1.2.3"},
		{[]string{"{version}"}, "1.0.0+build.5", nvr, false, "1.0.0_build.5"},
		{[]string{"{nvr}"}, "1", NVR{"x", "1", "1~bp,draft"}, false, "x-1-1_bp_draft"},
		{[]string{"{version}", "{nvr}"}, "1.2.3", NVR{}, false, "1.2.3"},
		{[]string{"{version}", "{version}"}, "1.2.3", nvr, false, "1.2.3"},
		{[]string{"-{version}"}, "1", nvr, false, "error"},
		{[]string{"{package}"}, "1", nvr, false, "p"},
		{[]string{strings.Repeat("x", 129)}, "1", nvr, false, "error"},
	}
	for _, c := range cases {
		tags, err := bundleTags(c.templates, "p", c.version, c.nvr, c.several)
		got := strings.Join(tags, " ")
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%v of %s: %q, want %q (%v)", c.templates, c.version, got, c.want, err)
		}
	}
}
