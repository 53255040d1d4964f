package pipeline

import (
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// Who decides what an operator has to be like:
//
// Package manifests are held to what operator-courier 2.1.11 refused before a
// push, and to no more than that, for operators have been published by it for
// years. Where it crashed, on null or on another type than it expected, here is
// a fault. Checks beyond it say why. What operator-framework/api makes of them
// is advice: it refuses 96 of 100 real ones.
//
// Bundles are held to what "opm alpha bundle validate" of operator-registry 1.61
// and the default validators of operator-framework/api refuse. Exceptions say why.
//
// Every file of the layout has to parse, and every fault of all of them is told.

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
	r.repeatedKeys(op)
	r.images(op)
	return r
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

// present tells whether there is anything at a path of keys, be it null.
func present(from *yaml.Node, keys ...string) bool { return at(from, keys...) != nil }

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
// operator-courier wanted most of them only to be there; those that are empty or
// no strings cannot be found again by name, compared or published.
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

// optional is str for what may be missing, null or empty.
func (r *report) optional(m manifest, from *yaml.Node, prefix string, keys ...string) string {
	n := at(from, keys...)
	s, ok := text(n)
	if !ok && kindOf(n) != "missing" && kindOf(n) != "null" {
		r.faultf(m, join(prefix, keys...), "is not a string")
	}
	return s
}

func join(prefix string, keys ...string) string {
	if prefix != "" {
		keys = append([]string{prefix}, keys...)
	}
	return strings.Join(keys, ".")
}

// packageNames are those that can also be a repository's last part: Quay takes
// up to 255 characters of a path component of the distribution spec.
var packageNames = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

func legalPackageName(name string) bool { return len(name) <= 255 && packageNames.MatchString(name) }

// CheckPackageName tells why no package can have a name.
func CheckPackageName(name string) error {
	if !legalPackageName(name) {
		return fmt.Errorf("%.300q is no package's name: small letters and digits with . _ - between them, at most 255", name)
	}
	return nil
}

// CheckChannel tells why no channel can have a name.
func CheckChannel(name string) error {
	if !channelNames.MatchString(name) {
		return fmt.Errorf("%.300q is no channel: one word without commas, at most 100 characters", name)
	}
	return nil
}

// channelNames: the channels label is a list with commas.
var channelNames = regexp.MustCompile(`^[^\s,]{1,100}$`)

// maxChannels is far beyond any real package, and bounds labels and results.
const maxChannels = 200

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

// repeatedKeys tells of keys that a mapping has more than once. Real operators
// have them. Every tool that loads operators takes the last, so does this
// package, and the bytes are published as they are.
func (r *report) repeatedKeys(op operator) {
	var twice remarks
	for _, m := range op.manifests {
		for _, key := range m.repeated {
			twice.add(m.path, fmt.Sprintf("line %d", key.Line), fmt.Sprintf("%.100q is there again further down, and only the last counts", key.Value))
		}
	}
	r.warnings = append(r.warnings, twice.texts("")...)
}
