package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pyKind is what a token of Python is.
type pyKind uint8

const (
	pyEnd     pyKind = iota // of the file
	pyNewline               // of a logical line
	pyIndent
	pyDedent
	pyName
	pyNumber
	pyString
	pyOperator // or a delimiter
)

// pyToken is one token of Python, by
// https://docs.python.org/3/reference/lexical_analysis.html.
type pyToken struct {
	kind pyKind
	line int
	text string // as written; of a string, what it means
	odd  string // why a string or number is no value here; "": it is one
}

func (t pyToken) is(operator string) bool { return t.kind == pyOperator && t.text == operator }

// pySyntaxError is what Python would not read either.
type pySyntaxError struct {
	line int
	text string
}

func (e *pySyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.text) }

func pyWrong(line int, format string, args ...any) error {
	return &pySyntaxError{line, fmt.Sprintf(format, args...)}
}

// pyLexer cuts Python into tokens.
type pyLexer struct {
	rest    string
	line    int
	indents []int       // columns of the open blocks
	open    []pyBracket // within them, lines do not end
	inLine  bool        // a logical line has begun
	dedents int         // still to be given out
}

// pyBracket is one that is not closed yet.
type pyBracket struct {
	closer byte
	line   int
}

// newPyLexer reads UTF-8 text, whose line ends may be any.
func newPyLexer(data []byte) (*pyLexer, error) {
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	for i, r := range text {
		if r == 0 || r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd") {
			return nil, pyWrong(1+strings.Count(text[:i], "\n"), "is not UTF-8 text")
		}
	}
	return &pyLexer{rest: text, line: 1}, nil
}

// next is the next token; after pyEnd there are only more of it.
func (l *pyLexer) next() (pyToken, error) {
	for {
		if l.dedents > 0 {
			l.dedents--
			return pyToken{kind: pyDedent, line: l.line}, nil
		}
		if !l.inLine && len(l.open) == 0 {
			if token, err := l.begin(); err != nil || token.kind != pyNewline {
				return token, err
			}
			continue
		}
		if err := l.skipBlanks(); err != nil {
			return pyToken{}, err
		}
		switch {
		case l.rest == "":
			return l.end()
		case l.rest[0] != '\n':
			return l.token()
		}
		l.take(1)
		if len(l.open) == 0 {
			l.inLine = false
			return pyToken{kind: pyNewline, line: l.line - 1}, nil
		}
	}
}

// take cuts the first n bytes off.
func (l *pyLexer) take(n int) string {
	text := l.rest[:n]
	l.rest = l.rest[n:]
	l.line += strings.Count(text, "\n")
	return text
}

// end is what comes when there is nothing more.
func (l *pyLexer) end() (pyToken, error) {
	if n := len(l.open); n > 0 {
		return pyToken{}, pyWrong(l.open[n-1].line, "a bracket is never closed: %c is missing", l.open[n-1].closer)
	}
	if l.inLine {
		l.inLine = false
		return pyToken{kind: pyNewline, line: l.line}, nil
	}
	return pyToken{kind: pyEnd, line: l.line}, nil
}

// begin looks at the indentation of a line. The token is pyNewline when there
// is nothing to be given out for it.
func (l *pyLexer) begin() (pyToken, error) {
	column, n := 0, 0
indentation:
	for ; n < len(l.rest); n++ {
		switch l.rest[n] {
		case ' ':
			column++
		case '\t':
			column += 8 - column%8
		case '\f':
			column = 0
		default:
			break indentation
		}
	}
	l.take(n)
	nothing := pyToken{kind: pyNewline, line: l.line}
	switch {
	case l.rest == "":
		l.dedents, l.indents = len(l.indents), nil
		if l.dedents > 0 {
			return nothing, nil
		}
		return l.end()
	case l.rest[0] == '\n':
		l.take(1)
		return nothing, nil
	case l.rest[0] == '#':
		l.skipComment()
		return nothing, nil
	}
	l.inLine = true
	return l.indent(column)
}

func (l *pyLexer) indent(column int) (pyToken, error) {
	current := func() int {
		if len(l.indents) == 0 {
			return 0
		}
		return l.indents[len(l.indents)-1]
	}
	if column > current() {
		l.indents = append(l.indents, column)
		return pyToken{kind: pyIndent, line: l.line}, nil
	}
	for column < current() {
		l.indents = l.indents[:len(l.indents)-1]
		l.dedents++
	}
	if column != current() {
		return pyToken{}, pyWrong(l.line, "the indentation fits no block around it")
	}
	return pyToken{kind: pyNewline}, nil
}

// skipBlanks skips what separates tokens within a line.
func (l *pyLexer) skipBlanks() error {
	for l.rest != "" {
		switch {
		case strings.IndexByte(" \t\f", l.rest[0]) >= 0:
			l.take(1)
		case l.rest[0] == '#':
			l.skipComment()
		case strings.HasPrefix(l.rest, "\\\n"):
			l.take(2)
		case l.rest[0] == '\\':
			return pyWrong(l.line, "a backslash is followed by more than the end of the line")
		default:
			return nil
		}
	}
	return nil
}

func (l *pyLexer) skipComment() {
	if end := strings.IndexByte(l.rest, '\n'); end >= 0 {
		l.rest = l.rest[end:]
		return
	}
	l.rest = ""
}

// token is the token that begins here.
func (l *pyLexer) token() (pyToken, error) {
	first, _ := utf8.DecodeRuneInString(l.rest)
	switch {
	case first == '"' || first == '\'':
		return l.str("")
	case first == '_' || unicode.IsLetter(first):
		return l.word()
	case first >= '0' && first <= '9', first == '.' && len(l.rest) > 1 && l.rest[1] >= '0' && l.rest[1] <= '9':
		return l.number()
	}
	return l.operator()
}

// word is a name, or a string with its prefix.
func (l *pyLexer) word() (pyToken, error) {
	n := strings.IndexFunc(l.rest, func(r rune) bool {
		return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	})
	if n < 0 {
		n = len(l.rest)
	}
	if n < len(l.rest) && (l.rest[n] == '"' || l.rest[n] == '\'') {
		prefix := strings.ToLower(l.rest[:n])
		if _, ok := pyPrefixes[prefix]; ok {
			l.take(n)
			return l.str(prefix)
		}
	}
	return pyToken{kind: pyName, line: l.line, text: l.take(n)}, nil
}

// Numbers of Python.
var (
	pyNumberForm = regexp.MustCompile(`^(0[xX](_?[0-9A-Fa-f])+|0[oO](_?[0-7])+|0[bB](_?[01])+|` +
		`([0-9](_?[0-9])*)?(\.([0-9](_?[0-9])*)?)?([eE][+-]?[0-9](_?[0-9])*)?)`)
	pyInteger = regexp.MustCompile(`^(0(_?0)*|[1-9](_?[0-9])*|0[xXoObB].*)$`)
)

func (l *pyLexer) number() (pyToken, error) {
	t := pyToken{kind: pyNumber, line: l.line, text: l.take(len(pyNumberForm.FindString(l.rest)))}
	if strings.HasPrefix(l.rest, "j") || strings.HasPrefix(l.rest, "J") {
		l.take(1)
		t.odd = "a complex number"
	}
	next, _ := utf8.DecodeRuneInString(l.rest)
	if next == '_' || unicode.IsLetter(next) || unicode.IsDigit(next) ||
		t.odd == "" && !pyInteger.MatchString(t.text) && !strings.ContainsAny(t.text, ".eE") {
		return t, pyWrong(t.line, "what begins with a digit is no number")
	}
	return t, nil
}

// pyOperators are tried in this order.
var pyOperators = strings.Fields(`**= //= >>= <<= ... ** // >> << <= >= == != -> += -= *= /= %= &= |= ^= @= :=
	+ - * / % @ & | ^ ~ < > ( ) [ ] { } , : . ; =`)

func (l *pyLexer) operator() (pyToken, error) {
	for _, op := range pyOperators {
		if !strings.HasPrefix(l.rest, op) {
			continue
		}
		t := pyToken{kind: pyOperator, line: l.line, text: l.take(len(op))}
		return t, l.match(t)
	}
	r, _ := utf8.DecodeRuneInString(l.rest)
	return pyToken{}, pyWrong(l.line, "%q has no meaning in Python", r)
}

// match keeps account of brackets.
func (l *pyLexer) match(t pyToken) error {
	switch t.text {
	case "(", "[", "{":
		closer := map[string]byte{"(": ')', "[": ']', "{": '}'}[t.text]
		l.open = append(l.open, pyBracket{closer, t.line})
	case ")", "]", "}":
		n := len(l.open)
		if n == 0 || l.open[n-1].closer != t.text[0] {
			return pyWrong(t.line, "%s closes nothing", t.text)
		}
		l.open = l.open[:n-1]
	}
	return nil
}
