package pipeline

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Rule replaces text in manifests, as an entry of OMPS's replace_registry
// did, or in the names of images alone. Make one with NewRule or NewImageRule;
// rules are immutable.
type Rule struct {
	Old, New string
	// pattern is nil for a rule of plain text, template then empty.
	pattern  *regexp.Regexp
	template template

	images bool // only in the names of images
}

// NewRule makes a rule. With isRegexp, old is a regular expression whose ^ and
// $ match at lines, and replacement may hold Python's replacement forms. What RE2 does
// not know (look-around, back-references) and a pattern that matches the empty
// string are errors.
func NewRule(old, replacement string, isRegexp bool) (Rule, error) {
	if old == "" {
		return Rule{}, fmt.Errorf("old is empty")
	}
	if !isRegexp {
		return Rule{Old: old, New: replacement}, nil
	}
	if _, err := regexp.Compile(old); err != nil {
		return Rule{}, fmt.Errorf("old is not a regular expression that RE2 knows: %w", err)
	}
	pattern, err := regexp.Compile("(?m)" + old)
	if err != nil {
		return Rule{}, fmt.Errorf("old: %w", err)
	}
	for _, differs := range []string{"{,", "[[:"} {
		if strings.Contains(old, differs) {
			return Rule{}, fmt.Errorf("old has %q, which means something else to Python than to RE2", differs)
		}
	}
	if pattern.MatchString("") {
		return Rule{}, fmt.Errorf("old %q matches the empty string", old)
	}
	t, err := parseTemplate(replacement, pattern)
	if err != nil {
		return Rule{}, fmt.Errorf("new: %w", err)
	}
	return Rule{Old: old, New: replacement, pattern: pattern, template: t}, nil
}

// NewImageRule makes a rule that changes nothing but where images are. Both texts
// are a registry, host[:port], which may be followed by the beginning of a
// repository's name. References that lie there move; their tags and digests stay.
func NewImageRule(old, replacement string) (Rule, error) {
	if err := checkRegistryPrefix(old); err != nil {
		return Rule{}, fmt.Errorf("old: %w", err)
	}
	if err := checkRegistryPrefix(replacement); err != nil {
		return Rule{}, fmt.Errorf("new: %w", err)
	}
	return Rule{Old: old, New: replacement, images: true}, nil
}

// rewritable tells whether rules apply to a file of this name.
func rewritable(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml":
		return true
	}
	return false
}

// rewriting is what rules made of files.
type rewriting struct {
	files   []File
	changed map[int][]span // of each file that changed, by its index
	counts  []Replacement  // of each rule
	longer  []longerHosts  // of each rule
}

// rewriteFiles applies the rules in order to every YAML file.
func rewriteFiles(files []File, rules []Rule) rewriting {
	r := rewriting{
		files:   slices.Clone(files),
		changed: make(map[int][]span),
		counts:  make([]Replacement, len(rules)),
		longer:  make([]longerHosts, len(rules)),
	}
	for i, rule := range rules {
		r.counts[i] = Replacement{Old: rule.Old, New: rule.New}
	}
	for i, f := range files {
		if !rewritable(f.Path) {
			continue
		}
		data, spans := f.Data, []span(nil)
		for j, rule := range rules {
			found := rule.find(data)
			if len(found) == 0 {
				continue
			}
			r.counts[j].Count += len(found)
			r.longer[j].look(f.Path, data, found)
			spans = compose(spans, found, data)
			data = splice(data, found)
		}
		if len(spans) > 0 {
			r.files[i].Data, r.changed[i] = data, spans
		}
	}
	return r
}

// warnings tell of rules that did nothing, or more than whoever wrote them may
// have had in mind.
func (r rewriting) warnings() []string {
	var list []string
	for i, c := range r.counts {
		if c.Count == 0 {
			list = append(list, fmt.Sprintf("replace_registry: %q is nowhere in the manifests", c.Old))
		}
		if r.longer[i].count > 0 {
			list = append(list, fmt.Sprintf("replace_registry: %q is also replaced within %s", c.Old, r.longer[i]))
		}
	}
	return list
}

// find returns the spans that the rule changes in data, from left to right
// and without overlap.
func (r Rule) find(data []byte) []span {
	if r.pattern == nil {
		return findText(data, []byte(r.Old), []byte(r.New))
	}
	if !bytes.Contains(data, []byte("\r\n")) {
		return r.findPattern(data)
	}
	// Python reads text with universal newlines, so there $ matches before
	// CRLF too: the pattern sees LF, the file keeps its CRLF.
	folded, removed := foldNewlines(data)
	spans := r.findPattern(folded)
	for i := range spans {
		spans[i].start = unfold(spans[i].start, removed)
		spans[i].end = unfold(spans[i].end, removed)
		text := bytes.ReplaceAll(spans[i].text, []byte("\r\n"), []byte("\n"))
		spans[i].text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	return spans
}

func findText(data, old, replacement []byte) []span {
	var spans []span
	for at := 0; ; {
		i := bytes.Index(data[at:], old)
		if i < 0 {
			return spans
		}
		spans = append(spans, span{at + i, at + i + len(old), replacement})
		at += i + len(old)
	}
}

func (r Rule) findPattern(data []byte) []span {
	var spans []span
	for _, m := range r.pattern.FindAllSubmatchIndex(data, -1) {
		if m[0] == m[1] {
			continue // only where the pattern's context allows nothing else
		}
		spans = append(spans, span{m[0], m[1], r.template.expand(data, m)})
	}
	return spans
}

// foldNewlines turns CRLF into LF and returns where, in the folded text, a CR
// was left out.
func foldNewlines(data []byte) (folded []byte, removed []int) {
	folded = make([]byte, 0, len(data))
	for i, b := range data {
		if b == '\r' && i+1 < len(data) && data[i+1] == '\n' {
			removed = append(removed, len(folded))
			continue
		}
		folded = append(folded, b)
	}
	return folded, removed
}

// unfold is the place in the original text of a place in the folded one. A
// place before a line feed is before its CR.
func unfold(at int, removed []int) int {
	lo, hi := 0, len(removed)
	for lo < hi {
		mid := (lo + hi) / 2
		if removed[mid] < at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return at + lo
}
