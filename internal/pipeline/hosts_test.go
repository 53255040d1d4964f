package pipeline

import (
	"bytes"
	"strings"
	"testing"
)

func TestLongerHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, in, want string }{ // want: "" when the first match is a whole host
		{"quay.io", "image: quay.io/a:1", ""},
		{"quay.io", "quay.io", ""},
		{"quay.io", "see https://quay.io.", ""},
		{"quay.io", "(quay.io)", ""},
		{"quay.io", "quay.io:443/a", ""},
		{"quay.io", "docker://user@quay.io/a", ""},
		{"quay.io", "${HOST:-quay.io}", ""},
		{"quay.io", "--from=quay.io --to=x", ""},
		{"quay.io", "go to quay.io... or not", ""},
		{"quay.io", "images...quay.io", ""},
		{"quay.io", "under_quay.io_score", ""},
		{"quay.io", `"one\nquay.io\ttwo"`, ""},
		{"quay.io", `"\u003cquay.io\u003e"`, ""},
		{"quay.io", `"\x3cquay.io"`, ""},
		{"quay.io", "?u=https%3A%2F%2Fquay.io%2Fa", ""},
		{"quay.io", "notquay.io", "notquay.io"},
		{"quay.io", "not-quay.io/a", "not-quay.io"},
		{"quay.io", "image: my.registry.quay.io:443/a", "my.registry.quay.io"},
		{"quay.io", "quay.io.example.com/a", "quay.io.example.com"},
		{"quay.io", "quay.io.example.com.", "quay.io.example.com"},
		{"quay.io", "quay.iops/a", "quay.iops"},
		{"quay.io", "quay.io-old", "quay.io-old"},
		{"quay.io", "a.quay.io.b", "a.quay.io.b"},
		{"quay.io", `"\nmyquay.io"`, "myquay.io"},
		{"quay.io", "see %2Fmyquay.io", "myquay.io"},
		{"quay.io", strings.Repeat("a", 1000) + "quay.io", strings.Repeat("a", maxHost) + "quay.io"},
		{"quay.io/org", "quay.io/org2", ""},
		{"quay.io/org", "x.quay.io/org2", "x.quay.io/org"},
		{"quay.io/", "myquay.io/", "myquay.io/"},
		{"quay.io:50", "quay.io:5000/a", "quay.io:5000"},
		{"quay.io:50", "quay.io:50/a", ""},
		{"localhost:50", "mylocalhost:50/a", "mylocalhost:50"},
		{"operator", "myoperator", ""},
		{"operator/a.b", "myoperator/a.b", ""},
		{".io", "quay.io", ""},
		{"quay.io ", "myquay.io ", ""},
		{"a b.io", "xa b.io", ""},
	} {
		at := strings.Index(c.in, c.old)
		if got := longerHost([]byte(c.in), at, at+len(c.old)); got != c.want {
			t.Errorf("%q in %.40q: %.40q, want %.40q", c.old, c.in, got, c.want)
		}
	}
}

func TestLongerHostsAreToldOf(t *testing.T) {
	t.Parallel()
	files := []File{
		{"a.yaml", []byte("# quay.io\na: myquay.io\nb: quay.io/a\nc: [a.quay.io, b.quay.io]\n")},
		{"b.yml", bytes.Repeat([]byte("- quay.io.example.com\n"), 7)},
		{"c.txt", []byte("myquay.io")},
	}
	made := rewriteFiles(files, []Rule{
		mustRule(t, "quay.io", "new.io", false),
		mustRule(t, "gcr.io", "new.io", false),
		mustRule(t, `new\.io\b`, "newer.io", true),
		mustRule(t, "example.com", "example.com", false),
	})
	want := `replace_registry: "quay.io" is also replaced within myquay.io (a.yaml:2), a.quay.io (a.yaml:4), b.quay.io (a.yaml:4), ` +
		`quay.io.example.com (b.yml:1), quay.io.example.com (b.yml:2), and 5 more
replace_registry: "gcr.io" is nowhere in the manifests
replace_registry: "new\\.io\\b" is also replaced within mynew.io (a.yaml:2), a.new.io (a.yaml:4), b.new.io (a.yaml:4), ` +
		`new.io.example.com (b.yml:1), new.io.example.com (b.yml:2), and 5 more
replace_registry: "example.com" is also replaced within newer.io.example.com (b.yml:1), newer.io.example.com (b.yml:2), ` +
		`newer.io.example.com (b.yml:3), newer.io.example.com (b.yml:4), newer.io.example.com (b.yml:5), and 2 more`
	if got := strings.Join(made.warnings(), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := string(made.files[0].Data); got != "# newer.io\na: mynewer.io\nb: newer.io/a\nc: [a.newer.io, b.newer.io]\n" {
		t.Errorf("the rules made\n%s", got)
	}
}
