package pipeline

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

func mustRule(tb testing.TB, old, replacement string, isRegexp bool) Rule {
	tb.Helper()
	r, err := NewRule(old, replacement, isRegexp)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestRewrite(t *testing.T) {
	type rule struct {
		old, new string
		regexp   bool
	}
	cases := []struct {
		name   string
		rules  []rule
		in     string
		want   string
		counts []int
	}{
		{"nothing to do", []rule{{"quay.io", "x", false}}, "image: gcr.io/a", "image: gcr.io/a", []int{0}},
		{"text everywhere", []rule{{"quay.io", "example.com", false}},
			"# quay.io\nimage: quay.io/a:1 # see quay.io\n", "# example.com\nimage: example.com/a:1 # see example.com\n", []int{3}},
		{"text is not a pattern", []rule{{"quay.io", "x", false}}, "a: quayXio", "a: quayXio", []int{0}},
		{"text hits a longer host, as in OMPS", []rule{{"quay.io", "x", false}}, "a: myquay.io", "a: myx", []int{1}},
		{"in listed order", []rule{{"a.io", "b.io", false}, {"b.io", "c.io", false}}, "x: a.io b.io", "x: c.io c.io", []int{1, 2}},
		{"the other order", []rule{{"b.io", "c.io", false}, {"a.io", "b.io", false}}, "x: a.io b.io", "x: b.io c.io", []int{1, 1}},
		{"pattern at line ends", []rule{{"quay.io$", "x", true}}, "a: quay.io\nb: quay.io/c\n", "a: x\nb: quay.io/c\n", []int{1}},
		{"pattern at line ends of CRLF files", []rule{{"quay.io$", "x", true}}, "a: quay.io\r\nb: quay.io\r\n", "a: x\r\nb: x\r\n", []int{2}},
		{"pattern over lines of CRLF files", []rule{{`a\nb`, `c\nd\ne`, true}}, "x: |\r\n a\nb\r\na\r\nb\r\n", "x: |\r\n c\r\nd\r\ne\r\nc\r\nd\r\ne\r\n", []int{2}},
		{"Python groups", []rule{{`quay\.io/(?P<org>\w+)/(\w+)`, `new.io/\2/\g<org>\g<1>`, true}}, "a: quay.io/x/y:1", "a: new.io/y/xx:1", []int{1}},
		{"a dollar is a dollar", []rule{{`a`, `$1${b}`, true}}, "x: a", "x: $1${b}", []int{1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var rules []Rule
			for _, r := range c.rules {
				rules = append(rules, mustRule(t, r.old, r.new, r.regexp))
			}
			in := []File{{"x.yaml", []byte(c.in)}}
			made := rewriteFiles(in, rules)
			if got := string(made.files[0].Data); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if string(in[0].Data) != c.in {
				t.Error("the input was edited in place")
			}
			for i, n := range c.counts {
				if got := made.counts[i].Count; got != n {
					t.Errorf("rule %d counts %d, want %d", i, got, n)
				}
			}
			if got := string(splice(in[0].Data, made.changed[0])); got != c.want {
				t.Errorf("the spans make %q, want %q", got, c.want)
			}
		})
	}
}

func TestRewriteOnlyYAML(t *testing.T) {
	files := []File{{"a.YAML", []byte("x")}, {"b.yml", []byte("x")}, {"c.json", []byte("x")}, {"d.yaml.txt", []byte("x")}, {"e/f.Yml", []byte("x")}}
	var got []string
	for _, f := range rewriteFiles(files, []Rule{mustRule(t, "x", "y", false)}).files {
		got = append(got, f.Path+" "+string(f.Data))
	}
	if diff := cmp.Diff([]string{"a.YAML y", "b.yml y", "c.json x", "d.yaml.txt x", "e/f.Yml y"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNewRuleRefuses(t *testing.T) {
	for _, c := range []struct{ old, new, says string }{
		{"", "x", "old is empty"},
		{"a{,3}", "x", "something else to Python"},
		{"[[:alpha:]]", "x", "something else to Python"},
		{"(", "x", "RE2"},
		{"(?!a)b", "x", "RE2"},
		{`(a)\1`, "x", "RE2"},
		{"a*", "x", "empty string"},
		{"^", "x", "empty string"},
		{"a", `\1`, "group 1, the pattern has 0"},
		{"(a)", `\g<2>`, "group 2, the pattern has 1"},
		{"a", `\g<b>`, `group "b"`},
		{"a", `\gb`, "not followed by <group>"},
		{"a", `\g<b`, "not followed by <group>"},
		{"a", `\q`, `unknown escape \q`},
		{"a", `x\`, "ends with a backslash"},
		{"a", `\400`, "beyond"},
	} {
		if _, err := NewRule(c.old, c.new, true); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("NewRule(%q, %q) = %v, want %q", c.old, c.new, err, c.says)
		}
	}
}

// The expected values are what Python's re.sub gives.
func TestTemplates(t *testing.T) {
	for _, c := range []struct{ old, new, in, want string }{
		{`(a)(b)?`, `[\1\2]`, "ab a", "[ab] [a]"},
		{`(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)`, `\11-\1`, "abcdefghijk", "k-a"},
		{`a`, `\0`, "a", "\x00"},
		{`a`, `\012\101`, "a", "\nA"},
		{`a`, `\t\\\.\n`, "a", "\t\\\\.\n"},
		{`a`, `<\g<0>>`, "a", "<a>"},
		{`(?P<x>a)`, `\g<x>0`, "a", "a0"},
		{`a`, ``, "bab", "bb"},
	} {
		r := mustRule(t, c.old, c.new, true)
		if got := string(splice([]byte(c.in), r.find([]byte(c.in)))); got != c.want {
			t.Errorf("re.sub(%q, %q, %q) = %q, want %q", c.old, c.new, c.in, got, c.want)
		}
	}
}

// TestCompose: for random texts and edits, the composed spans make in one step
// what the edits make one after the other.
func TestCompose(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	for round := range 20000 {
		orig := randomText(rng, 12)
		text, spans := orig, []span(nil)
		for range 1 + rng.IntN(4) {
			next := randomSpans(rng, text)
			spans = compose(spans, next, text)
			text = splice(text, next)
		}
		if got := splice(orig, spans); !bytes.Equal(got, text) {
			t.Fatalf("round %d: %q: composed %q, one by one %q", round, orig, got, text)
		}
		for i := 1; i < len(spans); i++ {
			if spans[i].start < spans[i-1].end {
				t.Fatalf("round %d: spans overlap: %v", round, spans)
			}
		}
	}
}

func randomText(rng *rand.Rand, n int) []byte {
	text := make([]byte, rng.IntN(n))
	for i := range text {
		text[i] = "abc\n"[rng.IntN(4)]
	}
	return text
}

func randomSpans(rng *rand.Rand, text []byte) []span {
	var spans []span
	for at := 0; at < len(text); {
		start := at + rng.IntN(4)
		end := start + 1 + rng.IntN(3)
		if end > len(text) {
			break
		}
		spans = append(spans, span{start, end, randomText(rng, 4)})
		at = end
	}
	return spans
}

func TestCheckEdit(t *testing.T) {
	cases := []struct {
		name, before, after string
		spans               []span
		says                string // "" when allowed
	}{
		{"value", "a: quay.io\nb: c\n", "a: x\nb: c\n", []span{{3, 10, []byte("x")}}, ""},
		{"key", "quay.io: b\n", "x: b\n", []span{{0, 7, []byte("x")}}, ""},
		{"comment", "a: b # quay.io\n", "a: b # x\n", []span{{7, 14, []byte("x")}}, ""},
		{"block scalar", "a: |\n  one\n  quay.io\nb: c\n", "a: |\n  one\n  x\nb: c\n", []span{{13, 20, []byte("x")}}, ""},
		{"another line", "a: b\nc: d\ne: f\n", "a: b\nc: d\ne: x\n", []span{{3, 4, []byte("b")}}, "no rule matched"},
		{"string to number", "a: b\n", "a: 1\n", []span{{3, 4, []byte("1")}}, "turns !!str into !!int"},
		{"structure", "a: b\n", "a: {b: c}\n", []span{{3, 4, []byte("{b: c}")}}, "structure"},
		{"one node more", "a: [b]\n", "a: [b, c]\n", []span{{4, 5, []byte("b, c")}}, "structure"},
		{"two keys the same", "a: 1\nb: 2\n", "b: 1\nb: 2\n", []span{{0, 1, []byte("b")}}, "two keys the same"},
		{"two keys the same before", "b: 1\nb: q\n", "b: 1\nb: x\n", []span{{8, 9, []byte("x")}}, ""},
		{"another anchor", "a: &a 1\nb: &b 2\nc: *a\n", "a: &a 1\nb: &b 2\nc: *b\n", []span{{20, 21, []byte("b")}}, "another anchor"},
		{"a document more", "a: b\n", "a: b\n---\nc: d\n", []span{{4, 5, []byte("\n---\nc: d\n")}}, "documents"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before, err := parseYAML(File{"x.yaml", []byte(c.before)})
			if err != nil {
				t.Fatal(err)
			}
			after, err := parseYAML(File{"x.yaml", []byte(c.after)})
			if err != nil {
				t.Fatal(err)
			}
			err = checkEdit(before, after, c.spans)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

// TestRealManifestsRewrite: on every real archive the bytes outside the spans
// stay, the documents differ only where a rule matched, and rules that cannot
// match again change nothing the second time.
func TestRealManifestsRewrite(t *testing.T) {
	rules := []Rule{mustRule(t, "quay.io", "registry.example.com/a", false), mustRule(t, `docker\.io/(\w+)$`, `mirror.example.com/\1`, true)}
	for _, name := range realCorpus(t, "packagemanifest-flat", "bundle", "bundle-osbs") {
		files, err := ReadArchive(readFile(t, name), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		made := rewriteFiles(files, rules)
		d := newDraft(manifestsOf(t, files))
		before := len(d.faults)
		d.replaceRegistries(rules)
		if faults := d.faults[before:]; len(faults) > 0 {
			t.Errorf("%s: %v", filepath.Base(name), faults)
		}
		for i, spans := range made.changed {
			if !bytes.Equal(splice(files[i].Data, spans), made.files[i].Data) || !bytes.Equal(d.files[i].Data, made.files[i].Data) {
				t.Errorf("%s: the spans do not make the new text", files[i].Path)
			}
		}
		if again := rewriteFiles(made.files, rules); len(again.changed) > 0 {
			t.Errorf("%s: rewriting again changes %d files", filepath.Base(name), len(again.changed))
		}
	}
}

// FuzzRewrite: on any YAML text, an accepted edit keeps every node's kind.
func FuzzRewrite(f *testing.F) {
	f.Add("a: quay.io/x\nb: [quay.io, \"quay.io\"]\nc: |\n  quay.io\n", "quay.io", "x")
	f.Add("# quay.io\r\na: &x quay.io\r\nb: *x\r\n", "quay.io", "y: z")
	f.Fuzz(func(t *testing.T, in, old, replacement string) {
		rule, err := NewRule(old, replacement, false)
		if err != nil || len(in) > 4096 {
			return
		}
		before, err := parseYAML(File{"x.yaml", []byte(in)})
		if err != nil {
			return
		}
		made := rewriteFiles([]File{before.file}, []Rule{rule})
		out, count := made.files[0], made.counts[0].Count
		if want := strings.Count(in, old); count != want || string(out.Data) != strings.ReplaceAll(in, old, replacement) {
			t.Fatalf("%d matches make %q, want %d", count, out.Data, want)
		}
		after, err := parseYAML(out)
		if err != nil || checkEdit(before, after, made.changed[0]) != nil {
			return
		}
		var b, a yaml.Node
		if yaml.Unmarshal([]byte(in), &b) == nil && yaml.Unmarshal(out.Data, &a) == nil && a.Kind != b.Kind {
			t.Errorf("%q became another kind of document: %q", in, out.Data)
		}
	})
}

// FuzzPattern: a regular expression that is taken replaces what the regexp package
// says it would, and with CRLF the same lines as without.
func FuzzPattern(f *testing.F) {
	f.Add(`^(image): (?P<host>quay)\.io$`, `\1: \g<host>.example.com`, "image: quay.io\nimage: quay.io/a\n")
	f.Add(`quay\.io$`, `a\nb`, "x quay.io\r\nquay.io\r\n")
	f.Add(`(a)|(b)`, `\2\\\g<1>\101`, "abba")
	f.Fuzz(func(t *testing.T, old, replacement, text string) {
		rule, err := NewRule(old, replacement, true)
		if err != nil || len(text) > 4096 {
			return
		}
		spans, at := rule.find([]byte(text)), 0
		for _, s := range spans {
			if s.start < at || s.end <= s.start || s.end > len(text) {
				t.Fatalf("spans %v of %q", spans, text)
			}
			at = s.end
		}
		got := string(splice([]byte(text), spans))
		if strings.Contains(text, "\r") || strings.Contains(old, `\r`) {
			return
		}
		empty := slices.ContainsFunc(rule.pattern.FindAllStringIndex(text, -1), func(m []int) bool { return m[0] == m[1] })
		if want := rule.pattern.ReplaceAllString(text, goTemplate(rule.template)); !empty && got != want {
			t.Fatalf("%q to %q in %q: %q, not %q", old, replacement, text, got, want)
		}
		crlf := strings.ReplaceAll(text, "\n", "\r\n")
		if folded := strings.ReplaceAll(string(splice([]byte(crlf), rule.find([]byte(crlf)))), "\r\n", "\n"); folded != strings.ReplaceAll(got, "\r\n", "\n") {
			t.Fatalf("%q to %q in %q: %q with CRLF, %q without", old, replacement, text, folded, got)
		}
	})
}

// goTemplate writes a template as the regexp package has them.
func goTemplate(t template) string {
	var out strings.Builder
	for _, part := range t {
		if part.group < 0 {
			out.WriteString(strings.ReplaceAll(part.text, "$", "$$"))
		} else {
			fmt.Fprintf(&out, "${%d}", part.group)
		}
	}
	return out.String()
}
