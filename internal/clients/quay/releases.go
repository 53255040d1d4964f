package quay

import (
	"cmp"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// Releases. Those that count for the next one are three decimal numbers without
// leading zeros; Quay takes any strict semantic version. The numbers of others are
// not ours to bound, except by the length of the whole.
var (
	countedRelease = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$`)
	releaseName    = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+-]{0,127}$`)
)

const (
	maxReleaseName = 128
	maxNamed       = 10 // releases in one warning
)

// release is one in an app registry.
type release struct {
	name   string
	digest string // of its content: sha256:…; "" when the registry does not say
}

// releases are all of one package.
type releases []release

// find is the release of that name.
func (l releases) find(name string) (release, bool) {
	i := slices.IndexFunc(l, func(r release) bool { return r.name == name })
	if i < 0 {
		return release{}, false
	}
	return l[i], true
}

// holding is the highest release that has a content, "" when none has it.
func (l releases) holding(digest string) string {
	highest := ""
	for _, r := range l {
		if r.digest == digest && (highest == "" || compareReleases(r.name, highest) > 0) {
			highest = r.name
		}
	}
	return highest
}

// highest is the highest release, "" when there is none.
func (l releases) highest() string {
	highest := ""
	for _, r := range l {
		if highest == "" || compareReleases(r.name, highest) > 0 {
			highest = r.name
		}
	}
	return highest
}

// next is the release after the highest that counts: its first number and one,
// the others zero. Without any it is first.
func (l releases) next(first string) string {
	var highest []*big.Int
	for _, r := range l {
		if n := numbers(r.name); n != nil && (highest == nil || slices.CompareFunc(n, highest, (*big.Int).Cmp) > 0) {
			highest = n
		}
	}
	if highest == nil {
		return first
	}
	return new(big.Int).Add(highest[0], big.NewInt(1)).String() + ".0.0"
}

// uncounted warns of the releases that do not count, "" when all do.
func (l releases) uncounted() string {
	var names []string
	for _, r := range l {
		if numbers(r.name) == nil {
			names = append(names, clients.OneLine(r.name, maxReleaseName))
		}
	}
	more := ""
	if n := len(names); n > maxNamed {
		names, more = names[:maxNamed], fmt.Sprintf(" and %d more", n-maxNamed)
	}
	if names == nil {
		return ""
	}
	return fmt.Sprintf("the next release was counted without %s%s: not three plain numbers", strings.Join(names, ", "), more)
}

// numbers are those that a release counts with, nil when it does not count.
func numbers(name string) []*big.Int {
	if len(name) > maxReleaseName {
		return nil
	}
	parts := countedRelease.FindStringSubmatch(name)
	if parts == nil {
		return nil
	}
	n := make([]*big.Int, len(parts)-1)
	for i, part := range parts[1:] {
		n[i], _ = new(big.Int).SetString(part, 10) // digits alone
	}
	return n
}

// compareReleases puts those that do not count first, by name, and those that do
// behind them, by number.
func compareReleases(a, b string) int {
	x, y := numbers(a), numbers(b)
	switch {
	case x != nil && y != nil:
		return slices.CompareFunc(x, y, (*big.Int).Cmp)
	case x == nil && y == nil:
		return cmp.Compare(a, b)
	case x == nil:
		return -1
	}
	return 1
}
