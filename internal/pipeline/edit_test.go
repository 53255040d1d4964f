package pipeline

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// reading is what a YAML text says, in a form of its own that knows nothing of
// the code under test: aliases followed, of two keys the last, scalars with
// their kind in front.
func reading(tb testing.TB, data []byte) any {
	tb.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		tb.Fatalf("%v:\n%s", err, data)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	return readingOf(doc.Content[0])
}

func readingOf(n *yaml.Node) any {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case yaml.AliasNode:
		return readingOf(n.Alias)
	case yaml.ScalarNode:
		return n.ShortTag() + " " + n.Value
	case yaml.MappingNode:
		entries := make(map[string]any)
		for i := 0; i < len(n.Content); i += 2 {
			entries[n.Content[i].Value] = readingOf(n.Content[i+1])
		}
		return entries
	}
	list := []any{}
	for _, child := range n.Content {
		list = append(list, readingOf(child))
	}
	return list
}

// set gives a reading another value at a path of keys. What is missing or null
// on the way becomes a mapping.
func set(read any, value string, keys ...string) any {
	if len(keys) == 0 {
		return "!!str " + value
	}
	entries := make(map[string]any)
	if before, ok := read.(map[string]any); ok {
		entries = maps.Clone(before)
	}
	entries[keys[0]] = set(entries[keys[0]], value, keys[1:]...)
	return entries
}

// TestOrderOfEdits: each edit sees what those before it did, and not what those
// after it do.
func TestOrderOfEdits(t *testing.T) {
	t.Parallel()
	order := orderOf(t, folder(t, "testdata/prepare/flat-one/in"))
	order.Organization.PackageNameSuffix = "-quay.io"
	order.Organization.Rules = []Rule{mustRule(t, "quay.io", "registry.example.com", false)}
	order.Organization.Annotations = []Annotation{{"example.com/from", "{package_name} was on quay.io"}}
	rel, err := Prepare{}.Do(t.Context(), order)
	if err != nil {
		t.Fatalf("%v %v", err, FaultsOf(err))
	}
	const name = "gadgets-registry.example.com"
	if rel.Package != name || rel.Bundles[0].Repository != "all/"+name || rel.Bundles[0].Labels[labelPackage] != name {
		t.Errorf("package %s, repository %s, labels %v", rel.Package, rel.Bundles[0].Repository, rel.Bundles[0].Labels)
	}
	if said := strings.Join(rel.Warnings, "\n"); !strings.Contains(said, "also replaced within gadgets-quay.io (gadgets.package.yaml:1)") {
		t.Errorf("warnings: %s", said)
	}
	if want := `"example.com/from": "` + name + ` was on quay.io"`; !strings.Contains(describe(rel), want) {
		t.Errorf("no %s in\n%s", want, describe(rel))
	}
}

// TestEditsOfOneOrganizationOnly: the next organization starts from the manifests
// as they were fetched.
func TestEditsOfOneOrganizationOnly(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"flat", "nested", "bundle"} {
		order := orderOf(t, folder(t, filepath.Join("testdata", "prepare", from, "in")))
		plain, err := Prepare{}.Do(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		edited := order
		edited.Organization.PackageNameSuffix = "-x"
		edited.Organization.Annotations = []Annotation{{"a", "{package_name}"}}
		changed, err := Prepare{}.Do(t.Context(), edited)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(describe(changed), `"a": "gadgets-x"`) != len(changed.Bundles) {
			t.Errorf("%s: not every bundle is annotated:\n%s", from, describe(changed))
		}
		again, err := Prepare{}.Do(t.Context(), order)
		if err != nil || describe(again) != describe(plain) {
			t.Errorf("%s: the manifests are not what they were: %v", from, err)
		}
	}
}

// What an edit cannot do is a fault, and the edits after it still look at all
// there is.
func TestEditsRefuse(t *testing.T) {
	t.Parallel()
	files := folder(t, "testdata/prepare/flat-one/in")
	for i, f := range files {
		switch f.Path {
		case "gadgets.package.yaml":
			files[i].Data = bytes.Replace(f.Data, []byte("packageName: gadgets"), []byte("packageName: &name gadgets"), 1)
		case "csv.yaml":
			files[i].Data = bytes.Replace(f.Data, []byte("  annotations:"), []byte("  labels: &notes {}\n  annotations: *notes\n  rest:"), 1)
		}
	}
	order := orderOf(t, files)
	order.Organization.PackageNameSuffix = "-x"
	order.Organization.Rules = []Rule{mustRule(t, "deployment", "[deployment]", false)}
	order.Organization.Annotations = []Annotation{{"a", "b"}}
	_, err := Prepare{}.Do(t.Context(), order)
	if ClassOf(err) != Rejected || ReasonOf(err) != ReasonInvalidManifests {
		t.Fatalf("is %s %s: %v", ClassOf(err), ReasonOf(err), err)
	}
	for i, says := range []string{
		"gadgets.package.yaml: packageName: package_name_suffix: line 1: packageName has an anchor",
		"csv.yaml: after rewriting: ",
		"csv.yaml: metadata.annotations: csv_annotations: line 6: annotations is an alias",
	} {
		if got := FaultsOf(err); len(got) <= i || !strings.HasPrefix(got[i], says) {
			t.Errorf("fault %d of %q is not %q", i, got, says)
		}
	}
}

// TestRealManifestsEdit makes every edit of every real archive.
func TestRealManifestsEdit(t *testing.T) {
	org := Organization{
		PackageNameSuffix: "-x9",
		Rules:             []Rule{mustRule(t, "quay.io", "registry.example.com/a", false), mustRule(t, `docker\.io/(\w+)$`, `mirror.example.com/\1`, true)},
		Annotations:       []Annotation{{"example.com/package", "{{of}} \"{package_name}\"\n"}, {"createdAt", "today"}, {"description", "Of {package_name}: \\"}},
	}
	for _, name := range realCorpus(t, "packagemanifest-flat", "packagemanifest-nested", "packagemanifest-odd", "bundle", "bundle-osbs") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			files, err := ReadArchive(readFile(t, name), DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			d := newDraft(manifestsOf(t, files))
			known := len(d.faults)
			d.suffixPackage(org.PackageNameSuffix)
			suffixed := slices.Clone(d.files)
			d.replaceRegistries(org.Rules)
			rewritten := slices.Clone(d.files)
			d.annotate(org.Annotations)
			if faults := d.faults[known:]; len(faults) > 0 {
				t.Fatal(faults)
			}
			name := d.op.packageName()
			keys := []string{"packageName"}
			if d.op.notes != nil {
				keys = []string{"annotations", labelPackage}
			}
			checkEdits(t, files, suffixed,
				func(doc document) (treeEdit, error) { return suffixScalar(doc, org.PackageNameSuffix, keys) },
				map[string]string{strings.Join(keys, "\x00"): name})
			wanted, err := expandAnnotations(org.Annotations, name)
			if err != nil {
				t.Fatal(err)
			}
			checkEdits(t, rewritten, d.files,
				func(doc document) (treeEdit, error) { return annotateCSV(doc, wanted) },
				map[string]string{
					"metadata\x00annotations\x00example.com/package": fmt.Sprintf("{of} %q\n", name),
					"metadata\x00annotations\x00createdAt":           "today",
					"metadata\x00annotations\x00description":         "Of " + name + `: \`,
				})
			again := newDraft(manifestsOf(t, d.files))
			again.suffixPackage(org.PackageNameSuffix)
			again.annotate(org.Annotations)
			for i, f := range again.files {
				if !bytes.Equal(f.Data, d.files[i].Data) {
					t.Errorf("%s changes a second time", f.Path)
				}
			}
		})
	}
}

// checkEdits: the files that differ read as before with these values, by their
// keys, and the bytes that are gone from them are old values, whole.
func checkEdits(t *testing.T, before, after []File, edit func(document) (treeEdit, error), values map[string]string) {
	t.Helper()
	for i, f := range after {
		if bytes.Equal(f.Data, before[i].Data) {
			continue
		}
		doc, err := parseYAML(before[i])
		if err != nil {
			t.Fatal(err)
		}
		want, old := readingOf(doc.root), []any{nil}
		for keys, value := range values {
			path := strings.Split(keys, "\x00")
			old = append(old, readingOf(at(doc.root, path...)))
			want = set(want, value, path...)
		}
		if got := reading(t, f.Data); !reflect.DeepEqual(got, want) {
			t.Errorf("%s reads otherwise than meant", f.Path)
		}
		made, err := edit(doc)
		if err != nil || !bytes.Equal(splice(doc.file.Data, made.spans), f.Data) {
			t.Fatalf("%s: the spans do not make the new text: %v", f.Path, err)
		}
		for _, s := range made.spans {
			gone := doc.file.Data[s.start:s.end]
			if !slices.Contains(old, reading(t, gone)) && !slices.Contains(old, reading(t, append(bytes.Clone(gone), '\n'))) {
				t.Errorf("%s: %q is gone, which is no old value", f.Path, gone)
			}
		}
	}
}

// texts that every edit has to cope with, one way or the other.
func seeds(f *testing.F, form string) {
	for _, c := range append(annotationsMissing, annotationsThere...) {
		f.Add(c.in, form)
	}
	for _, text := range []string{"packageName: etcd\n", "packageName: 'it''s'", "packageName: \"a\\\n  b\"\r\n", "{packageName: a, b: [*c]}", "packageName: a\n b\n\n c #d\n"} {
		f.Add(text, form)
	}
}

// FuzzAnnotate: on any text and for any value the edit is refused, or changes the
// annotations and nothing else, and has nothing left to do.
func FuzzAnnotate(f *testing.F) {
	seeds(f, "{package_name}: #")
	f.Fuzz(func(t *testing.T, in, value string) {
		if len(in) > 4096 {
			return
		}
		doc, err := parseYAML(File{"x.yaml", []byte(in)})
		if err != nil || doc.more {
			return
		}
		wanted := []entry{{"a", value}, {"b/c", "é\n"}}
		edit, err := annotateCSV(doc, wanted)
		if err != nil {
			return
		}
		out := splice(doc.file.Data, edit.spans)
		after, err := parseYAML(File{"x.yaml", out})
		if err != nil || checkTree(edit.meant, after) != nil {
			return
		}
		want := reading(t, []byte(in))
		for _, w := range wanted {
			want = set(want, w.value, "metadata", "annotations", w.key)
		}
		if got := reading(t, out); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q\nbecame %q\nwhich reads as %v\nnot as %v", in, out, got, want)
		}
		if repeats(after.root) > repeats(doc.root) {
			t.Fatalf("%q\nbecame %q\nwhich has a key twice", in, out)
		}
		again, err := annotateCSV(after, wanted)
		if err != nil || len(again.spans) > 0 {
			t.Fatalf("%q\nbecame %q\nwhich changes a second time: %v %v", in, out, again.spans, err)
		}
	})
}

// FuzzSuffix does the same for the package's name.
func FuzzSuffix(f *testing.F) {
	seeds(f, "-x")
	f.Fuzz(func(t *testing.T, in, suffix string) {
		if len(in) > 4096 {
			return
		}
		doc, err := parseYAML(File{"x.yaml", []byte(in)})
		name := textAt(doc.root, "packageName")
		if err != nil || doc.more || !lacksSuffix(name, suffix) {
			return
		}
		edit, err := suffixScalar(doc, suffix, []string{"packageName"})
		if err != nil {
			return
		}
		out := splice(doc.file.Data, edit.spans)
		after, err := parseYAML(File{"x.yaml", out})
		if err != nil || checkTree(edit.meant, after) != nil {
			return
		}
		want := set(reading(t, []byte(in)), name+suffix, "packageName")
		if got := reading(t, out); !reflect.DeepEqual(got, want) || textAt(after.root, "packageName") != name+suffix {
			t.Fatalf("%q\nbecame %q\nwhich reads as %v\nnot as %v", in, out, got, want)
		}
		if len(out) != len(in)+len(suffix) {
			t.Fatalf("%q\nbecame %q", in, out)
		}
	})
}

// repeats counts the keys that are in their mapping already.
func repeats(n *yaml.Node) int {
	count := 0
	seen := make(map[string]bool)
	for i, child := range n.Content {
		count += repeats(child)
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if seen[child.Value] {
				count++
			}
			seen[child.Value] = true
		}
	}
	return count
}
