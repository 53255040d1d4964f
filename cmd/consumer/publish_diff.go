package main

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// What became of a file.
const (
	fileEdited = "edited" // something else is published than the archive holds
	fileMade   = "made"   // the archive does not hold it
)

// fileReport is a file that is published otherwise than the archive holds it.
type fileReport struct {
	Path   string `json:"path"`
	Change string `json:"change"`
	Binary bool   `json:"binary,omitempty"`
	Diff   string `json:"diff,omitempty"`
}

// fileReports has each edited file once, however many bundles it goes into, and
// each that was made. Where files are made for several bundles, each is in a
// folder with the version of its bundle.
func fileReports(list []pipeline.Edited, withDiff bool) []fileReport {
	versions := make(map[string]bool)
	for _, e := range list {
		versions[e.Bundle] = e.Bundle != ""
	}
	delete(versions, "")
	reports := make([]fileReport, 0, len(list))
	for _, e := range list {
		r := fileReport{Path: e.Path, Change: fileEdited}
		if e.Before == nil {
			r.Change = fileMade
		}
		if len(versions) > 1 {
			r.Path = path.Join(e.Bundle, e.Path)
		}
		if withDiff {
			r.compare(e)
		}
		reports = append(reports, r)
	}
	return reports
}

// compare makes the diff, which patch -p1 applies to an unpacked archive.
func (r *fileReport) compare(e pipeline.Edited) {
	before, after := quotedName("a/"+r.Path), quotedName("b/"+r.Path)
	if r.Change == fileMade {
		before = "/dev/null"
	}
	if r.Binary = !isText(e.Before) || !isText(e.After); r.Binary {
		return
	}
	_, r.Diff, _ = strings.Cut(string(diff.Diff(before, e.Before, after, e.After)), "\n") // its first line repeats the names
}

// isText tells whether data may be shown. Text has no control characters but
// those of lines and tabs, and so never an escape sequence.
func isText(data []byte) bool {
	return utf8.Valid(data) && bytes.IndexFunc(data, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r'
	}) < 0
}

// quotedName is a file's name as the header of a diff has it, by GNU patch and
// git: what is not printed or ends a name is quoted as in C, and a tab ends a name
// with blanks.
func quotedName(name string) string {
	if !strings.ContainsFunc(name, func(r rune) bool { return r == '"' || r == '\\' || !unicode.IsPrint(r) }) {
		if strings.Contains(name, " ") {
			name += "\t"
		}
		return name
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(name) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
