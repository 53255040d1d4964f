package pipeline

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The service account of a deployment among a bundle's objects: opm lets it
// pass, operator-framework/api does not.
const serviceAccountClash = "invalid service account found in bundle"

// refusedReal are the real archives that are refused, and what for.
var refusedReal = map[string]string{
	"infinispan-2.1.4.zip": "alm-examples: is not JSON",

	"community-trivy-operator-2.4.0.zip": "holds more than one document", // of which opm drops all but the first
	"pmem-csi-operator-0.8.0.zip":        "metadata.namespace: Forbidden",

	"cert-utils-operator-1.0.7.zip":             serviceAccountClash,
	"cloud-native-postgresql-1.5.0.zip":         serviceAccountClash,
	"group-sync-operator-0.0.13.zip":            serviceAccountClash,
	"integrity-shield-operator-0.1.3.zip":       serviceAccountClash,
	"keda-2.0.0.zip":                            serviceAccountClash,
	"poison-pill-operator-0.0.1.zip":            serviceAccountClash,
	"proactive-node-scaling-operator-0.3.4.zip": serviceAccountClash,
	"skydive-operator-0.0.49.zip":               serviceAccountClash,
	"tagger-2.1.17.zip":                         serviceAccountClash,
	"universal-crossplane-1.2.1-up.3.zip":       serviceAccountClash,
	"volume-expander-operator-0.1.9.zip":        serviceAccountClash,
}

// milder are the real bundles that opm refuses and that are published with a
// warning, and what it says.
var milder = map[string]string{
	"couchbase-enterprise-2.1.0.zip":             "spec.preserveUnknownFields",
	"hpe-ezmeral-csi-operator-1.0.0.zip":         "spec.preserveUnknownFields",
	"ibm-block-csi-operator-community-1.3.0.zip": "spec.preserveUnknownFields",
	"openshift-qiskit-operator-0.1.0.zip":        "spec.preserveUnknownFields",
	"syndesis-1.11.0.zip":                        "spec.preserveUnknownFields",
	"sap-btp-operator-0.1.1.zip":                 "refuses an owned CRD with a group",
}

// measured is a line of the corpus's index.tsv: what the real tools said.
type measured struct{ file, format, courier, opm, api string }

func measuredCorpus(t *testing.T) []measured {
	t.Helper()
	var list []measured
	readCorpus(t, "index.tsv", func(at func(column string) string) {
		list = append(list, measured{at("file"), at("format"), at("courier_ok"), at("opm_ok"), at("api_default_ok")})
	})
	return list
}

// TestVerdictsOfTheTools compares with what operator-courier said of every real
// package, and opm and operator-framework/api of every real bundle.
func TestVerdictsOfTheTools(t *testing.T) {
	counts := make(map[string]int)
	for i, m := range measuredCorpus(t) {
		if m.format == "bundle-osbs" || testing.Short() && i%8 != 0 { // of those no tool said anything
			continue
		}
		name := filepath.Base(m.file)
		files, err := ReadArchive(readFile(t, filepath.Join(corpusDir, m.file)), DefaultLimits())
		if err != nil {
			t.Errorf("%s: %v", m.file, err)
			continue
		}
		got := prepared(t, files)
		accepted := len(got.faults) == 0
		if says, ok := refusedReal[name]; ok && !strings.Contains(strings.Join(got.faults, "\n"), says) {
			t.Errorf("%s is not refused for %q: %q", m.file, says, got.faults)
		}
		theirs, who := m.opm, "opm"
		if m.format != "bundle" {
			theirs, who = m.courier, "operator-courier"
		}
		said := who + " " + theirs
		if m.format == "bundle" {
			said += ", api " + m.api
		}
		counts[m.format+", "+said+map[bool]string{true: ": accepted", false: ": refused"}[accepted]]++
		switch {
		case m.format == "bundle" && accepted && theirs == "no":
			if says, ok := milder[name]; !ok || !strings.Contains(strings.Join(got.warnings, "\n"), says) {
				t.Errorf("%s: opm refuses it, and no warning says %q: %q", m.file, says, got.warnings)
			}
		case accepted != (theirs == "yes") && (m.format != "bundle" || refusedReal[name] == ""):
			t.Errorf("%s: %s says %s, faults are %q", m.file, who, theirs, got.faults)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%s: %d", what, counts[what])
	}
}
