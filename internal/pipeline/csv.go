package pipeline

import (
	"path"
	"slices"

	"github.com/Masterminds/semver/v3"
)

// csv is what a ClusterServiceVersion says of its place among the others.
type csv struct {
	manifest
	version  *semver.Version
	replaces string
	skips    []string
	owned    []string // names of the CRDs it owns
}

// newCSV reads a validated ClusterServiceVersion.
func newCSV(m manifest) csv {
	c := csv{manifest: m, replaces: textAt(m.root, "spec", "replaces")}
	c.version, _ = semver.StrictNewVersion(textAt(m.root, "spec", "version"))
	for _, skipped := range items(at(m.root, "spec", "skips")) {
		if name, ok := text(skipped); ok {
			c.skips = append(c.skips, name)
		}
	}
	for _, crd := range items(at(m.root, "spec", "customresourcedefinitions", "owned")) {
		c.owned = append(c.owned, textAt(crd, "name"))
	}
	return c
}

// csvs reads the operator's ClusterServiceVersions, the oldest first.
func (o operator) csvs() []csv {
	var list []csv
	for _, m := range o.csvManifests() {
		list = append(list, newCSV(m))
	}
	slices.SortStableFunc(list, func(a, b csv) int { return a.version.Compare(b.version) })
	return list
}

// csvManifests are the ClusterServiceVersions that count. As for
// operator-courier, those beside the version folders do not.
func (o operator) csvManifests() []manifest {
	list := o.ofKind(kindCSV)
	if o.layout == layoutNested {
		list = slices.DeleteFunc(list, func(m manifest) bool { return path.Dir(m.path) == "." })
	}
	return list
}

// channel is an update channel of a package manifest.
type channel struct{ name, head string }

// channels reads the package manifest's update channels.
func (o operator) channels() []channel {
	var list []channel
	for _, c := range items(at(o.pkg.root, "channels")) {
		list = append(list, channel{name: textAt(c, "name"), head: textAt(c, "currentCSV")})
	}
	return list
}

// channelsOf tells for each CSV, by name, which channels lead to it: its
// channel's head, what that replaces, and so on, and what each of these skips.
// What a skipped CSV replaces in its turn is not in the channel. What a CSV
// replaces or skips need not be in the archive.
func channelsOf(channels []channel, csvs []csv) map[string][]string {
	byName := make(map[string]csv, len(csvs))
	for _, c := range csvs {
		byName[c.name] = c
	}
	members := make(map[string][]string, len(csvs))
	for _, ch := range channels {
		inChannel := make(map[string]bool)
		passed := make(map[string]bool)
		for name := ch.head; !passed[name]; name = byName[name].replaces {
			passed[name] = true
			inChannel[name] = true
			for _, skipped := range byName[name].skips {
				inChannel[skipped] = true
			}
		}
		for name := range inChannel {
			members[name] = append(members[name], ch.name)
		}
	}
	for _, names := range members {
		slices.Sort(names)
	}
	return members
}
