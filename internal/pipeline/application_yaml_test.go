package pipeline

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// rewritten reads a document and writes its normal form. The error tells why it
// has none.
func rewritten(t *testing.T, text string) (source *yaml.Node, written string, err error) {
	t.Helper()
	doc, err := parseYAML(File{Data: []byte(text)})
	if err != nil {
		return nil, "", err
	}
	if doc.root == nil {
		return nil, "", errors.New("is empty")
	}
	z := normalizer{nodesLeft: maxYAMLNodes}
	normal, err := z.copy(doc.root)
	if err != nil {
		return nil, "", err
	}
	if written, err = writeYAML(normal, 1<<20); err != nil {
		t.Fatalf("%v\nof %q", err, text)
	}
	return doc.root, written, nil
}

func TestNormalForm(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, in, want string }{
		{"keys sorted", "b: 1\nB: 2\nä: 3\na: 4\n\"\": 5\n1: 6\n", "'': 5\n1: 6\nB: 2\na: 4\nb: 1\n'ä': 3\n"},
		{"a key twice, the last counts", "a: {b: 1}\nc: 2\na: 3\n", "a: 3\nc: 2\n"},
		{"a key twice, in two spellings", "yes: 1\nOn: 2\n0x1: 3\n1: 4\n", "1: 4\ntrue: 2\n"},
		{"a word and a boolean", "\"true\": 1\ntrue: 2\n", "true: 2\n'true': 1\n"},
		{"aliases", "a: &x [1, &y {b: 2}]\nc: *x\nd: *y\n", "a:\n  - 1\n  - b: 2\nc:\n  - 1\n  - b: 2\nd:\n  b: 2\n"},
		{"comments and folds", "a: # x\n  b\n  c\n# y\n", "a: b c\n"},
		{"nothing", "a:\nb: ~\nc: ''\nd: {}\ne: []\n", "a: null\nb: null\nc: ''\nd: {}\ne: []\n"},
		{"numbers", "[0644, 1:30, 1_000, .5, 1e3, 0x1F]", "- 420\n- 90\n- 1000\n- 0.5\n- '1e3'\n- 31\n"},
		{
			"words in quotes", `["yes", 'no', "null", "~", "y", "0644", "1:30", "1.0", "=", "<<", "2019-04-30"]`,
			"- 'yes'\n- 'no'\n- 'null'\n- '~'\n- 'y'\n- '0644'\n- '1:30'\n- '1.0'\n- '='\n- '<<'\n- '2019-04-30'\n",
		},
		{"words that are none", "[=, <<, y, N, -.5]", "- '='\n- '<<'\n- 'y'\n- 'N'\n- '-.5'\n"},
		{"tags that say what is so", "[!!str 1, !!int 0x1, !!str '', !!float .5, !!map {}, !!seq []]", "- '1'\n- 1\n- ''\n- 0.5\n- {}\n- []\n"},
		{"times", "a: 2019-04-30T18:35:59Z\nb: 2019-04-30\nc: \"2019-04-30\"\n", "a: 2019-04-30 18:35:59+00:00\nb: 2019-04-30\nc: '2019-04-30'\n"},
		{
			"plain or quoted", `[quay.io/a/b:1.2@sha256:00, 'http://x/?y', a b, /bin/sh, a:b, 'a: b', 'a #b', ' a', 'a ', -x, '1a', 'a''b', "\"\\", 'é']`,
			"- quay.io/a/b:1.2@sha256:00\n- 'http://x/?y'\n- a b\n- /bin/sh\n- a:b\n- 'a: b'\n- 'a #b'\n- ' a'\n- 'a '\n- '-x'\n- '1a'\n- 'a''b'\n- '\"\\'\n- 'é'\n",
		},
		{"literal", "a: \"b\\n  c\\n\\n- é #\\n\"\nd: \"e\\nf\"\n", "a: |\n  b\n    c\n\n  - é #\nd: |-\n  e\n  f\n"},
		{
			"not literal", `[" a\nb", "a\n", "\na", "a\n\n", "a \nb", "a\nb ", "a\tb\nc", "a\r\nb", "a\n\u2028", "a\n\x85", "a\n\x01", "a\n😀", "a\n\ufeff"]`,
			`- " a\nb"` + "\n- |\n  a\n" + `- "\na"` + "\n" + `- "a\n\n"` + "\n" + `- "a \nb"` + "\n" + `- "a\nb "` + "\n" + `- "a\tb\nc"` + "\n" +
				`- "a\r\nb"` + "\n" + `- "a\n\L"` + "\n" + `- "a\n\N"` + "\n" + `- "a\n\x01"` + "\n" + `- "a\n\U0001F600"` + "\n" + `- "a\n\uFEFF"` + "\n",
		},
		{
			"escapes", `["\0\a\e\x7f\x9f\_", "\u2028", "\x85", "a\tb", "😀", "\ufeff", "\ufffe"]`,
			`- "\0\a\e\x7F\x9F` + "\u00a0" + `"` + "\n" + `- "\L"` + "\n" + `- "\N"` + "\n" + `- "a\tb"` + "\n" + `- "\U0001F600"` + "\n" + `- "\uFEFF"` + "\n" + `- "\uFFFE"` + "\n",
		},
		{"keys that need quotes", "\"a\\nb\": 1\n\"a: b\": 2\n", "? \"a\\nb\"\n: 1\n'a: b': 2\n"},
		{"a long key", strings.Repeat("k", 300) + ": {a: 1}\n", "? " + strings.Repeat("k", 300) + "\n: a: 1\n"},
		{"a long line", "a: " + strings.Repeat("word ", 1000) + "\n", "a: " + strings.Repeat("word ", 999) + "word\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			source, written, err := rewritten(t, c.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, written); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(meaning(source), meaning(parsed(t, written))); diff != "" {
				t.Errorf("means something else: %s", diff)
			}
		})
	}
}

func parsed(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		t.Fatalf("%v in\n%s", err, text)
	}
	return doc.Content[0]
}

func TestNoNormalForm(t *testing.T) {
	t.Parallel()
	for in, says := range map[string]string{
		"a: !foo b":                              "line 1: the tag !foo",
		"a: !!binary AAAA":                       "the tag !!binary",
		"a: !!int x":                             "the tag !!int",
		"a: !!float 1":                           "the tag !!float",
		"a:\n  !!set {b: null}":                  "line 2: the tag !!set",
		"a: !!omap [b: 1]":                       "the tag !!omap",
		"a: !!timestamp today":                   "the tag !!timestamp",
		"a: [b:]":                                "ends in a colon",
		"a: [" + strings.Repeat("b,", 100) + "]": "too large",
		"a: [" + strings.Repeat("{b: c, d: e}, ", 25) + "]":        "too large", // keys count
		"a: &a [" + strings.Repeat("b,", 49) + "]\nc: *a\nd: *a\n": "too large",
	} {
		doc, err := parseYAML(File{Data: []byte(in)})
		if err != nil {
			t.Fatal(err)
		}
		z := normalizer{nodesLeft: 100}
		if n, err := z.copy(doc.root); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.50q: %v, %v, want %q", in, n, err, says)
		}
	}
}

// TestWriteYAMLProof hands writeYAML what no normal form is: it must not come
// out as if it were.
func TestWriteYAMLProof(t *testing.T) {
	t.Parallel()
	scalar := func(s string, style yaml.Style) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Value: s, Style: style}
	}
	for name, n := range map[string]*yaml.Node{
		"a plain indicator": scalar("- a", 0),
		"a plain tab":       scalar("a\tb", 0),
		"an alias":          {Kind: yaml.SequenceNode, Content: []*yaml.Node{{Kind: yaml.AliasNode, Value: "a"}}},
		"a tag":             {Kind: yaml.ScalarNode, Value: "a", Tag: "!foo"},
		"no kind":           {Kind: yaml.SequenceNode, Content: []*yaml.Node{{Kind: 77}}},
	} {
		if text, err := writeYAML(n, 1000); err == nil {
			t.Errorf("%s: written as %q", name, text)
		} else if ClassOf(err) != Transient {
			t.Errorf("%s: is %s: %v", name, ClassOf(err), err)
		}
	}
	if _, err := writeYAML(scalar("four", 0), 4); ClassOf(err) != Rejected || ReasonOf(err) != ReasonInvalidManifests {
		t.Errorf("five bytes in four: %v", err)
	}
	if text, err := writeYAML(scalar("four", 0), 5); text != "four\n" || err != nil {
		t.Errorf("five bytes in five: %q, %v", text, err)
	}
}

func TestSameNode(t *testing.T) {
	t.Parallel()
	parse := func(s string) *yaml.Node { return parsed(t, s) }
	same := []string{"a: [b, 'c', 1]", "a: [b, \"c\", 1]"}
	if !sameNode(parse(same[0]), parse(same[1])) {
		t.Errorf("%q differ", same)
	}
	for _, other := range []string{
		"a: [b, 'd', 1]", "a: [b, c, 1]", "a: [b, 'c', '1']", "a: [b, 'c', !!int 1]", "a: ['c', b, 1]", "a: [b, 'c']", "a: [b, 'c', 1, 1]",
		"a: [b, 'c', [1]]", "d: [b, 'c', 1]", "a: {b: 'c'}", "- a", "a: [&x b, 'c', *x]",
	} {
		if sameNode(parse(same[0]), parse(other)) || sameNode(parse(other), parse(same[0])) && !strings.Contains(other, "!!") {
			t.Errorf("%q is the same as %q", same[0], other)
		}
	}
}

// FuzzNormalForm writes whatever is YAML and compares what a reader of YAML 1.1
// makes of it before and after.
func FuzzNormalForm(f *testing.F) {
	for _, s := range []string{
		"a: &x [1, 'b', \"c\\td\"]\ne: *x\n", "d: |\n  x\n\n   y\ne: >-\n  x\n  y\n", "yes: 0644\n1:30: 2019-04-30T1:02:03.5Z\n",
		"? |\n  a\n  b\n: {c: [d, {}]}\n", "a: \"\\0\\u2028\\ufeff\\U0001F600 \\n \"\n", "- - - a\n  - b: c\n    d:\n    - e\n", "a: 'b\n\n  c '\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		source, written, err := rewritten(t, text)
		if err != nil {
			t.Skip(err)
		}
		if before, after := meaning(source), meaning(parsed(t, written)); !reflect.DeepEqual(before, after) {
			t.Fatalf("%q\nis written as %q\n%s", text, written, cmp.Diff(before, after))
		}
		if _, again, _ := rewritten(t, written); again != written {
			t.Fatalf("%q\nis written again as %q", written, again)
		}
		// As bundle.yaml has it, a string within a string.
		outer, err := writeYAML(stringNode(written, false), 1<<20)
		if err != nil || source.Kind == yaml.MappingNode && !strings.HasPrefix(outer, "|\n") {
			t.Fatalf("%q\nin a string is %.100q, %v", written, outer, err)
		}
	})
}
