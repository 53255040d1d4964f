package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// computed stands for what is no literal.
const computed = "computed"

// plain is a value as Go has it: texts are quoted, tuples and sets are lists.
func (v pyValue) plain() any {
	switch v.kind {
	case pyNone:
		return nil
	case pyBool:
		return v.truth
	case pyInt:
		return int(v.number)
	case pyFloat:
		return v.number
	case pyText:
		return fmt.Sprintf("%q", v.text)
	case pyList:
		list := []any{}
		for _, item := range v.items {
			list = append(list, item.plain())
		}
		return list
	case pyDict:
		pairs := []any{}
		for _, e := range v.entries {
			pairs = append(pairs, [2]any{e.key.plain(), e.value.plain()})
		}
		return pairs
	}
	return computed
}

// q is a text as plain has it.
func q(s string) any { return fmt.Sprintf("%q", s) }

// pair is an entry as plain has it.
func pair(key, value any) any { return [2]any{key, value} }

// What Python itself says of each of these, https://docs.python.org/3/reference/.
func TestPythonValues(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	for text, want := range map[string]any{
		// Texts.
		`"a"`: q("a"), `'a'`: q("a"), `''`: q(""), `""""a" 'b' """`: q(`"a" 'b' `), `'''a'''`: q("a"), `""`: q(""),
		"'''a\nb'''": q("a\nb"), "'a\\\nb'": q("ab"), `'it\'s "x"'`: q(`it's "x"`), `"\a\b\f\n\r\t\v\\\""`: q("\a\b\f\n\r\t\v\\\""),
		`"\101\0\18\x41é\U0001F600"`: q("A\x00\x018Aé\U0001F600"), `"\d \. \8"`: q(`\d \. \8`), `"\400"`: q("Ā"),
		`r"\d+\.\"x"`: q(`\d+\.\"x`), `R'\n'`: q(`\n`), `u"a"`: q("a"), `U'é'`: q("é"), `r'''a\'''b'''`: q(`a\'''b`), `"#no comment"`: q("#no comment"),
		`"a" 'b' r"\c"`: q(`ab\c`), "(\"a\"\n 'b'  # and\n \"c\")": q("abc"), `"a" \` + "\n 'b'": q("ab"), `'` + long + `'`: q(long),
		`b"a"`: computed, `rb'a'`: computed, `f"a"`: computed, `F'''a'''`: computed, `rf"{x}"`: computed, `t"a"`: computed, `"a" f"{b}"`: computed,
		`"\N{BULLET}"`: computed, `"\ud800"`: computed,
		// Numbers.
		"0": 0, "00_0": 0, "7": 7, "1_000": 1000, "0x1F": 31, "0X_ff": 255, "0o17": 15, "0b1_01": 5, "-3": -3, "9007199254740992": 9007199254740992,
		"1.5": 1.5, ".5": 0.5, "5.": 5.0, "1e3": 1000.0, "1_0.0_1E-1_0": 10.01e-10, "-2.5": -2.5, "0777.5": 777.5, "0e0": 0.0,
		"9007199254740993": computed, "99999999999999999999": computed, "1e999": computed, "1j": computed, "1.5J": computed, "07j": computed,
		"2 * 1024 * 1024": 2097152, "2*-3": -6, "10 * 3": 30, "9007199254740992 * 2": computed, "2 * 1.5": computed, "2 * x": computed,
		"2 * 3 + 1": computed, "2 ** 3": computed, "1.0 * 2": computed, "3 // 2": computed,
		// The rest.
		"True": true, "False": false, "None": nil, "(True)": true, "((1))": 1,
		"[]": []any{}, "()": []any{}, "(1,)": []any{1}, "[1, 'a', None,]": []any{1, q("a"), nil}, "{1, 2}": []any{1, 2}, "{'a' 'b'}": []any{q("ab")},
		"[[1], (2,)]": []any{[]any{1}, []any{2}}, "{}": []any{}, "{'a': 1, 'b': {'c': [True]},}": []any{pair(q("a"), 1), pair(q("b"), []any{pair(q("c"), []any{true})})},
		"{1: 2, None: 3}": []any{pair(1, 2), pair(nil, 3)}, "[ # here\n 1,\n\n # there\n 2\n]": []any{1, 2},
		// What is computed, around it what is not.
		"os.environ['A']": computed, "get('a', b=[1, 2])": computed, "'a' + 'b'": computed, "'%s' % x": computed, "'a'.upper()": computed,
		"x if y else z": computed, "1 if y else 2": computed, "not True": computed, "...": computed, "+1": computed, "--1": computed, "-x": computed,
		"lambda x, y=':': {x: y}": computed, "[x for x in y]": []any{computed}, "{'a': lambda x: 1, 'b': 2}": []any{pair(q("a"), computed), pair(q("b"), 2)},
		"[1, f(2)[3], 4]": []any{1, computed, 4}, "{'a': x, **y, 'b': 1}": []any{pair(q("a"), computed), pair(computed, computed), pair(q("b"), 1)},
		"{'a' + 'b': 1, c: 2}": []any{pair(computed, 1), pair(computed, 2)}, "{'a': b[1:2], 'c': 3}": []any{pair(q("a"), computed), pair(q("c"), 3)},
		"1, 2": computed, "'a' == 'b'": computed,
	} {
		file, err := readPython([]byte("class C:\n    KEY = " + text + "  # comment\n    AFTER = 'x'\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		attrs := file.classes["C"].attrs
		if len(attrs) != 2 || attrs[0].name != "KEY" || attrs[1].name != "AFTER" {
			t.Errorf("%s: attributes %+v", text, attrs)
			continue
		}
		if diff := cmp.Diff(want, attrs[0].value.plain()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// What Python does not read either is an error with its line, and so is what
// nobody means.
func TestPythonFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"class C:\n    A = 'x\n":                          "line 2: a string is never closed: ' is missing",
		"class C:\n    A = '''x\n\n":                      "line 2: a string is never closed: ''' is missing",
		"class C:\n    A = 'x\\":                          "line 2: a string is never closed: ' is missing",
		"class C:\n    A = [1,\n\n 2\n":                   "line 2: a bracket is never closed: ] is missing",
		"class C:\n    A = [1, 2}\n":                      "line 2: } closes nothing",
		"class C:\n    A = 1)\n":                          "line 2: ) closes nothing",
		"class C:\n    A = {'a': 1\n        'b': 2}\n":    "line 3: a comma is missing before this",
		"class C:\n    A = {'a': 'x'\n        'b': 2}\n":  "line 3: a comma is missing before the key of this colon",
		"class C:\n    A = {'a': True,\n        'b' 'c'}": "line 3: a colon or comma is missing",
		"class C:\n    A = {'b' 'c',\n        'a': True}": "line 3: a colon or comma is missing",
		"class C:\n    A = [1 2]\n":                       "line 2: a comma is missing before this",
		"class C:\n    A = 'a' b\n":                       "line 2: a comma is missing before this",
		"class C:\n    A = 017\n":                         "line 2: what begins with a digit is no number",
		"class C:\n    A = 1_\n":                          "line 2: what begins with a digit is no number",
		"class C:\n    A = 0xg\n":                         "line 2: what begins with a digit is no number",
		"class C:\n    A = 12ab\n":                        "line 2: what begins with a digit is no number",
		"class C:\n    A = '\\x4'\n":                      `line 2: a string has a \x that is too short`,
		"class C:\n    A = '\\uzzzz'\n":                   `line 2: a string has a \u without digits`,
		"class C:\n    A = $x\n":                          "line 2: '$' has no meaning in Python",
		"class C:\n    A = 1 \\ \n":                       "line 2: a backslash is followed by more than the end of the line",
		"class C:\n        A = 1\n    B = 2\n":            "line 3: the indentation fits no block around it",
		"class C:\n    A = 1\n        B = 2\n":            "line 3: the line is indented for no reason",
		"  class C: pass\n":                               "line 1: the line is indented for no reason",
		"class C:\nA = 1\n":                               "line 2: the body of class C is missing",
		"class C:":                                        "line 1: the body of class C is missing",
		"class:\n    A = 1\n":                             "line 1: the name of a class is missing",
		"class C\n    A = 1\n":                            "line 1: : is missing before this",
		"class C(D:\n    A = 1\n":                         "line 1: a bracket is never closed: ) is missing",
		"class C:\n    A = \xff\n":                        "line 2: is not UTF-8 text",
		"class C:\n    A = '\x00'\n":                      "line 2: is not UTF-8 text",
		"class C:\n    A = " + strings.Repeat("[", 100) + strings.Repeat("]", 100): "line 2: values are nested deeper than 50",
		"class C:\n    A = [" + strings.Repeat("0,", 100_001) + "]":                "line 2: there are more than 100000 values",
	} {
		_, err := readPython([]byte(text))
		var wrong *pySyntaxError
		if !errors.As(err, &wrong) || err.Error() != want {
			t.Errorf("%.60q: %v, want %s", text, err, want)
		}
	}
}

// What a file may have around the attributes.
func TestPythonFile(t *testing.T) {
	t.Parallel()
	text := "\ufeff#!/usr/bin/python3\r\n" + `'''The
configuration'''
import os, sys; from x import (y,
    z)
TOP = 17
def f(a):
    """Text"""
    if a:
        return {1: 2}

    return [
1]
@f
class Base(object):
    "Text"
    A = 1; B = C = 'both'
    D: "list[str]" = ['annotated']
    E: int
    pass
` + "\tF = 'after a tab of eight'\n" + `class Other: A = 2; G = 3
class Prod(Base, Other, x.Y, metaclass=M):

    # nothing

    A = "mine" ; H = 1,2
    _private = 5
    def method(self):
        return 1
    A += "x"
    B["k"] = 1
    f(1)
    for I in []:
        J = 1
    else:
        K = 2
    L = M.n = (
  'x'
    )
class Prod(Prod): pass
if TOP:
    class Hidden: X = 1
`
	// The tab makes F's line one of a deeper block, as in Python.
	if _, err := readPython([]byte(text)); err == nil || err.Error() != "line 21: the line is indented for no reason" {
		t.Fatalf("the tab: %v", err)
	}
	text = strings.Replace(text, "\tF", "    F", 1)
	file, err := readPython([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]any)
	var skipped []string
	for _, class := range file.classes["Prod"].family() {
		for _, a := range class.attrs {
			got[class.name+"."+a.name] = a.value.plain()
		}
		for _, s := range class.skipped {
			skipped = append(skipped, fmt.Sprintf("%s:%d: %s", class.name, s.line, s.what))
		}
	}
	for _, s := range file.skipped {
		skipped = append(skipped, fmt.Sprintf("%d: %s", s.line, s.what))
	}
	if diff := cmp.Diff(map[string]any{
		"Base.A": 1, "Base.B": q("both"), "Base.C": q("both"), "Base.D": []any{q("annotated")}, "Base.F": q("after a tab of eight"),
		"Other.A": 2, "Other.G": 3, "Prod.A": computed, "Prod.B": computed, "Prod.H": computed, "Prod._private": 5, "Prod.L": q("x"),
	}, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	const notRead, foreign = "what is computed here is not read", "it inherits from what is no class of this file"
	if diff := cmp.Diff([]string{
		"Prod:23: " + foreign, "Prod:23: " + foreign, "Prod:29: " + notRead, "Prod:33: " + notRead, "Prod:34: " + notRead, "Prod:36: " + notRead,
		"42: if: no class in it is read",
	}, skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	if file.classes["Hidden"] != nil {
		t.Error("a class in a block is read")
	}
}

// Bases come in Python's order: each class before its own bases.
func TestPythonFamily(t *testing.T) {
	t.Parallel()
	file, err := readPython([]byte("class A: pass\nclass B(A): pass\nclass C(A): pass\nclass D(B, C): pass\nclass E(E, D): pass\n"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range file.classes["E"].family() {
		names = append(names, c.name)
	}
	if got := strings.Join(names, ""); got != "EDBCA" {
		t.Errorf("order %s, want EDBCA", got)
	}
}

// FuzzConvertOMPS: every file is refused, or made into a configuration that is
// without faults unless something is to be set by hand.
func FuzzConvertOMPS(f *testing.F) {
	files, err := filepath.Glob("testdata/omps/*.py")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add([]byte(mustRead(f, file)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		made, err := ConvertOMPS(data, OMPSOptions{Name: "omps.py", Section: "ProdConfig", Target: "oci"})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("error is %q", err)
			}
			return
		}
		byHand := false
		for _, r := range made.Remarks {
			byHand = byHand || r.ByHand
			if r.Line < 1 || r.Text == "" || strings.ContainsAny(r.Text, "\n\x1b") {
				t.Errorf("remark %+v", r)
			}
		}
		if faults := faultsOf(made.YAML); !byHand && faults != nil {
			t.Errorf("nothing is to be set by hand, but %v in\n%s", faults, made.YAML)
		}
	})
}

// faultsOf is what is wrong with a configuration whose secret files are not
// looked at.
func faultsOf(data []byte) error {
	f := newFaults("config.yaml")
	c := DefaultConfig()
	decodeConfig(f, data, &c)
	c.check(f)
	return f.err()
}
