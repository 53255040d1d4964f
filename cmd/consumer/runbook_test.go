package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

func readReadme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// metricRow is a row of the table of metrics: name, type and labels. The tests of
// alert rules and dashboard read the same.
var metricRow = regexp.MustCompile("(?m)^\\| `([a-z_0-9]+)` \\| (counter|gauge|histogram) \\| ([^|]*)\\|")

// The README's table, by which alerts and dashboard are checked, has each metric of
// ours with its labels, all of which are there before anything happens; and none
// of them grows with what comes in.
func TestMetricsAreAsDocumented(t *testing.T) {
	t.Parallel()
	s := prepareSystem(t, sandbox.Options{}, "")
	s.config.Reconcile.Every = time.Hour // which has metrics only where it is on
	s.start()
	s.watch()
	_, fresh := s.get("/metrics")
	before := familiesOf(t, fresh)
	want, got := map[string]string{}, map[string]string{}
	for _, row := range metricRow.FindAllStringSubmatch(readReadme(t), -1) {
		name, described := row[1], row[2]+" "+strings.Trim(row[3], " `")
		if strings.HasPrefix(name, "omps_") {
			want[name] = described
		} else if family := before[name]; describe(family) != described {
			t.Errorf("%s is %q, documented as %q", name, describe(family), described)
		}
	}
	for name, family := range before {
		if strings.HasPrefix(name, "omps_") {
			got[name] = describe(family)
		}
	}
	for _, family := range bridgeFamilies(t) {
		got[family.GetName()] = describe(family)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-README +/metrics):\n%s", diff)
	}

	s.announce(sandbox.SampleNVR)
	if r := s.next(); r.Outcome != "published" {
		t.Fatalf("%+v", r)
	}
	s.announce(sandbox.RejectedNVR)
	s.next()
	s.awaitLog(`"nvr":"`+sandbox.RejectedNVR+`"`, `"msg":"settled"`)
	_, busy := s.get("/metrics")
	for name, family := range familiesOf(t, busy) {
		if !strings.HasPrefix(name, "omps_") || name == "omps_client_requests_total" { // which has a series for each status that came
			continue
		}
		if had, has := len(before[name].GetMetric()), len(family.GetMetric()); had != has {
			t.Errorf("%s has %d series, %d at the start", name, has, had)
		}
	}
	for _, secret := range []string{sandbox.SampleNVR, "sample-operator"} {
		if strings.Contains(busy, secret) {
			t.Errorf("a metric names %s", secret)
		}
	}
}

// bridgeFamilies are the metrics of a bridge with one bus, before any message.
func bridgeFamilies(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewRegistry()
	events.NewBridge(events.BridgeOptions{Registerer: registry}).Source("koji", "/bus/koji")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func familiesOf(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// describe is the type and the labels of a family, as the README writes them.
func describe(family *dto.MetricFamily) string {
	labels := map[string]bool{}
	for _, m := range family.GetMetric() {
		for _, label := range m.GetLabel() {
			labels[label.GetName()] = true
		}
	}
	return strings.ToLower(family.GetType().String()) + " " + strings.Join(slices.Sorted(maps.Keys(labels)), ", ")
}

// Whoever meets a reason finds out what to do about it, and none is described that
// there is not.
func TestRunbookHasEachReason(t *testing.T) {
	t.Parallel()
	text := readReadme(t)
	var rows []pipeline.Reason
	for _, row := range regexp.MustCompile("(?m)^\\| <a id=\"runbook-reason-([a-z-]+)\"></a>`([a-z-]+)` \\| [A-Z`].{20,} \\|$").FindAllStringSubmatch(text, -1) {
		if row[1] != row[2] {
			t.Errorf("%s has the anchor of %s", row[2], row[1])
		}
		rows = append(rows, pipeline.Reason(row[2]))
	}
	if diff := cmp.Diff(pipeline.Reasons(), rows); diff != "" {
		t.Errorf("reasons (-code +README):\n%s", diff)
	}
	for _, alert := range alertsOf(t) {
		if !strings.Contains(text, fmt.Sprintf(`<a id="%s"></a>`+"`%s`", alert[2], alert[1])) {
			t.Errorf("the runbook lacks %s at #%s", alert[1], alert[2])
		}
	}
}

// alertsOf are the alerts with their anchors. The rules themselves are tested in
// deploy/prometheus.
func alertsOf(t *testing.T) [][]string {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join("..", "..", "deploy", "prometheus", "omps-consumer.rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?s)- alert: (\w+).*?runbook_url: \S+#(runbook-[a-z-]+)`).FindAllStringSubmatch(string(rules), -1)
	if len(all) < 10 {
		t.Fatalf("%d alerts", len(all))
	}
	return all
}
