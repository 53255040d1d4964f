package pipeline

import (
	"context"
	"errors"
	"maps"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bareContent is the sample bundle as OSBS stores it, and its labels.
func bareContent(t *testing.T) (files []File, labels map[string]string) {
	t.Helper()
	for _, f := range folder(t, "testdata/prepare/bundle/in") {
		if name, ok := strings.CutPrefix(f.Path, manifestsDir+"/"); ok {
			files = append(files, File{Path: name, Data: f.Data})
		}
	}
	return files, map[string]string{
		labelPackage: "gadgets", labelChannels: "stable,candidate", labelDefaultChannel: "stable",
		labelManifests: "elsewhere/", labelVersions: "v4.12", "name": "gadgets-bundle", "architecture": "x86_64",
	}
}

func TestBareContentIsABundle(t *testing.T) {
	files, labels := bareContent(t)
	order := orderOf(t, files)
	order.Manifests.Build.Labels = labels
	order.Organization.PackageNameSuffix = "-candidate"
	rel, err := Prepare{}.Do(t.Context(), order)
	if err != nil {
		t.Fatalf("%v: %v", err, FaultsOf(err))
	}
	b := rel.Bundles[0]
	if rel.Package != "gadgets-candidate" || len(rel.Bundles) != 1 || b.DefaultChannel != "stable" || b.Repository != "all/gadgets-candidate" {
		t.Errorf("package %q, %+v", rel.Package, rel.Bundles)
	}
	if diff := cmp.Diff([]string{"stable", "candidate"}, b.Channels); diff != "" {
		t.Error(diff)
	}
	want := map[string]string{
		labelMediaType: mediaTypeRegistry, labelManifests: "manifests/", labelMetadata: "metadata/",
		labelPackage: "gadgets-candidate", labelChannels: "stable,candidate", labelDefaultChannel: "stable", labelVersions: "v4.12",
	}
	maps.DeleteFunc(b.Labels, func(name, _ string) bool { return name == LabelBuildID || name == LabelBuildNVR })
	if diff := cmp.Diff(want, b.Labels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(len(files)+1, len(b.Files)); diff != "" {
		t.Error(diff)
	}
	for _, f := range b.Files {
		if dir := path.Dir(f.Path); dir != manifestsDir && f.Path != "metadata/annotations.yaml" {
			t.Errorf("%s is in the bundle", f.Path)
		}
		if f.Path == "metadata/annotations.yaml" && !strings.Contains(string(f.Data), `"gadgets-candidate"`) {
			t.Errorf("annotations are %s", f.Data)
		}
	}
}

func TestBareContentThatIsNone(t *testing.T) {
	files, labels := bareContent(t)
	nested := append([]File{{Path: "deeper/x.yaml", Data: []byte("kind: X\n")}}, files...)
	for _, c := range []struct {
		name   string
		files  []File
		labels map[string]string
		want   Reason
	}{
		{"no labels", files, nil, ReasonNoPackage},
		{"other labels", files, map[string]string{"name": "gadgets"}, ReasonNoPackage},
		{"a folder in it", nested, labels, ReasonInvalidManifests},
		{"no channels", files, map[string]string{labelPackage: "gadgets"}, ReasonInvalidManifests},
		{"a path as the package", files, map[string]string{labelPackage: "../gadgets", labelChannels: "stable"}, ReasonInvalidManifests},
		{"no CSV", []File{{Path: "x.yaml", Data: []byte("kind: X\n")}}, labels, ReasonInvalidManifests},
	} {
		t.Run(c.name, func(t *testing.T) {
			order := orderOf(t, c.files)
			order.Manifests.Build.Labels = c.labels
			if _, err := (Prepare{}).Do(t.Context(), order); ClassOf(err) != Rejected || ReasonOf(err) != c.want {
				t.Errorf("%v: %v", err, FaultsOf(err))
			}
		})
	}
}

// What the labels do not say, the organization's defaults do.
func TestBundleDefaults(t *testing.T) {
	files, labels := bareContent(t)
	defaults := BundleDefaults{Package: "widgets", Channels: []string{"fast", "slow"}, DefaultChannel: "slow"}
	for _, c := range []struct {
		name           string
		labels         map[string]string
		defaults       BundleDefaults
		pkg, channels  string
		defaultChannel string
	}{
		{"no labels", nil, defaults, "widgets", "fast,slow", "slow"},
		{"other labels", map[string]string{"name": "gadgets"}, defaults, "widgets", "fast,slow", "slow"},
		{"all labels", labels, defaults, "gadgets", "stable,candidate", "stable"},
		{"empty labels", map[string]string{labelPackage: "", labelChannels: "stable"}, BundleDefaults{Package: "widgets"}, "widgets", "stable", ""},
		{"other channels", map[string]string{labelPackage: "gadgets", labelChannels: "stable"}, defaults, "gadgets", "stable", ""},
		{"some of the channels", map[string]string{labelPackage: "gadgets", labelChannels: "stable, slow"}, defaults, "gadgets", "stable,slow", "slow"},
		{"only a package", nil, BundleDefaults{Package: "widgets"}, "", "", ""},
		{"only channels", nil, BundleDefaults{Channels: []string{"fast"}}, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			order := orderOf(t, files)
			order.Manifests.Build.Labels, order.Organization.BundleDefaults = c.labels, c.defaults
			order.Manifests.Build.Subtypes = []string{SubtypeBundle}
			rel, err := Prepare{}.Do(t.Context(), order)
			if c.pkg == "" {
				if ClassOf(err) != Rejected {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v: %v", err, FaultsOf(err))
			}
			b := rel.Bundles[0]
			if rel.Package != c.pkg || strings.Join(b.Channels, ",") != c.channels || b.DefaultChannel != c.defaultChannel {
				t.Errorf("%s, %v, %q", rel.Package, b.Channels, b.DefaultChannel)
			}
		})
	}
}

// They are for bundles: not for any build whose manifests lack their package.
func TestBundleDefaultsAreForBundles(t *testing.T) {
	files, _ := bareContent(t)
	order := orderOf(t, files)
	order.Organization.BundleDefaults = BundleDefaults{Package: "widgets", Channels: []string{"fast"}}
	order.Manifests.Build.Subtypes = []string{"operator_appregistry"}
	if _, err := (Prepare{}).Do(t.Context(), order); ReasonOf(err) != ReasonNoPackage {
		t.Errorf("of another build: %v", err)
	}
	order.Manifests.Build.Trigger.Given = Given{Object: "drop/manifests.zip"}
	if rel, err := (Prepare{}).Do(t.Context(), order); err != nil || rel.Package != "widgets" {
		t.Errorf("by hand: %q, %v", rel.Package, err)
	}
}

// Labels of the build's image that say something else than the bundle's own
// annotations are told of; what the bundle says is published.
func TestLabelsThatDisagree(t *testing.T) {
	order := orderOf(t, folder(t, "testdata/prepare/bundle/in"))
	order.Manifests.Build.Labels = map[string]string{
		labelPackage: "widgets", labelChannels: "stable, beta", labelVersions: "v4.9", "name": "elsewhere", labelManifests: "manifests/",
	}
	rel, err := Prepare{}.Do(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range rel.Warnings {
		if strings.Contains(w, "labels of the build") {
			got = append(got, w)
		}
	}
	want := []string{`metadata/annotations.yaml: operators.operatorframework.io.bundle.package.v1 is "gadgets", and "widgets" among the labels of the build's image`}
	if diff := cmp.Diff(want, got); diff != "" || rel.Package != "gadgets" {
		t.Errorf("%s: %s", rel.Package, diff)
	}
}

type labelsFunc func(HubBuild) (map[string]string, error)

func (f labelsFunc) FindLabels(_ context.Context, b HubBuild) (map[string]string, error) { return f(b) }

// The hub is asked for labels of bundle images alone.
func TestLookupOfLabels(t *testing.T) {
	for _, c := range []struct {
		subtypes []string
		err      error
		asked    bool
	}{
		{nil, nil, false},
		{[]string{"operator_appregistry"}, nil, false},
		{[]string{"operator_bundle"}, nil, true},
		{[]string{"operator_bundle"}, Retry(ReasonKojiUnavailable, errors.New("x")), true},
	} {
		w, asked := newSampleWorld(t), false
		w.hub.find = func(int64, NVR) (HubBuild, error) {
			return HubBuild{ID: 7, NVR: sampleNVR, State: StateComplete, ManifestsArchive: "m.zip", Subtypes: c.subtypes}, nil
		}
		w.Lookup.Labels = labelsFunc(func(HubBuild) (map[string]string, error) { asked = true; return map[string]string{"a": "1"}, c.err })
		b, err := w.Lookup.Do(t.Context(), Trigger{NVR: sampleNVR})
		if asked != c.asked || !errors.Is(err, c.err) || asked && b.Labels["a"] != "1" {
			t.Errorf("%v: asked %t, %v, %v", c.subtypes, asked, b.Labels, err)
		}
	}
}
