package quay

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func forcePush(t *testing.T, o *OCI, bundles ...pipeline.Bundle) pipeline.Publication {
	t.Helper()
	r := releaseOf(bundles...)
	r.Build.Trigger.Force = true
	p, err := o.Push(t.Context(), r)
	if err != nil {
		t.Fatalf("push: %v", err)
	}
	return p
}

func TestForceSendsAgain(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	b := etcd("7", "a", "b")
	first := forcePush(t, o, b)
	for range 2 {
		f.taken()
		again := forcePush(t, o, b)
		if diff := cmp.Diff(first, again); diff != "" || again.Repeated {
			t.Errorf("publication (-first +again):\n%s", diff)
		}
		want := []string{stepHeadTag, stepHeadTag, stepStart, stepStart, stepHeadTag, stepPutManifest, stepHeadTag, stepPutManifest}
		if diff := cmp.Diff(want, f.taken()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	}
	if p := mustPush(t, o, b); !p.Repeated {
		t.Error("without force it is not repeated")
	}
}

// Force is about what is ours: a newer build keeps its tags.
func TestForceLeavesTagsOfNewerBuilds(t *testing.T) {
	t.Parallel()
	for _, tags := range [][]string{{"latest", "own"}, {"latest"}} {
		f := newRegistry(t)
		o := newOCI(t, f, nil)
		newer, b := etcd("8", "latest"), etcd("7", tags...)
		want := []string{tags[len(tags)-1]}
		if len(tags) == 1 {
			want = []string{"build-7"}
		}
		mustPush(t, o, newer)
		for range 2 {
			p := forcePush(t, o, b)
			if !cmp.Equal(p.Bundles[0].Tags, want) || p.Repeated {
				t.Errorf("publication is %+v", p)
			}
			if !slices.Contains(p.Warnings, "tag latest holds build 8, newer than 7: left") {
				t.Errorf("warnings are %q", p.Warnings)
			}
			if got := named(t, f, "latest"); got != digest(t, newer) {
				t.Errorf("latest names %s", got)
			}
		}
	}
}

func TestForceLeavesTagThatNewerBuildTakesMeanwhile(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	newer, b := etcd("8", "latest"), etcd("7", "latest", "own")
	mustPush(t, o, b)
	meanwhile(t, f, newer, stepStart, "", false)
	if p := forcePush(t, o, b); !cmp.Equal(p.Bundles[0].Tags, []string{"own"}) || p.Repeated {
		t.Errorf("publication is %+v", p)
	}
	if got := named(t, f, "latest"); got != digest(t, newer) {
		t.Errorf("latest names %s", got)
	}
}

func TestForceLeavesImmutableTags(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	immutable(f)
	o := newOCI(t, f, nil)
	b := etcd("7", "a")
	mustPush(t, o, b)
	if p := forcePush(t, o, b); p.Repeated || len(p.Warnings) != 0 || !cmp.Equal(p.Bundles[0].Tags, []string{"a"}) {
		t.Errorf("publication is %+v", p)
	}
	p := forcePush(t, o, etcd("8", "a", "c"))
	if !cmp.Equal(p.Bundles[0].Tags, []string{"c"}) || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "tag is immutable") {
		t.Errorf("publication is %+v", p)
	}
	if got := named(t, f, "a"); got != digest(t, b) {
		t.Errorf("a names %s", got)
	}
}

// What somebody else took out of the repository comes back.
func TestForceMendsAnImage(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, stepStart)
	b := f.bundle(t, "mended")
	mustPush(t, f.oci, b)
	f.ask(t, "DELETE", b.Repository+"/manifests/"+digest(t, b), nil)
	forcePush(t, f.oci, b)
	if got := digestOf(f.ask(t, "GET", b.Repository+"/manifests/"+digest(t, b), nil)).String(); got != digest(t, b) {
		t.Errorf("image is %s", got)
	}
}

func TestForceThatFailsTellsWhatIsThere(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	b := etcd("7", "a", "b")
	mustPush(t, o, b)
	f.failing(stepStart, http.StatusBadGateway, "")
	p, err := o.Push(t.Context(), forced(releaseOf(b)))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	if len(p.Bundles) != 1 || !cmp.Equal(p.Bundles[0].Tags, b.Tags) {
		t.Errorf("publication is %+v", p)
	}
}
