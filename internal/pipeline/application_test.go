package pipeline

import (
	"bytes"
	"crypto/sha256"
	tsv "encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// applicationOf packs files as they are, without validation.
func applicationOf(tb testing.TB, files []File, change ...func(*Release)) (Release, error) {
	tb.Helper()
	op, faults, err := readOperator(tb.Context(), files)
	if err != nil || len(faults) > 0 {
		tb.Fatal(err, faults)
	}
	rel := Release{
		Package:      op.packageName(),
		Organization: Organization{Name: "plain", Target: TargetAppRegistry, Repository: "{package}"},
	}
	for _, f := range change {
		f(&rel)
	}
	return packApplication(rel, op, files)
}

func sample(tb testing.TB, name string, more ...File) []File {
	tb.Helper()
	files := append(folder(tb, filepath.Join("testdata", "prepare", name, "in")), more...)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

func namesOf(files []File) []string {
	var list []string
	for _, f := range files {
		list = append(list, f.Path)
	}
	return list
}

func TestApplicationNested(t *testing.T) {
	t.Parallel()
	files := sample(t, "nested", File{"1.0.0/image-references", nil}, File{"a/b/art.yaml", nil}, File{"art.yml", nil},
		File{"art.yaml.d/x", []byte("\x00")}, File{"Image-References", nil}, File{"z.csv.yaml", []byte("kind: ClusterServiceVersion\n")})
	rel, err := applicationOf(t, files)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(slices.Clone(files), func(f File) bool {
		return slices.Contains([]string{"1.0.0/image-references", "a/b/art.yaml", "art.yaml"}, f.Path)
	})
	if len(want) != len(files)-3 {
		t.Fatalf("of %d files %d", len(files), len(want))
	}
	if diff := cmp.Diff(&Application{Repository: "plain/gadgets", Files: want}, rel.Application); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"not part of the release: 1.0.0/image-references, a/b/art.yaml, art.yaml"}, rel.Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestApplicationFlat(t *testing.T) {
	t.Parallel()
	files := sample(t, "flat", File{"sub/crd.yaml", []byte("kind: CustomResourceDefinition\n")}, File{"sub/package.yml", []byte("packageName: x\n")})
	rel, err := applicationOf(t, files, func(rel *Release) {
		rel.Build.Trigger = Trigger{Repository: "other", Version: "3.0.0"}
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"not part of the release: README.md, service.yaml, sub/crd.yaml, sub/package.yml"}, rel.Warnings); diff != "" {
		t.Error(diff)
	}
	app := rel.Application
	if app.Repository != "plain/other" || app.Version != "3.0.0" || len(app.Files) != 1 || app.Files[0].Path != "bundle.yaml" {
		t.Fatalf("%s %s %v", app.Repository, app.Version, namesOf(app.Files))
	}
	want := map[string][]any{"clusterServiceVersions": nil, "customResourceDefinitions": nil, "packages": nil}
	for _, part := range [][2]string{
		{"clusterServiceVersions", "v0.9.0.csv.yaml"}, {"clusterServiceVersions", "v1.0.0.csv.yaml"}, {"clusterServiceVersions", "v1.1.0.csv.yaml"},
		{"customResourceDefinitions", "crd.yaml"}, {"packages", "gadgets.package.yaml"},
	} {
		source := files[slices.Index(namesOf(files), part[1])]
		want[part[0]] = append(want[part[0]], meaning(parsed(t, string(source.Data))))
	}
	if diff := cmp.Diff(want, bundleOf(t, app.Files[0].Data)); diff != "" {
		t.Error(diff)
	}
	if n := bytes.Count(app.Files[0].Data, []byte(": |\n    - ")); n != 3 {
		t.Errorf("%d lists are literal blocks:\n%s", n, app.Files[0].Data)
	}
}

// TestApplicationIsReproducible packs the same files again, in every order that
// turning gives, and compares the bytes with testdata/application/bundle.yaml.
func TestApplicationIsReproducible(t *testing.T) {
	t.Parallel()
	files := sample(t, "flat", File{"odd.crd.yaml", []byte(oddCRD)})
	const golden = "testdata/application/bundle.yaml"
	if *update {
		rel, err := applicationOf(t, files)
		if err := errors.Join(err, os.WriteFile(golden, rel.Application.Files[0].Data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	want := readFile(t, golden)
	for range files {
		rel, err := applicationOf(t, files)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(rel.Application.Files[0].Data)); diff != "" {
			t.Fatalf("in the order %v:\n%s", namesOf(files), diff)
		}
		files = slices.Concat(files[1:], files[:1])
	}
}

// oddCRD is what only readers of YAML 1.1 understand like this.
const oddCRD = `kind: CustomResourceDefinition
metadata: {name: odds.example.com, annotations: &same {created: 2019-04-30T18:35:59Z, day: 2019-04-30}}
spec:
  y: {type: string, enum: [yes, "yes", =, '=~', on, ~]}
  mode: 0644
  mode: 0600
  limits: [1:30, 1_000, .5, 1e3, 5.]
  labels: *same
  text: "a\tb"
  lines: >
    folded
    here

    and here
`

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestApplicationWithoutCRDs(t *testing.T) {
	t.Parallel()
	files := slices.DeleteFunc(sample(t, "flat-one"), func(f File) bool { return f.Path == "crd.yaml" })
	rel, err := applicationOf(t, files)
	if err != nil {
		t.Fatal(err)
	}
	if data := rel.Application.Files[0].Data; !bytes.Contains(data, []byte("\n  customResourceDefinitions: ''\n")) {
		t.Errorf("%s", data)
	}
}

func TestApplicationRefuses(t *testing.T) {
	t.Parallel()
	bombs := make([]File, 40) // each within the limits of a file, all within those of an archive
	for i := range bombs {
		bombs[i] = File{"z" + string(rune('A'+i)) + ".yaml", []byte("kind: CustomResourceDefinition\n" + strings.Join(strings.SplitAfter(bomb(), "\n")[:5], ""))}
	}
	bombs[0].Data = []byte("kind: CustomResourceDefinition\na: [" + strings.Repeat("b,", 500_000) + "]\n")
	long := "kind: CustomResourceDefinition\na: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("*a, ", 33) + "]\n"
	cases := []struct {
		name   string
		files  []File
		change func(*Release)
		reason Reason
		says   string
	}{
		{"a bundle", sample(t, "bundle"), nil, ReasonNotSupported, "takes package manifests only"},
		{"a tag", sample(t, "flat-one", File{"z.yaml", []byte("kind: CustomResourceDefinition\na: !b c\n")}), nil, ReasonInvalidManifests, "z.yaml: line 2: the tag !b"},
		{"many aliases", sample(t, "flat-one", bombs...), nil, ReasonInvalidManifests, "is too large, with the files before it"},
		{"long aliases", sample(t, "flat-one", File{"z.yaml", []byte(long)}), nil, ReasonInvalidManifests, "bundle.yaml of more than the limit"},
		{"a repository of another", sample(t, "flat-one"), func(rel *Release) { rel.Build.Trigger.Repository = "../x" }, ReasonInvalidEvent, "cannot be a repository's name"},
		{"no repository", sample(t, "nested"), func(rel *Release) { rel.Organization.Repository = "" }, ReasonInvalidManifests, "cannot be a repository's name"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "long aliases" && testing.Short() {
				t.Skip("33 MiB take the race detector half a minute")
			}
			if c.change == nil {
				c.change = func(*Release) {}
			}
			rel, err := applicationOf(t, c.files, c.change)
			if ClassOf(err) != Rejected || ReasonOf(err) != c.reason || !strings.Contains(err.Error(), c.says) {
				t.Errorf("is %s %s: %v", ClassOf(err), ReasonOf(err), err)
			}
			if rel.Application != nil {
				t.Error("there is an application")
			}
		})
	}
}

// bundleOf reads a bundle.yaml: the meanings of the objects in each of its lists.
func bundleOf(t *testing.T, data []byte) map[string][]any {
	t.Helper()
	top, ok := meaning(parsed(t, string(data))).(map[any]any)
	lists, isMapping := top["data"].(map[any]any)
	if !ok || !isMapping || len(top) != 1 {
		t.Fatalf("holds other things than data: %.300s", data)
	}
	bundle := make(map[string][]any)
	for key, value := range lists {
		text, ok := value.(string)
		if !ok {
			t.Fatalf("%v is a %T", key, value)
		}
		bundle[key.(string)] = nil
		if text != "" {
			bundle[key.(string)] = meaning(parsed(t, text)).([]any)
		}
	}
	return bundle
}

// courierPush is what operator-courier sent for an archive.
type courierPush struct {
	URL string `json:"url"`
	Tar []struct {
		Name   string `json:"name"`
		Type   string `json:"type"`
		SHA256 string `json:"sha256"`
	} `json:"tar"`
}

// files are the sums of the files in the tar, by path below its one folder.
func (p courierPush) files() map[string]string {
	sums := make(map[string]string)
	for _, entry := range p.Tar {
		if _, name, _ := strings.Cut(entry.Name, "/"); entry.Type == "file" {
			sums[name] = entry.SHA256
		}
	}
	return sums
}

// TestApplicationGolden compares what goes into a release with what
// operator-courier pushed of the same archives, and lists those of them that
// validation refuses.
func TestApplicationGolden(t *testing.T) {
	archives := realCorpus(t, "packagemanifest-flat", "packagemanifest-nested", "packagemanifest-odd")
	accepted := acceptedByCourier(t)
	compared := map[string]int{}
	refused := map[string]string{}
	for _, archive := range archives {
		name := filepath.Join(filepath.Base(filepath.Dir(archive)), strings.TrimSuffix(filepath.Base(archive), ".zip"))
		golden := filepath.Join(corpusDir, "golden", name)
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(golden); err != nil {
				if accepted[name] {
					t.Error("operator-courier accepted it, but there is no golden push")
				}
				return
			}
			files, err := ReadArchive(readFile(t, archive), DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			m := Manifests{Files: files}
			if m.operator, m.faults, err = readOperator(t.Context(), files); err != nil {
				t.Fatal(err)
			}
			rel := Release{Package: m.operator.packageName(), Organization: Organization{
				Name: "plain", Target: TargetAppRegistry, Repository: "{package}",
			}}
			if _, err := (Prepare{}).Do(t.Context(), Order{Manifests: m, Organization: rel.Organization}); err != nil {
				refused[name] = strings.Join(append(FaultsOf(err), err.Error()), "\n\t")
			}
			if rel, err = packApplication(rel, m.operator, files); err != nil {
				t.Fatal(err)
			}
			compareWithCourier(t, *rel.Application, golden)
			compared[filepath.Dir(name)]++
		})
	}
	t.Logf("compared with what operator-courier pushed: %v", compared)
	t.Logf("%d of them are refused by validation", len(refused))
	for name, why := range refused {
		t.Errorf("%s:\n\t%s", name, why)
	}
	if !testing.Short() {
		goldens, err := filepath.Glob(filepath.Join(corpusDir, "golden", "*", "*"))
		n := 0
		for _, c := range compared {
			n += c
		}
		if err != nil || len(goldens) != n {
			t.Errorf("%d golden pushes, %d compared, %v", len(goldens), n, err)
		}
	}
}

func compareWithCourier(t *testing.T, app Application, golden string) {
	t.Helper()
	var push courierPush
	if err := json.Unmarshal(readFile(t, filepath.Join(golden, "push.json")), &push); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(push.URL, "/packages/"+app.Repository) {
		t.Errorf("goes to %s, not to %s", app.Repository, push.URL)
	}
	got := make(map[string]string)
	for _, f := range app.Files {
		got[f.Path] = digest(f.Data)
	}
	want := push.files()
	if _, flat := want[bundleFile]; flat && len(want) == 1 {
		compareBundles(t, readFile(t, filepath.Join(golden, bundleFile)), app.Files[0].Data)
		got[bundleFile] = want[bundleFile] // other bytes of the same meaning
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Error(diff)
	}
}

// compareBundles compares the lists of two bundles, whatever their order.
func compareBundles(t *testing.T, courier, ours []byte) {
	t.Helper()
	want, got := bundleOf(t, courier), bundleOf(t, ours)
	if len(want) != 3 || len(got) != 3 {
		t.Errorf("%d and %d lists", len(want), len(got))
	}
	for key := range want {
		left := slices.Clone(got[key])
		for _, object := range want[key] {
			i := slices.IndexFunc(left, func(o any) bool { return reflect.DeepEqual(o, object) })
			if i < 0 {
				t.Errorf("%s: lacks\n%v", key, object)
				continue
			}
			left = slices.Delete(left, i, i+1)
		}
		if len(left) > 0 {
			t.Errorf("%s: has besides\n%v", key, left)
		}
	}
}

// acceptedByCourier tells which archives operator-courier accepts.
func acceptedByCourier(t *testing.T) map[string]bool {
	t.Helper()
	r := tsv.NewReader(bytes.NewReader(readFile(t, filepath.Join(corpusDir, "index.tsv"))))
	r.Comma, r.FieldsPerRecord, r.LazyQuotes = '\t', -1, true
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	file, ok := slices.Index(rows[0], "file"), slices.Index(rows[0], "courier_ok")
	accepted := make(map[string]bool)
	for _, row := range rows[1:] {
		accepted[strings.TrimSuffix(strings.TrimPrefix(row[file], "good/"), ".zip")] = row[ok] == "yes"
	}
	return accepted
}
