package koji

import "strings"

// The readers of decoded structs. A key that is absent and a value of another
// type are the same to them, as is an absent struct.

func text(fields map[string]any, key string) string {
	s, _ := fields[key].(string)
	return s
}

func number(fields map[string]any, key string) (int64, bool) {
	n, ok := fields[key].(int64)
	return n, ok
}

func flag(fields map[string]any, key string) bool {
	b, _ := fields[key].(bool)
	return b
}

func within(fields map[string]any, key string) map[string]any {
	m, _ := fields[key].(map[string]any)
	return m
}

func texts(fields map[string]any, key string) []string {
	entries, _ := fields[key].([]any)
	var list []string
	for _, entry := range entries {
		if s, ok := entry.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

// maxName is the most bytes of a file name, and of text from outside that is
// quoted in an error.
const maxName = 255

// isComponent tells whether name can be one component of a path.
func isComponent(name string) bool {
	control := func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' || r == '\\' }
	return name != "" && name != "." && name != ".." && len(name) <= maxName && !strings.ContainsFunc(name, control)
}
