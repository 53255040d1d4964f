package prometheus

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// metricRow is a row of the README's table of metrics, which a test of the program
// holds against what it registers.
var metricRow = regexp.MustCompile("(?m)^\\| `([a-z_0-9]+)` \\| (counter|gauge|histogram) \\| ([^|]*)\\|")

// documented are the labels of each metric, with those that a scrape adds. Of a
// histogram each of its series is there.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, row := range metricRow.FindAllStringSubmatch(string(text), -1) {
		labels := append(strings.Fields(strings.NewReplacer("`", "", ",", "").Replace(row[3])), "instance", "job", "__name__")
		if row[2] != "histogram" {
			all[row[1]] = labels
			continue
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			all[row[1]+suffix] = append(slices.Clone(labels), "le")
		}
	}
	if len(all) < 20 {
		t.Fatalf("README has a table of %d metrics", len(all))
	}
	return all
}

// Whatever a rule or a panel asks for is there, and has the labels by which it is
// chosen and summed.
func TestNames(t *testing.T) {
	t.Parallel()
	known := documented(t)
	for name, rule := range readRules(t) {
		for _, fault := range faultsIn(rule.Expr, known) {
			t.Errorf("%s: %s", name, fault)
		}
	}
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			for _, fault := range faultsIn(plain(target.Expr), known) {
				t.Errorf("%s: %s", p.Title, fault)
			}
			for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !strings.Contains(target.Expr, label[1]) && label[1] != "instance" && label[1] != "organization" {
					t.Errorf("%s: nothing gives %s for its legend", p.Title, label[1])
				}
			}
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr != "" {
			for _, fault := range faultsIn(plain(a.Expr), known) {
				t.Errorf("%s: %s", a.Name, fault)
			}
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if m == nil || !slices.Contains(known[m[1]], m[2]) {
			t.Errorf("%s: %s", v.Name, v.Definition)
		}
	}
}

func TestNamesCanFail(t *testing.T) {
	t.Parallel()
	known := map[string][]string{"a": {"x", "instance", "__name__"}, "b": {"y", "instance", "__name__"}}
	for expr, want := range map[string]int{
		"a": 0, `sum by (x) (a{x="1"})`: 0, "a / on (instance) b": 0, "c": 1, `a{y="1"}`: 1, "sum by (y) (a)": 1, "sum by (y) (b)": 0,
		"a and on (y) b": 1, "a +": 1,
	} {
		if got := faultsIn(expr, known); len(got) != want {
			t.Errorf("%s: %q", expr, got)
		}
	}
}

func faultsIn(expr string, known map[string][]string) (faults []string) {
	parsed, err := promParser.ParseExpr(expr)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", expr, err)}
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			labels, there := known[n.Name]
			if !there {
				faults = append(faults, "no metric "+n.Name)
				break
			}
			for _, m := range n.LabelMatchers {
				if !slices.Contains(labels, m.Name) {
					faults = append(faults, fmt.Sprintf("%s has no label %s", n.Name, m.Name))
				}
			}
		case *parser.AggregateExpr:
			faults = append(faults, absentIn(n.Expr, n.Grouping, known)...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil && n.VectorMatching.On {
				faults = append(faults, absentIn(n.LHS, n.VectorMatching.MatchingLabels, known)...)
				faults = append(faults, absentIn(n.RHS, n.VectorMatching.MatchingLabels, known)...)
			}
		}
		return nil
	})
	return faults
}

// absentIn names those of labels that a metric in an expression lacks.
func absentIn(in parser.Node, labels []string, known map[string][]string) (faults []string) {
	parser.Inspect(in, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			for _, label := range labels {
				if has, there := known[selector.Name]; there && !slices.Contains(has, label) {
					faults = append(faults, fmt.Sprintf("%s has no label %s", selector.Name, label))
				}
			}
		}
		return nil
	})
	return faults
}
