package pipeline

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds on what is told of others' findings.
const (
	maxRemarks     = 20
	maxRemarkBytes = 300
)

// remarks gathers what is to be said of files and says each thing once, with
// the files that it is true of.
type remarks struct {
	order []remark
	files map[remark][]string
}

type remark struct{ keys, text string }

func (r *remarks) add(file, keys, text string) {
	if r.files == nil {
		r.files = make(map[remark][]string)
	}
	said := remark{keys, text}
	if r.files[said] == nil {
		r.order = append(r.order, said)
	}
	r.files[said] = append(r.files[said], file)
}

// texts are the remarks in the order in which they were first made, those too
// many only counted.
func (r *remarks) texts(prefix string) []string {
	var list []string
	for i, said := range r.order {
		if i == maxRemarks {
			return append(list, fmt.Sprintf("%s%d more remarks", prefix, len(r.order)-i))
		}
		where := r.files[said][0]
		if n := len(r.files[said]) - 1; n > 0 {
			where = fmt.Sprintf("%s and %d more", where, n)
		}
		list = append(list, prefix+Fault{File: where, Path: said.keys, Text: said.text}.String())
	}
	return list
}

// oneLine makes others' texts fit for a line: short, and without line breaks.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "�")), " ")
	if len(text) <= maxRemarkBytes {
		return text
	}
	cut := maxRemarkBytes
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
