package pipeline

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	olmerrors "github.com/operator-framework/api/pkg/validation/errors"
	olmvalidators "github.com/operator-framework/api/pkg/validation/interfaces"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// A scalar has to become what Kubernetes' own reader makes of it.
func TestDecodeReadsAsKubernetesDoes(t *testing.T) {
	for _, scalar := range []string{
		"y", "n", "Y", "yes", "on", "OFF", "True", "~", "null", "'yes'", "\"1\"", "1:30", "2020-01-01", "2020-01-01T00:00:00Z",
		"0644", "0o644", "0x1F", "0b11", "1_000", "1e3", "1.", ".5", "+1", "-0", "08", "0.1e-400", "=", "<<", "!!str 5", "!foo 5",
		"|-\n  a\n  b", "a &b", "\"\\u00e9\\n\"", "''", "'a \"b\" ~'", "a<b", "a>b", "a&b", "a\\b", "\"\\u007f\"", "\"\\u2028\"", "{}", "[1, {b: c, b: d}]",
	} {
		data := []byte("a: " + scalar + "\n")
		doc, err := parseYAML(File{"x.yaml", data})
		if err != nil {
			t.Fatalf("%s: %v", scalar, err)
		}
		got, err := appendJSON(nil, doc.root)
		if err != nil {
			t.Fatalf("%s: %v", scalar, err)
		}
		want, err := yaml.ToJSON(data)
		if err != nil {
			t.Fatalf("%s: %v", scalar, err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s: %s, not %s", scalar, got, want)
		}
	}
	doc, err := parseYAML(File{"x.yaml", []byte("a: .inf")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := appendJSON(nil, doc.root); err == nil {
		t.Error("infinity is JSON")
	}
}

func TestOthersCodeMayPanic(t *testing.T) {
	c := olmChecker{}
	m := manifest{path: "x.yaml"}
	c.check(m, olmvalidators.ValidatorFunc(func(...any) []olmerrors.ManifestResult { panic("oh") }), nil)
	want := []olmFinding{{Fault: Fault{File: "x.yaml", Text: "validation panicked: oh"}, refused: true}}
	if diff := cmp.Diff(want, c.found, cmp.AllowUnexported(olmFinding{})); diff != "" {
		t.Error(diff)
	}
}

func TestFindingsHaveOneOrder(t *testing.T) {
	var results []olmerrors.ManifestResult
	for _, detail := range []string{"b", "c", "a"} {
		results = append(results, olmerrors.ManifestResult{Errors: []olmerrors.Error{{Detail: detail, Level: olmerrors.LevelError}}})
	}
	c := olmChecker{}
	c.check(manifest{path: "x"}, olmvalidators.ValidatorFunc(func(...any) []olmerrors.ManifestResult { return results }), nil)
	var got []string
	for _, f := range c.found {
		got = append(got, f.Text)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRemarks(t *testing.T) {
	var r remarks
	for i := range maxRemarks + 3 {
		r.add(fmt.Sprintf("%d.yaml", i), "spec", fmt.Sprintf("is %d", i))
		r.add("other.yaml", "spec", "is 0")
	}
	got := r.texts("they say: ")
	want := []string{"they say: 0.yaml and 23 more: spec: is 0", "they say: 1.yaml: spec: is 1", "they say: 3 more remarks"}
	if diff := cmp.Diff(want, []string{got[0], got[1], got[len(got)-1]}); diff != "" || len(got) != maxRemarks+1 {
		t.Errorf("%d remarks: %s", len(got), diff)
	}
}

func TestOneLine(t *testing.T) {
	if got := oneLine("a\n\tb\xff  c "); got != "a b� c" {
		t.Errorf("%q", got)
	}
	got := oneLine(strings.Repeat("é", maxRemarkBytes))
	if !utf8.ValidString(got) || len(got) > maxRemarkBytes+len("…") || !strings.HasSuffix(got, "é…") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

func TestImageWarnings(t *testing.T) {
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	cases := []struct {
		name string
		edit edit
		says string // "": what the untouched operator warns of is gone
	}{
		{"tags", in("csv", "x", "x"), "images without a digest, which may change: quay.io/gadgets/gadget:1, quay.io/gadgets/operator:1.0.0"},
		{"digests", edits(
			in("csv", "quay.io/gadgets/operator:1.0.0", "quay.io/gadgets/operator"+digest), in("csv", "gadgets/gadget:1", "gadgets/gadget"+digest),
		), "images without a digest"},
		{"related images missing", in("csv", "x", "x"), "manifests/csv.yaml: spec.relatedImages: is missing"},
		{
			"related images not all there",
			in("csv", "  installModes:", "  relatedImages: [{name: a, image: quay.io/a/b:1}]\n  installModes:"),
			"lacks what the operator runs, so it will not be mirrored: quay.io/gadgets/operator:1.0.0",
		},
		{
			"an operand not among them",
			edits(
				in("csv", "  installModes:", "  relatedImages: [{name: a, image: \"quay.io/gadgets/operator:1.0.0\"}]\n  installModes:"),
				in("csv", "                    image:", "                    env: [{name: RELATED_IMAGE_B, value: quay.io/b/c:1}]\n                    image:"),
			),
			"lacks what the operator runs, so it will not be mirrored: quay.io/b/c:1",
		},
		{
			"related images",
			in("csv", "  installModes:", "  relatedImages: [{name: a, image: \"quay.io/gadgets/operator:1.0.0\"}]\n  installModes:"),
			"spec.relatedImages",
		},
		{
			"several architectures",
			in("csv", "  annotations:", "  labels:\n    operatorframework.io/arch.arm64: supported\n    operatorframework.io/arch.amd64: supported\n    operatorframework.io/arch.s390x: unsupported\n  annotations:"),
			"manifests/csv.yaml: metadata.labels: promise amd64, arm64; whether",
		},
		{"one architecture", in("csv", "  annotations:", "  labels: {operatorframework.io/arch.arm64: supported}\n  annotations:"), "metadata.labels"},
	}
	gone := map[string]bool{"digests": true, "related images": true, "one architecture": true}
	for _, c := range cases {
		s := specimenOf(t, "bundle", "manifests/")
		c.edit(s)
		got := prepared(t, s.files)
		said := strings.Contains(strings.Join(got.warnings, "\n"), c.says)
		if len(got.faults) > 0 || said == gone[c.name] {
			t.Errorf("%s: %q, %q", c.name, got.faults, got.warnings)
		}
	}
}

func TestSome(t *testing.T) {
	if got := some([]string{"a", "b"}); got != "a, b" {
		t.Error(got)
	}
	if got := some(strings.Split("abcdefg", "")); got != "a, b, c, d, e, and 2 more" {
		t.Error(got)
	}
}

// Whatever lies in an archive, validating it takes less than ten seconds.
func TestHostileValidationIsQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector makes it ten times slower")
	}
	repeated := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	rules := repeated(40_000, `{rule: "self.all(x, x == 'a%d' && x.size() < 5)"},`)
	cases := map[string]edit{
		"rules in a schema":   in("crd", "{type: object}", "{type: array, items: {type: string}, x-kubernetes-validations: ["+rules+"]}"),
		"a wide schema":       in("crd", "{type: object}", "{type: object, properties: {"+repeated(60_000, "p%d: {type: string, pattern: '(a+)+$'},")+"}}"),
		"versions":            in("crd", "versions:\n", "versions:\n"+repeated(40_000, "    - {name: v%d, served: true, storage: false}\n")),
		"examples":            in("csv", "[{", "["+repeated(60_000, `{"apiVersion": "a/v1", "kind": "B%d"},`)+"{"),
		"a deep example":      in("csv", "[{", `[{"kind": "A", "a": `+strings.Repeat("[", 9000)+strings.Repeat("]", 9000)+"},{"),
		"install modes":       in("csv", "installModes:\n", "webhookdefinitions:\n"+repeated(30_000, "    - {type: W%d, conversionCRDs: [x]}\n")+"  installModes:\n"+repeated(30_000, "    - {type: M%d, supported: true}\n")),
		"owned":               in("csv", "owned:\n", "owned:\n"+repeated(30_000, "      - {name: c%d.example.com, kind: C, version: v1}\n")),
		"images":              in("csv", "- name: operator\n", repeated(50_000, "- {name: a, image: \"quay.io/a/b:%d\"}\n                  ")+"- name: operator\n"),
		"repeated keys":       in("csv", "metadata:\n", "metadata:\n"+strings.Repeat("  namespace: a\n", 100_000)),
		"rules in dependency": metadata("dependencies.yaml", "dependencies:\n"+repeated(maxDependencies, "- {type: olm.constraint, value: {cel: {rule: '"+strings.Repeat("1 + ", 700)+"%d > 0'}}}\n")),
		"dependencies":        metadata("dependencies.yaml", "dependencies:\n"+repeated(60_000, "- {type: olm.label, value: {label: a%d}}\n")),
	}
	for name, e := range cases {
		s := specimenOf(t, "bundle", "manifests/")
		e(s)
		m := manifestsOf(t, s.files)
		if len(m.faults) > 0 {
			t.Errorf("%s: is not even parsed: %v", name, m.faults)
		}
		start := time.Now()
		r := validate(m.operator, m.faults)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: %v", name, took)
		} else {
			t.Logf("%-20s %8v, %d faults, %d warnings", name, took.Round(time.Millisecond), len(r.faults), len(r.warnings))
		}
	}
}

// FuzzValidate gives validation a CSV, a CRD and a file of metadata/ of any
// content, as package manifests and as a bundle.
func FuzzValidate(f *testing.F) {
	read := func(name string) []byte { return readFile(f, filepath.Join("testdata/prepare/bundle/in", name)) }
	annotations := read("metadata/annotations.yaml")
	f.Add(read("manifests/csv.yaml"), read("manifests/crd.yaml"), []byte("dependencies: [{type: olm.package, value: {packageName: a, version: '>1.0.0'}}]"))
	f.Add([]byte("kind: ClusterServiceVersion\nspec: &a [*a]"), []byte("kind: CustomResourceDefinition\nspec: {versions: [], validation: }"), []byte("annotations:"))
	f.Fuzz(func(t *testing.T, csv, crd, metadata []byte) {
		pkg := []byte("packageName: gadgets\nchannels: [{name: stable, currentCSV: gadgets.v1.0.0}]\n")
		for _, files := range [][]File{
			{{"crd.yaml", crd}, {"csv.yaml", csv}, {"package.yaml", pkg}},
			{{"1/crd.yaml", crd}, {"1/csv.yaml", csv}, {"package.yaml", pkg}},
			{{"manifests/crd.yaml", crd}, {"manifests/csv.yaml", csv}, {"metadata/annotations.yaml", annotations}, {"metadata/z.yaml", metadata}},
		} {
			m := manifestsOf(t, files)
			if _, err := m.identified(t.Context(), BundleDefaults{}); err != nil {
				continue
			}
			first, second := validate(m.operator, m.faults), validate(m.operator, m.faults)
			if diff := cmp.Diff(first, second, cmp.AllowUnexported(report{})); diff != "" {
				t.Errorf("differs the second time: %s", diff)
			}
			for _, w := range first.warnings {
				if strings.Contains(w, "panicked") {
					t.Error(w)
				}
			}
			for _, fault := range first.faults {
				if strings.Contains(fault.Text, "panicked") {
					t.Error(fault)
				}
			}
		}
	})
}
