package pipeline

import (
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
	for _, m := range o.ofKind(kindCSV) {
		list = append(list, newCSV(m))
	}
	slices.SortStableFunc(list, func(a, b csv) int { return a.version.Compare(b.version) })
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
// channel's head, and from there what each CSV replaces or skips. What a CSV
// replaces need not be in the archive.
func channelsOf(channels []channel, csvs []csv) map[string][]string {
	byName := make(map[string]csv, len(csvs))
	for _, c := range csvs {
		byName[c.name] = c
	}
	member := make(map[string][]string, len(csvs))
	for _, ch := range channels {
		next := []string{ch.head}
		for seen := map[string]bool{}; len(next) > 0; next = next[1:] {
			c, ok := byName[next[0]]
			if !ok || seen[c.name] {
				continue
			}
			seen[c.name] = true
			member[c.name] = append(member[c.name], ch.name)
			next = append(append(next, c.replaces), c.skips...)
		}
	}
	for _, names := range member {
		slices.Sort(names)
	}
	return member
}
