package pipeline

import (
	"bytes"
	"encoding/json"
	"strings"
)

// annotationImages finds the images in the text of an annotation: the text
// itself, or those in it where it is JSON. It ends soon after it has found more
// than most.
func annotationImages(s string, most int) []textRange {
	if readsLikeReference(s) && isReference(s) {
		return []textRange{{end: len(s)}}
	}
	if trimmed := strings.TrimSpace(s); !strings.HasPrefix(trimmed, "{") && !strings.HasPrefix(trimmed, "[") {
		return nil
	}
	r := jsonImages{text: []byte(s)}
	if !json.Valid(r.text) {
		return nil // whether it has to be JSON is for validation to say
	}
	r.read(most)
	return r.found
}

// jsonImages finds images in a text that is JSON.
type jsonImages struct {
	text  []byte
	found []textRange
}

func (r *jsonImages) read(most int) {
	key := ""         // what the next value is held by
	var open []string // the same of each object and list that the place is in
	for at := 0; at < len(r.text) && len(r.found) <= most; at++ {
		switch r.text[at] {
		case '{', '[':
			open = append(open, key)
		case '}', ']':
			open = open[:len(open)-1]
		case ',':
			key = open[len(open)-1]
		case '"':
			end := quoteEnd(r.text, at)
			if rest := bytes.TrimLeft(r.text[end:], " \t\r\n"); len(rest) > 0 && rest[0] == ':' {
				key, _ = jsonString(string(r.text[at:end]))
			} else {
				r.image(key, at, end)
			}
			at = end - 1
		}
	}
}

// image notes the string between two places, its quotes included, if it is one.
func (r *jsonImages) image(key string, start, end int) {
	s, escaped := jsonString(string(r.text[start:min(end, start+8*maxReference)]))
	if isReference(s) && (isImageKey(key) && namesRegistry(s) || readsLikeReference(s)) {
		r.found = append(r.found, textRange{start + 1, end - 1, escaped, repositoryIn(s) == s})
	}
}

// jsonString is what a string of JSON reads as, "" for one that is cut, and
// whether it has escapes.
func jsonString(quoted string) (value string, escaped bool) {
	if !strings.Contains(quoted, `\`) {
		return strings.Trim(quoted, `"`), false
	}
	if json.Unmarshal([]byte(quoted), &value) != nil {
		return "", true
	}
	return value, true
}
