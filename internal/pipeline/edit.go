package pipeline

import (
	"fmt"
	"maps"
	"slices"
)

// draft is an operator on its way to one organization: its files after the
// edits made so far, and what they read as.
//
// Edits follow one another, so that each sees what those before it did: the
// suffix, the rules and the annotations, in the order that OMPS had, then the
// digests. All of them change spans of bytes, never a file's style or comments,
// and each proves by reading the file again that nothing but what it meant to
// change reads differently. What it cannot do safely, or not prove, is a fault.
type draft struct {
	files    []File
	op       operator
	faults   []Fault
	warnings []string
}

// newDraft starts from manifests that other organizations start from too, and
// leaves them as they are.
func newDraft(m Manifests) *draft {
	d := &draft{files: slices.Clone(m.Files), op: m.operator, faults: slices.Clone(m.faults)}
	d.op.manifests = slices.Clone(m.operator.manifests)
	return d
}

// suffixPackage makes the package's name end with suffix, where it is written.
func (d *draft) suffixPackage(suffix string) {
	name, home, keys := d.op.packageName(), d.op.pkg, []string{"packageName"}
	if home == nil {
		home, keys = d.op.notes, []string{"annotations", labelPackage}
	}
	if !lacksSuffix(name, suffix) {
		return // a name that cannot be read is for validation to tell of
	}
	edit, err := suffixScalar(home.document, suffix, keys)
	if err != nil {
		d.fault(*home, join("", keys...), fmt.Errorf("package_name_suffix: %w", err))
		return
	}
	d.apply(home.path, edit)
}

// replaceRegistries applies the rules in their order, and tells what each of them
// did.
func (d *draft) replaceRegistries(rules []Rule) []Replacement {
	var told []Replacement
	for rest := rules; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(r Rule) bool { return r.images != rest[0].images })
		if n < 0 {
			n = len(rest)
		}
		if rest[0].images {
			told = append(told, d.replaceImages(rest[:n])...)
		} else {
			told = append(told, d.replaceText(rest[:n])...)
		}
		rest = rest[n:]
	}
	d.findLeftovers(rules, told)
	return told
}

// replaceText applies rules for text.
func (d *draft) replaceText(rules []Rule) []Replacement {
	rewritten := rewriteFiles(d.files, rules)
	d.warnings = append(d.warnings, rewritten.warnings()...)
	for _, i := range slices.Sorted(maps.Keys(rewritten.changed)) {
		f, spans := rewritten.files[i], rewritten.changed[i]
		d.replace(i, f.Data, func(before, after document) error { return checkEdit(before, after, spans) })
	}
	return rewritten.counts
}

// annotate sets the annotations in every ClusterServiceVersion, also in those
// beside the version folders, which an app registry gets with the rest.
func (d *draft) annotate(list []Annotation) {
	if len(list) == 0 {
		return
	}
	wanted, err := expandAnnotations(list, d.op.packageName())
	if err != nil {
		d.faults = append(d.faults, Fault{Text: err.Error()})
		return
	}
	for _, m := range d.op.ofKind(kindCSV) {
		edit, err := annotateCSV(m.document, wanted)
		if err != nil {
			d.fault(m, "metadata.annotations", fmt.Errorf("csv_annotations: %w", err))
			continue
		}
		d.apply(m.path, edit)
	}
}

func (d *draft) warnf(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

func (d *draft) fault(m manifest, keys string, err error) {
	d.faults = append(d.faults, Fault{File: m.path, Path: keys, Text: err.Error()})
}

// treeEdit is a change of bytes together with the tree that they are meant to
// read as.
type treeEdit struct {
	spans []span // none: there is nothing to change
	meant document
}

// apply edits a file, and proves that it reads exactly as meant.
func (d *draft) apply(name string, edit treeEdit) {
	if len(edit.spans) == 0 {
		return
	}
	i := slices.IndexFunc(d.files, func(f File) bool { return f.Path == name })
	d.replace(i, splice(d.files[i].Data, edit.spans), func(_, after document) error { return checkTree(edit.meant, after) })
}

// replace gives a file new bytes. Where it is part of the operator, it is read
// again and has to pass the proof; else it stays as it was.
func (d *draft) replace(i int, data []byte, proof func(before, after document) error) {
	f := File{Path: d.files[i].Path, Data: data}
	j := d.op.index(f.Path)
	if j < 0 {
		d.files[i] = f
		return
	}
	after, err := parseYAML(f)
	if err == nil {
		err = proof(d.op.manifests[j].document, after)
	}
	if err != nil {
		d.faults = append(d.faults, Fault{File: f.Path, Text: fmt.Sprintf("after rewriting: %v", err)})
		return
	}
	d.files[i], d.op.manifests[j] = f, newManifest(after)
	if d.op.pkg != nil && d.op.pkg.path == f.Path {
		d.op.pkg = &d.op.manifests[j]
	}
	if d.op.notes != nil && d.op.notes.path == f.Path {
		d.op.notes = &d.op.manifests[j]
	}
}
