package pipeline

import (
	"strings"
	"testing"
)

const someDigest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestReferences(t *testing.T) {
	for _, c := range []struct {
		ref, registry, repository string
		valid, pinned             bool
	}{
		{"nginx", "docker.io", "nginx", true, false},
		{"nginx:1.2", "docker.io", "nginx", true, false},
		{"org/nginx", "docker.io", "org/nginx", true, false},
		{"localhost/a", "localhost", "localhost/a", true, false},
		{"quay.io/a/b", "quay.io", "quay.io/a/b", true, false},
		{"quay.io:443/a/b:v1", "quay.io:443", "quay.io:443/a/b", true, false},
		{"quay.io:443/a/b", "quay.io:443", "quay.io:443/a/b", true, false},
		{"quay.io/a/b" + someDigest, "quay.io", "quay.io/a/b", true, true},
		{"quay.io/a/b:v1" + someDigest, "quay.io", "quay.io/a/b", true, true},
		{"oci://quay.io/a", "quay.io", "oci://quay.io/a", false, false},
		{"https://quay.io/a", "quay.io", "https://quay.io/a", false, false},
		{"quay.io/A/b", "quay.io", "quay.io/A/b", false, false},
		{"${REGISTRY}/a", "${REGISTRY}", "${REGISTRY}/a", false, false},
		{"quay.io/a b", "quay.io", "quay.io/a b", false, false},
		{"quay.io/a@sha256:1", "quay.io", "quay.io/a", false, true},
		{"EVIL/a:1", "EVIL", "EVIL/a", true, false},
		{"", "docker.io", "", false, false},
	} {
		if got := isReference(c.ref); got != c.valid {
			t.Errorf("%q is a reference: %t", c.ref, got)
		}
		if got := registryOf(c.ref); got != c.registry {
			t.Errorf("registry of %q is %q", c.ref, got)
		}
		if got := repositoryIn(c.ref); got != c.repository {
			t.Errorf("repository in %q is %q", c.ref, got)
		}
		if got := isPinned(c.ref); got != c.pinned {
			t.Errorf("%q is pinned: %t", c.ref, got)
		}
	}
}

func TestImageRuleMoves(t *testing.T) {
	for _, c := range []struct{ old, replacement, ref, want string }{
		{"quay.io", "example.com", "quay.io/a:1", "example.com/a:1"},
		{"quay.io", "example.com", "quay.io/a" + someDigest, "example.com/a" + someDigest},
		{"quay.io", "example.com:5000/mirror", "quay.io/a/b:1" + someDigest, "example.com:5000/mirror/a/b:1" + someDigest},
		{"quay.io", "example.com", "my.quay.io/a:1", "my.quay.io/a:1"},
		{"quay.io", "example.com", "quay.io.example.org/a:1", "quay.io.example.org/a:1"},
		{"quay.io", "example.com", "quay.io:443/a:1", "quay.io:443/a:1"},
		{"quay.io", "example.com", "example.org/quay.io/a", "example.org/quay.io/a"},
		{"quay.io:443", "example.com", "quay.io:443/a:1", "example.com/a:1"},
		{"quay.io:443", "example.com", "quay.io/a:1", "quay.io/a:1"},
		{"quay.io/org", "example.com", "quay.io/org/a:1", "example.com/a:1"},
		{"quay.io/org", "example.com/other", "quay.io/org/a", "example.com/other/a"},
		{"quay.io/org", "example.com/other", "quay.io/organic/a", "quay.io/organic/a"},
		{"quay.io/org", "example.com/other", "quay.io/org-a/a", "quay.io/org-a/a"},
		{"quay.io/org/a", "example.com/b", "quay.io/org/a", "example.com/b"},
		{"quay.io/org/a", "example.com/b", "quay.io/org/a:1", "example.com/b:1"},
		{"quay.io/org/a", "example.com/b", "quay.io/org/a" + someDigest, "example.com/b" + someDigest},
		{"quay.io/org/a", "example.com/b", "quay.io/org/a_c", "quay.io/org/a_c"},
		{"docker.io", "example.com", "nginx:1", "nginx:1"}, // which names no registry
		{"docker.io", "example.com", "docker.io/nginx:1", "example.com/nginx:1"},
	} {
		r, err := NewImageRule(c.old, c.replacement)
		if err != nil {
			t.Errorf("%q: %v", c.old, err)
			continue
		}
		if got, moved := r.moves(c.ref); got != c.want || moved != (got != c.ref) {
			t.Errorf("%s to %s makes %q of %q, %t", c.old, c.replacement, got, c.ref, moved)
		}
	}
}

func TestNewImageRule(t *testing.T) {
	for old, says := range map[string]string{
		"quay.io":                  "",
		"quay.io:443":              "",
		"localhost":                "",
		"localhost:5000/a/b":       "",
		"quay.io/org":              "",
		"":                         "does not begin with a registry",
		"quay":                     "does not begin with a registry",
		"org/name":                 "does not begin with a registry",
		"quay.io/":                 "ends with a slash",
		"quay.io/org/":             "no registry",
		"quay.io/org:1":            "has a tag",
		"quay.io/org" + someDigest: "has a tag or a digest",
		"quay.io/Org":              "no registry",
		"https://quay.io":          "no registry",
		"quay.io:port":             "no registry",
		"quay .io":                 "no registry",
		"quay.io$":                 "no registry",
	} {
		_, err := NewImageRule(old, "example.com")
		_, other := NewImageRule("example.com", old)
		if (err == nil) != (says == "") || (other == nil) != (says == "") {
			t.Errorf("%q: %v, %v", old, err, other)
			continue
		}
		if says != "" && (!strings.Contains(err.Error(), "old: ") || !strings.Contains(err.Error(), says) || !strings.Contains(other.Error(), "new: ")) {
			t.Errorf("%q: %v, %v", old, err, other)
		}
	}
}

// FuzzImageRule: whatever a rule moves is a reference to the same thing
// elsewhere.
func FuzzImageRule(f *testing.F) {
	f.Add("quay.io", "example.com:5000/a", "quay.io/x/y:1"+someDigest)
	f.Add("quay.io/x", "example.com", "quay.io/x:1")
	f.Add("localhost", "a.b/c", "localhost/d")
	f.Fuzz(func(t *testing.T, old, replacement, ref string) {
		r, err := NewImageRule(old, replacement)
		if err != nil || !isReference(ref) {
			return
		}
		after, moved := r.moves(ref)
		if !moved {
			if after != ref {
				t.Fatalf("%q became %q though nothing moved", ref, after)
			}
			return
		}
		back, ok := Rule{Old: replacement, New: old, images: true}.moves(after)
		if isReference(after) && namesRegistry(after) && (!ok || back != ref) {
			t.Fatalf("%q became %q, and that %q", ref, after, back)
		}
		if host, _, _ := strings.Cut(replacement, "/"); namesRegistry(after) && registryOf(after) != host {
			t.Fatalf("%q became %q, which is on %s", ref, after, registryOf(after))
		}
		if tail := ref[len(repositoryIn(ref)):]; !strings.HasSuffix(after, tail) {
			t.Fatalf("%q became %q: the tag or digest is lost", ref, after)
		}
	})
}
