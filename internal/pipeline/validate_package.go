package pipeline

import (
	"fmt"
	"path"
	"slices"
)

// packageManifests checks an operator in package manifests.
func (r *report) packageManifests(op operator) {
	for _, m := range op.manifests {
		r.courierReads(m)
	}
	csvs := op.csvManifests()
	if len(csvs) == 0 {
		r.faults = append(r.faults, Fault{Text: "no ClusterServiceVersion at the root or in a folder below it"})
	}
	r.packageManifest(*op.pkg)
	for _, ch := range op.channels() {
		// operator-courier checks this for flat archives only. No channel can be
		// given to a bundle that is not there, so here it holds for both.
		if ch.head != "" && !slices.ContainsFunc(csvs, func(m manifest) bool { return m.name == ch.head }) {
			r.faultf(*op.pkg, "channels", "channel %.100s: its currentCSV %.300s is not in the archive", ch.name, ch.head)
		}
	}
	if root := len(op.ofKind(kindCSV)) - len(csvs); root > 0 {
		r.warnf("%d ClusterServiceVersions lie beside the version folders, and no bundles are made of them", root)
	}
	for _, folder := range foldersOf(csvs) {
		r.versionFolder(op, folder)
	}
	r.olmVerdict(op)
}

// foldersOf lists the folders that hold the manifests, in their order.
func foldersOf(list []manifest) []string {
	var folders []string
	for _, m := range list {
		if dir := path.Dir(m.path); !slices.Contains(folders, dir) {
			folders = append(folders, dir)
		}
	}
	return folders
}

// versionFolder checks the CSVs and CRDs of one folder: of a nested archive each
// that holds a CSV, of a flat one the root. operator-courier looks at no others.
func (r *report) versionFolder(op operator, folder string) {
	inside := op.inFolder(folder)
	crds := ofKindIn(inside, kindCRD)
	for _, m := range crds {
		r.crd(m)
	}
	beside := byName(crds)
	for i, m := range ofKindIn(inside, kindCSV) {
		r.csv(m)
		r.courierOwned(m, beside)
		if op.layout == layoutNested && i > 0 { // operator-courier lets them pass; a bundle image holds one
			r.faultf(m, "", "is not the only ClusterServiceVersion in its folder")
		}
	}
}

func byName(list []manifest) map[string][]manifest {
	names := make(map[string][]manifest, len(list))
	for _, m := range list {
		names[m.name] = append(names[m.name], m)
	}
	return names
}

func ofKindIn(list []manifest, kind string) []manifest {
	return slices.DeleteFunc(slices.Clone(list), func(m manifest) bool { return m.kind != kind })
}

// packageManifest checks the package manifest by itself. Beyond operator-courier,
// names have to fit where they go: into a repository, a list of channels, a label.
func (r *report) packageManifest(m manifest) {
	if name := r.str(m, m.root, "", "packageName"); name != "" && !legalPackageName(name) {
		r.faultf(m, "packageName", "%.300q cannot be a repository's name", name)
	}
	list := items(r.list(m, m.root, "", "channels"))
	if n := len(list); n == 0 || n > maxChannels {
		r.faultf(m, "channels", "are %d, not 1 to %d", n, maxChannels)
		return
	}
	known := make(map[string]bool)
	for i, c := range list {
		prefix := fmt.Sprintf("channels[%d]", i)
		name := r.str(m, c, prefix, "name")
		r.str(m, c, prefix, "currentCSV")
		switch {
		case name != "" && !channelNames.MatchString(name):
			r.faultf(m, prefix+".name", "%.100q cannot be in a list of channels", name)
		case name != "" && known[name]: // which of the two heads it has would be chance
			r.faultf(m, prefix+".name", "channel %s is there twice", name)
		}
		known[name] = true
	}
	r.optional(m, m.root, "", "defaultChannel") // that it is one of them, operator-framework/api advises
}
