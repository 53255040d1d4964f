package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// registries answer with the digests, or the errors, of references.
type registries struct {
	digests map[string]string
	errs    map[string]error

	mu    sync.Mutex
	asked []string
}

func (r *registries) ResolveImage(_ context.Context, ref string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, ref)
	if err := r.errs[ref]; err != nil {
		return "", err
	}
	if digest, ok := r.digests[ref]; ok {
		return digest, nil
	}
	return "", fmt.Errorf("%s: %w: not found", ref, ErrNoImage)
}

func digestFor(n int) string { return fmt.Sprintf("sha256:%064x", n) }

const unpinnedCSV = `apiVersion: operators.coreos.com/v1alpha1
kind: ClusterServiceVersion
metadata:
  name: gadgets.v1.0.0
  annotations:
    containerImage: quay.io/gadgets/operator:1.0.0
    alm-examples: '[{"image": "quay.io/gadgets/gadget", "tag": "3"}, {"image": "quay.io/gadgets/gadget:2"}, {"image": "mofed"}]'
spec: # of the operator
  version: 1.0.0
  install:
    strategy: deployment
    spec:
      deployments:
      - name: gadgets
        spec:
          template:
            spec:
              initContainers:
              - {name: gadgets, image: "nginx:1"}
              containers:
              - name: gadgets
                image: quay.io/gadgets/operator:1.0.0
                env:
                - name: RELATED_IMAGE_SIDE_CAR
                  value: quay.io/gadgets/side:1
              - name: pinned
                image: quay.io/gadgets/pinned` + someDigest + `
`

func pinDraft(t *testing.T, csv string) *draft {
	t.Helper()
	d, ok := draftOf(t, csv)
	if !ok {
		t.Fatal("does not parse")
	}
	return d
}

func TestPin(t *testing.T) {
	known := &registries{digests: map[string]string{
		"quay.io/gadgets/operator:1.0.0": digestFor(1), "quay.io/gadgets/gadget:2": digestFor(2),
		"nginx:1": digestFor(3), "quay.io/gadgets/side:1": digestFor(4),
	}}
	d := pinDraft(t, unpinnedCSV)
	pinned, err := d.pin(t.Context(), known, false)
	if err != nil || len(d.faults) > 0 {
		t.Fatal(err, d.faults)
	}
	want := strings.NewReplacer(
		"operator:1.0.0", "operator@"+digestFor(1), `gadgets/gadget:2"`, `gadgets/gadget@`+digestFor(2)+`"`,
		"nginx:1", "nginx@"+digestFor(3), "side:1", "side@"+digestFor(4),
		"spec: # of the operator\n", `spec: # of the operator
  relatedImages:
  - name: "gadgets"
    image: "nginx@`+digestFor(3)+`"
  - name: "side_car"
    image: "quay.io/gadgets/side@`+digestFor(4)+`"
  - name: "gadgets-2"
    image: "quay.io/gadgets/operator@`+digestFor(1)+`"
  - name: "pinned"
    image: "quay.io/gadgets/pinned`+someDigest+`"
  - name: "gadget"
    image: "quay.io/gadgets/gadget@`+digestFor(2)+`"
`).Replace(unpinnedCSV)
	if diff := cmp.Diff(want, string(d.files[0].Data)); diff != "" {
		t.Error(diff)
	}
	if len(pinned) != 5 || pinned[0] != (Change{"x.yaml", "metadata.annotations.containerImage", "quay.io/gadgets/operator:1.0.0", "quay.io/gadgets/operator@" + digestFor(1)}) {
		t.Errorf("%v", pinned)
	}
	if len(known.asked) != 4 {
		t.Errorf("asked for %v", known.asked)
	}
	before := string(d.files[0].Data)
	if again, err := d.pin(t.Context(), known, false); err != nil || len(again) > 0 || string(d.files[0].Data) != before || len(known.asked) != 4 {
		t.Errorf("a second time: %v, %v", again, err)
	}
}

// A list of its own is left as it is, and cannot stand beside variables.
func TestRelatedImages(t *testing.T) {
	const list = "  relatedImages: [{name: a, image: \"quay.io/a/b:1\"}]\n"
	for _, c := range []struct{ name, csv, says string }{
		{"a list", "kind: ClusterServiceVersion\nspec:\n" + list, ""},
		{"an empty list", "kind: ClusterServiceVersion\nspec:\n  relatedImages: []\n", ""},
		{"none needed", "kind: ClusterServiceVersion\nspec: {a: b}\n", ""},
		{"no mapping", "kind: ClusterServiceVersion\nimage: quay.io/a/b:1\nspec: 7\n", "spec is a scalar, not a mapping"},
		{"an alias", "kind: ClusterServiceVersion\nx: &x {image: \"quay.io/a/b:1\"}\nspec: *x\n", "is an alias"},
		{"both", strings.Replace(unpinnedCSV, "spec: # of the operator\n", "spec:\n"+list, 1), "is there beside RELATED_IMAGE_SIDE_CAR"},
	} {
		known := &registries{digests: map[string]string{
			"quay.io/a/b:1": digestFor(1), "quay.io/gadgets/operator:1.0.0": digestFor(1), "quay.io/gadgets/gadget:2": digestFor(2),
			"nginx:1": digestFor(3), "quay.io/gadgets/side:1": digestFor(4),
		}}
		d := pinDraft(t, c.csv)
		if _, err := d.pin(t.Context(), known, false); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.says == "" {
			if want := strings.ReplaceAll(c.csv, "b:1", "b@"+digestFor(1)); len(d.faults) > 0 || string(d.files[0].Data) != want {
				t.Errorf("%s: %v, %s", c.name, d.faults, d.files[0].Data)
			}
			continue
		}
		if len(d.faults) != 1 || d.faults[0].Path != "spec.relatedImages" || !strings.Contains(d.faults[0].Text, c.says) {
			t.Errorf("%s: %v", c.name, d.faults)
		}
	}
	d := pinDraft(t, "{kind: ClusterServiceVersion, image: \"quay.io/a/b"+someDigest+"\", spec: {}}")
	if _, err := d.pin(t.Context(), nil, false); err != nil || len(d.faults) > 0 ||
		!strings.Contains(string(d.files[0].Data), `spec: {"relatedImages": [{"name": "b", "image": "quay.io/a/b`+someDigest+`"}]}`) {
		t.Errorf("in braces: %v %v %s", err, d.faults, d.files[0].Data)
	}
}

// What happens to a build whose images cannot be asked for.
func TestUnreachable(t *testing.T) {
	outage := Retry(ReasonImageUnavailable, errors.New("no route"))
	for _, c := range []struct {
		name   string
		reject bool
		errs   map[string]error
		want   string
		says   []string
	}{
		{"missing waits", false, nil, "waiting image-unavailable", []string{"cannot pin 2 images", "a.io/a:1: no such image: not found", "b.io/b:1"}},
		{"missing rejects", true, nil, "rejected image-unavailable", []string{"cannot pin 2 images"}},
		{"outage", true, map[string]error{"a.io/a:1": outage}, "transient image-unavailable", []string{"no route"}},
		{"unknown", true, map[string]error{"b.io/b:1": errors.New("odd")}, "transient internal", []string{"odd"}},
	} {
		d := pinDraft(t, "list: [{image: \"b.io/b:1\"}, {image: \"a.io/a:1\"}]")
		_, err := d.pin(t.Context(), &registries{errs: c.errs}, c.reject)
		if got := fmt.Sprint(ClassOf(err), " ", ReasonOf(err)); got != c.want {
			t.Errorf("%s is %s: %v", c.name, got, err)
		}
		for _, says := range c.says {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v does not say %q", c.name, err, says)
			}
		}
	}
	d := pinDraft(t, "list:\n"+func() (out string) {
		for i := range maxPinned + 1 {
			out += fmt.Sprintf("- image: quay.io/a:%d\n", i)
		}
		return out
	}())
	asks := &registries{}
	if _, err := d.pin(t.Context(), asks, false); err != nil || len(d.faults) != 1 || len(asks.asked) > 0 {
		t.Errorf("too many: %v, %v, asked for %d", err, d.faults, len(asks.asked))
	}
}

// panics is a resolver with a bug.
type panics struct{}

func (panics) ResolveImage(context.Context, string) (string, error) { panic("bug") }

func TestPinPanics(t *testing.T) {
	d := pinDraft(t, "image: \"quay.io/a/b:1\"")
	if _, err := d.pin(t.Context(), panics{}, false); err == nil || ClassOf(err) != Transient || !strings.Contains(err.Error(), "bug") {
		t.Errorf("%v", err)
	}
}

// Nobody is asked about an operator that is rejected anyway.
func TestPinsOfTheRejected(t *testing.T) {
	for _, c := range []struct {
		edit    edit
		allowed []string
		reason  Reason
	}{
		{in("csv", "version: 1.0.0", "version: x"), nil, ReasonInvalidManifests},
		{in("csv", "x", "x"), []string{"example.com"}, ReasonForbiddenRegistry},
	} {
		asks := &registries{}
		s := specimenOf(t, "bundle", "manifests/")
		c.edit(s)
		order := orderOf(t, s.files)
		order.Organization.PinDigests, order.Organization.AllowedRegistries = true, c.allowed
		_, err := Prepare{Images: map[string]ImageResolver{order.Organization.Name: asks}}.Do(t.Context(), order)
		if ReasonOf(err) != c.reason || ClassOf(err) != Rejected || len(asks.asked) > 0 {
			t.Errorf("%s: %v, asked for %v", c.reason, err, asks.asked)
		}
	}
}

// everything answers with the same digest for every reference.
type everything struct{}

func (everything) ResolveImage(context.Context, string) (string, error) { return digestFor(7), nil }

// TestRealPins: pinning leaves no image of a real operator without a digest, and
// what comes out is still valid.
func TestRealPins(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector makes it ten times slower, and TestPin is enough for it")
	}
	both := 0
	for _, name := range realCorpus(t, "packagemanifest-flat", "packagemanifest-nested", "packagemanifest-odd", "bundle") {
		files, err := ReadArchive(readFile(t, name), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		order := Order{Organization: sampleOrganizations()[0], Manifests: manifestsOf(t, files)}
		_, plain := Prepare{}.Do(t.Context(), order)
		order.Organization.PinDigests = true
		rel, err := Prepare{Images: map[string]ImageResolver{order.Organization.Name: everything{}}}.Do(t.Context(), order)
		switch faults := strings.Join(FaultsOf(err), "\n"); {
		case plain != nil:
			continue
		case strings.Contains(faults, "is there beside"):
			both++
			continue
		case err != nil:
			t.Errorf("%s: %v: %s", filepath.Base(name), err, faults)
		}
		for _, b := range rel.Bundles {
			for _, f := range b.Files {
				doc, err := parseYAML(f)
				if err != nil {
					continue // not YAML, and not ours
				}
				for _, s := range imagesIn(doc.root, maxImages) {
					if s.sure && !s.refs[0].loose && !isPinned(s.refs[0].of(s.node.Value)) {
						t.Errorf("%s: %s: %s is %s", filepath.Base(name), f.Path, s.path, s.node.Value)
					}
				}
				if m := newManifest(doc); m.kind == kindCSV && len(unrelated(m)) > 0 && !strings.Contains(string(f.Data), "RELATED") && strings.Contains(string(f.Data), "relatedImages:\n  - name: \"") {
					t.Errorf("%s: %s lacks %v", filepath.Base(name), f.Path, unrelated(m))
				}
			}
		}
	}
	t.Logf("%d have related images beside variables", both)
}
