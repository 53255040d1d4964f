package main

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// wrong reports a value that cannot be taken over. It returns nil.
func (c *ompsConverter) wrong(s ompsSetting, expected string) *yaml.Node {
	text := s.key + ": expects " + expected + ": set it by hand"
	if s.value.kind == pyNoLiteral {
		text = "not a literal: set " + s.key + " by hand"
	}
	c.remark(s.value.line, text, true)
	return nil
}

// missing reports a key that has to be there. It returns nil.
func (c *ompsConverter) missing(s ompsSetting, key string) *yaml.Node {
	c.remark(s.value.line, s.key+" has no "+key+": set it by hand", true)
	return nil
}

func (c *ompsConverter) text(s ompsSetting) *yaml.Node {
	if s.value.kind != pyText {
		return c.wrong(s, "a text")
	}
	return textNode(s.value.text)
}

// address reads a URL. One that may hold a password is not repeated.
func (c *ompsConverter) address(s ompsSetting) *yaml.Node {
	if s.value.kind != pyText || strings.Contains(s.value.text, "@") {
		return c.wrong(s, "a URL without a user or password")
	}
	return textNode(s.value.text)
}

func (c *ompsConverter) truth(s ompsSetting) *yaml.Node {
	if s.value.kind != pyBool {
		return c.wrong(s, "True or False")
	}
	return encodeValue(reflect.ValueOf(s.value.truth))
}

// maxOMPSTimeout is far beyond what anybody waits for.
const maxOMPSTimeout = 7 * 24 * time.Hour

func (c *ompsConverter) seconds(s ompsSetting) *yaml.Node {
	n := s.value.number
	if s.value.kind != pyInt && s.value.kind != pyFloat || n <= 0 || n > maxOMPSTimeout.Seconds() {
		return c.wrong(s, "a number of seconds")
	}
	return encodeValue(reflect.ValueOf(time.Duration(n * float64(time.Second)).Round(time.Millisecond)))
}

// level reads a level of Python's logging.
func (c *ompsConverter) level(s ompsSetting) *yaml.Node {
	level, ok := map[string]string{
		"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error", "CRITICAL": "error",
	}[strings.ToUpper(s.value.text)]
	if s.value.kind != pyText || !ok {
		return c.wrong(s, "DEBUG, INFO, WARNING, ERROR or CRITICAL")
	}
	return textNode(level)
}

func (c *ompsConverter) size(s ompsSetting) *yaml.Node {
	if s.value.kind != pyInt || s.value.number <= 0 {
		return c.wrong(s, "a number of bytes")
	}
	return encodeValue(reflect.ValueOf(ByteSize(s.value.number)))
}

// fields are the entries of a dictionary by their keys. Keys that are not known
// are reported. It is false, and reported, when the value is no dictionary.
func (c *ompsConverter) fields(s ompsSetting, known ...string) (map[string]ompsSetting, bool) {
	list, ok := c.entries(s)
	fields := make(map[string]ompsSetting)
	for _, e := range list {
		if !slices.Contains(known, e.name) {
			c.remark(e.value.line, e.key+" is left out, as OMPS did: "+keyHint(e.name, known), false)
			continue
		}
		if e.value.kind == pyNone {
			c.remark(e.value.line, e.key+" is None, as if it were not set", false)
			continue
		}
		fields[e.name] = e.ompsSetting
	}
	return fields, ok
}

// isOdd tells whether the key of a dictionary cannot be what was meant.
func (e pyEntry) isOdd() bool { return e.key.kind != pyText || e.key.parts > 1 }

// hasOddKeys tells whether a dictionary has entries of which nobody knows what
// they are.
func hasOddKeys(v pyValue) bool { return slices.ContainsFunc(v.entries, pyEntry.isOdd) }

// ompsEntry is an entry of a dictionary.
type ompsEntry struct {
	name string
	ompsSetting
}

// entries are those of a dictionary in their order, the last of each name. What
// cannot be read is reported.
func (c *ompsConverter) entries(s ompsSetting) ([]ompsEntry, bool) {
	if s.value.kind != pyDict {
		c.wrong(s, "a dictionary")
		return nil, false
	}
	var list []ompsEntry
	at := make(map[string]int)
	for _, e := range s.value.entries {
		name := e.key.text
		switch {
		case e.key.kind != pyText:
			c.remark(e.key.line, s.key+" has a key that is not a literal text: set it by hand", true)
			continue
		case e.key.parts > 1: // never shown: one of them may be a secret
			c.remark(e.key.line, s.key+": a colon or comma is missing: Python takes the texts that follow each other for one key, and what they name is lost; mend it there and convert again", true)
			continue
		}
		entry := ompsEntry{name, ompsSetting{joinPath(s.key, name), e.value}}
		if i, ok := at[name]; ok {
			c.remark(list[i].value.line, entry.key+" is set again below", false)
			list[i] = entry
			continue
		}
		at[name] = len(list)
		list = append(list, entry)
	}
	return list, true
}
