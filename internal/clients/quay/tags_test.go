package quay

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestPushGivesImageATagOfItsOwn(t *testing.T) {
	t.Parallel()
	unlabelled := etcd("")
	delete(unlabelled.Labels, pipeline.LabelBuildID)
	short := digest(t, unlabelled)[len("sha256:"):][:12]
	for name, test := range map[string]struct {
		pushed   pipeline.Bundle
		want     string
		warnings int
	}{
		"newer builds hold all tags": {etcd("7", "a", "b"), "build-7", 3},
		"no tags":                    {etcd("7"), "build-7", 1},
		"no tags and no build":       {unlabelled, "sha256-" + short, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			o := newOCI(t, f, nil)
			newer := etcd("8", "a", "b")
			mustPush(t, o, newer)
			for _, repeated := range []bool{false, true} {
				p := mustPush(t, o, test.pushed)
				if !cmp.Equal(p.Bundles[0].Tags, []string{test.want}) || p.Repeated != repeated || len(p.Warnings) != test.warnings {
					t.Fatalf("publication is %+v", p)
				}
				if last := p.Warnings[len(p.Warnings)-1]; last != "no other tag names "+digest(t, test.pushed)+": tagged "+test.want {
					t.Errorf("warning is %q", last)
				}
			}
			if got := named(t, f, test.want); got != digest(t, test.pushed) {
				t.Errorf("%s names %s", test.want, got)
			}
			if got := named(t, f, "a"); got != digest(t, newer) {
				t.Errorf("a names %s", got)
			}
		})
	}
}

func TestPushThatMaySetNoTagIsRefused(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	mustPush(t, o, etcd("8", "a", "build-7"))
	p, err := o.Push(t.Context(), releaseOf(etcd("7", "a")))
	wantError(t, err, pipeline.Rejected, pipeline.ReasonQuayRefused)
	if len(p.Bundles) != 0 || len(p.Warnings) != 2 {
		t.Errorf("publication is %+v", p)
	}
}

// Bundles of one build in one repository do not take their own tag in turns.
func TestSiblingsHaveDifferentOwnTags(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	one, two, elsewhere := etcd("7"), etcd("7"), etcd("7")
	one.Files[0].Data = []byte("one")
	elsewhere.Repository = "myorg/other"
	first := mustPush(t, o, one, two, elsewhere)
	for i, want := range []string{
		"build-7-" + digest(t, one)[len("sha256:"):][:12], "build-7-" + digest(t, two)[len("sha256:"):][:12], "build-7",
	} {
		if got := first.Bundles[i].Tags; !cmp.Equal(got, []string{want}) {
			t.Errorf("bundle %d has tags %q, want %q", i, got, want)
		}
	}
	if p := mustPush(t, o, one, two, elsewhere); !p.Repeated {
		t.Error("pushed again")
	}
}

// meanwhile makes another replica push b once, when the first request of a step
// whose path ends in suffix comes in: before it is answered, or after.
func meanwhile(t *testing.T, f *fakeRegistry, b pipeline.Bundle, step, suffix string, after bool) {
	replica := newOCI(t, f, nil)
	var done atomic.Bool
	f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
		if s != step || !strings.HasSuffix(r.URL.Path, suffix) || !done.CompareAndSwap(false, true) {
			return false
		}
		if after {
			f.next.ServeHTTP(w, r)
		}
		if _, err := replica.Push(r.Context(), releaseOf(b)); err != nil {
			t.Errorf("push of the replica: %v", err)
		}
		return after
	})
}

// Somebody who asks for no leases publishes a newer build. That is seen before the
// tag is set, and after, where the registry has not said what it names.
func TestNewerBuildTakesTagMeanwhile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		step, suffix string
		after        bool
		registry     func(*fakeRegistry)
	}{
		"during the uploads":        {stepStart, "", false, nil},
		"during uploads in two":     {stepCommit, "", false, inTwo},
		"between set and read-back": {stepPutManifest, "/latest", true, mute},
	} {
		for _, there := range []string{"nothing", "older"} {
			t.Run(name+" "+there, func(t *testing.T) {
				t.Parallel()
				f := newRegistry(t)
				if test.registry != nil {
					test.registry(f)
				}
				o := newOCI(t, f, nil)
				if there == "older" {
					mustPush(t, o, etcd("6", "latest"))
				}
				newer := etcd("8", "latest")
				meanwhile(t, f, newer, test.step, test.suffix, test.after)
				p := mustPush(t, o, etcd("7", "latest", "own"))
				if got := named(t, f, "latest"); got != digest(t, newer) {
					t.Errorf("latest names %s, not the newer build's image", got)
				}
				if diff := cmp.Diff([]string{"tag latest holds build 8, newer than 7: left"}, p.Warnings); diff != "" {
					t.Errorf("warnings (-want +got):\n%s", diff)
				}
				if !cmp.Equal(p.Bundles[0].Tags, []string{"own"}) || p.Repeated {
					t.Errorf("publication is %+v", p)
				}
			})
		}
	}
}

func TestNewerBuildTakesLastTagMeanwhile(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	mute(f)
	meanwhile(t, f, etcd("8", "latest"), stepPutManifest, "/latest", true)
	b := etcd("7", "latest")
	p := mustPush(t, newOCI(t, f, nil), b)
	if !cmp.Equal(p.Bundles[0].Tags, []string{"build-7"}) || len(p.Warnings) != 2 || p.Repeated {
		t.Errorf("publication is %+v", p)
	}
	if got := named(t, f, "build-7"); got != digest(t, b) {
		t.Errorf("build-7 names %s", got)
	}
}

// What the registry said of a tag holds for when it said so: that a newer build
// took the tag since is as if it had come later.
func TestNewerBuildTakesTagThatWasSet(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	newer := etcd("8", "latest")
	meanwhile(t, f, newer, stepPutManifest, "/latest", true)
	p := mustPush(t, newOCI(t, f, nil), etcd("7", "latest", "own"))
	if got := named(t, f, "latest"); got != digest(t, newer) {
		t.Errorf("latest names %s, not the newer build's image", got)
	}
	if !cmp.Equal(p.Bundles[0].Tags, []string{"latest", "own"}) || len(p.Warnings) != 0 || p.Repeated {
		t.Errorf("publication is %+v", p)
	}
}

// Whatever the order in which builds come to a tag, the newest has it.
func TestBuildsInParallelLeaveTagToTheNewest(t *testing.T) {
	t.Parallel()
	builds := []string{"11", "12", "13", "14", "15", "16"}
	for range 5 {
		f := newRegistry(t)
		o := newOCI(t, f, nil)
		var all sync.WaitGroup
		for _, build := range builds {
			all.Go(func() {
				if _, err := o.Push(t.Context(), releaseOf(etcd(build, "latest"))); err != nil {
					t.Errorf("build %s: %v", build, err)
				}
			})
		}
		all.Wait()
		if got := named(t, f, "latest"); got != digest(t, etcd("16")) {
			t.Errorf("latest names %s, not the newest build's image", got)
		}
	}
}

// immutable is a registry whose tags cannot be set twice, not even to the same.
func immutable(f *fakeRegistry) {
	f.setFault(func(step string, w http.ResponseWriter, r *http.Request) bool {
		if step != stepPutManifest || strings.Contains(r.URL.Path, "sha256:") {
			return false
		}
		head := httptest.NewRequest(http.MethodHead, r.URL.Path, nil)
		found := httptest.NewRecorder()
		f.next.ServeHTTP(found, head)
		if found.Code == http.StatusOK {
			writeErrors(w, http.StatusConflict, "TAG_IMMUTABLE", "tag is immutable")
			return true
		}
		return false
	})
}

func TestPushAndImmutableTags(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	immutable(f)
	o := newOCI(t, f, nil)
	mustPush(t, o, etcd("7", "a"))
	if p := mustPush(t, o, etcd("7", "a", "b")); p.Repeated {
		t.Error("repeated though a tag is new")
	}
	later := etcd("8", "a", "c")
	for _, repeated := range []bool{false, true} {
		p := mustPush(t, o, later)
		if diff := cmp.Diff([]string{"tag a was not set: TAG_IMMUTABLE: tag is immutable"}, p.Warnings); diff != "" {
			t.Errorf("warnings (-want +got):\n%s", diff)
		}
		if !cmp.Equal(p.Bundles[0].Tags, []string{"c"}) || p.Repeated != repeated {
			t.Errorf("publication is %+v", p)
		}
	}
	if got := named(t, f, "c"); got != digest(t, later) {
		t.Errorf("tag names %s", got)
	}
	p, err := o.Push(t.Context(), releaseOf(etcd("9", "a", "b")))
	wantError(t, err, pipeline.Rejected, pipeline.ReasonQuayRefused)
	if !strings.Contains(err.Error(), "TAG_IMMUTABLE: tag is immutable") || len(p.Bundles) != 0 {
		t.Errorf("error is %v, publication %+v", err, p)
	}
}

// Where the registry does not say what an immutable tag names, nothing is known.
func TestPushWhenImmutableTagCannotBeRead(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	var refused atomic.Bool
	f.setFault(func(step string, w http.ResponseWriter, r *http.Request) bool {
		switch {
		case step == stepPutManifest && strings.HasSuffix(r.URL.Path, "/a"):
			refused.Store(true)
			writeErrors(w, http.StatusConflict, "TAG_IMMUTABLE", "tag is immutable")
		case step == stepHeadTag && refused.Load():
			w.WriteHeader(http.StatusBadGateway)
		default:
			return false
		}
		return true
	})
	_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("7", "a")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
}

// The answer to a PUT is lost, somebody else tries again at the same time: the
// tag is set and refused.
func TestPushWhenImmutableTagWasSetMeanwhile(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	f.setFault(func(step string, w http.ResponseWriter, r *http.Request) bool {
		if step != stepPutManifest || strings.Contains(r.URL.Path, "sha256:") {
			return false
		}
		f.next.ServeHTTP(httptest.NewRecorder(), r)
		writeErrors(w, http.StatusConflict, "TAG_IMMUTABLE", "tag is immutable")
		return true
	})
	b := etcd("7", "a", "b")
	mustPush(t, newOCI(t, f, nil), b)
	if got := named(t, f, "b"); got != digest(t, b) {
		t.Errorf("tag names %s", got)
	}
}
