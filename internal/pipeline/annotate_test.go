package pipeline

import (
	"strings"
	"testing"
)

func TestNewAnnotation(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxAnnotationValue)
	for _, c := range []struct{ name, value, want string }{ // want: the value for etcd, or "refused: " and what the error says
		{"a", "b", "b"},
		{"a", "", ""},
		{"example.com/a.b_c-D", "{package_name}", "etcd"},
		{"a", "<{package_name}|{package_name}>", "<etcd|etcd>"},
		{"a", "{{package_name}}", "{package_name}"},
		{"a", "{{{package_name}}}", "{etcd}"},
		{"a", `{{"a": "{package_name}"}}`, `{"a": "etcd"}`},
		{"a", "}}{{", "}{"},
		{"a", "two\nlines\tü", "two\nlines\tü"},
		{"a", long, long},
		{"a", "{", "refused: { and }"},
		{"a", "x}", "refused: { and }"},
		{"a", "{}", "refused: only placeholder"},
		{"a", "{0}", "refused: only placeholder"},
		{"a", "{package}", "refused: only placeholder"},
		{"a", "{package_name!r}", "refused: only placeholder"},
		{"a", "{package_name:>9}", "refused: only placeholder"},
		{"a", "{ package_name }", "refused: only placeholder"},
		{"a", `{"a": 1}`, "refused: only placeholder"},
		{"a", long + "x", "refused: more than"},
		{"a", "\xff", "refused: not UTF-8"},
		{"a", "a\x00", "refused: control character"},
		{"a", "a\r\n", "refused: control character"},
		{"a", "a\u0085", "refused: control character"},
		{"", "b", "refused: name"},
		{"a b", "b", "refused: name"},
		{"/a", "b", "refused: name"},
		{"a/", "b", "refused: name"},
		{"a/b/c", "b", "refused: name"},
		{"A.com/b", "b", "refused: name"},
		{"-a", "b", "refused: name"},
		{"a.", "b", "refused: name"},
		{strings.Repeat("a", 64), "b", "refused: name"},
		{strings.Repeat("a.", 127) + "/b", "b", "refused: name"},
		{strings.Repeat("a", 254) + "/b", "b", "refused: name"},
	} {
		a, err := NewAnnotation(c.name, c.value)
		if a.Name != c.name || a.Value != c.value {
			t.Errorf("%q: %.40q: reads as %+v", c.name, c.value, a)
		}
		got := ""
		if err == nil {
			got, err = a.valueFor("etcd")
		}
		says, refused := strings.CutPrefix(c.want, "refused: ")
		switch {
		case err == nil && (refused || got != c.want):
			t.Errorf("%.40q: %.40q: %.40q, want %.40q", c.name, c.value, got, c.want)
		case err != nil && (!refused || !strings.Contains(err.Error(), says)):
			t.Errorf("%.40q: %.40q: %v, want %q", c.name, c.value, err, c.want)
		}
	}
}

// annotationCase is a ClusterServiceVersion's text from its second line on, and
// what it becomes when the annotation "a" is to be "v" and "b" "w: {x}\n".
type annotationCase struct{ name, in, want string }

const (
	newA  = `"a": "v"`
	newB  = `"b": "w: {x}\n"`
	newAB = newA + ", " + newB
)

// annotationsMissing have neither annotation.
var annotationsMissing = []annotationCase{
	{"in front of others", "metadata:\n  annotations:\n    z: 1\n", "metadata:\n  annotations:\n    " + newA + "\n    " + newB + "\n    z: 1\n"},
	{"behind comments", "metadata:\n  annotations: # c\n\n# d\n    # e\n    z: 1\n", "metadata:\n  annotations: # c\n    " + newA + "\n    " + newB + "\n\n# d\n    # e\n    z: 1\n"},
	{"CRLF", "metadata:\r\n  annotations:\r\n    z: 1\r\n", "metadata:\r\n  annotations:\r\n    " + newA + "\r\n    " + newB + "\r\n    z: 1\r\n"},
	{"CR", "metadata:\r  annotations:\r    z: 1\r", "metadata:\r  annotations:\r    " + newA + "\r    " + newB + "\r    z: 1\r"},
	{"no newline at the end", "metadata:\n annotations:\n  z: 1", "metadata:\n annotations:\n  " + newA + "\n  " + newB + "\n  z: 1"},
	{"quoted keys", "\"metadata\":\n  'annotations' :\n    z: 1\n", "\"metadata\":\n  'annotations' :\n    " + newA + "\n    " + newB + "\n    z: 1\n"},
	{"a first key with an anchor", "metadata:\n  annotations:\n    &z z: 1\n", "metadata:\n  annotations:\n    " + newA + "\n    " + newB + "\n    &z z: 1\n"},
	{"a first key on its own", "metadata:\n  annotations:\n    ? z\n    : 1\n", "metadata:\n  annotations:\n    " + newA + "\n    " + newB + "\n    ? z\n    : 1\n"},
	{"of two keys the last", "metadata: {annotations: {}}\nmetadata:\n  annotations: {c: d}\n  annotations: {}\n", "metadata: {annotations: {}}\nmetadata:\n  annotations: {c: d}\n  annotations: {" + newAB + "}\n"},
	{"a key with tabs behind it", "metadata:\n  annotations:\t\n    z: 1\n", "metadata:\n  annotations:\t\n    " + newA + "\n    " + newB + "\n    z: 1\n"},
	{"empty", "metadata:\n  annotations: {}\n", "metadata:\n  annotations: {" + newAB + "}\n"},
	{"empty with a blank", "metadata:\n  annotations: { } # c\n", "metadata:\n  annotations: {" + newAB + " } # c\n"},
	{"flow", "metadata:\n  annotations: {\"z\":\"1\"}\n", "metadata:\n  annotations: {" + newAB + ", \"z\":\"1\"}\n"},
	{"flow on lines", "metadata:\n  annotations: {\n    z: 1, # c\n  }\n", "metadata:\n  annotations: {" + newAB + ", \n    z: 1, # c\n  }\n"},
	{"flow below its key", "metadata:\n  annotations:\n    {z: 1}\n", "metadata:\n  annotations:\n    {" + newAB + ", z: 1}\n"},
	{"null", "metadata:\n  annotations: null # c\n", "metadata:\n  annotations: {" + newAB + "} # c\n"},
	{"tilde", "metadata:\n  annotations: ~\n  name: x\n", "metadata:\n  annotations: {" + newAB + "}\n  name: x\n"},
	{"null, unsaid", "metadata:\n  annotations: # c\n  name: x\n", "metadata:\n  annotations: {" + newAB + "} # c\n  name: x\n"},
	{"null, unsaid, at the end", "metadata:\n  annotations:", "metadata:\n  annotations: {" + newAB + "}"},
	{"null in flow", "metadata: {annotations: , name: x}\n", "metadata: {annotations:  {" + newAB + "}, name: x}\n"},
	{"missing", "metadata:\n  name: x\n", "metadata:\n  annotations:\n    " + newA + "\n    " + newB + "\n  name: x\n"},
	{"missing, CRLF", "metadata: # c\r\n    name: x", "metadata: # c\r\n    annotations:\r\n      " + newA + "\r\n      " + newB + "\r\n    name: x"},
	{"missing in flow", "metadata: {name: x}\n", "metadata: {\"annotations\": {" + newAB + "}, name: x}\n"},
	{"missing in nothing", "metadata: {}\n", "metadata: {\"annotations\": {" + newAB + "}}\n"},
	{"columns are characters", "'日': [\"é\"]\nmetadata: {'日本': 1, annotations: {}}\n", "'日': [\"é\"]\nmetadata: {'日本': 1, annotations: {" + newAB + "}}\n"},
	{"NEL, LS and PS end lines", "x: |\n  b\u0085  c\u2028  d\u2029  e\nmetadata:\n  annotations:\n    z: 1\n", "x: |\n  b\u0085  c\u2028  d\u2029  e\nmetadata:\n  annotations:\n    " + newA + "\n    " + newB + "\n    z: 1\n"},

	{"no metadata", "spec: {}\n", "fault: metadata is missing"},
	{"metadata null", "metadata:\n", "fault: metadata is null"},
	{"metadata a list", "metadata: [a]\n", "fault: metadata is a list"},
	{"a scalar", "metadata:\n  annotations: x\n", "fault: annotations is a scalar"},
	{"an empty string", "metadata:\n  annotations: ''\n", "fault: annotations is a scalar"},
	{"a list", "metadata:\n  annotations: []\n", "fault: annotations is a list"},
	{"an alias", "x: &x {c: d}\nmetadata:\n  annotations: *x\n", "fault: is an alias"},
	{"metadata an alias", "x: &x {annotations: {}}\nmetadata: *x\n", "fault: is an alias"},
	{"an anchor", "metadata:\n  annotations: &x {c: d}\nlabels: *x\n", "fault: has an anchor"},
	{"metadata with an anchor", "metadata: &x\n  annotations:\n    c: d\nlabels: *x\n", "fault: has an anchor"},
	{"a tag", "metadata:\n  annotations: !!map\n    c: d\n", "fault: a tag"},
	{"null with a tag", "metadata:\n  annotations: !!null ''\n", "fault: a tag"},
	{"on the line of its key", "metadata:\n  ? annotations\n  : z: 1\n", "fault: takes no further lines"},
	{"below its key's own line", "metadata:\n  ? annotations\n  :\n    z: 1\n", "fault: after rewriting"},
	{"a merge key", "x: &x {c: d}\nmetadata:\n  annotations:\n    <<: *x\n", "fault: merge key"},
}

func annotated(value string) string {
	return "metadata:\n  annotations:\n    a: " + value + "    b: \"w: {x}\\n\"\n"
}

// annotationsThere have both, "b" as it is to be.
var annotationsThere = []annotationCase{
	{"as it is to be", annotated("v\n"), annotated("v\n")},
	{"as it is to be, in quotes", annotated("'v'\n"), annotated("'v'\n")},
	{"plain", annotated("x # c\n"), annotated(`"v" # c` + "\n")},
	{"plain on lines", annotated("x y\n      z\n\n\n     z # c\n    # d\n"), annotated(`"v" # c` + "\n    # d\n")},
	{"plain beyond ASCII, on lines", annotated("é 日\n      😀\n"), annotated("\"v\"\n")},
	{"plain below its key", annotated("\n      x\n"), annotated("\n      \"v\"\n")},
	{"plain on lines, CRLF", annotated("x\r\n      z\r\n"), annotated("\"v\"\r\n")},
	{"a number", annotated("1\n"), annotated("\"v\"\n")},
	{"a date", annotated("2019-04-30T18:35:59Z\n"), annotated("\"v\"\n")},
	{"null", annotated("~ # c\n"), annotated("\"v\" # c\n")},
	{"null, unsaid", annotated(" # c\n"), annotated("\"v\"  # c\n")},
	{"single quotes", annotated("'x''y # z'   # c\n"), annotated("\"v\"   # c\n")},
	{"double quotes", annotated(`"x\"y\\" # "c"` + "\n"), annotated("\"v\" # \"c\"\n")},
	{"double quotes on lines", annotated("\"x\n\n\ty \\\n  # z\"\n"), annotated("\"v\"\n")},
	{"literal", annotated("|\n      x\n\n        y\n    # c\n"), annotated("\"v\"\n    # c\n")},
	{"literal with a key in it", annotated("|\n      a: x\n      b: y\n"), annotated("\"v\"\n")},
	{"literal to keep", annotated("|+ # c\n      x\n\n\n"), annotated("\"v\"\n\n\n")},
	{"literal with its indentation said", annotated("|1-\n      x\n     y\n"), annotated("\"v\"\n")},
	{"literal with its indentation said last", annotated("|-2\n        x\n      y\n"), annotated("\"v\"\n")},
	{"literal that starts with blank lines", annotated("|\n\n  \n      x\n     # c\n"), annotated("\"v\"\n     # c\n")},
	{"literal and empty", annotated("|\n"), annotated("\"v\"\n")},
	{"literal, empty and with a comment", annotated("|-\n\n# c\n"), annotated("\"v\"\n\n# c\n")},
	{"literal, CRLF", annotated("|\r\n      x\r\n\r\n      y\r\n"), annotated("\"v\"\r\n")},
	{"folded", annotated(">-\n      x\n      y\n\n      z\n"), annotated("\"v\"\n")},
	{"literal at the end", "metadata:\n  annotations:\n    b: \"w: {x}\\n\"\n    a: |\n      x\n      y", "metadata:\n  annotations:\n    b: \"w: {x}\\n\"\n    a: \"v\""},
	{"literal at the end of the metadata", "metadata:\n  annotations:\n    b: \"w: {x}\\n\"\n    a: |\n      x\n# c\nspec:\n  x: y\n", "metadata:\n  annotations:\n    b: \"w: {x}\\n\"\n    a: \"v\"\n# c\nspec:\n  x: y\n"},
	{"flow", "metadata: {annotations: {a: x y, b: z}}\n", "metadata: {annotations: {a: \"v\", b: \"w: {x}\\n\"}}\n"},
	{"JSON", `{"metadata":{"annotations":{"b":"z","a":"x"}},`, `{"metadata":{"annotations":{"b":"w: {x}\n","a":"v"}},`},
	{"null in flow", "metadata: {annotations: {a: , b: null}}\n", "metadata: {annotations: {a:  \"v\", b: \"w: {x}\\n\"}}\n"},
	{"of two keys the last", annotated("x\n    a: y\n"), annotated("x\n    a: \"v\"\n")},
	{"of two keys the last, as it is to be", annotated("x\n    a: v\n"), annotated("x\n    a: v\n")},
	{"one there, one missing", "metadata:\n  annotations:\n    z: 1\n    a: x\n", "metadata:\n  annotations:\n    " + newB + "\n    z: 1\n    a: \"v\"\n"},
	{"one there, one missing, in flow", "metadata: {annotations: {a: x}}\n", "metadata: {annotations: {" + newB + ", a: \"v\"}}\n"},
	{"a word that YAML 1.1 reads as a boolean beside it", "metadata:\n  annotations:\n    yes: no\n    a: x\n    b: y\n", "metadata:\n  annotations:\n    yes: no\n    a: \"v\"\n    b: \"w: {x}\\n\"\n"},

	{"a mapping", annotated("{x: y}\n"), "fault: a is a mapping"},
	{"a list", annotated("[x]\n"), "fault: a is a list"},
	{"an alias", "x: &x y\n" + annotated("*x\n"), "fault: is an alias"},
	{"an anchor", annotated("&x y\n") + "x: *x\n", "fault: has an anchor"},
	{"a tag", annotated("!!str x\n"), "fault: a tag"},
	{"a tag without a name", annotated("! x\n"), "fault: not to be found"},
	{"nothing but a key", "metadata: {annotations: {a, b: x}}\n", "fault: after rewriting"},
}

func TestAnnotate(t *testing.T) {
	t.Parallel()
	for _, c := range append(annotationsMissing, annotationsThere...) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in, want := "kind: ClusterServiceVersion\n"+c.in, "kind: ClusterServiceVersion\n"+c.want
			if strings.HasPrefix(c.in, "{") {
				in, want = c.in+`"kind":"ClusterServiceVersion"}`, c.want+`"kind":"ClusterServiceVersion"}`
			}
			if strings.HasPrefix(c.want, "fault: ") {
				want = c.want
			}
			got := annotateText(t, in)
			if got != want {
				if says, ok := strings.CutPrefix(c.want, "fault: "); !ok || !strings.HasPrefix(got, "fault: ") || !strings.Contains(got, says) {
					t.Fatalf("got\n%s\nwant\n%s", got, want)
				}
				return
			}
			if again := annotateText(t, got); again != got {
				t.Errorf("a second time it becomes\n%s", again)
			}
		})
	}
}

func annotateText(t *testing.T, text string) string {
	t.Helper()
	d := newDraft(manifestsOf(t, []File{{"csv.yaml", []byte(text)}}))
	d.annotate([]Annotation{{"a", "overridden"}, {"a", "v"}, {"b", "w: {{x}}\n"}})
	return verdict(d)
}

// A key that other readers take for a boolean is not ours to give a value.
func TestAnnotateOddKeys(t *testing.T) {
	t.Parallel()
	d := newDraft(manifestsOf(t, []File{{"csv.yaml", []byte("kind: ClusterServiceVersion\nmetadata: {annotations: {yes: x}}\n")}}))
	d.annotate([]Annotation{{"yes", "v"}})
	if got := verdict(d); !strings.Contains(got, "the key yes is not a string") {
		t.Errorf("got %s", got)
	}
}

// What no configuration holds does no harm either.
func TestAnnotateUnchecked(t *testing.T) {
	t.Parallel()
	in := "kind: ClusterServiceVersion\nmetadata: {annotations: {}}\n"
	for _, c := range []struct{ name, value, says string }{
		{"a", "{oops}", "only placeholder"},
		{"a", "\xff", "reads differently"},
		{"\xff", "a", "reads differently"},
		{"a\"}: \n", "\x00\u2028\U0010ffff\"\\", `{"a\"}: \n": "\x00\u2028\U0010ffff\"\\"}`},
	} {
		d := newDraft(manifestsOf(t, []File{{"csv.yaml", []byte(in)}}))
		d.annotate([]Annotation{{c.name, c.value}})
		if got := verdict(d); !strings.Contains(got, c.says) {
			t.Errorf("%q: %q: got %s, want %q", c.name, c.value, got, c.says)
		}
	}
}

// The time it takes grows no faster than the text.
func TestAnnotateLongText(t *testing.T) {
	t.Parallel()
	for _, gap := range []string{strings.Repeat(" ", 1<<20), strings.Repeat("\n", 1<<18), strings.Repeat("\n      x", 1<<17)} {
		in := "kind: ClusterServiceVersion\nmetadata:\n  annotations:\n    a: x" + gap + "      y\n    b: \"w: {x}\\n\"\n"
		if got, want := annotateText(t, in), "kind: ClusterServiceVersion\n"+annotated("\"v\"\n"); got != want {
			t.Errorf("got %.200s", got)
		}
	}
}
