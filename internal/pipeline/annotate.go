package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// annotationNames are Kubernetes's, by
// https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/#syntax-and-character-set.
var annotationNames = regexp.MustCompile(
	`^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

const (
	maxAnnotationPrefix = 253      // Kubernetes's
	maxAnnotationValue  = 64 << 10 // Kubernetes takes 256 KiB for all annotations of an object
)

// NewAnnotation checks an annotation as it is configured. As for Python's
// str.format, {package_name} in its value stands for the package's name, {{ and
// }} stand for braces, and any other brace is an error. So is a name that
// Kubernetes would refuse, and a value with control characters other than tabs
// and line feeds.
func NewAnnotation(name, value string) (Annotation, error) {
	a := Annotation{Name: name, Value: value}
	prefix, _, _ := strings.Cut(name, "/")
	switch {
	case !annotationNames.MatchString(name) || len(prefix) > maxAnnotationPrefix:
		return a, fmt.Errorf("name %.300q is no annotation's: Kubernetes takes prefix/name, or a name", name)
	case len(value) > maxAnnotationValue:
		return a, fmt.Errorf("value of %d bytes, more than %d", len(value), maxAnnotationValue)
	case !utf8.ValidString(value):
		return a, errors.New("value is not UTF-8 text")
	case strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		return a, errors.New("value holds a control character")
	}
	_, err := a.valueFor("")
	return a, err
}

// placeholderPackageName is the only one in the value of an annotation.
const placeholderPackageName = "{package_name}"

// valueFor is the annotation's value for a package.
func (a Annotation) valueFor(pkg string) (string, error) {
	var out strings.Builder
	for rest := a.Value; ; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			out.WriteString(rest)
			return out.String(), nil
		}
		out.WriteString(rest[:i])
		rest = rest[i:]
		switch {
		case strings.HasPrefix(rest, placeholderPackageName):
			out.WriteString(pkg)
			rest = rest[len(placeholderPackageName):]
		case strings.HasPrefix(rest, "{{"), strings.HasPrefix(rest, "}}"):
			out.WriteByte(rest[0])
			rest = rest[2:]
		default:
			return "", fmt.Errorf("value holds %.40q: the only placeholder is %s, and {{ and }} stand for braces",
				rest, placeholderPackageName)
		}
	}
}

// entry is a key and a value, both strings.
type entry struct{ key, value string }

// expandAnnotations is what the annotations are for a package. Of two with one
// name the last counts.
func expandAnnotations(list []Annotation, pkg string) ([]entry, error) {
	var entries []entry
	for i, a := range list {
		if slices.ContainsFunc(list[i+1:], func(later Annotation) bool { return later.Name == a.Name }) {
			continue
		}
		value, err := a.valueFor(pkg)
		if err != nil {
			return nil, fmt.Errorf("csv_annotations: %s: %w", a.Name, err)
		}
		entries = append(entries, entry{a.Name, value})
	}
	return entries, nil
}

// annotateCSV sets entries of metadata.annotations. What is there already stays
// where it is, the rest comes first.
func annotateCSV(doc document, wanted []entry) (treeEdit, error) {
	_, notes, err := editable(doc.root, "metadata", "annotations")
	if err != nil {
		return treeEdit{}, err
	}
	edit := treeEdit{meant: doc}
	var missing []entry
	for _, w := range wanted {
		s, found, err := replaceEntry(doc, notes, w)
		switch {
		case err != nil:
			return treeEdit{}, err
		case !found:
			missing = append(missing, w)
		case s != nil:
			edit.spans = append(edit.spans, *s)
			edit.meant.root = with(edit.meant.root, quotedNode(w.value), "metadata", "annotations", w.key)
		}
	}
	if len(missing) > 0 {
		s, err := insertEntries(doc, missing)
		if err != nil {
			return treeEdit{}, err
		}
		edit.spans = append(edit.spans, s)
	}
	for _, w := range slices.Backward(missing) {
		edit.meant.root = with(edit.meant.root, quotedNode(w.value), "metadata", "annotations", w.key)
	}
	slices.SortFunc(edit.spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	return edit, nil
}

// replaceEntry returns the span that gives an existing entry of a mapping its
// value, none where it has it, and whether the entry exists.
func replaceEntry(doc document, mapping *yaml.Node, w entry) (s *span, found bool, err error) {
	key, n, err := editable(mapping, w.key)
	switch {
	case err != nil:
		return nil, true, err
	case n == nil:
		return nil, false, nil
	case n.Kind != yaml.ScalarNode:
		return nil, true, fmt.Errorf("line %d: %s is %s, not a string", n.Line, w.key, kindOf(n))
	}
	if _, ok := text(key); !ok {
		return nil, true, fmt.Errorf("line %d: the key %s is not a string to every reader", key.Line, w.key)
	}
	if value, ok := text(n); ok && value == w.value {
		return nil, true, nil
	}
	replacement, err := replaceScalar(doc.file.Data, n, mapping, strconv.Quote(w.value))
	return &replacement, true, err
}

// replaceScalar returns the span that puts something else in the place of a
// scalar, which is a value of mapping.
func replaceScalar(data []byte, n, mapping *yaml.Node, written string) (span, error) {
	if n.Value == "" && n.Style == 0 { // nothing is written, behind a colon
		at, err := offset(data, n)
		return span{at, at, []byte(" " + written)}, err
	}
	start, end, err := extent(data, n, mapping.Column-1)
	return span{start, end, []byte(written)}, err
}
