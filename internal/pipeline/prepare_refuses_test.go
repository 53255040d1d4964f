package pipeline

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPrepareRefuses(t *testing.T) {
	edit := func(name, old, replacement string) func([]File) []File {
		return func(files []File) []File {
			for i, f := range files {
				if f.Path == name {
					if !strings.Contains(string(f.Data), old) {
						panic(name + " does not hold " + old)
					}
					files[i].Data = []byte(strings.ReplaceAll(string(f.Data), old, replacement))
				}
			}
			return files
		}
	}
	without := func(name string) func([]File) []File {
		return func(files []File) []File {
			return slices.DeleteFunc(files, func(f File) bool { return f.Path == name })
		}
	}
	add := func(name, data string) func([]File) []File {
		return func(files []File) []File { return append(files, File{name, []byte(data)}) }
	}
	cases := []struct {
		name, from string
		change     func([]File) []File
		reason     Reason
		says       string
	}{
		{"no package file", "flat-one", without("gadgets.package.yaml"), ReasonNoPackage, "channels are unknown"},
		{"no operator", "flat-one", func([]File) []File { return []File{{"a.yaml", []byte("a: b")}} }, ReasonInvalidManifests, "not an operator"},
		{"nothing", "flat-one", func([]File) []File { return nil }, ReasonInvalidManifests, "not an operator"},
		{"no CSV", "flat-one", without("csv.yaml"), ReasonInvalidManifests, "no ClusterServiceVersion"},
		{"YAML that does not parse", "flat-one", add("z.yaml", "a: [b"), ReasonInvalidManifests, "z.yaml: does not parse"},
		{"not UTF-8", "flat-one", add("z.yaml", "a: \xff"), ReasonInvalidManifests, "z.yaml: is not UTF-8"},
		{"two documents", "flat-one", add("z.yaml", "a: b\n---\nc: d\n"), ReasonInvalidManifests, "more than one document"},
		{"an alias bomb", "flat-one", add("z.yaml", bomb()), ReasonInvalidManifests, "too large once its aliases"},
		{"a million items", "flat-one", add("z.yaml", "["+strings.Repeat("a,", 1_000_001)+"]"), ReasonInvalidManifests, "too many lines and items"},
		{"deep and narrow", "flat-one", add("z.yaml", strings.Repeat(strings.Repeat("- ", 200)+"a\n", 3200)), ReasonInvalidManifests, "too many lines and items"},
		{"a merge key", "flat-one", add("z.yaml", "a: &a {b: c}\nd: {<<: *a}\n"), ReasonInvalidManifests, "merge key"},
		{"a key that is an alias", "flat-one", add("z.yaml", "a: &a b\n*a : c\n"), ReasonInvalidManifests, "not a plain word"},
		{"a key with a tag", "flat-one", add("z.yaml", "name: a\n!!binary bmFtZQ==: b\n"), ReasonInvalidManifests, "key with a tag"},
		{"a directive", "flat-one", add("z.yaml", "# x\n%YAML 1.2\n---\na: b\n"), ReasonInvalidManifests, "YAML directive"},
		{"head beside the folders", "nested", func(files []File) []File {
			for i, f := range files {
				if f.Path == "1.2.0/csv.yaml" {
					files[i].Path = "csv.yaml"
				}
			}
			return files
		}, ReasonInvalidManifests, "gadgets.v1.2.0 is not in the archive"},
		{"owned is a mapping", "flat-one", edit("csv.yaml", "      - {name: gadgets.gadgets.example.com, kind: Gadget, version: v1}", "      name: gadgets.gadgets.example.com"), ReasonInvalidManifests, "owned: is a mapping, not a list"},
		{"replaces is a list", "flat", edit("v1.1.0.csv.yaml", "replaces: gadgets.v1.0.0", "replaces: [gadgets.v1.0.0]"), ReasonInvalidManifests, "spec.replaces: is not a string"},
		{"skips is a string", "nested", edit("1.2.0/csv.yaml", "skips: [gadgets.v1.1.0]", "skips: gadgets.v1.1.0"), ReasonInvalidManifests, "spec.skips: is a scalar"},
		{"default channel is a number", "flat", edit("gadgets.package.yaml", "defaultChannel: stable", "defaultChannel: 4.5"), ReasonInvalidManifests, "defaultChannel: is not a string"},
		{"too many channels", "flat-one", edit("gadgets.package.yaml", "channels:\n", "channels:\n"+strings.Repeat("  - {name: x, currentCSV: y}\n", 200)), ReasonInvalidManifests, "are 201, not 1 to 200"},
		{"bundle of blank channels", "bundle", edit("metadata/annotations.yaml", "channels.v1: stable, beta", `channels.v1: " , "`), ReasonInvalidManifests, "are 0, not 1"},
		{"bundle with a channel twice", "bundle", edit("metadata/annotations.yaml", "channels.v1: stable, beta", "channels.v1: stable,stable"), ReasonInvalidManifests, "is there twice"},
		{"two packages", "flat-one", add("z.yaml", "packageName: z\n"), ReasonInvalidManifests, "second package manifest"},
		{"package name is a path", "flat-one", edit("gadgets.package.yaml", "gadgets\n", "../evil\n"), ReasonInvalidManifests, "cannot be a repository's name"},
		{"package name is empty", "flat-one", edit("gadgets.package.yaml", "packageName: gadgets", `packageName: ""`), ReasonInvalidManifests, "packageName: is empty"},
		{"package name is a number", "flat-one", edit("gadgets.package.yaml", "packageName: gadgets", `packageName: 1`), ReasonInvalidManifests, "packageName: is not a string"},
		{"channels null", "flat-one", edit("gadgets.package.yaml", "channels:\n  - name: alpha\n    currentCSV: gadgets.v1.0.0+build.5", "channels:"), ReasonInvalidManifests, "channels: is null"},
		{"channel of no CSV", "flat", edit("gadgets.package.yaml", "v1.1.0", "v7.0.0"), ReasonInvalidManifests, "gadgets.v7.0.0 is not in the archive"},
		{"channel of no CSV, nested", "nested", edit("gadgets.package.yaml", "v1.2.0", "v7.0.0"), ReasonInvalidManifests, "gadgets.v7.0.0 is not in the archive"},
		{"channel with a comma", "flat", edit("gadgets.package.yaml", "name: old", `name: "o,ld"`), ReasonInvalidManifests, "cannot be in a list"},
		{"version missing", "bundle", edit("manifests/csv.yaml", "  version: 1.0.0\n", ""), ReasonInvalidManifests, "spec.version: is missing"},
		{"version not semantic", "bundle", edit("manifests/csv.yaml", "version: 1.0.0", "version: v1.0"), ReasonInvalidManifests, "not a semantic version"},
		{"version a float", "bundle", edit("manifests/csv.yaml", "version: 1.0.0", "version: 1.0"), ReasonInvalidManifests, "spec.version: is not a string"},
		{"one version twice", "flat", edit("v1.1.0.csv.yaml", "version: 1.1.0", "version: 1.0.0"), ReasonInvalidManifests, "also the version in"},
		{"one name twice", "flat", edit("v0.9.0.csv.yaml", "name: gadgets.v0.9.0", "name: gadgets.v1.0.0"), ReasonInvalidManifests, "also the name in"},
		{"install modes missing", "flat-one", edit("csv.yaml", "installModes", "modes"), ReasonInvalidManifests, "spec.installModes: is missing"},
		{"strategy", "flat-one", edit("csv.yaml", "strategy: deployment", "strategy: helm"), ReasonInvalidManifests, "not deployment"},
		{"examples", "flat-one", edit("csv.yaml", "[{", "[{{"), ReasonInvalidManifests, "alm-examples: is not JSON"},
		{"certified", "flat-one", edit("csv.yaml", "    containerImage:", "    certified: yes\n    containerImage:"), ReasonInvalidManifests, "certified: is not a string"},
		{"owned CRD missing", "flat-one", without("crd.yaml"), ReasonInvalidManifests, "gadgets.gadgets.example.com is not in the archive"},
		{"owned CRD missing in its folder", "nested", without("1.1.0/crd.yaml"), ReasonInvalidManifests, "1.1.0/csv.yaml"},
		{"owned kind", "flat-one", edit("crd.yaml", "kind: Gadget", "kind: Widget"), ReasonInvalidManifests, "is Gadget, the CRD in crd.yaml has Widget"},
		{"owned version", "flat-one", edit("crd.yaml", "name: v1", "name: v2"), ReasonInvalidManifests, "v1 is none of the versions"},
		{"CRD name", "flat-one", edit("crd.yaml", "plural: gadgets", "plural: gadget"), ReasonInvalidManifests, "make gadget.gadgets.example.com"},
		{"CRD storage", "flat-one", edit("crd.yaml", "storage: true", "storage: false"), ReasonInvalidManifests, "0 of them are stored"},
		{"two CSVs in a folder", "nested", add("1.0.0/z.yaml", "kind: ClusterServiceVersion"), ReasonInvalidManifests, "not the only ClusterServiceVersion"},
		{"bundle without annotations", "bundle", without("metadata/annotations.yaml"), ReasonInvalidManifests, "no file with annotations"},
		{"bundle with two", "bundle", add("metadata/z.yaml", "annotations: {}"), ReasonInvalidManifests, "annotations: are also in"},
		{"bundle without channels", "bundle", edit("metadata/annotations.yaml", "channels.v1: stable, beta", `channels.v1: ""`), ReasonInvalidManifests, "channels.v1: is empty"},
		{"bundle of another kind", "bundle", edit("metadata/annotations.yaml", "registry+v1", "helm+v0"), ReasonInvalidManifests, "not registry+v1"},
		{"bundle that expires", "bundle", edit("metadata/annotations.yaml", "com.redhat.openshift.versions", "quay.expires-after"), ReasonInvalidManifests, "make Quay delete"},
		{"bundle package", "bundle", edit("metadata/annotations.yaml", "package.v1: gadgets", "package.v1: a/b"), ReasonInvalidManifests, "cannot be a repository's name"},
		{"bundle folder", "bundle", add("manifests/sub/x.yaml", "kind: Service"), ReasonInvalidManifests, "in a folder below manifests"},
		{"bundle readme", "bundle", add("manifests/README.md", "# Hello"), ReasonInvalidManifests, "kind: is missing"},
		{"bundle with two CSVs", "bundle", add("manifests/z.yaml", "kind: ClusterServiceVersion"), ReasonInvalidManifests, "several ClusterServiceVersions"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			files := c.change(folder(t, filepath.Join("testdata", "prepare", c.from, "in")))
			rel, err := Prepare{}.Do(t.Context(), orderOf(t, files))
			if err == nil {
				t.Fatalf("accepted:\n%s", describe(rel))
			}
			if ClassOf(err) != Rejected || ReasonOf(err) != c.reason {
				t.Errorf("is %s %s: %v", ClassOf(err), ReasonOf(err), err)
			}
			if said := strings.Join(append(FaultsOf(err), err.Error()), "\n"); !strings.Contains(said, c.says) {
				t.Errorf("does not say %q:\n%s", c.says, said)
			}
		})
	}
}

// bomb is ten levels of ten aliases each.
func bomb() string {
	s := "a0: &a0 x\n"
	for i := 1; i < 10; i++ {
		s += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return s
}

func TestResultWouldNotFit(t *testing.T) {
	var channels strings.Builder
	for i := range maxChannels {
		fmt.Fprintf(&channels, "  - {name: %s%03d, currentCSV: gadgets.v1.2.0}\n", strings.Repeat("c", 90), i)
	}
	files := folder(t, "testdata/prepare/nested/in")
	for i := range files {
		if files[i].Path == "gadgets.package.yaml" {
			files[i].Data = []byte("packageName: gadgets\nchannels:\n" + channels.String())
		}
	}
	for i := range 15 {
		name := fmt.Sprintf("0.%d.0", i)
		for _, f := range folder(t, "testdata/prepare/nested/in/1.0.0") {
			data := strings.ReplaceAll(string(f.Data), "1.0.0", name)
			files = append(files, File{name + "/" + f.Path, []byte(data)})
		}
	}
	for i, f := range files { // all of them in a row, so each is in every channel
		for v := range 15 {
			if f.Path == fmt.Sprintf("0.%d.0/csv.yaml", v) && v > 0 {
				files[i].Data = []byte(strings.Replace(string(f.Data), "spec:\n", fmt.Sprintf("spec:\n  replaces: gadgets.v0.%d.0\n", v-1), 1))
			}
			if f.Path == "1.0.0/csv.yaml" {
				files[i].Data = []byte(strings.Replace(string(folder(t, "testdata/prepare/nested/in/1.0.0")[1].Data), "spec:\n", "spec:\n  replaces: gadgets.v0.14.0\n", 1))
			}
		}
	}
	_, err := Prepare{}.Do(t.Context(), orderOf(t, files))
	if ClassOf(err) != Rejected || !strings.Contains(err.Error(), "names and channels of all bundles") {
		t.Errorf("%v %v", err, FaultsOf(err))
	}
}

func TestEveryFaultIsReported(t *testing.T) {
	files := folder(t, "testdata/prepare/flat-one/in")
	for i := range files {
		files[i].Data = []byte(strings.NewReplacer("installModes", "modes", "served: true", "served: maybe", "name: alpha", "name: 7").
			Replace(string(files[i].Data)))
	}
	_, err := Prepare{}.Do(t.Context(), orderOf(t, append(files, File{"z.yaml", []byte("{")})))
	if got := FaultsOf(err); len(got) != 4 {
		t.Errorf("%d faults: %v", len(got), got)
	}
}

func TestAllowedRegistries(t *testing.T) {
	order := orderOf(t, folder(t, "testdata/prepare/bundle/in"))
	order.Organization.AllowedRegistries = []string{"registry.example.com"}
	if _, err := (Prepare{}).Do(t.Context(), order); err != nil {
		t.Errorf("after rewriting: %v", err)
	}
	order.Organization.Rules = nil
	_, err := Prepare{}.Do(t.Context(), order)
	if ClassOf(err) != Rejected || ReasonOf(err) != ReasonForbiddenRegistry {
		t.Fatalf("is %s %s: %v", ClassOf(err), ReasonOf(err), err)
	}
	if got := FaultsOf(err); len(got) != 3 || !strings.Contains(got[1], `"quay.io/gadgets/operator:1.0.0" is from quay.io`) {
		t.Errorf("faults %q", got)
	}
}
