package pipeline

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The checks of operator-courier, operator-framework/api and opm, numbered as a
// comparison of the three had them: L loading, P package manifest, C
// ClusterServiceVersion, R CustomResourceDefinition, A bundle annotations, D
// dependencies. Where the comparison and the tools differ, the tools were asked.
// Each row edits a good operator as little as can be, in its three
// layouts, and tells what comes of it: E it is refused, W it is published with a
// warning that it did not have before, - neither; "" there is no such thing. E+
// is refused though the tools that decide take it, W~ is published though they
// refuse it.
var checks = []struct {
	id, what             string
	edit                 edit
	flat, nested, bundle string
	says                 string
}{
	{"L1", "another kind of file is no YAML", beside("notes.txt", "a: [b"), "-", "-", "E", "does not parse"},
	{"L1", "a broken file too deep to be looked at", root("a/b/c.yaml", "a: [b"), "-", "-", "-", ""},
	{"L1", "a broken file whose name ends in capitals", beside("z.YAML", "a: [b"), "E+", "E+", "E", "does not parse"},
	{"L2", "a file does not parse", beside("z.yaml", "kind: [b"), "E", "E", "E", "does not parse"},
	{"L2", "not UTF-8", beside("z.yaml", "kind: \xff"), "E", "E", "E", "is not UTF-8"},
	{"L2", "a tag of nobody's", in("csv", "displayName: Gadget", "displayName: !gadget Gadget"), "E", "E", "-", `the tag "!gadget"`},
	{"L2", "a date that does not exist", in("csv", "  annotations:\n", "  annotations:\n    createdAt: 2019-02-30\n"), "E", "E", "-", "does not exist"},
	{"L2", "an anchor twice", in("csv", "displayName: Gadget operator", "displayName: &a Gadget\n  maturity: &a beta"), "E", "E", "-", "the anchor a is there twice"},
	{"L2", "a plain =", in("csv", "displayName: Gadget operator", "displayName: ="), "E", "E", "-", "a plain ="},
	{"L2", "a tab between words", in("csv", "displayName: Gadget", "displayName:\tGadget"), "E", "E", "-", "a tab between two words"},
	{"L2", "kind is a list", beside("z.yaml", "kind: [Service]"), "E", "E", "E", "kind"},
	{"L2", "a directive", in("csv", "apiVersion", "%YAML 1.1\n---\napiVersion"), "E", "E", "E", "YAML directive"},
	{"L3", "several documents", in("crd", "apiVersion", "a: b\n---\napiVersion"), "E", "E", "E", "more than one document"},
	{"L3", "an empty document at the end", in("crd", "spec:\n", "---\nspec:\n"), "E", "E", "E", "more than one document"},
	{"L4", "a key twice, the last is good", in("csv", "  version:", "  version: none\n  version:"), "W", "W", "W", `"version" is there again further down`},
	{"L4", "a key twice, the last is bad", in("csv", "installModes:", "version: none\n  installModes:"), "E+", "E+", "E", `"none" is not a semantic version`},
	{"L5", "a manifest of no interest", beside("z.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z}"), "-", "-", "-", ""},
	{"L6", "no package manifest", drop("package"), "E", "E", "", "the package and its channels are unknown"},
	{"L7", "two package manifests", root("z.yaml", "packageName: gadgets"), "E", "E", "", "second package manifest"},
	{"L8", "no CSV", drop("csv"), "E", "E+", "E", ""},
	{"L8", "a folder without CSV is not looked into", root("other/z.yaml", "kind: CustomResourceDefinition"), "-", "-", "-", ""},
	{"L9", "several CSVs in a folder, as flat archives have", twin, "", "E+", "E", "ClusterServiceVersion"},
	{"L11", "a bad CRD beside the version folders", root("z.yaml", "kind: CustomResourceDefinition"), "E", "-", "-", "metadata"},
	{"L11", "a bad CSV beside the version folders", root("z.yaml", "kind: ClusterServiceVersion"), "", "W", "", "no bundles are made"},
	{"L12", "a folder among the manifests", beside("more/z.yaml", "kind: Service"), "-", "-", "E", "lies in a folder"},
	{"L12", "a hidden file", beside(".z.yaml", "kind: Service\nmetadata: {name: z}"), "-", "-", "E", "hidden file"},
	{"L13", "no annotations file", drop("annotations"), "", "", "E", "no file with annotations"},
	{"L13", "a broken annotations file", in("annotations", "annotations:", "annotations: ["), "", "", "E", "does not parse"},

	{"P2", "packageName missing", in("package", "packageName", "package"), "E", "E", "", "the package and its channels are unknown"},
	{"P2", "packageName null", in("package", "packageName: gadgets", "packageName:"), "E+", "E+", "", "packageName: is not a string"},
	{"P3", "packageName empty", in("package", "packageName: gadgets", `packageName: ""`), "E+", "E+", "", "packageName: is empty"},
	{"P3", "packageName like a path", in("package", "packageName: gadgets", "packageName: ../gadgets"), "E+", "E+", "", "cannot be a repository's name"},
	{"P5", "channels missing", in("package", "channels:", "other:"), "E", "E", "", "channels: is missing"},
	{"P5", "channels empty", in("package", "channels:", "channels: []\nother:"), "E", "E", "", "are 0, not 1"},
	{"P5", "channels null", in("package", "channels:", "channels:\nother:"), "E", "E", "", "channels: is null"},
	{"P6", "a channel without name", in("package", "- name:", "- title:"), "E", "E", "", "channels[0].name: is missing"},
	{"P6", "a channel without CSV", in("package", "currentCSV:", "csv:"), "E", "E", "", "channels[0].currentCSV: is missing"},
	{"P7", "a channel of an absent CSV", in("package", "currentCSV: gadgets", "currentCSV: widgets"), "E", "E+", "", "is not in the archive"},
	{"P8", "a channel twice", in("package", "channels:\n", "channels:\n  - {name: x, currentCSV: gadgets.v1.2.0}\n  - {name: x, currentCSV: gadgets.v1.2.0}\n"), "E+", "E+", "", "channel x is there twice"},
	{"P9", "default channel missing", in("package", "channels:\n", "channels:\n  - {name: x, currentCSV: gadgets.v1.0.0+build.5}\n"), "W", "", "", "default channel is empty"},
	{"P9", "default channel is none", in("package", "channels:", "defaultChannel: none\nchannels:"), "W", "W", "", `default channel "none" not found`},

	{"C2", "apiVersion missing", in("csv", "apiVersion: operators.coreos.com/v1alpha1", ""), "E", "E", "E", "apiVersion"},
	{"C3", "metadata missing", in("csv", "metadata:", "data:"), "E", "E", "E", "metadata: is missing"},
	{"C3", "metadata null", in("csv", "metadata:", "metadata:\ndata:"), "E", "E", "E", "metadata: is null"},
	{"C3", "name missing", in("csv", "  name: gadgets", "  title: gadgets"), "E", "E", "E", "metadata.name: is missing"},
	{"C4", "name with capitals", in("csv", "installModes:", "replaces: GADGETS\n  installModes:"), "W", "W", "E", "spec.replaces"},
	{"C5", "annotations missing", in("csv", "annotations:", "notes:"), "W", "W", "W", "annotations not found"},
	{"C5", "annotations null", in("csv", "annotations:", "annotations:\n  notes:"), "E", "E", "W", "annotations"},
	{"C6", "annotations for the web missing", in("csv", "containerImage", "image"), "-", "-", "-", ""},
	{"C7", "certified is a boolean", in("csv", "containerImage:", "certified: true\n    containerImage:"), "E", "E", "E", ""},
	{"C7", "certified is a word of YAML 1.1", in("csv", "containerImage:", "certified: yes\n    containerImage:"), "E", "E", "E", ""},
	{"C7", "certified is a number of YAML 1.1", in("csv", "containerImage:", "certified: 1:30\n    containerImage:"), "E", "E", "-", "certified"},
	{"C8", "examples are not JSON", in("csv", "[{", "[{{"), "E", "E", "E", ""},
	{"C8", "examples are empty", in("csv", "alm-examples: |-", "alm-examples: ''\n    x: |-"), "E", "E", "W", ""},
	{"C9", "an example of what is not provided", in("csv", `"kind": "Gadget"`, `"kind": "Widget"`), "W", "W", "W~", "example must have a provided API"},
	{"C10", "an annotation in the wrong case", in("csv", "containerImage:", "olm.skiprange: x\n    containerImage:"), "W", "W", "E", "uses wrong case"},
	{"C10", "properties in an annotation", in("csv", "containerImage:", "olm.properties: x\n    containerImage:"), "W", "W", "W", "olm.properties annotation"},
	{"C11", "spec missing", in("csv", "\nspec:", "\nother:"), "E", "E", "E", "spec: is missing"},
	{"C11", "spec null", in("csv", "\nspec:", "\nspec:\nother:"), "E", "E", "E", "spec: is null"},
	{"C12", "displayName missing", in("csv", "displayName", "maturity"), "W", "W", "E", "required field missing"},
	{"C14", "version missing", in("csv", "  version:", "  edition:"), "E+", "E+", "E+", "spec.version: is missing"},
	{"C14", "version not semantic", in("csv", "  version:", "  version: one.two\n  edition:"), "E+", "E+", "E", "not a semantic version"},
	{"C14", "version almost semantic", in("csv", "  version:", "  version: v1.0\n  edition:"), "E+", "E+", "E+", "not a semantic version"},
	{"C14", "version a number", in("csv", "  version:", "  version: 1.0\n  edition:"), "E+", "E+", "E", "spec.version: is not a string"},
	{"C15", "install modes missing", in("csv", "installModes", "modes"), "E", "E", "E", "nstall"},
	{"C16", "install modes empty", in("csv", "installModes:", "installModes: []\n  modes:"), "W", "W", "E", "install modes not found"},
	{"C16", "no install mode supported", in("csv", "supported: true", "supported: false"), "W", "W", "E", "none of InstallModeTypes are supported"},
	{"C16", "an install mode twice", in("csv", "OwnNamespace", "AllNamespaces"), "-", "-", "-", ""},
	{"C16", "a conversion webhook", in("csv", "installModes:", "webhookdefinitions: [{type: ConversionWebhook, conversionCRDs: [x]}]\n  installModes:"), "W", "W", "E", "only AllNamespaces"},
	{"C17", "install missing", in("csv", "  install:", "  installation:"), "E", "E", "E", ""},
	{"C17", "strategy missing", in("csv", "strategy: deployment", "tactics: deployment"), "E", "E", "E", ""},
	{"C17", "strategy of another name", in("csv", "strategy: deployment", "strategy: helm"), "E", "E", "-", "not deployment"},
	{"C17", "install.spec missing", in("csv", "    spec:\n      deployments", "    other:\n      deployments"), "E", "E", "-", "spec.install.spec: is missing"},
	{"C18", "deployments missing", in("csv", "deployments:", "other:"), "E", "E", "-", "deployments: is missing"},
	{"C18", "deployments a mapping", in("csv", "deployments:", "deployments: {}\n      other:"), "E", "E", "E", ""},
	{"C18", "permissions null", in("csv", "deployments:", "permissions:\n      deployments:"), "E", "E", "-", "permissions: is null"},
	{"C19", "minKubeVersion not semantic", in("csv", "installModes:", "minKubeVersion: v1.17.0\n  installModes:"), "W", "W", "E", "MinKubeVersion has an invalid value"},
	{"C20", "an owned CRD without name", in("csv", "{name: gadgets.", "{title: gadgets."), "E", "E", "E", "owned[0]"},
	{"C20", "an owned CRD without kind", in("csv", ", kind: Gadget", ""), "E", "E", "E", "owned[0]"},
	{"C20", "an owned CRD without version", in("csv", ", version: v1", ""), "E", "E", "E", "owned[0]"},
	{"C20", "owned CRDs missing", in("csv", "owned:", "required:"), "E", "E", "W~", ""},
	{"C20", "owned CRDs null", in("csv", "owned:", "owned:\n    other:"), "E", "E", "W~", ""},
	{"C21", "an owned CRD is not there", drop("crd"), "E", "E", "E", "gadgets.gadgets.example.com"},
	{"C21", "an owned CRD with its group", in("csv", "{name: gadgets", "{group: gadgets.example.com, name: gadgets"), "-", "-", "W~", "with a group"},
	{"C22", "an owned CRD of another kind", in("crd", "kind: Gadget", "kind: Widget"), "E", "E", "E", "kind"},
	{"C22", "an owned CRD of another version", in("crd", "- name: v1", "- name: v2"), "E", "E", "E", "version"},
	{"C22", "an owned CRD of another plural", in("crd", "plural: gadgets", "plural: widgets"), "E", "E", "E", "metadata.name"},
	{"C23", "a CRD that nobody owns", beside("z.yaml", crdOf("cogs", "gadgets.example.com")), "W", "W", "W~", "not defined in CSV"},
	{"C24", "the service account of a deployment", edits(in("csv", "containers:", "serviceAccountName: gadget\n                containers:"), beside("z.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: gadget}")), "W", "W", "E", "invalid service account"},
	{"C25", "more than fits a ConfigMap", beside("z.yaml", incompressible(1<<20)), "W", "W", "E", "maximum bundle compressed size"},
	{"C25", "almost more than fits", beside("z.yaml", incompressible(7<<17)), "W", "W", "W", "nearing maximum bundle compressed size"},
	{"C26", "a release that the name lacks", in("csv", "installModes:", `release: "2"`+"\n  installModes:"), "W", "W", "E", "release versioning"},
	{"C27", "capabilities of nobody's", in("csv", "containerImage:", "capabilities: Flying\n    containerImage:"), "-", "-", "-", ""},
	{"C28", "an object that bundles do not hold", beside("z.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: z}"), "-", "-", "E", "Deployment is not one that a bundle may hold"},
	{"C28", "an object with a namespace", beside("z.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: z, namespace: z}"), "-", "-", "E", "metadata.namespace: Forbidden"},
	{"C28", "an object without name", beside("z.yaml", "apiVersion: v1\nkind: Service"), "-", "-", "E", "metadata.name: Required"},
	{"C28", "an object without kind", beside("z.yaml", "apiVersion: v1"), "-", "-", "E", "kind: is missing"},

	{"R1", "metadata missing", in("crd", "metadata:", "data:"), "E", "E", "E", ""},
	{"R1", "name missing", in("crd", "  name:", "  title:"), "E", "E", "E", ""},
	{"R1", "apiVersion missing", in("crd", "apiVersion: apiextensions.k8s.io/v1", ""), "E", "E", "E", "apiVersion"},
	{"R1", "spec missing", in("crd", "spec:", "other:"), "E", "E", "E", "spec"},
	{"R1", "names missing", in("crd", "names:", "other:"), "E", "E", "E", "spec.names"},
	{"R1", "names null", in("crd", "names:", "names:\n  other:"), "E", "E", "E", "spec.names"},
	{"R1", "kind missing", in("crd", "{kind: Gadget, ", "{"), "E", "E", "E", "spec.names.kind"},
	{"R1", "plural missing", in("crd", ", plural: gadgets", ""), "E", "E", "E", "spec.names.plural"},
	{"R1", "group missing", in("crd", "group:", "other:"), "E", "E", "E", "spec.group"},
	{"R2", "neither version nor versions", in("crd", "versions:", "other:"), "E", "E", "E", "version"},
	{"R2", "versions empty", in("crd", "versions:", "versions: []\n  other:"), "E", "E", "E", "version"},
	{"R3", "a version without name", in("crd", "- name: v1", "- title: v1"), "E", "E", "E", ""},
	{"R3", "a version that does not say served", in("crd", "served: true\n", "deprecated: true\n"), "E", "E", "-", "served: is not a boolean"},
	{"R3", "served by a word of YAML 1.1", in("crd", "served: true", "served: yes"), "-", "-", "-", ""},
	{"R4", "no version stored", in("crd", "storage: true", "storage: false"), "E", "E", "E", "spec.versions"},
	{"R4", "two versions stored", in("crd", "versions:\n", "versions:\n    - {name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}\n"), "E", "E", "E", "spec.versions"},
	{"R5", "version is not the first of versions", v1beta1("version: v1\n  versions: [{name: v1alpha1, served: true, storage: false}, {name: v1, served: true, storage: true}]"), "W", "W", "E", "must match the first version"},
	{"R6", "v1beta1 with version", v1beta1("version: v1"), "W", "W", "W~", "spec.preserveUnknownFields"},
	{"R6", "v1beta1 with another version", v1beta1("version: v2"), "E", "E", "E", "version"},
	{"R6", "v1beta1 of which one entry's version matches", edits(v1beta1("version: v1"), in("csv", "owned:\n", "owned:\n      - {name: gadgets.gadgets.example.com, kind: Gadget, version: v2}\n")), "W", "W", "E", "v2"},
	{"R6", "v1 that preserves unknown fields", in("crd", "spec:\n", "spec:\n  preserveUnknownFields: true\n"), "W", "W", "E", "spec.preserveUnknownFields"},
	{"R7", "a group of Kubernetes' own", beside("z.yaml", crdOf("cogs", "x.k8s.io")), "W", "W", "W~", "api-approved.kubernetes.io"},
	{"R8", "a CRD with a namespace", in("crd", "  name: gadgets", "  namespace: x\n  name: gadgets"), "W", "W", "W~", "metadata.namespace"},
	{"R9", "a schema of no type", in("crd", "type: object", "type: nothing"), "-", "-", "-", ""},
	{"R9", "a schema that does not decode", in("crd", "type: object", "type: object, minimum: high"), "-", "-", "E", "does not decode"},
	{"R10", "a CRD of another API version", in("crd", "apiextensions.k8s.io/v1", "apiextensions.k8s.io/v2"), "W", "W", "E", "apiVersion"},

	{"A1", "media type missing", in("annotations", "bundle.mediatype.v1", "x"), "", "", "E", "mediatype.v1: is missing"},
	{"A1", "media type of a chart", in("annotations", "registry+v1", "helm+v0"), "", "", "E", "not registry+v1"},
	{"A2", "manifests missing", in("annotations", "bundle.manifests.v1", "x"), "", "", "E", "manifests.v1: is missing"},
	{"A2", "manifests elsewhere", in("annotations", "manifests/", "other/"), "", "", "E+", "not manifests/"},
	{"A2", "metadata missing", in("annotations", "bundle.metadata.v1", "x"), "", "", "E", "metadata.v1: is missing"},
	{"A2", "package missing", in("annotations", "bundle.package.v1", "x"), "", "", "E", "package.v1: is missing"},
	{"A2", "package empty", in("annotations", "package.v1: gadgets", `package.v1: ""`), "", "", "E+", "package.v1: is empty"},
	{"A2", "package like a path", in("annotations", "package.v1: gadgets", "package.v1: ../evil"), "", "", "E+", "cannot be a repository's name"},
	{"A3", "channels missing", in("annotations", "bundle.channels.v1", "x"), "", "", "E", "channels.v1: is missing"},
	{"A3", "channels empty", in("annotations", "stable, beta", `""`), "", "", "E", "channels.v1: is empty"},
	{"A4", "default channel missing", in("annotations", "  operators.operatorframework.io.bundle.channel.default.v1: stable\n", ""), "", "", "-", ""},
	{"A4", "default channel empty", in("annotations", "default.v1: stable", `default.v1: ""`), "", "", "E", "default.v1: is empty"},
	{"A4", "default channel is none", in("annotations", "default.v1: stable", "default.v1: alpha"), "", "", "W", "is none of the channels"},
	{"A5", "an annotation that is no string", in("annotations", `"v4.9"`, "4.10"), "", "", "W", "may disagree"},
	{"A5", "an annotation that is a list", in("annotations", `"v4.9"`, "[v4.9]"), "", "", "E+", "is a list"},
	{"A6", "annotations in two files", metadata("z.yaml", "annotations: {}"), "", "", "E+", "annotations: are also in"},

	{"D1", "good dependencies", dependencies("{type: olm.package, value: {packageName: a, version: '>=1.0.0 <2.0.0'}}", "{type: olm.gvk, value: {group: a, version: v1, kind: A}}", "{type: olm.label, value: {label: a}}", "{type: olm.constraint, value: {failureMessage: a, cel: {rule: 'properties.exists(p, p.type == \"a\")'}}}"), "", "", "-", ""},
	{"D1", "dependencies are no YAML", metadata("z.yaml", "dependencies: ["), "", "", "E+", "does not parse"},
	{"D1", "dependencies are no list", metadata("z.yaml", "dependencies: {}"), "", "", "E+", "dependencies: is a mapping"},
	{"D2", "a dependency of unknown type", dependencies("{type: olm.crd, value: {}}"), "", "", "E", `"olm.crd" is not known`},
	{"D2", "a dependency without type", dependencies("{value: {}}"), "", "", "E", "type: is missing"},
	{"D3", "a range that is none", dependencies("{type: olm.package, value: {packageName: a, version: newest}}"), "", "", "E", "not a range of versions"},
	{"D3", "a package without range", dependencies("{type: olm.package, value: {packageName: a}}"), "", "", "E", "version: is missing"},
	{"D4", "a kind without group", dependencies("{type: olm.gvk, value: {version: v1, kind: A}}"), "", "", "E", "group: is missing"},
	{"D5", "a label that is empty", dependencies("{type: olm.label, value: {label: ''}}"), "", "", "E", "label: is empty"},
	{"D6", "a rule that does not compile", dependencies("{type: olm.constraint, value: {cel: {rule: 'properties.exists('}}}"), "", "", "E", "cel.rule: ERROR"},
	{"D6", "a rule that is no condition", dependencies("{type: olm.constraint, value: {cel: {rule: '1'}}}"), "", "", "E", "must have type Bool"},
	{"D6", "a constraint without rule", dependencies("{type: olm.constraint, value: {all: {constraints: []}}}"), "", "", "E", "cel.rule: is missing"},
}

// elsewhere are the numbers of the comparison that have no row: what they are
// about is in a row of another number, or not decided by the manifests.
var elsewhere = map[string]string{
	"L10": "a package manifest beside the CSV is what a flat archive is",
	"P1":  "as L7",
	"P4":  "the repository is named after the package unless a request says otherwise",
	"C1":  "as L8",
	"C13": "the R rows",
}

func TestChecks(t *testing.T) {
	layouts := []struct{ from, dir string }{{"flat-one", ""}, {"nested", "1.2.0/"}, {"bundle", "manifests/"}}
	before := make([][]string, len(layouts))
	for i, l := range layouts {
		if before[i] = prepared(t, specimenOf(t, l.from, l.dir).files).warnings; len(before[i]) == 0 {
			t.Fatalf("%s: the unpinned image is no warning", l.from)
		}
	}
	for i, c := range checks {
		for j, want := range []string{c.flat, c.nested, c.bundle} {
			want = strings.TrimRight(want, "+~")
			if want == "" {
				continue
			}
			t.Run(fmt.Sprintf("%d %s %s %s", i, c.id, c.what, layouts[j].from), func(t *testing.T) {
				s := specimenOf(t, layouts[j].from, layouts[j].dir)
				c.edit(s)
				got := prepared(t, s.files)
				got.warnings = slices.DeleteFunc(got.warnings, func(w string) bool { return slices.Contains(before[j], w) })
				if got.verdict() != want {
					t.Errorf("is %s, not %s: faults %q, warnings %q", got.verdict(), want, got.faults, got.warnings)
				}
				if said := strings.Join(slices.Concat(got.faults, got.warnings), "\n"); want != "-" && !strings.Contains(said, c.says) {
					t.Errorf("does not say %q: %s", c.says, said)
				}
			})
		}
	}
}

func TestEveryCheckHasARow(t *testing.T) {
	for letter, last := range map[string]int{"L": 13, "P": 9, "C": 28, "R": 10, "A": 6, "D": 6} {
		for n := range last {
			id := fmt.Sprint(letter, n+1)
			has := 0
			for _, c := range checks {
				if c.id == id {
					has++
				}
			}
			if _, other := elsewhere[id]; (has > 0) == other {
				t.Errorf("%s has %d rows", id, has)
			}
		}
	}
}

// outcome is what preparing for an organization tells of manifests.
type outcome struct{ faults, warnings []string }

func (o outcome) verdict() string {
	switch {
	case len(o.faults) > 0:
		return "E"
	case len(o.warnings) > 0:
		return "W"
	}
	return "-"
}

func prepared(t *testing.T, files []File) outcome {
	t.Helper()
	rel, err := Prepare{}.Do(t.Context(), Order{Organization: sampleOrganizations()[0], Manifests: manifestsOf(t, files)})
	o := outcome{warnings: slices.DeleteFunc(rel.Warnings, func(w string) bool {
		return strings.Contains(w, "not part of any bundle") || strings.Contains(w, "no channel leads to")
	})}
	if err != nil {
		if ClassOf(err) != Rejected {
			t.Errorf("is %s: %v", ClassOf(err), err)
		}
		if o.faults = FaultsOf(err); len(o.faults) == 0 {
			o.faults = []string{err.Error()}
		}
	}
	return o
}

// specimen is a good operator of testdata, to be edited.
type specimen struct {
	t     *testing.T
	dir   string // where its manifests lie
	files []File
}

func specimenOf(t *testing.T, from, dir string) *specimen {
	t.Helper()
	return &specimen{t, dir, folder(t, filepath.Join("testdata", "prepare", from, "in"))}
}

// find returns the index of a file by the part that it plays.
func (s *specimen) find(part string) int {
	s.t.Helper()
	name := s.dir + part + ".yaml"
	switch part {
	case "package":
		name = "gadgets.package.yaml"
	case "annotations":
		name = "metadata/annotations.yaml"
	}
	i := slices.IndexFunc(s.files, func(f File) bool { return f.Path == name })
	if i < 0 {
		s.t.Fatalf("there is no %s", name)
	}
	return i
}

func (s *specimen) put(name, data string) {
	s.files = slices.DeleteFunc(s.files, func(f File) bool { return f.Path == name })
	s.files = append(s.files, File{name, []byte(data)})
	slices.SortFunc(s.files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
}

type edit func(*specimen)

func in(part, old, replacement string) edit {
	return func(s *specimen) {
		s.t.Helper()
		i := s.find(part)
		if !bytes.Contains(s.files[i].Data, []byte(old)) {
			s.t.Fatalf("%s does not hold %q", s.files[i].Path, old)
		}
		s.files[i].Data = bytes.ReplaceAll(s.files[i].Data, []byte(old), []byte(replacement))
	}
}

func drop(part string) edit {
	return func(s *specimen) {
		i := s.find(part)
		s.files = slices.Delete(s.files, i, i+1)
	}
}

func root(name, data string) edit     { return func(s *specimen) { s.put(name, data) } }
func beside(name, data string) edit   { return func(s *specimen) { s.put(s.dir+name, data) } }
func metadata(name, data string) edit { return root("metadata/"+name, data) }

func dependencies(entries ...string) edit {
	return metadata("dependencies.yaml", "dependencies:\n- "+strings.Join(entries, "\n- ")+"\n")
}

func edits(list ...edit) edit {
	return func(s *specimen) {
		for _, e := range list {
			e(s)
		}
	}
}

// twin adds another version beside the CSV.
func twin(s *specimen) {
	csv := string(s.files[s.find("csv")].Data)
	s.put(s.dir+"z.yaml", strings.NewReplacer("1.0.0", "9.9.9", "1.2.0", "9.9.9").Replace(csv))
}

// v1beta1 makes the CRD one of the old API version.
func v1beta1(versions string) edit {
	const crd = "apiVersion: apiextensions.k8s.io/v1beta1\nkind: CustomResourceDefinition\n" +
		"metadata: {name: gadgets.gadgets.example.com}\n" +
		"spec:\n  group: gadgets.example.com\n  names: {kind: Gadget, plural: gadgets}\n  scope: Namespaced\n  "
	return beside("crd.yaml", crd+versions+"\n")
}

// crdOf is a CRD with nothing wrong in it.
func crdOf(plural, group string) string {
	return fmt.Sprintf("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: %[1]s.%[2]s}\n"+
		"spec:\n  group: %[2]s\n  names: {kind: X%[1]s, plural: %[1]s}\n  scope: Namespaced\n"+
		"  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n", plural, group)
}

// incompressible is an object of at least so many bytes when it is compressed
// and in base64.
func incompressible(size int) string {
	data := make([]byte, size*3/4)
	random := rand.NewChaCha8([32]byte{})
	random.Read(data)
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z}\ndata:\n  z: " + base64.StdEncoding.EncodeToString(data) + "\n"
}
