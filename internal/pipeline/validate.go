package pipeline

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"gopkg.in/yaml.v3"
)

// The checks of package manifests are those that operator-courier 2.1.11 made
// before a push, with its crashes on null and odd types made errors; a bundle
// has to meet what operator-registry and OLM need of it. Checks beyond these say why.

// report collects everything that is wrong, and what is only odd.
type report struct {
	faults   []Fault
	warnings []string
}

// faultf notes a fault of a manifest at a path of keys.
func (r *report) faultf(m manifest, keys string, format string, args ...any) {
	r.faults = append(r.faults, Fault{File: m.path, Path: keys, Text: fmt.Sprintf(format, args...)})
}

func (r *report) warnf(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// kindOf names what a node is, in the words of YAML.
func kindOf(n *yaml.Node) string {
	switch {
	case n == nil:
		return "missing"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "null"
	}
	return "a scalar"
}

// mapping and list return the node at a path of keys, or note that it is
// missing or something else.
func (r *report) mapping(m manifest, from *yaml.Node, prefix string, keys ...string) *yaml.Node {
	return r.ofKind(m, from, prefix, "a mapping", keys)
}

func (r *report) list(m manifest, from *yaml.Node, prefix string, keys ...string) *yaml.Node {
	return r.ofKind(m, from, prefix, "a list", keys)
}

func (r *report) ofKind(m manifest, from *yaml.Node, prefix, want string, keys []string) *yaml.Node {
	n := at(from, keys...)
	if got := kindOf(n); got != want {
		r.faultf(m, join(prefix, keys...), "is %s, not %s", got, want)
		return nil
	}
	return n
}

// str returns the string at a path of keys, or notes that there is none.
func (r *report) str(m manifest, from *yaml.Node, prefix string, keys ...string) string {
	n := at(from, keys...)
	s, ok := text(n)
	switch {
	case n == nil:
		r.faultf(m, join(prefix, keys...), "is missing")
	case !ok:
		r.faultf(m, join(prefix, keys...), "is not a string")
	case s == "":
		r.faultf(m, join(prefix, keys...), "is empty")
	}
	return s
}

func join(prefix string, keys ...string) string {
	if prefix != "" {
		keys = append([]string{prefix}, keys...)
	}
	return strings.Join(keys, ".")
}

// validate checks a whole operator. Parse faults come in, so that everything
// wrong is reported together.
func validate(op operator, parseFaults []Fault) report {
	r := report{faults: parseFaults}
	if op.layout == layoutBundle {
		r.bundle(op)
	} else {
		r.packageManifests(op)
	}
	r.uniqueCSVs(op)
	return r
}

func (r *report) packageManifests(op operator) {
	csvs := op.csvManifests()
	if len(csvs) == 0 {
		r.faults = append(r.faults, Fault{Text: "no ClusterServiceVersion at the root or in a folder below it"})
	}
	r.packageManifest(*op.pkg)
	for _, ch := range op.channels() {
		// operator-courier checks this for flat archives only. No channel can be
		// given to a bundle that is not there, so here it holds for both.
		if ch.head != "" && !slices.ContainsFunc(csvs, func(m manifest) bool { return m.name == ch.head }) {
			r.faultf(*op.pkg, "channels", "channel %s: its currentCSV %s is not in the archive", ch.name, ch.head)
		}
	}
	if root := len(op.ofKind(kindCSV)) - len(csvs); root > 0 {
		r.warnf("%d ClusterServiceVersions lie beside the version folders and are not published", root)
	}
	crds := make(map[string]map[string][]manifest) // by folder and name
	inFolder := make(map[string]int)
	for _, m := range csvs {
		folder := path.Dir(m.path)
		if crds[folder] == nil {
			crds[folder] = byName(ofKindIn(op.inFolder(folder), kindCRD))
		}
		r.csv(m, true)
		r.ownedCRDs(m, crds[folder])
		if inFolder[folder]++; op.layout == layoutNested && inFolder[folder] > 1 {
			r.faultf(m, "", "is not the only ClusterServiceVersion in its folder")
		}
	}
	for _, m := range op.ofKind(kindCRD) {
		if op.layout == layoutFlat || path.Dir(m.path) != "." {
			r.crd(m)
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

// packageNames are those that can also be a repository's last part: Quay takes
// up to 255 characters of a path component of the distribution spec.
var packageNames = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

func legalPackageName(name string) bool { return len(name) <= 255 && packageNames.MatchString(name) }

// maxChannels is far beyond any real package, and bounds labels and results.
const maxChannels = 200

// packageManifest checks the package manifest by itself.
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
		case name != "" && known[name]:
			r.faultf(m, prefix+".name", "channel %s is there twice", name)
		}
		known[name] = true
	}
	def := ""
	if at(m.root, "defaultChannel") != nil {
		def = r.str(m, m.root, "", "defaultChannel")
	}
	switch {
	case def == "" && len(known) > 1:
		r.warnf("%s: defaultChannel: is missing though there are several channels", m.path)
	case def != "" && !known[def]:
		r.warnf("%s: defaultChannel: %.100q is none of the channels", m.path, def)
	}
}

// channelNames: the channels label is a list with commas.
var channelNames = regexp.MustCompile(`^[^\s,]{1,100}$`)

// csv checks a ClusterServiceVersion. In package manifests an empty
// alm-examples and null permissions are faults, as operator-courier had it;
// what loads bundles takes both for nothing.
func (r *report) csv(m manifest, inPackage bool) {
	r.str(m, m.root, "", "apiVersion")
	if meta := r.mapping(m, m.root, "", "metadata"); meta != nil {
		r.str(m, meta, "metadata", "name")
		r.annotations(m, meta, inPackage)
	}
	spec := r.mapping(m, m.root, "", "spec")
	if spec == nil {
		return
	}
	// operator-courier leaves the version to the app registry's release; a
	// bundle image has it in its tag and OLM orders updates by it.
	if v := r.str(m, spec, "spec", "version"); v != "" {
		if _, err := semver.StrictNewVersion(v); err != nil {
			r.faultf(m, "spec.version", "%.100q is not a semantic version", v)
		}
	}
	r.list(m, spec, "spec", "installModes")
	r.place(m, spec)
	if install := r.mapping(m, spec, "spec", "install"); install != nil {
		if s := r.str(m, install, "spec.install", "strategy"); s != "" && s != "deployment" {
			r.faultf(m, "spec.install.strategy", "is %.100q, not deployment", s)
		}
		if strategy := r.mapping(m, install, "spec.install", "spec"); strategy != nil {
			r.list(m, strategy, "spec.install.spec", "deployments")
			for _, key := range []string{"permissions", "clusterPermissions"} {
				if n := at(strategy, key); n != nil && (inPackage || kindOf(n) != "null") {
					r.list(m, strategy, "spec.install.spec", key)
				}
			}
		}
	}
}

// place checks the types of what says where a CSV stands among the others. A
// wrong one would otherwise count as none.
func (r *report) place(m manifest, spec *yaml.Node) {
	given := func(from *yaml.Node, keys ...string) bool { return kindOf(at(from, keys...)) != "missing" }
	if given(spec, "replaces") {
		r.str(m, spec, "spec", "replaces")
	}
	if given(spec, "skips") {
		for i, skipped := range items(r.list(m, spec, "spec", "skips")) {
			if _, ok := text(skipped); !ok {
				r.faultf(m, fmt.Sprintf("spec.skips[%d]", i), "is not a string")
			}
		}
	}
	const crds = "customresourcedefinitions"
	if !given(spec, crds) {
		return
	}
	if definitions := r.mapping(m, spec, "spec", crds); definitions != nil && given(definitions, "owned") {
		r.list(m, definitions, "spec."+crds, "owned")
	}
}

func (r *report) annotations(m manifest, meta *yaml.Node, inPackage bool) {
	const prefix = "metadata.annotations"
	if at(meta, "annotations") == nil {
		return
	}
	notes := r.mapping(m, meta, "metadata", "annotations")
	if certified := at(notes, "certified"); certified != nil {
		if _, ok := text(certified); !ok {
			r.faultf(m, prefix+".certified", "is not a string")
		}
	}
	examples := at(notes, "alm-examples")
	if examples == nil {
		return
	}
	s, ok := text(examples)
	switch {
	case !ok:
		r.faultf(m, prefix+".alm-examples", "is not a string")
	case s == "" && !inPackage:
	case !json.Valid([]byte(s)):
		r.faultf(m, prefix+".alm-examples", "is not JSON")
	}
}

// uniqueCSVs refuses two CSVs of one name or version: they would become images
// under one tag, and which of them won would be chance.
func (r *report) uniqueCSVs(op operator) {
	names, versions := make(map[string]string), make(map[string]string)
	for _, m := range op.csvManifests() {
		version := textAt(m.root, "spec", "version")
		if other, ok := names[m.name]; ok && m.name != "" {
			r.faultf(m, "metadata.name", "%s is also the name in %s", m.name, other)
		} else if other, ok := versions[version]; ok && version != "" {
			r.faultf(m, "spec.version", "%s is also the version in %s", version, other)
		}
		names[m.name], versions[version] = m.path, m.path
	}
}
