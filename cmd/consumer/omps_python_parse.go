package main

import (
	"slices"
	"strings"
)

// pyFile is what a Python file has of classes whose attributes are literals.
// Nothing of it is executed.
type pyFile struct {
	classes map[string]*pyClass // by name
	skipped []pySkipped
}

// pyClass is a class. bases are those of the same file.
type pyClass struct {
	name    string
	bases   []*pyClass
	attrs   []pyAttr // in order; of several with the same name the last counts
	skipped []pySkipped
}

// pyAttr is an attribute of a class.
type pyAttr struct {
	name  string
	value pyValue
}

// pySkipped is what was not read.
type pySkipped struct {
	line int
	what string
}

// pyParser reads tokens, of which it knows one.
type pyParser struct {
	lex    *pyLexer
	tok    pyToken
	file   pyFile
	values int
	depth  int
}

// readPython reads a file. Errors are of type *pySyntaxError, about what Python
// does not read either, and what is deeper or more than anybody writes.
func readPython(data []byte) (pyFile, error) {
	lex, err := newPyLexer(data)
	if err != nil {
		return pyFile{}, err
	}
	p := &pyParser{lex: lex, file: pyFile{classes: make(map[string]*pyClass)}}
	if err := p.advance(); err != nil {
		return pyFile{}, err
	}
	for p.tok.kind != pyEnd {
		if err := p.statement(); err != nil {
			return pyFile{}, err
		}
	}
	return p.file, nil
}

func (p *pyParser) advance() (err error) {
	p.tok, err = p.lex.next()
	return err
}

func (p *pyParser) isName(names ...string) bool {
	return p.tok.kind == pyName && slices.Contains(names, p.tok.text)
}

// expect takes an operator that has to be there.
func (p *pyParser) expect(operator string) error {
	if !p.tok.is(operator) {
		return pyWrong(p.tok.line, "%s is missing before this", operator)
	}
	return p.advance()
}

// statement reads a statement outside of classes, which matters only if it is
// one. What a plain assignment or an import gives a name is reported where that
// name is used.
func (p *pyParser) statement() error {
	if p.tok.kind == pyIndent {
		return pyWrong(p.tok.line, "the line is indented for no reason")
	}
	if p.isName("class") {
		return p.class()
	}
	if p.isName("if", "for", "while", "with", "try", "exec") {
		p.file.skipped = append(p.file.skipped, pySkipped{p.tok.line, p.tok.text + ": no class in it is read"})
	}
	return p.skipStatement()
}

// skipStatement skips a statement with its block.
func (p *pyParser) skipStatement() error {
	for p.tok.kind != pyNewline && p.tok.kind != pyEnd {
		if err := p.advance(); err != nil {
			return err
		}
	}
	if err := p.advance(); err != nil || p.tok.kind != pyIndent {
		return err
	}
	for depth := 0; ; {
		switch p.tok.kind {
		case pyIndent:
			depth++
		case pyDedent:
			depth--
		}
		if err := p.advance(); err != nil || depth == 0 {
			return err
		}
	}
}

// class reads a class. It is known only after its end, as in Python, and hides
// an earlier one of its name.
func (p *pyParser) class() error {
	c := &pyClass{}
	if err := p.advance(); err != nil {
		return err
	}
	if p.tok.kind != pyName {
		return pyWrong(p.tok.line, "the name of a class is missing")
	}
	c.name = p.tok.text
	if err := p.advance(); err != nil {
		return err
	}
	if p.tok.is("(") {
		if err := p.bases(c); err != nil {
			return err
		}
	}
	if err := p.expect(":"); err != nil {
		return err
	}
	if err := p.body(c); err != nil {
		return err
	}
	p.file.classes[c.name] = c
	return nil
}

// bases reads what a class inherits from.
func (p *pyParser) bases(c *pyClass) error {
	if err := p.advance(); err != nil {
		return err
	}
	for !p.tok.is(")") {
		name := p.tok
		if err := p.advance(); err != nil {
			return err
		}
		known := p.file.classes[name.text]
		switch plain := name.kind == pyName && p.atEnd([]string{","}); {
		case plain && name.text == "object":
		case plain && known != nil:
			c.bases = append(c.bases, known)
		default:
			c.skipped = append(c.skipped, pySkipped{name.line, "it inherits from what is no class of this file"})
		}
		if _, err := p.skip([]string{","}); err != nil {
			return err
		}
		if !p.tok.is(",") {
			break
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
	return p.expect(")")
}

// body reads what is in a class.
func (p *pyParser) body(c *pyClass) error {
	if p.tok.kind != pyNewline {
		return p.line(c)
	}
	if err := p.advance(); err != nil {
		return err
	}
	if p.tok.kind != pyIndent {
		return pyWrong(p.tok.line, "the body of class %s is missing", c.name)
	}
	if err := p.advance(); err != nil {
		return err
	}
	for p.tok.kind != pyDedent {
		if err := p.line(c); err != nil {
			return err
		}
	}
	return p.advance()
}

// line reads a line of a class: statements with semicolons between them, or
// one with a block, which is skipped.
func (p *pyParser) line(c *pyClass) error {
	for {
		switch {
		case p.tok.kind == pyIndent:
			return pyWrong(p.tok.line, "the line is indented for no reason")
		case p.tok.is("@"), p.isName("def", "class", "if", "for", "while", "with", "try", "async", "elif", "else", "except", "finally"):
			c.skipped = append(c.skipped, pySkipped{p.tok.line, "what is computed here is not read"})
			return p.skipStatement()
		}
		if err := p.small(c); err != nil {
			return err
		}
		if !p.tok.is(";") {
			break
		}
		if err := p.advance(); err != nil {
			return err
		}
		if p.tok.kind == pyNewline {
			break
		}
	}
	if p.tok.kind != pyNewline {
		return pyWrong(p.tok.line, "%q is not expected here", p.tok.text)
	}
	return p.advance()
}

// small reads a statement without a block.
func (p *pyParser) small(c *pyClass) error {
	switch {
	case p.isName("pass", "import", "from"), p.tok.kind == pyString:
		return p.skipRest()
	case p.tok.kind != pyName:
		c.skipped = append(c.skipped, pySkipped{p.tok.line, "what is computed here is not read"})
		return p.skipRest()
	}
	name := p.tok
	if err := p.advance(); err != nil {
		return err
	}
	if p.tok.is(":") { // an annotation of the type
		if _, err := p.skip([]string{"="}); err != nil || p.atEnd(nil) {
			return err
		}
	}
	if p.tok.is("=") {
		return p.assignment(c, name.text)
	}
	if p.tok.is("[") || p.tok.kind == pyOperator && strings.HasSuffix(p.tok.text, "=") { // such as NAME += …
		c.attrs = append(c.attrs, pyAttr{name.text, pyValue{line: name.line}})
	} else {
		c.skipped = append(c.skipped, pySkipped{name.line, "what is computed here is not read"})
	}
	return p.skipRest()
}

// skipRest skips to the end of a statement without a block.
func (p *pyParser) skipRest() error {
	_, err := p.skip(nil)
	return err
}

// assignment reads NAME = NAME = value, of which one name has been taken.
func (p *pyParser) assignment(c *pyClass, name string) error {
	names := []string{name}
	for {
		if err := p.advance(); err != nil {
			return err
		}
		v, err := p.value("=", ",")
		if err != nil {
			return err
		}
		if p.tok.is("=") {
			if v.kind == pyNoLiteral && v.text != "" {
				names = append(names, v.text)
			}
			continue
		}
		if p.tok.is(",") { // a tuple without parentheses
			v = pyValue{line: v.line}
			if err := p.skipRest(); err != nil {
				return err
			}
		}
		for _, n := range names {
			c.attrs = append(c.attrs, pyAttr{n, v})
		}
		return nil
	}
}

// family is a class and all that it inherits from, each before its own bases
// and in the order of theirs.
func (c *pyClass) family() []*pyClass {
	var order []*pyClass // backwards
	seen := make(map[*pyClass]bool)
	var visit func(*pyClass)
	visit = func(c *pyClass) {
		if seen[c] {
			return
		}
		seen[c] = true
		for _, base := range slices.Backward(c.bases) {
			visit(base)
		}
		order = append(order, c)
	}
	visit(c)
	slices.Reverse(order)
	return order
}
