package pipeline

import (
	"bytes"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustImageRule(tb testing.TB, old, replacement string) Rule {
	tb.Helper()
	r, err := NewImageRule(old, replacement)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// draftOf is a draft of one file that is taken for a manifest, whatever it is.
func draftOf(tb testing.TB, text string) (*draft, bool) {
	tb.Helper()
	f := File{"x.yaml", []byte(text)}
	doc, err := parseYAML(f)
	if err != nil || doc.more {
		return nil, false
	}
	return &draft{files: []File{f}, op: operator{manifests: []manifest{newManifest(doc)}}}, true
}

// every place where an image may be, and every style to write it in.
const imagePlaces = `# image: quay.io/a/comment:1
metadata:
  name: quay.io
  annotations:
    containerImage: quay.io/a/operator:1 # the operator
    example.com/plain: quay.io/a/plain:2
    example.com/no-tag: quay.io/a/plain
    example.com/text: see quay.io/a/text:3
    example.com/list: '["quay.io/a/list:1", {"image": "quay.io/a/keyed"}, "quay.io/a/no-tag"]'
    alm-examples: |-
      [{"kind": "A", "spec": {"image": "quay.io/a/sample", "note": "quay.io is nice",
        "env": [{"name": "X", "value": "quay.io/a/sample:7"}]}},
       {"image": "quay.io/a/sample"}]
    quoted: "{\"image\": \"quay.io/a/quoted\", \"tab\":\"\\t\"}"
    folded: >-
      {"image":
      "quay.io/a/folded:1"}
    broken: '{"image": "quay.io/a/broken:1"'
spec:
  description: |
    Pull quay.io/a/described:1, or not.
  relatedImages:
  - {name: r, image: "quay.io/a/related` + someDigest + `"}
  install:
    spec:
      deployments:
      - spec:
          template:
            spec:
              initContainers:
              - image: 'quay.io/a/init:1'
              containers:
              - image: &main quay.io/a/main:1
                args: ["--image=quay.io/a/arg:1"]
                env:
                - name: RELATED_IMAGE_SIDE
                  value: quay.io/a/side:1
                - {value: quay.io/a/flow:1, name: RELATED_IMAGE_FLOW}
                - name: OTHER
                  value: quay.io/a/other:1
              - image: *main
              - image: !!str quay.io/a/tagged:1
              - image: ${REGISTRY}/a
              - image: my.quay.io/a/longer:1
              - image: quay.io.example.org/a/longer:1
              - image: quay.io:443/a/port:1
              - image: ""
              - image:
              - image: 1.5
`

func TestImageRules(t *testing.T) {
	for name, text := range map[string]string{
		"as it is": imagePlaces,
		"CRLF":     strings.ReplaceAll(imagePlaces, "\n", "\r\n"),
		"BOM":      "\ufeff" + imagePlaces,
	} {
		t.Run(name, func(t *testing.T) {
			d, ok := draftOf(t, text)
			if !ok {
				t.Fatal("does not parse")
			}
			told := d.replaceRegistries([]Rule{mustImageRule(t, "quay.io", "example.com:5000/m")})
			if len(d.faults) > 0 || len(d.warnings) > 0 {
				t.Fatalf("%v, %v", d.faults, d.warnings)
			}
			got := string(d.files[0].Data)
			if back := strings.ReplaceAll(got, "example.com:5000/m/", "quay.io/"); back != text {
				t.Errorf("more than the registry changed: %s", cmp.Diff(text, back))
			}
			var changes []string
			for _, c := range told[0].Changes {
				if c.After != strings.Replace(c.Before, "quay.io/", "example.com:5000/m/", 1) {
					t.Errorf("%q became %q", c.Before, c.After)
				}
				changes = append(changes, c.Path+" "+strings.TrimPrefix(c.Before, "quay.io/a/"))
			}
			const containers = "spec.install.spec.deployments[0].spec.template.spec."
			want := []string{
				"metadata.annotations.containerImage operator:1",
				"metadata.annotations.example.com/plain plain:2",
				"metadata.annotations.example.com/list list:1",
				"metadata.annotations.example.com/list keyed",
				"metadata.annotations.alm-examples sample",
				"metadata.annotations.alm-examples sample:7",
				"metadata.annotations.alm-examples sample",
				"metadata.annotations.quoted quoted",
				"metadata.annotations.folded folded:1",
				"spec.relatedImages[0].image related" + someDigest,
				containers + "initContainers[0].image init:1",
				containers + "containers[0].image main:1",
				containers + "containers[0].env[0].value side:1",
				containers + "containers[0].env[1].value flow:1",
				containers + "containers[2].image tagged:1",
			}
			if diff := cmp.Diff(want, changes); diff != "" || told[0].Count != len(want) {
				t.Errorf("%d changes: %s", told[0].Count, diff)
			}
			var left []string
			for _, l := range told[0].Leftovers {
				left = append(left, fmt.Sprintf("%d %s", l.Line, l.Text))
			}
			wantLeft := []string{
				"1 # image: quay.io/a/comment:1", "3 name: quay.io", "7 example.com/no-tag: quay.io/a/plain", "8 example.com/text: see quay.io/a/text:3",
				`9 ist: '["example.com:5000/m/a/list:1", {"image": "example.com:5000/m/a/keyed"}, "quay.io/a/no-tag"]'`,
				`11 [{"kind": "A", "spec": {"image": "example.com:5000/m/a/sample", "note": "quay.io is nice",`,
				`18 broken: '{"image": "quay.io/a/broken:1"'`, "21 Pull quay.io/a/described:1, or not.",
				`34 args: ["--image=quay.io/a/arg:1"]`, "40 value: quay.io/a/other:1",
			}
			if diff := cmp.Diff(wantLeft, left); diff != "" {
				t.Errorf("leftovers: %s", diff)
			}
			again := d.replaceRegistries([]Rule{mustImageRule(t, "quay.io", "example.com:5000/m")})
			if again[0].Count != 0 || string(d.files[0].Data) != got || len(d.warnings) != 1 || !strings.Contains(d.warnings[0], `no image lies in "quay.io"`) {
				t.Errorf("a second time: %+v, %v", again, d.warnings)
			}
		})
	}
}

// Rules apply in their order, whatever they look at.
func TestMixedRules(t *testing.T) {
	d, _ := draftOf(t, "image: one.io/a:1\nnote: two.io/a:1\n")
	told := d.replaceRegistries([]Rule{
		mustRule(t, "one.io", "two.io", false),
		mustImageRule(t, "two.io", "three.io"),
		mustImageRule(t, "three.io/a", "three.io/b/c"),
		mustRule(t, "three", "four", false),
	})
	if got := string(d.files[0].Data); got != "image: four.io/b/c:1\nnote: two.io/a:1\n" || len(d.faults) > 0 {
		t.Errorf("%q, %v", got, d.faults)
	}
	want := []Replacement{
		{Old: "one.io", New: "two.io", Count: 1},
		{
			Old: "two.io", New: "three.io", Count: 1,
			Changes:   []Change{{"x.yaml", "image", "two.io/a:1", "three.io/a:1"}},
			Leftovers: []Leftover{{"x.yaml", 2, "note: two.io/a:1"}},
		},
		{Old: "three.io/a", New: "three.io/b/c", Count: 1, Changes: []Change{{"x.yaml", "image", "three.io/a:1", "three.io/b/c:1"}}},
		{Old: "three", New: "four", Count: 1},
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

// What cannot be edited safely is a fault, and left as it was.
func TestImageRuleFaults(t *testing.T) {
	for text, says := range map[string]string{
		"image: quay.io/q:1\n":                                  "which is no image", // but a registry
		"image: quay.io/" + strings.Repeat("a/", 120) + "a:1\n": "which is no image", // too long
		"image: \"quay.io/a\\x2fb:1\"\n":                        "cannot be edited",
	} {
		d, ok := draftOf(t, text)
		if !ok {
			t.Fatalf("%q does not parse", text)
		}
		d.replaceRegistries([]Rule{mustImageRule(t, "quay.io/q", "example.com"), mustImageRule(t, "quay.io", "example.com/much/longer/than/it/was")})
		if len(d.faults) != 1 || d.faults[0].Path != "image" || !strings.Contains(d.faults[0].Text, says) || string(d.files[0].Data) != text {
			t.Errorf("%.60q: %v", text, d.faults)
		}
	}
}

// TestLongReports: what is told one by one has an end.
func TestLongReports(t *testing.T) {
	d, _ := draftOf(t, "list:\n"+strings.Repeat("- {image: quay.io/a/b}\n", maxChanges+5)+strings.Repeat("- quay.io\n", maxLeftovers+3))
	told := d.replaceRegistries([]Rule{mustImageRule(t, "quay.io", "example.com")})[0]
	if told.Count != maxChanges+5 || len(told.Changes) != maxChanges || len(told.Leftovers) != maxLeftovers {
		t.Errorf("%d, %d changes, %d leftovers", told.Count, len(told.Changes), len(told.Leftovers))
	}
	want := []string{
		`replace_registry: "quay.io" is replaced in 205 images, of which 5 are not listed`,
		`replace_registry: "quay.io" is left in 3 lines more than are listed`,
	}
	if diff := cmp.Diff(want, d.warnings); diff != "" {
		t.Error(diff)
	}
}

func TestLeftovers(t *testing.T) {
	for _, c := range []struct {
		old, replacement, text string
		left                   bool
	}{
		{"quay.io", "example.com", "https://quay.io/a", true},
		{"quay.io", "example.com", "at quay.io.", true},
		{"quay.io", "example.com", `"\nquay.io/a"`, true},
		{"quay.io", "example.com", "quay.io: is it", true},
		{"quay.io", "example.com", "my.quay.io/a", false},
		{"quay.io", "example.com", "quay.io.example.org", false},
		{"quay.io", "example.com", "quay.iota", false},
		{"quay.io", "example.com", "quay.io:443/a", false},
		{"quay.io/org", "example.com/org", "quay.io/org/a", true},
		{"quay.io/org", "example.com/org", "quay.io/org:1", true},
		{"quay.io/org", "example.com/org", "quay.io/organic", false},
		{"quay.io/org", "example.com/org", "quay.io/org_a", false},
		{"quay.io/org", "quay.io/org/new", "quay.io/org/new/a", false},
		{"quay.io/org", "quay.io/org/new", "quay.io/org/a", true},
		{"quay.io", "cache.example.com/quay.io", "cache.example.com/quay.io/a", false},
		{"quay.io", "cache.example.com/quay.io", "cache.example.org/quay.io/a", true},
	} {
		got, _ := mustImageRule(t, c.old, c.replacement).leftIn(File{"x", []byte("first\n" + c.text + "\n")}, maxLeftovers)
		if (len(got) == 1) != c.left || c.left && got[0] != (Leftover{"x", 2, c.text}) {
			t.Errorf("%s in %q: %v", c.old, c.text, got)
		}
	}
	long := strings.Repeat("x ", 5000) + "quay.io \x1b[31m" + strings.Repeat("é ", 5000)
	got, _ := mustImageRule(t, "quay.io", "example.com").leftIn(File{"x", []byte(long)}, maxLeftovers)
	if len(got) != 1 || len(got[0].Text) > maxLeftoverText+4 || !strings.Contains(got[0].Text, "quay.io") || strings.Contains(got[0].Text, "\x1b") {
		t.Errorf("%+v", got)
	}
}

// TestRealImages: a rule for images that cannot match again changes nothing but
// what it is for, in every real archive.
func TestRealImages(t *testing.T) {
	rules := []Rule{mustImageRule(t, "quay.io", "example.com:5000/m"), mustImageRule(t, "registry.redhat.io", "example.com:5000/r")}
	written := regexp.MustCompile(`(?m)^\s*(- )?(image|containerImage): ["']?(quay|registry\.redhat)\.io/[a-z0-9/:._-]+["']?\s*$`)
	changed := 0
	for _, name := range realCorpus(t, "packagemanifest-flat", "packagemanifest-nested", "packagemanifest-odd", "bundle", "bundle-osbs") {
		files, err := ReadArchive(readFile(t, name), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		m := manifestsOf(t, files)
		d := newDraft(m)
		before := len(d.faults)
		told := d.replaceRegistries(rules)
		if faults := d.faults[before:]; len(faults) > 0 {
			t.Errorf("%s: %v", filepath.Base(name), faults)
		}
		changed += told[0].Count + told[1].Count
		for i, f := range d.files {
			back := bytes.ReplaceAll(f.Data, []byte("example.com:5000/m/"), []byte("quay.io/"))
			back = bytes.ReplaceAll(back, []byte("example.com:5000/r/"), []byte("registry.redhat.io/"))
			if !bytes.Equal(back, files[i].Data) {
				t.Errorf("%s: %s: more than registries changed", filepath.Base(name), f.Path)
			}
			if left := written.Find(f.Data); left != nil && d.op.index(f.Path) >= 0 {
				t.Errorf("%s: %s still has %q", filepath.Base(name), f.Path, left)
			}
		}
		if again := d.replaceRegistries(rules); again[0].Count+again[1].Count > 0 {
			t.Errorf("%s: a second time %v", filepath.Base(name), again)
		}
	}
	t.Logf("%d images moved", changed)
	if changed == 0 {
		t.Error("nothing was replaced")
	}
}

// FuzzEditImages: on any text the edit is refused, or the file reads the same but
// for images that are elsewhere.
func FuzzEditImages(f *testing.F) {
	f.Add(imagePlaces)
	f.Add("annotations: {a: '{\"image\": \"quay.io/a\"}', image: &x quay.io/b}\nimage: *x\n")
	f.Add("annotations:\n  a: >+1\n   {\"image\":\n   \"quay.io/quay.io/quay.io\"}\n\n")
	f.Add("- &a quay.io/a:1\n- image: *a\n")
	f.Fuzz(func(t *testing.T, in string) {
		if len(in) > 8192 || strings.Contains(in, "example.com") {
			return
		}
		d, ok := draftOf(t, in)
		if !ok {
			return
		}
		told := d.replaceRegistries([]Rule{mustImageRule(t, "quay.io", "example.com/m")})[0]
		out := string(d.files[0].Data)
		if len(d.faults) > 0 {
			if out != in {
				t.Fatalf("%q\nis refused for %v\nand yet became %q", in, d.faults, out)
			}
			return
		}
		if back := strings.ReplaceAll(out, "example.com/m/", "quay.io/"); back != in {
			t.Fatalf("%q\nbecame %q", in, out)
		}
		if strings.Count(out, "example.com/m/") != told.Count {
			t.Fatalf("%q\nbecame %q\nby %d changes", in, out, told.Count)
		}
		want := strings.ReplaceAll(fmt.Sprint(reading(t, []byte(out))), "example.com/m/", "quay.io/")
		if got := fmt.Sprint(reading(t, []byte(in))); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q\nbecame %q", in, out)
		}
	})
}

// An image is not edited where an alias has its text stand for something else.
func TestSharedImages(t *testing.T) {
	for text, moves := range map[string]bool{
		"image: &a quay.io/a:1\nb: {image: *a}\n":                                     true,
		"x: &a {image: quay.io/a:1}\ny: *a\n":                                         true,
		"annotations: &a {b: quay.io/a:1}\nb: {annotations: *a}\n":                    true,
		"image: &a quay.io/a:1\nnote: *a\n":                                           false,
		"note: &a quay.io/a\nimage: *a\n":                                             false,
		"note: &a quay.io/a:1\nimage: *a\n":                                           false,
		"&a quay.io/a: x\nimage: *a\n":                                                false,
		"labels: &a {b: quay.io/a:1}\nannotations: *a\n":                              false,
		"labels: &a {b: '[\"quay.io/a:1\"]'}\nannotations: *a\n":                      false,
		"annotations: &a {&k quay.io/a: quay.io/b:1}\nb: {image: *k}\n":               false,
		"env: [{name: RELATED_IMAGE_A, value: &a quay.io/a:1}, {name: B, value: *a}]": false,
	} {
		d, ok := draftOf(t, text)
		if !ok {
			t.Fatalf("%q does not parse", text)
		}
		d.replaceRegistries([]Rule{mustImageRule(t, "quay.io", "example.com")})
		got := string(d.files[0].Data)
		if moved := strings.ReplaceAll(text, "quay.io", "example.com"); moves && (got != moved || len(d.faults) > 0) {
			t.Errorf("%q became %q, %v", text, got, d.faults)
		}
		if !moves && (got != text || len(d.faults) != 1 || !strings.Contains(d.faults[0].Text, "by an alias")) {
			t.Errorf("%q became %q, %v", text, got, d.faults)
		}
	}
}

// JSON may write a slash, or any character, in more ways than one.
func TestEscapedImages(t *testing.T) {
	for text, want := range map[string]string{
		`{"image": "quay.io\/a\/b:1"}`:                                   `{"image": "example.com/a/b:1"}`,
		`{"im\u0061ge": ["qu\u0061y.io/a", []]}`:                         `{"im\u0061ge": ["example.com/a", []]}`,
		`["quay.io\/a:1", {"a\"": "quay.io\/a"}]`:                        `["example.com/a:1", {"a\"": "quay.io\/a"}]`,
		`{"image": [{"a": "quay.io/a"}, "quay.io/b"], "c": "quay.io/c"}`: `{"image": [{"a": "quay.io/a"}, "example.com/b"], "c": "quay.io/c"}`,
		`{"image": "quay.io/a"} and more`:                                `{"image": "quay.io/a"} and more`,
	} {
		d, _ := draftOf(t, "annotations: {a: '"+text+"'}\n")
		d.replaceRegistries([]Rule{mustImageRule(t, "quay.io", "example.com")})
		if got := string(d.files[0].Data); got != "annotations: {a: '"+want+"'}\n" || len(d.faults) > 0 {
			t.Errorf("%s became %s, %v", text, got, d.faults)
		}
		var r report
		r.checkRegistries(d.op, []string{"example.com"})
		if len(r.faults) > 0 {
			t.Errorf("%s: %v", want, r.faults)
		}
	}
	d, _ := draftOf(t, `annotations: {a: '{"image": "evil.io\/a:1"}'}`)
	var r report
	if r.checkRegistries(d.op, []string{"example.com"}); len(r.faults) != 1 {
		t.Errorf("an escaped image is overlooked: %v", r.faults)
	}
}

// TestManyImages: what a file can hold of images, and of what is left of them,
// takes no time to speak of.
func TestManyImages(t *testing.T) {
	const most = maxImages - 1
	rule := mustImageRule(t, "quay.io", "example.com")
	var related strings.Builder
	for i := range most {
		fmt.Fprintf(&related, `"quay.io/a@sha256:%064x",`, i)
	}
	aliases := "- &a {annotations: &b {c: '[" + strings.Repeat(`{"a":1},`, 8000) + "1]'}}\n" + strings.Repeat("- annotations: *b\n", 900)
	if testing.Short() {
		t.Skip("the race detector makes it ten times slower")
	}
	for name, text := range map[string]string{
		"lines":       strings.Repeat("- image: quay.io/a\n", most),
		"one line":    "[" + strings.Repeat("{image: quay.io/a},", most) + "]",
		"one scalar":  "annotations: {a: '[" + strings.Repeat(`"quay.io/a:1",`, most) + "1]'}",
		"one list":    "kind: ClusterServiceVersion\nmetadata:\n  annotations:\n    a: '[" + related.String() + "1]'\nspec:\n  a: b\n",
		"long key":    "? " + strings.Repeat("k", 5<<20) + "\n: [" + strings.Repeat("quay.io/a:1,", most) + "]",
		"aliases":     aliases,
		"too many":    strings.Repeat("- image: quay.io/a\n", 250_000),
		"dots":        "a: " + strings.Repeat("quay.io..", 1_000_000),
		"other lines": "\"" + strings.Repeat("quay.io\u0085", 1_000_000) + "\"",
	} {
		d, ok := draftOf(t, text)
		if !ok {
			t.Fatalf("%s: does not parse", name)
		}
		runtime.LockOSThread()
		start := threadTime(t)
		d.replaceRegistries([]Rule{rule})
		if _, err := d.pin(t.Context(), everything{}, false); err != nil || (len(d.faults) > 0) != (name == "too many") {
			t.Errorf("%s: %v, %.300v", name, err, d.faults)
		}
		(&report{}).checkRegistries(d.op, []string{"example.com"})
		took := threadTime(t) - start
		runtime.UnlockOSThread()
		if took > 10*time.Second {
			t.Errorf("%s took %s", name, took)
		} else {
			t.Logf("%s took %s", name, took)
		}
	}
}
