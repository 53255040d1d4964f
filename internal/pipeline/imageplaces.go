package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// imageScalar is a scalar that holds references to images.
type imageScalar struct {
	node, parent *yaml.Node
	path         string      // of keys and items
	refs         []textRange // in the node's value, from left to right

	// elsewhere: an alias has it where no image stands too.
	elsewhere bool

	// sure: it stands where only the name of an image can stand, and is one. Such
	// references are edited; the others only read like one.
	sure bool
}

// textRange is the bytes [start, end) of a text.
type textRange struct {
	start, end int
	escaped    bool // as JSON has it
	loose      bool // in JSON, without a tag, which another member may hold
}

// of is what the range of s reads as.
func (r textRange) of(s string) string {
	text := s[r.start:r.end]
	if r.escaped {
		text, _ = jsonString(`"` + text + `"`)
	}
	return text
}

// maxImages bounds the images of an operator: the most that a real one has are
// 10,706, in 69 versions.
const maxImages = 50_000

// imagesOf finds the images of each manifest. Too many of them are a fault.
func imagesOf(manifests []manifest) ([][]imageScalar, *Fault) {
	found, left := make([][]imageScalar, len(manifests)), maxImages
	for i, m := range manifests {
		found[i] = imagesIn(m.root, left)
		for _, s := range found[i] {
			left -= len(s.refs)
		}
		if left < 0 {
			return nil, &Fault{File: m.path, Text: fmt.Sprintf("more than %d images, with the files before it", maxImages)}
		}
	}
	return found, nil
}

// imagesIn finds what a manifest says of images:
//
//   - what the keys image and containerImage hold, which is where containers,
//     init containers, relatedImages and the annotation containerImage have it,
//   - the values of variables whose names begin with RELATED_IMAGE_,
//   - annotations that are a reference with a registry and a tag or digest,
//   - in annotations that are JSON: what image and containerImage hold there, where
//     it names a registry, and what reads like such a reference,
//   - and, though not surely, whatever else reads like one.
//
// What several aliases stand for is found once, where the first of them is. The
// walk ends soon after it has found more than most.
func imagesIn(root *yaml.Node, most int) []imageScalar {
	f := imageFinder{left: most, known: make(map[*yaml.Node]int), looked: make(map[*yaml.Node]bool), elsewhere: make(map[*yaml.Node]bool)}
	f.walk(root, nil)
	for i := range f.found {
		f.found[i].elsewhere = f.found[i].elsewhere || f.elsewhere[f.found[i].node]
	}
	return f.found
}

type imageFinder struct {
	found     []imageScalar
	left      int                 // below 0: enough
	known     map[*yaml.Node]int  // index into found, by node
	looked    map[*yaml.Node]bool // annotations with an anchor, seen before
	elsewhere map[*yaml.Node]bool // scalars where no image has to be, that aliases share
	path      []pathPart          // to where the walk is
}

// pathPart is a key or, without one, an item.
type pathPart struct {
	key  string
	item int
}

// maxPathText bounds the text of a path, of whose keys each may be as long as
// the file.
const maxPathText = 512

// pathText is the path, or the end of one that is too long.
func (f *imageFinder) pathText() string {
	text := ""
	for _, p := range slices.Backward(f.path) {
		switch {
		case len(p.key)+len(text) > maxPathText:
			return "…" + text
		case p.key == "":
			text = "[" + strconv.Itoa(p.item) + "]" + text
		default:
			text = "." + p.key + text
		}
	}
	return strings.TrimPrefix(text, ".")
}

func (f *imageFinder) within(p pathPart, do func()) {
	f.path = append(f.path, p)
	do()
	f.path = f.path[:len(f.path)-1]
}

// walk goes through a node that is written here: what an alias stands for is
// met where it is written.
func (f *imageFinder) walk(n, parent *yaml.Node) {
	if n == nil || f.left < 0 {
		return
	}
	if to := follow(n); to.Kind == yaml.ScalarNode && to.Anchor != "" {
		f.elsewhere[to] = true
	}
	switch n.Kind {
	case yaml.MappingNode:
		f.mapping(n)
	case yaml.SequenceNode:
		for i, child := range n.Content {
			f.within(pathPart{item: i}, func() { f.walk(child, n) })
		}
	case yaml.ScalarNode:
		if readsLikeReference(n.Value) {
			f.add(n, parent, false, textRange{end: len(n.Value)})
		}
	}
}

func (f *imageFinder) mapping(n *yaml.Node) {
	related := strings.HasPrefix(textAt(n, "name"), relatedImagePrefix)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, held := n.Content[i].Value, n.Content[i+1]
		if n.Content[i].Anchor != "" {
			f.elsewhere[n.Content[i]] = true
		}
		f.within(pathPart{key: key}, func() {
			switch {
			case isImageKey(key) || related && key == "value":
				f.image(held, n)
			case key == "annotations":
				f.annotations(held, n)
			default:
				f.walk(held, n)
			}
		})
	}
}

const relatedImagePrefix = "RELATED_IMAGE_"

func isImageKey(key string) bool { return key == "image" || key == "containerImage" }

// image notes a scalar that can be nothing but an image, though it may be none
// that tools would take.
func (f *imageFinder) image(held, parent *yaml.Node) {
	n := follow(held)
	switch value, isText := text(n); {
	case n.Kind != yaml.ScalarNode:
		f.walk(held, parent)
	case n.Value != "":
		f.add(n, parent, isText && isReference(value), textRange{end: len(n.Value)})
	}
}

func (f *imageFinder) annotations(held, parent *yaml.Node) {
	n := follow(held)
	if n.Kind != yaml.MappingNode {
		f.walk(held, parent)
		return
	}
	if f.lookedAt(n) {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Anchor != "" {
			f.elsewhere[n.Content[i]] = true
		}
		key, value := n.Content[i].Value, n.Content[i+1]
		if n != held { // and so is not among annotations where it is written
			f.elsewhere[follow(value)] = true
		}
		f.within(pathPart{key: key}, func() {
			if isImageKey(key) {
				f.image(value, n)
			} else if !f.annotation(follow(value), n) {
				f.walk(value, n)
			}
		})
	}
}

// annotation notes the images in an annotation's value, and tells whether there
// are any.
func (f *imageFinder) annotation(n, parent *yaml.Node) bool {
	if f.lookedAt(n) {
		_, ok := f.known[n]
		return ok
	}
	value, _ := text(n)
	refs := annotationImages(value, f.left)
	if len(refs) > 0 {
		f.add(n, parent, true, refs...)
	}
	return len(refs) > 0
}

// lookedAt tells whether annotations, or the value of one, were looked at before,
// which what has no anchor never is.
func (f *imageFinder) lookedAt(n *yaml.Node) bool {
	before := f.looked[n]
	if n.Anchor != "" {
		f.looked[n] = true
	}
	return before
}

// add notes a scalar. One that aliases share is surely an image where one of its
// places is.
func (f *imageFinder) add(n, parent *yaml.Node, sure bool, refs ...textRange) {
	if i, ok := f.known[n]; ok {
		if sure && !f.found[i].sure {
			f.left -= len(refs) - len(f.found[i].refs)
			f.found[i].sure, f.found[i].refs, f.found[i].elsewhere = true, refs, true
		}
		return
	}
	f.left -= len(refs)
	f.known[n] = len(f.found)
	f.found = append(f.found, imageScalar{node: n, parent: parent, path: f.pathText(), refs: refs, sure: sure})
}

// imageReference is a whole text that can only be an image: a registry, a
// repository, and a tag or digest.
var imageReference = regexp.MustCompile(`^(oci://)?[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+(:[0-9]+)?(/[a-z0-9._-]+)+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$`)

// readsLikeReference tells whether a text is like an image. Most are not, and
// lack what every one has.
func readsLikeReference(s string) bool {
	if len(s) > maxReference || !strings.Contains(s, "/") || !strings.ContainsAny(s, ":@") || strings.ContainsAny(s, " \n") {
		return false
	}
	m := imageReference.FindStringSubmatch(s)
	return m != nil && (m[5] != "" || m[6] != "")
}
