package pipeline

import (
	"bytes"
	"context"
	"hash/maphash"
	"path"
	"slices"
	"strings"
)

// layout is how an archive's files make up an operator.
type layout uint8

const (
	layoutFlat   layout = iota + 1 // package manifests, all in one folder
	layoutNested                   // package manifests, a folder for each version
	layoutBundle                   // manifests/ and metadata/
)

// Folders of a bundle, by operator-registry's docs/design/operator-bundle.md.
const (
	manifestsDir = "manifests"
	metadataDir  = "metadata"
)

// manifest is a parsed file with the two names that tell what it is.
type manifest struct {
	document
	path string
	kind string // Kubernetes kind; kindPackage for a package manifest
	name string // metadata.name, or packageName
}

// The kinds that make up an operator. A package manifest has no kind of its own.
const (
	kindCSV     = "ClusterServiceVersion"
	kindCRD     = "CustomResourceDefinition"
	kindPackage = "PackageManifest"
)

func newManifest(doc document) manifest {
	m := manifest{document: doc, path: doc.file.Path}
	if at(doc.root, "packageName") != nil {
		m.kind, m.name = kindPackage, textAt(doc.root, "packageName")
		return m
	}
	m.kind, m.name = textAt(doc.root, "kind"), textAt(doc.root, "metadata", "name")
	return m
}

// operator is the content of an archive, whichever layout it came in.
type operator struct {
	layout    layout
	pkg       *manifest  // the package manifest; nil for a bundle
	notes     *manifest  // metadata/annotations.yaml; nil for package manifests
	manifests []manifest // every parsed file of the layout, sorted by path
}

func (o operator) ofKind(kind string) []manifest {
	var found []manifest
	for _, m := range o.manifests {
		if m.kind == kind {
			found = append(found, m)
		}
	}
	return found
}

// index finds a manifest by its path, or returns -1.
func (o operator) index(name string) int {
	return slices.IndexFunc(o.manifests, func(m manifest) bool { return m.path == name })
}

// packageName is the operator's package, "" when it has none to read.
func (o operator) packageName() string {
	switch {
	case o.pkg != nil:
		return o.pkg.name
	case o.notes != nil:
		return textAt(o.notes.root, "annotations", labelPackage)
	}
	return ""
}

// inFolder lists the manifests that lie directly in a folder, "." for the root.
func (o operator) inFolder(folder string) []manifest {
	var found []manifest
	for _, m := range o.manifests {
		if path.Dir(m.path) == folder {
			found = append(found, m)
		}
	}
	return found
}

// readOperator parses, once, the files that a layout counts as its own and
// collects the faults of all of them. Files that do not parse are faults, not
// skipped. An error means that ctx ended.
func readOperator(ctx context.Context, files []File) (operator, []Fault, error) {
	return readOperatorOf(ctx, files, make(map[string]document))
}

// readOperatorOf is readOperator where some files are parsed already, by path.
func readOperatorOf(ctx context.Context, files []File, parsed map[string]document) (operator, []Fault, error) {
	r := operatorReader{ctx: ctx, marksLeft: maxYAMLMarks, aliasesLeft: treeSize{maxYAMLNodes, maxYAMLBytes}, parsed: parsed, copies: make(map[uint64]string)}
	bundle := r.isBundle(files)
	var op operator
	for _, f := range files {
		if !belongs(f.Path, bundle) {
			continue
		}
		if doc, ok := r.parse(f); ok {
			op.manifests = append(op.manifests, newManifest(doc))
		}
	}
	if bundle {
		op.layout = layoutBundle
		op.findAnnotations()
		return op, r.faults, ctx.Err()
	}
	op.layout = layoutFlat
	if slices.ContainsFunc(op.ofKind(kindCSV), func(m manifest) bool { return path.Dir(m.path) != "." }) {
		op.layout = layoutNested
	}
	return op, append(r.faults, op.findPackage()...), ctx.Err()
}

// operatorReader parses the files of one archive.
type operatorReader struct {
	ctx         context.Context //nolint:containedctx // lives as long as the call it came with
	marksLeft   int
	aliasesLeft treeSize
	parsed      map[string]document // by path
	copies      map[uint64]string   // path of what is parsed, by the sum of its bytes: versions share a fifth of their bytes
	faults      []Fault
}

// parse returns a file parsed, or notes why it is none.
func (r *operatorReader) parse(f File) (document, bool) {
	if doc, ok := r.parsed[f.Path]; ok {
		return doc, true
	}
	fault := func(text string) (document, bool) {
		r.faults = append(r.faults, Fault{File: f.Path, Text: text})
		return document{}, false
	}
	if r.ctx.Err() != nil {
		return fault("was not read in time")
	}
	if r.marksLeft -= yamlMarks(f.Data); r.marksLeft < 0 {
		return fault("has too many lines and items, with the files before it")
	}
	sum := maphash.Bytes(seed, f.Data)
	doc, known := r.parsed[r.copies[sum]]
	if known = known && bytes.Equal(doc.file.Data, f.Data); !known {
		var err error
		if doc, err = parseYAML(f); err != nil {
			return fault(err.Error())
		}
	}
	doc.file.Path = f.Path
	if doc.more {
		return fault("holds more than one document; readers take only the first")
	}
	if r.aliasesLeft = r.aliasesLeft.less(doc.aliased); r.aliasesLeft.nodes < 0 || r.aliasesLeft.bytes < 0 {
		return fault("becomes too large once its aliases are followed, with the files before it")
	}
	r.parsed[f.Path], r.copies[sum] = doc, f.Path
	return doc, true
}

// isBundle: a bundle has its two folders and no package manifest beside them.
func (r *operatorReader) isBundle(files []File) bool {
	has := func(folder string) bool {
		return slices.ContainsFunc(files, func(f File) bool { return strings.HasPrefix(f.Path, folder+"/") })
	}
	if !has(manifestsDir) || !has(metadataDir) {
		return false
	}
	beside := operatorReader{ctx: r.ctx, marksLeft: maxYAMLMarks, aliasesLeft: r.aliasesLeft, parsed: r.parsed, copies: r.copies} // its faults do not count yet
	return !slices.ContainsFunc(files, func(f File) bool {
		if strings.Contains(f.Path, "/") || !rewritable(f.Path) {
			return false
		}
		doc, ok := beside.parse(f)
		return ok && at(doc.root, "packageName") != nil
	})
}

// belongs tells whether a file is part of an operator: for a bundle what lies
// in its two folders, for package manifests the YAML files at the root and one
// level below, where operator-courier looked.
func belongs(name string, bundle bool) bool {
	if bundle {
		dir, _, _ := strings.Cut(name, "/")
		return dir == manifestsDir || dir == metadataDir
	}
	return rewritable(name) && strings.Count(name, "/") <= 1
}

func (o *operator) findPackage() []Fault {
	var found []manifest
	for _, m := range o.ofKind(kindPackage) {
		if path.Dir(m.path) == "." {
			found = append(found, m)
		}
	}
	if len(found) == 0 {
		return nil // whether that is a fault is for the caller to say
	}
	o.pkg = &found[0]
	var faults []Fault
	for _, m := range found[1:] {
		faults = append(faults, Fault{File: m.path, Text: "is a second package manifest beside " + found[0].path})
	}
	return faults
}

func (o *operator) findAnnotations() {
	for i, m := range o.manifests {
		if path.Dir(m.path) == metadataDir && at(m.root, "annotations") != nil {
			o.notes = &o.manifests[i]
			return
		}
	}
}
