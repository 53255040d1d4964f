package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// maxFaults bounds a ConfigError: a file of another kind would have one fault
// for each of its lines.
const maxFaults = 200

// ConfigError is everything that is wrong with a configuration, by line.
type ConfigError struct{ Faults []Fault }

// Error has one line for each fault.
func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Fault is one thing wrong with a configuration.
type Fault struct {
	File string
	Line int    // from 1; 0 when it concerns the whole file
	Path string // of the key, such as organizations.myorg.tags[0]; "" as above
	Text string // never holds a secret
}

// String is "config.yaml:12: intake.workers: expects …".
func (f Fault) String() string {
	where := f.File
	if f.Line > 0 {
		where += ":" + strconv.Itoa(f.Line)
	}
	if f.Path != "" {
		where += ": " + f.Path
	}
	return where + ": " + f.Text
}

// faults gathers what is wrong, and remembers where each key was set.
type faults struct {
	file     string
	lines    map[string]int    // of the paths that the file sets
	names    map[string]string // of the paths that variables of the environment set: theirs
	seen     map[string]bool
	list     []Fault
	warnings []Fault // allowed, and yet probably not meant
}

func newFaults(file string) *faults {
	return &faults{file: file, lines: map[string]int{}, names: map[string]string{}, seen: map[string]bool{}}
}

func (f *faults) addAt(line int, path, text string) {
	f.put(path, Fault{File: f.file, Line: line, Path: path, Text: oneLine(text)})
}

func (f *faults) put(path string, fault Fault) {
	f.seen[path] = true
	if len(f.list) < maxFaults {
		f.list = append(f.list, fault)
	}
}

// add records a fault of the value at path. A value has one fault at most, the
// first that was found: what follows is mostly its consequence.
func (f *faults) add(path, text string) {
	if f.seen[path] {
		return
	}
	if variable, ok := f.names[path]; ok {
		f.put(path, inEnvironment(variable, text))
		return
	}
	f.addAt(f.lineOf(path), path, text)
}

// inEnvironment is a fault of what a variable says.
func inEnvironment(variable, text string) Fault {
	return Fault{File: "environment", Path: variable, Text: oneLine(text)}
}

// nameOf is how a text names the value at path.
func (f *faults) nameOf(path string) string {
	if variable, ok := f.names[path]; ok {
		return variable
	}
	return path
}

// check records err, if there is one, as a fault of the value at path.
func (f *faults) check(path string, err error) {
	if err != nil {
		f.add(path, err.Error())
	}
}

// warn records what is allowed and yet probably not meant.
func (f *faults) warn(path, text string) {
	if variable, ok := f.names[path]; ok {
		f.warnings = append(f.warnings, inEnvironment(variable, text))
		return
	}
	f.warnings = append(f.warnings, Fault{File: f.file, Line: f.lineOf(path), Path: path, Text: text})
}

// within tells whether something inside the value at path is wrong.
func (f *faults) within(path string) bool {
	return slices.ContainsFunc(f.list, func(fault Fault) bool {
		return strings.HasPrefix(fault.Path, path+".")
	})
}

// lineOf is where path is set or else the innermost key around it.
func (f *faults) lineOf(path string) int {
	for path != "" {
		if line, ok := f.lines[path]; ok {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 0
}

func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	sortByLine(f.list)
	if len(f.list) == maxFaults {
		f.list = append(f.list, Fault{File: f.file, Text: "has more faults, which are not listed"})
	}
	return &ConfigError{Faults: f.list}
}

func sortByLine(list []Fault) {
	slices.SortStableFunc(list, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
}

// oneLine blanks control characters, which the file can bring into a text.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// plainKey is a key that stands in a path as it is.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// joinPath appends a key to a path. A key that holds a dot, or what a terminal
// should not see, is quoted and cut.
func joinPath(path, key string) string {
	if !plainKey.MatchString(key) {
		const longest = 64
		if len(key) > longest {
			key = key[:longest] + "…"
		}
		key = strconv.QuoteToASCII(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func itemPath(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// keyHint says which of the known keys was probably meant.
func keyHint(key string, known []string) string {
	if file := key + "_file"; slices.Contains(known, file) {
		return "its content is read from a file, use " + file
	}
	nearest, least := "", max(2, len(key)/3)+1
	for _, k := range known {
		if d := distance(key, k, least); d < least {
			nearest, least = k, d
		}
	}
	if nearest != "" {
		return "did you mean " + nearest + "?"
	}
	return "known here are " + strings.Join(known, ", ")
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour that make b of a, or returns limit when they are as many or more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			differs := 0
			if a[i-1] != b[j-1] {
				differs = 1
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+differs)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return min(row[len(b)], limit)
}
