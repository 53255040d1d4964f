package main

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// pyValueKind is what a value of Python is.
type pyValueKind uint8

const (
	pyNoLiteral pyValueKind = iota // something to be computed
	pyNone
	pyBool
	pyInt
	pyFloat
	pyText
	pyList // a tuple or a set too
	pyDict
)

// pyValue is a literal, or the place of what is none.
type pyValue struct {
	kind    pyValueKind
	line    int
	truth   bool
	number  float64 // of pyInt, which is exact here, and pyFloat
	text    string  // of pyText, and of a name that is all there is
	parts   int     // of pyText: the strings that stand side by side
	items   []pyValue
	entries []pyEntry
}

// pyEntry is an entry of a pyDict.
type pyEntry struct{ key, value pyValue }

// Bounds of a value. A real configuration has hundreds of them, five deep.
const (
	maxPyDepth  = 50
	maxPyValues = 100_000
	maxPyInt    = 1 << 53 // beyond, a float64 is not exact
)

// value reads the expression up to what ends it: one of the operators in ends,
// a closing bracket, a semicolon or the end of the line. What is no literal is
// skipped.
func (p *pyParser) value(ends ...string) (pyValue, error) {
	if p.values++; p.values > maxPyValues {
		return pyValue{}, pyWrong(p.tok.line, "there are more than %d values", maxPyValues)
	}
	if p.depth++; p.depth > maxPyDepth {
		return pyValue{}, pyWrong(p.tok.line, "values are nested deeper than %d", maxPyDepth)
	}
	defer func() { p.depth-- }()
	first := p.tok
	v, err := p.operand()
	for err == nil && v.kind == pyInt && p.tok.is("*") {
		v, err = p.product(v)
	}
	if err != nil || p.atEnd(ends) {
		return v, err
	}
	if v.kind != pyNoLiteral && p.beginsOperand() {
		return v, pyWrong(p.tok.line, "a comma is missing before this")
	}
	v = pyValue{line: v.line}
	skipped, err := p.skip(ends)
	if skipped == 1 && first.kind == pyName {
		v.text = first.text
	}
	return v, err
}

// atEnd tells whether the token ends a value.
func (p *pyParser) atEnd(ends []string) bool {
	switch {
	case p.tok.kind == pyNewline || p.tok.kind == pyEnd:
		return true
	case p.tok.kind != pyOperator:
		return false
	}
	return slices.Contains([]string{")", "]", "}", ";"}, p.tok.text) || slices.Contains(ends, p.tok.text)
}

// beginsOperand tells whether the token cannot go on with a value.
func (p *pyParser) beginsOperand() bool {
	switch p.tok.kind {
	case pyString, pyNumber:
		return true
	case pyName:
		return !slices.Contains([]string{"if", "else", "in", "is", "not", "and", "or", "for", "async"}, p.tok.text)
	}
	return p.tok.is("{")
}

// skip skips to the end of a value, brackets as a whole, and counts the tokens.
func (p *pyParser) skip(ends []string) (n int, err error) {
	for depth := 0; depth > 0 || !p.atEnd(ends); n++ {
		switch {
		case p.tok.is("("), p.tok.is("["), p.tok.is("{"):
			depth++
		case p.tok.is(")"), p.tok.is("]"), p.tok.is("}"):
			depth--
		}
		if err := p.advance(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// product is v times the next operand; of whole numbers only.
func (p *pyParser) product(v pyValue) (pyValue, error) {
	if err := p.advance(); err != nil {
		return v, err
	}
	by, err := p.operand()
	if n := v.number * by.number; err == nil && by.kind == pyInt && math.Abs(n) <= maxPyInt {
		v.number = n
		return v, nil
	}
	return pyValue{line: v.line}, err
}

// operand reads one literal. What is none is left where it is.
func (p *pyParser) operand() (pyValue, error) {
	v := pyValue{line: p.tok.line}
	switch p.tok.kind {
	case pyString:
		return p.texts()
	case pyNumber:
		v = pyNumberValue(p.tok)
		return v, p.advance()
	case pyName:
		switch p.tok.text {
		case "None":
			v.kind = pyNone
		case "True", "False":
			v.kind, v.truth = pyBool, p.tok.text == "True"
		default:
			return v, nil
		}
		return v, p.advance()
	}
	switch {
	case p.tok.is("-"):
		return p.negative()
	case p.tok.is("("), p.tok.is("["):
		return p.list()
	case p.tok.is("{"):
		return p.dict()
	}
	return v, nil
}

// texts are strings side by side, which are one.
func (p *pyParser) texts() (pyValue, error) {
	v := pyValue{kind: pyText, line: p.tok.line}
	var text strings.Builder
	for p.tok.kind == pyString {
		if p.tok.odd != "" {
			v.kind = pyNoLiteral
		}
		text.WriteString(p.tok.text)
		v.parts++
		if err := p.advance(); err != nil {
			return v, err
		}
	}
	v.text = text.String()
	return v, nil
}

func pyNumberValue(t pyToken) pyValue {
	v := pyValue{line: t.line}
	if t.odd != "" {
		return v
	}
	if pyInteger.MatchString(t.text) {
		if n, err := strconv.ParseInt(t.text, 0, 64); err == nil && n <= maxPyInt {
			v.kind, v.number = pyInt, float64(n)
		}
		return v
	}
	if n, err := strconv.ParseFloat(strings.ReplaceAll(t.text, "_", ""), 64); err == nil {
		v.kind, v.number = pyFloat, n
	}
	return v
}

func (p *pyParser) negative() (pyValue, error) {
	line := p.tok.line
	if err := p.advance(); err != nil {
		return pyValue{}, err
	}
	if p.tok.kind != pyNumber {
		return pyValue{line: line}, nil
	}
	v := pyNumberValue(p.tok)
	v.number = -v.number
	return v, p.advance()
}

// list reads a list, a tuple or a value in parentheses.
func (p *pyParser) list() (pyValue, error) {
	list := pyValue{kind: pyList, line: p.tok.line}
	closer, commas := map[string]string{"(": ")", "[": "]"}[p.tok.text], 0
	if err := p.advance(); err != nil {
		return list, err
	}
	for !p.tok.is(closer) {
		item, err := p.value(",")
		if err != nil {
			return list, err
		}
		list.items = append(list.items, item)
		if !p.tok.is(",") {
			break
		}
		commas++
		if err := p.advance(); err != nil {
			return list, err
		}
	}
	if err := p.expect(closer); err != nil {
		return list, err
	}
	if closer == ")" && commas == 0 && len(list.items) == 1 {
		return list.items[0], nil
	}
	return list, nil
}

// dict reads a dictionary or a set.
func (p *pyParser) dict() (pyValue, error) {
	v := pyValue{kind: pyDict, line: p.tok.line}
	if err := p.advance(); err != nil {
		return v, err
	}
	pairs := false
	for !p.tok.is("}") {
		key, err := p.value(":", ",")
		if err != nil {
			return v, err
		}
		switch {
		case p.tok.is(":"):
			pairs = true
			if err := p.entry(&v, key); err != nil {
				return v, err
			}
		case key.kind == pyNoLiteral: // such as **others
			v.entries = append(v.entries, pyEntry{key, key})
		default:
			v.items = append(v.items, key)
		}
		if pairs && len(v.items) > 0 {
			return v, pyWrong(key.line, "a colon or comma is missing")
		}
		if !p.tok.is(",") {
			break
		}
		if err := p.advance(); err != nil {
			return v, err
		}
	}
	if len(v.items) > 0 {
		v.kind = pyList
	}
	return v, p.expect("}")
}

// entry reads the value of a key.
func (p *pyParser) entry(dict *pyValue, key pyValue) error {
	if err := p.advance(); err != nil {
		return err
	}
	value, err := p.value(",", ":")
	switch {
	case err != nil || !p.tok.is(":"):
	case value.kind != pyNoLiteral:
		err = pyWrong(p.tok.line, "a comma is missing before the key of this colon")
	default: // such as a lambda
		_, err = p.skip([]string{","})
	}
	dict.entries = append(dict.entries, pyEntry{key, value})
	return err
}
