package pipeline

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Quoting and block styles of a scalar. Without one of them it is plain.
const notPlain = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// normalizer copies documents into the one form that means the same to readers
// of YAML 1.1 and of later ones: aliases followed, of a repeated key the last
// value, keys sorted by their text, scalars as readPlain has them, and strings
// so that nobody takes them for anything else.
type normalizer struct {
	nodesLeft int // of all documents together
}

// copy returns the normal form of what parseYAML has read. An error tells what
// in it has none, as a text for a Fault.
func (z *normalizer) copy(n *yaml.Node) (*yaml.Node, error) {
	n = follow(n)
	if z.nodesLeft--; z.nodesLeft < 0 {
		return nil, errors.New("is too large, with the files before it, once its aliases are followed")
	}
	tagged := n.Style&yaml.TaggedStyle != 0
	switch {
	case n.Kind == yaml.ScalarNode:
		return normalScalar(n, false)
	case tagged && n.Kind == yaml.MappingNode && n.ShortTag() != "!!map",
		tagged && n.Kind == yaml.SequenceNode && n.ShortTag() != "!!seq":
		return nil, tagError(n)
	case n.Kind == yaml.MappingNode:
		return z.mapping(n)
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, item := range n.Content {
		c, err := z.copy(item)
		if err != nil {
			return nil, err
		}
		list.Content = append(list.Content, c)
	}
	return list, nil
}

func (z *normalizer) mapping(n *yaml.Node) (*yaml.Node, error) {
	type key struct {
		text  string
		plain bool // so that "1" is not 1
	}
	type entry struct{ key, value *yaml.Node }
	last := make(map[key]entry, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, err := normalScalar(n.Content[i], true)
		if err != nil {
			return nil, err
		}
		last[key{k.Value, isPlain(k)}] = entry{k, n.Content[i+1]}
	}
	z.nodesLeft -= len(last)
	entries := make([]entry, 0, len(last))
	for _, e := range last {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(strings.Compare(a.key.Value, b.key.Value), cmp.Compare(a.key.Style, b.key.Style))
	})
	mapping := &yaml.Node{Kind: yaml.MappingNode}
	for _, e := range entries {
		c, err := z.copy(e.value)
		if err != nil {
			return nil, err
		}
		mapping.Content = append(mapping.Content, e.key, c)
	}
	return mapping, nil
}

// normalScalar takes a tag only where it says what the text is without it, or
// that it is a string. In [a:], PyYAML has a mapping where yaml.v3 has a string.
func normalScalar(n *yaml.Node, isKey bool) (*yaml.Node, error) {
	tag, value := tagString, n.Value
	switch tagged := n.Style&yaml.TaggedStyle != 0; {
	case tagged && n.ShortTag() != tagString:
		if tag, value = readPlain(n.Value); tag != n.ShortTag() {
			return nil, tagError(n)
		}
	case !tagged && isPlain(n) && strings.HasSuffix(n.Value, ":"):
		return nil, fmt.Errorf("line %d: a word that ends in a colon, which readers take differently", n.Line)
	case !tagged && isPlain(n):
		tag, value = readPlain(n.Value)
	}
	if tag == tagString {
		return stringNode(value, isKey), nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: value}, nil
}

func tagError(n *yaml.Node) error {
	return fmt.Errorf("line %d: the tag %.100s, which readers take differently", n.Line, n.Tag)
}

func isPlain(n *yaml.Node) bool { return n.Style&notPlain == 0 }

// plainStrings are strings that need no quotes anywhere in a block: a letter or
// slash first, then nothing that YAML has a use for.
var plainStrings = regexp.MustCompile(`^[A-Za-z/](?:[ :]?[A-Za-z0-9_./@%+=,;()-])*$`)

// stringNode gives a string the simplest style that is safe for it. A literal
// block is one that needs no indicators for what is at its edges; where a space
// ends a line, yaml.v3 makes quotes of it.
func stringNode(s string, isKey bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: s}
	switch {
	case plainStrings.MatchString(s) && !isWord(s):
	case strings.ContainsFunc(s, needsEscape):
		n.Style = yaml.DoubleQuotedStyle
	case !strings.Contains(s, "\n"):
		n.Style = yaml.SingleQuotedStyle
	case isKey, s[0] == '\n', s[0] == ' ', strings.HasSuffix(s, "\n\n"):
		n.Style = yaml.DoubleQuotedStyle
	default:
		n.Style = yaml.LiteralStyle
	}
	return n
}

// needsEscape tells whether a character is one that YAML or its readers do not
// take as it is, or take for a line end, or that yaml.v3 escapes. A tab is legal
// nearly everywhere, and nearly everywhere some reader stumbles over it.
func needsEscape(r rune) bool {
	switch {
	case r == '\n', r >= ' ' && r <= '~', r >= 0xa0 && r <= 0xd7ff, r >= 0xe000 && r <= 0xfffd:
		return r == '\u2028' || r == '\u2029' || r == '\ufeff'
	}
	return true
}

// isWord tells whether some reader takes the plain text for a boolean or null.
func isWord(s string) bool {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null":
		return true
	}
	return false
}

// writeYAML writes a node in normal form, in up to limit bytes, and proves by
// reading it back that it says what it should.
func writeYAML(n *yaml.Node, limit int) (string, error) {
	out := boundedBuffer{left: limit}
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	err := errors.Join(enc.Encode(n), enc.Close())
	switch {
	case out.left < 0:
		return "", Reject(ReasonInvalidManifests, &Invalid{Faults: []Fault{
			{Text: fmt.Sprintf("would make a %s of more than the limit of %d bytes", bundleFile, limit)},
		}})
	case err != nil:
		return "", fmt.Errorf("write YAML: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(out.Bytes(), &doc); err != nil {
		return "", fmt.Errorf("read back what was written: %w", err)
	}
	if len(doc.Content) != 1 || !sameNode(n, doc.Content[0]) {
		return "", errors.New("what was written as YAML reads differently")
	}
	return out.String(), nil
}

// sameNode compares a node in normal form with what was read of it. In normal
// form, text and plainness of a scalar are its meaning.
func sameNode(want, got *yaml.Node) bool {
	return want.Kind == got.Kind && want.Value == got.Value && isPlain(want) == isPlain(got) &&
		got.Style&yaml.TaggedStyle == 0 && slices.EqualFunc(want.Content, got.Content, sameNode)
}

// boundedBuffer keeps what is written, up to a limit.
type boundedBuffer struct {
	bytes.Buffer
	left int // negative once the limit was passed
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, io.ErrShortWrite
	}
	return b.Buffer.Write(p)
}
