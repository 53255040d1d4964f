package pipeline

import (
	"bytes"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// CheckSuffix tells whether a suffix can make a package name that is legal as a
// repository's too. "" stands for none and is fine.
func CheckSuffix(suffix string) error {
	if suffix != "" && (len(suffix) > 100 || !legalPackageName("a"+suffix)) {
		return fmt.Errorf("%.100q cannot end a package's name: it takes a-z, 0-9, and . _ - in front of these", suffix)
	}
	return nil
}

// lacksSuffix tells whether a name, if there is one, has yet to get the suffix.
func lacksSuffix(name, suffix string) bool {
	return name != "" && !strings.HasSuffix(name, suffix)
}

// suffixScalar adds the suffix to the string at a path of keys.
func suffixScalar(doc document, suffix string, keys []string) (treeEdit, error) {
	_, n, err := editable(doc.root, keys...)
	if err != nil {
		return treeEdit{}, err
	}
	start, end, err := extent(doc.file.Data, n, 0)
	if err != nil {
		return treeEdit{}, err
	}
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return treeEdit{}, fmt.Errorf("line %d: is a block of text", n.Line)
	case bytes.ContainsAny(doc.file.Data[start:end], "\r\n"):
		return treeEdit{}, fmt.Errorf("line %d: is on several lines", n.Line)
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		end-- // the suffix goes in front of the closing quote
	}
	renamed := *n
	renamed.Value += suffix
	doc.root = with(doc.root, &renamed, keys...)
	return treeEdit{spans: []span{{end, end, []byte(suffix)}}, meant: doc}, nil
}
