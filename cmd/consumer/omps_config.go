package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// OMPSOptions say what to make of an OMPS configuration.
type OMPSOptions struct {
	Name    string              // of the file, for comments
	Section string              // the class
	Target  pipeline.TargetKind // of every organization
}

// OMPSConversion is a configuration made of one of OMPS.
type OMPSConversion struct {
	YAML    []byte
	Remarks []OMPSRemark // by line
}

// OMPSRemark is what a person has to know of a line.
type OMPSRemark struct {
	Line int
	Text string // one line, without secrets

	// ByHand tells that something could not be taken over. Its key, where that is
	// known, has a value in the YAML that is not accepted.
	ByHand bool
}

// ConvertOMPS makes a configuration of the class of an OMPS configuration, a
// Python file, of which nothing is executed. Without remarks that say ByHand,
// the YAML is a configuration without faults once its secret files are there;
// they are not made, and no secret is in the YAML. The error is about what
// Python would not read, or a class that is not there.
func ConvertOMPS(data []byte, o OMPSOptions) (OMPSConversion, error) {
	file, err := readPython(data)
	if err != nil {
		return OMPSConversion{}, err
	}
	class := file.classes[o.Section]
	if class == nil {
		names := strings.Join(slices.Sorted(maps.Keys(file.classes)), ", ")
		return OMPSConversion{}, fmt.Errorf("there is no class %s, only: %s", o.Section, cmp.Or(names, "none"))
	}
	c := ompsConverter{options: o, root: mappingNode(), origins: make(map[string]ompsSetting), left: make(map[string]bool)}
	for _, s := range file.skipped {
		c.remark(s.line, s.what, false)
	}
	c.read(class)
	c.convert()
	return c.finish()
}

// ompsSetting is a value of OMPS and how to name it.
type ompsSetting struct {
	key   string // such as ORGANIZATIONS.myorg.public
	value pyValue
}

// ompsConverter makes one configuration of another.
type ompsConverter struct {
	options  OMPSOptions
	settings map[string]ompsSetting // by key in small letters: OMPS did not tell them apart
	root     *yaml.Node
	origins  map[string]ompsSetting // of the paths that were written
	left     map[string]bool        // paths that say setByHand
	remarks  []OMPSRemark
	gone     []string // settings that mean nothing any more
	secrets  []string // files to be written

	explained bool // what every organization has, at the first of them
}

// setByHand is refused as the value of every key.
const setByHand = "SET BY HAND"

// remark notes one, unless there are too many to be read.
func (c *ompsConverter) remark(line int, text string, byHand bool) {
	if len(c.remarks) == maxFaults {
		c.remarks = append(c.remarks, OMPSRemark{Line: line, Text: "there is more, which is not listed", ByHand: true})
	}
	if len(c.remarks) > maxFaults {
		return
	}
	c.remarks = append(c.remarks, OMPSRemark{Line: line, Text: oneLine(text), ByHand: byHand})
}

// read gathers the settings of a class and of what it inherits from.
func (c *ompsConverter) read(class *pyClass) {
	named := make(map[string]pyValue)
	for _, member := range slices.Backward(class.family()) {
		for _, s := range member.skipped {
			c.remark(s.line, "class "+member.name+": "+s.what+": set what it sets by hand", true)
		}
		for _, a := range member.attrs {
			named[a.name] = a.value
		}
	}
	c.settings = make(map[string]ompsSetting)
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if strings.HasPrefix(name, "_") {
			continue
		}
		key := strings.ToLower(name)
		if before, ok := c.settings[key]; ok {
			c.remark(before.value.line, before.key+" has no effect beside "+name+", as in OMPS", false)
		}
		c.settings[key] = ompsSetting{joinPath("", name), named[name]}
	}
}

// take returns a setting and does not give it out again.
func (c *ompsConverter) take(key string) (ompsSetting, bool) {
	s, ok := c.settings[key]
	delete(c.settings, key)
	if ok && s.value.kind == pyNone {
		c.remark(s.value.line, s.key+" is None, as if it were not set", false)
		return s, false
	}
	return s, ok
}

// convert writes the sections in the order of the configuration's.
func (c *ompsConverter) convert() {
	timeout, bounded := c.take("request_timeout")
	koji, greenwave, quay, limits, log := mappingNode(), mappingNode(), mappingNode(), mappingNode(), mappingNode()
	if s, ok := c.take("kojihub_url"); ok {
		c.put(koji, "koji", "hub_url", s, c.address)
	}
	if s, ok := c.take("kojiroot_url"); ok {
		c.put(koji, "koji", "root_url", s, c.address)
	}
	gated := c.greenwave(greenwave)
	if bounded {
		c.put(koji, "koji", "timeout", timeout, c.seconds)
		c.put(quay, "quay", "timeout", timeout, c.seconds)
	}
	if bounded && gated {
		c.put(greenwave, "greenwave", "timeout", timeout, c.seconds)
	}
	c.limits(limits)
	if s, ok := c.take("log_level"); ok {
		c.put(log, "log", "level", s, c.level)
	}
	for _, section := range []struct {
		name string
		node *yaml.Node
	}{{"koji", koji}, {"greenwave", greenwave}, {"quay", quay}, {"limits", limits}, {"log", log}} {
		if len(section.node.Content) > 0 {
			c.root.Content = append(c.root.Content, textNode(section.name), section.node)
		}
	}
	if s, ok := c.take("default_release_version"); ok {
		c.put(c.root, "", "default_release_version", s, c.text)
	}
	if s, ok := c.take("organizations"); ok {
		c.organizations(s)
	}
	c.rest()
}

// goneSettings are those that mean nothing any more, and why.
var goneSettings = map[string]string{
	"secret_key": "there are no sessions", "debug": "see log.level", "testing": "there is the sandbox",
	"log_format": "see log.format",
}

// rest tells of the settings that nothing has taken.
func (c *ompsConverter) rest() {
	byLine := func(a, b string) int { return cmp.Compare(c.settings[a].value.line, c.settings[b].value.line) }
	for _, key := range slices.SortedFunc(maps.Keys(c.settings), byLine) {
		s := c.settings[key]
		if why, ok := goneSettings[key]; ok {
			c.gone = append(c.gone, fmt.Sprintf("%s (line %d): %s", s.key, s.value.line, why))
			continue
		}
		c.remark(s.value.line, s.key+" is no setting of OMPS that is known here: it is left out", false)
	}
}

// put writes a key, with comments above it. read makes the value, and reports
// what it cannot; then the key is there to be set by hand.
func (c *ompsConverter) put(section *yaml.Node, path, key string, s ompsSetting, read func(ompsSetting) *yaml.Node, comments ...string) {
	at := joinPath(path, key)
	value := read(s)
	c.origins[at] = s
	if value == nil {
		value, c.left[at] = textNode(setByHand), true
	}
	name := textNode(key)
	name.HeadComment = strings.Join(comments, "\n")
	section.Content = append(section.Content, name, value)
}

// limits also raises those that OMPS did not have, where they would refuse
// what it took.
func (c *ompsConverter) limits(section *yaml.Node) {
	l := DefaultConfig().Limits
	if s, ok := c.take("max_content_length"); ok {
		c.put(section, "limits", "archive_bytes", s, c.size, "In OMPS of uploads only, here of Koji's archives too.")
		l.ArchiveBytes = ByteSize(s.value.number)
	}
	s, ok := c.take("zipfile_max_uncompressed_size")
	if ok {
		c.put(section, "limits", "unpacked_bytes", s, c.size)
		l.UnpackedBytes = ByteSize(s.value.number)
	}
	whole := func(n ByteSize) ompsSetting {
		return ompsSetting{s.key, pyValue{kind: pyInt, line: s.value.line, number: float64(n)}}
	}
	if ok && l.UnpackedBytes > l.FileBytes {
		c.put(section, "limits", "file_bytes", whole(l.UnpackedBytes), c.size, "OMPS did not bound single files.")
	}
	if sum := l.ArchiveBytes + l.UnpackedBytes; sum > l.InFlightBytes {
		c.put(section, "limits", "in_flight_bytes", whole(sum), c.size, "At least one archive has to fit.")
	}
}

// greenwave tells whether builds are gated.
func (c *ompsConverter) greenwave(section *yaml.Node) bool {
	s, ok := c.take("greenwave")
	if !ok {
		return false
	}
	fields, ok := c.fields(s, "url", "context", "product_version")
	if !ok {
		c.put(section, "greenwave", "url", s, func(ompsSetting) *yaml.Node { return nil })
		return true
	}
	for _, key := range []string{"url", "context", "product_version"} {
		field, ok := fields[key]
		read := c.text
		if key == "url" {
			read = c.address
		}
		if !ok {
			field, read = s, func(s ompsSetting) *yaml.Node { return c.missing(s, key) }
		}
		c.put(section, "greenwave", key, field, read)
	}
	return true
}
