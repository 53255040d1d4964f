package pipeline

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/omps-consumer/omps-consumer/"

// mayImport lists, for each package of ours, the packages of ours that it may
// import. "*" is all of them. Test files may also import what testSupport names.
var mayImport = map[string][]string{
	"schemas":                    {},
	"internal/pipeline":          {},
	"internal/clients":           {"internal/pipeline"},
	"internal/clients/koji":      {"internal/clients", "internal/pipeline"},
	"internal/clients/greenwave": {"internal/clients", "internal/pipeline"},
	"internal/clients/quay":      {"internal/clients", "internal/pipeline"},
	"internal/clients/amqp":      {"internal/clients", "internal/pipeline"},
	"internal/clients/otlp":      {"internal/clients"},
	"internal/events":            {"internal/pipeline", "schemas"},
	"internal/events/eventstest": {"internal/events"},
	"internal/sandbox":           {"internal/pipeline"},
	"cmd/consumer":               {"*"},
}

var testSupport = []string{"internal/sandbox", "internal/events/eventstest"}

// mayNotImport are packages from outside that have a place of their own.
var mayNotImport = map[string][]string{
	"net":      {"internal/pipeline", "schemas"},
	"net/http": {"internal/pipeline", "internal/events", "schemas"},
	"os":       {"internal/pipeline", "schemas"},
	"github.com/nats-io/nats.go": {
		"internal/pipeline", "internal/clients", "internal/clients/koji", "internal/clients/greenwave",
		"internal/clients/quay", "internal/clients/amqp", "internal/clients/otlp", "internal/sandbox", "schemas",
	},
	"github.com/Azure/go-amqp":       {"internal/pipeline", "internal/events", "schemas"},
	"github.com/rabbitmq/amqp091-go": {"internal/pipeline", "internal/events", "schemas"},
	"github.com/google/go-containerregistry": {
		"internal/pipeline", "internal/clients", "internal/clients/koji", "internal/clients/greenwave",
		"internal/clients/amqp", "internal/clients/otlp", "internal/events", "schemas",
	},
}

func TestImportsRunOneWay(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := make(map[string]bool)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		seen[pkg] = true
		for _, imported := range importsOf(t, name) {
			if why := forbidden(pkg, imported, strings.HasSuffix(name, "_test.go")); why != "" {
				t.Errorf("%s imports %s: %s", rel, imported, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("no Go file found in %s", pkg)
		}
	}
}

func importsOf(t *testing.T, name string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, imported)
	}
	return list
}

// forbidden tells why pkg may not import a package, or returns "".
func forbidden(pkg, imported string, inTest bool) string {
	ours, isOurs := strings.CutPrefix(imported, module)
	if !isOurs {
		for prefix, pkgs := range mayNotImport {
			if (imported == prefix || strings.Contains(prefix, ".") && strings.HasPrefix(imported, prefix+"/")) &&
				slices.Contains(pkgs, pkg) && !inTest {
				return "not in this package"
			}
		}
		return ""
	}
	allowed, known := mayImport[pkg]
	switch {
	case !known:
		return "this package is not in the table of the design"
	case inTest && (ours == pkg || slices.Contains(testSupport, ours)):
		return ""
	case slices.Contains(allowed, ours) || slices.Contains(allowed, "*"):
		return ""
	}
	return "imports run one way only"
}

// TestImportRulesCanFail holds the rules against imports that must not be.
func TestImportRulesCanFail(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		inTest, fails bool
	}{
		{"internal/pipeline", module + "internal/events", false, true},
		{"internal/pipeline", "net/http", false, true},
		{"internal/pipeline", "net/url", false, false},
		{"internal/clients/koji", module + "internal/clients/quay", false, true},
		{"internal/events", module + "internal/clients", false, true},
		{"internal/events", module + "internal/sandbox", false, true},
		{"internal/events", module + "internal/sandbox", true, false},
		{"internal/sandbox", "github.com/nats-io/nats.go/jetstream", false, true},
		{"internal/utils", module + "internal/pipeline", false, true},
		{"cmd/consumer", module + "internal/events", false, false},
	} {
		if why := forbidden(c.pkg, c.imported, c.inTest); (why != "") != c.fails {
			t.Errorf("%s importing %s: %q", c.pkg, c.imported, why)
		}
	}
}
