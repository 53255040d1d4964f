package prometheus

import (
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"gopkg.in/yaml.v3"
)

type chunkType = chunkenc.ValueType

const (
	floats = chunkenc.ValFloat

	rulesFile = "omps-consumer.rules.yaml"
	testsFile = "omps-consumer.test.yaml" // promtool test rules reads it too
	readme    = "../../README.md"
)

// tests are a file in the format of
// https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/.
type tests struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []struct {
		Name     string         `yaml:"name"`
		Interval model.Duration `yaml:"interval"`
		Input    []inputSeries  `yaml:"input_series"`
		Alerts   []struct {
			Time     model.Duration `yaml:"eval_time"`
			Name     string         `yaml:"alertname"`
			Expected []alert        `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	} `yaml:"tests"`
}

type inputSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

func readRules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, promParser, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	rules := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if _, twice := rules[rule.Alert]; twice {
				t.Errorf("%s is there twice", rule.Alert)
			}
			rules[rule.Alert] = rule
		}
	}
	return rules
}

func readTests(t *testing.T) tests {
	t.Helper()
	file, err := os.Open(testsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all tests
	strict := yaml.NewDecoder(file)
	strict.KnownFields(true)
	if err := strict.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	rules, all := readRules(t), readTests(t)
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: promParser})
	fired, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range all.Tests {
		s := readSeries(t, time.Duration(test.Interval), test.Input)
		for _, expected := range test.Alerts {
			rule, known := rules[expected.Name]
			if !known {
				t.Errorf("%s: there is no alert %s", test.Name, expected.Name)
				continue
			}
			got := firing(t, engine, rule, s, time.Duration(all.EvaluationInterval), time.Duration(expected.Time))
			if !slices.EqualFunc(got, expected.Expected, sameAlert) {
				t.Errorf("%s at %s: %s\nfires %v\nnot   %v", test.Name, expected.Time, expected.Name, got, expected.Expected)
			}
			fired[expected.Name] = fired[expected.Name] || len(got) > 0
			quiet[expected.Name] = quiet[expected.Name] || len(got) == 0 && len(test.Input) > 0
		}
	}
	for name := range rules {
		if !fired[name] || !quiet[name] {
			t.Errorf("%s: tested to fire %v, not to fire %v", name, fired[name], quiet[name])
		}
	}
}

func sameAlert(a, b alert) bool {
	return maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}

// Each alert tells a person what to do, in a part of the README that is there.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	for name, rule := range readRules(t) {
		_, anchor, _ := strings.Cut(rule.Annotations["runbook_url"], "#")
		if !strings.HasPrefix(anchor, "runbook-") || !strings.Contains(string(text), `<a id="`+anchor+`"></a>`+"`"+name+"`") {
			t.Errorf("%s: README has no anchor %q before its name", name, anchor)
		}
		for _, annotation := range []string{"summary", "description"} {
			if rule.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", name, annotation)
			}
		}
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has severity %q", name, s)
		}
	}
}
