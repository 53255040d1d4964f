package quay

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// referenceOf is host/myorg/etcd with a tag of what a fake registry holds.
func referenceOf(t *testing.T, f *fakeRegistry, tag string) name.Tag {
	t.Helper()
	ref, err := name.NewTag(f.host()+"/myorg/etcd:"+tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// named is the digest that a tag names, as somebody else reads it.
func named(t *testing.T, f *fakeRegistry, tag string) string {
	t.Helper()
	found, err := remote.Head(referenceOf(t, f, tag))
	if err != nil {
		t.Fatal(err)
	}
	return found.Digest.String()
}

func TestPushPublishes(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	older, newer := etcd("7", "0.9.2", "n-v-r-0.9.2"), etcd("7", "0.9.4", "n-v-r-0.9.4", "0.9.4")
	older.Version, older.CSV = "0.9.2", "etcdoperator.v0.9.2"
	older.Files[0].Data = []byte("older")
	got := mustPush(t, newOCI(t, f, nil), older, newer)

	bundle := func(b pipeline.Bundle, tags ...string) pipeline.PushedBundle {
		return pipeline.PushedBundle{
			Version: b.Version, CSV: b.CSV, Repository: "myorg/etcd", Channels: []string{"alpha"}, DefaultChannel: "alpha",
			Reference: f.host() + "/myorg/etcd@" + digest(t, b), Tags: tags,
		}
	}
	want := pipeline.Publication{Bundles: []pipeline.PushedBundle{
		bundle(older, "0.9.2", "n-v-r-0.9.2"), bundle(newer, "0.9.4", "n-v-r-0.9.4"),
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("publication (-want +got):\n%s", diff)
	}
	for _, tag := range []string{"0.9.4", "n-v-r-0.9.4"} {
		img, err := remote.Image(referenceOf(t, f, tag))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", tag, err)
		}
	}
}

func TestPushAgainSendsNothing(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	b := etcd("7", "0.9.4", "n-v-r")
	first := mustPush(t, newOCI(t, f, nil), b)
	f.taken()

	second := mustPush(t, newOCI(t, f, nil), b)
	if want := []string{stepPing, stepHeadTag, stepHeadTag}; !cmp.Equal(f.taken(), want) {
		t.Errorf("requests are not %v", want)
	}
	first.Repeated = true
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("publication (-first +second):\n%s", diff)
	}
}

func TestPushIsRepeatedOnlyWhenAllIs(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	mustPush(t, o, etcd("7", "a"))
	if p := mustPush(t, o, etcd("7", "a"), etcd("8", "b")); p.Repeated {
		t.Error("repeated though one bundle is new")
	}
	if p := mustPush(t, o, etcd("7", "a"), etcd("8", "b")); !p.Repeated {
		t.Error("not repeated though both were there")
	}
	if p := mustPush(t, o, etcd("8", "b", "c")); p.Repeated {
		t.Error("repeated though a tag is new")
	}
	if p := mustPush(t, o); p.Repeated {
		t.Error("a release of nothing is repeated")
	}
}

func TestPushReadsBack(t *testing.T) {
	t.Parallel()
	b := etcd("7", "a", "b")
	swallow := func(path string) func(f *fakeRegistry) func(string, http.ResponseWriter, *http.Request) bool {
		return func(f *fakeRegistry) func(string, http.ResponseWriter, *http.Request) bool {
			return func(step string, w http.ResponseWriter, r *http.Request) bool {
				if step != stepPutManifest || !strings.HasSuffix(r.URL.Path, path) {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusCreated)
				return true
			}
		}
	}
	for name, fault := range map[string]func(f *fakeRegistry) func(string, http.ResponseWriter, *http.Request) bool{
		"tag is not set": swallow("/b"),
		"tag is set to something else": func(f *fakeRegistry) func(string, http.ResponseWriter, *http.Request) bool {
			other, err := mustImage(t, etcd("6")).RawManifest()
			if err != nil {
				t.Fatal(err)
			}
			return func(step string, w http.ResponseWriter, r *http.Request) bool {
				if step != stepPutManifest || !strings.HasSuffix(r.URL.Path, "/b") {
					return false
				}
				put := httptest.NewRequest(http.MethodPut, r.URL.Path, strings.NewReader(string(other)))
				put.Header = r.Header
				f.next.ServeHTTP(httptest.NewRecorder(), put)
				w.WriteHeader(http.StatusCreated)
				return true
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			f.setFault(fault(f))
			p, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(b))
			wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
			if !strings.Contains(err.Error(), "after the push, not "+digest(t, b)) {
				t.Errorf("error is %v", err)
			}
			if len(p.Bundles) != 1 || !cmp.Equal(p.Bundles[0].Tags, []string{"a"}) {
				t.Errorf("publication is %+v", p)
			}
		})
	}
}

func TestPushStopsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	bad := etcd("7", "b")
	bad.Repository = "myorg/Etcd"
	p, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("6", "a"), bad, etcd("8", "c")))
	wantError(t, err, pipeline.Rejected, pipeline.ReasonQuayRefused)
	if len(p.Bundles) != 1 || p.Repeated {
		t.Errorf("publication is %+v", p)
	}
}

// Whatever ends a push, what was published by then is told.
func TestPushTellsTagsThatWereSet(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		tag    string // whose PUT is answered by
		status int
		code   string
		want   verdict
		tags   []string
	}{
		"later failure":  {"b", http.StatusBadGateway, "", passes, []string{"a"}},
		"later refusal":  {"b", http.StatusBadRequest, "TAG_INVALID", final, []string{"a"}},
		"first failure":  {"a", http.StatusBadGateway, "", passes, nil},
		"first refusal":  {"a", http.StatusBadRequest, "TAG_INVALID", final, nil},
		"foreign answer": {"b", http.StatusConflict, "", passes, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			f.setFault(func(step string, w http.ResponseWriter, r *http.Request) bool {
				if step != stepPutManifest || !strings.HasSuffix(r.URL.Path, "/"+test.tag) {
					return false
				}
				w.WriteHeader(test.status)
				if test.code != "" {
					_, _ = io.WriteString(w, errorsBody(test.code, ""))
				}
				return true
			})
			b := etcd("7", "a", "b")
			p, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(b))
			if got := verdictOf(err); got != test.want {
				t.Errorf("%v, want %v: %v", got, test.want, err)
			}
			if test.tags == nil {
				if len(p.Bundles) != 0 {
					t.Errorf("publication is %+v", p)
				}
				return
			}
			if len(p.Bundles) != 1 || !cmp.Equal(p.Bundles[0].Tags, test.tags) ||
				p.Bundles[0].Reference != f.host()+"/myorg/etcd@"+digest(t, b) {
				t.Errorf("publication is %+v", p)
			}
		})
	}
}

func TestPushRefusesNames(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	for _, repository := range []string{"", "/", "myorg/", "myorg//x", "myorg/..", "../x", "MyOrg/x", "myorg/x:1", "myorg/x@y", "myorg/x?y", strings.Repeat("a", 256)} {
		b := etcd("7", "a")
		b.Repository = repository
		_, err := o.Push(t.Context(), releaseOf(b))
		wantError(t, err, pipeline.Rejected, pipeline.ReasonQuayRefused)
	}
	for _, tag := range []string{"", "-a", ".a", "a/b", "a b", "a:b", "a+b", "../x", "sha256:0", strings.Repeat("a", 129)} {
		_, err := o.Push(t.Context(), releaseOf(etcd("7", tag)))
		wantError(t, err, pipeline.Rejected, pipeline.ReasonQuayRefused)
	}
	if steps := f.taken(); len(steps) != 0 {
		t.Errorf("requests were sent: %v", steps)
	}
}

func TestPushRefusesBadBundle(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	b := etcd("7", "a")
	b.Labels["quay.expires-after"] = "2w"
	_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(b))
	wantError(t, err, pipeline.Rejected, pipeline.ReasonInvalidManifests)
	if steps := f.taken(); len(steps) != 0 {
		t.Errorf("requests were sent: %v", steps)
	}
}

func TestPushInParallel(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	withTokens(f)
	o := newOCI(t, f, nil)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			b := etcd("7", "0.9.4", "n-v-r")
			b.Repository = fmt.Sprintf("myorg/etcd-%d", i%3)
			p, err := o.Push(t.Context(), releaseOf(b))
			if err != nil {
				t.Errorf("push %d: %v", i, err)
				return
			}
			if want := f.host() + "/" + b.Repository + "@" + digest(t, b); p.Bundles[0].Reference != want {
				t.Errorf("reference is %s, want %s", p.Bundles[0].Reference, want)
			}
		})
	}
	all.Wait()
}

// hang keeps each request of a step open until the client goes away.
func hang(f *fakeRegistry, step string) (arrived chan struct{}) {
	arrived = make(chan struct{}, 100)
	f.setFault(func(s string, _ http.ResponseWriter, r *http.Request) bool {
		if s != step {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body) // else net/http does not see the client leave
		arrived <- struct{}{}
		<-r.Context().Done()
		return true
	})
	return arrived
}

func TestPushEndsInTime(t *testing.T) {
	t.Parallel()
	for _, step := range []string{stepPing, stepHeadTag, stepStart, stepCommit, stepPutManifest} {
		registry := func(t *testing.T) *fakeRegistry {
			f := newRegistry(t)
			if step == stepCommit {
				inTwo(f)
			}
			return f
		}
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := registry(t)
			hang(f, step)
			o := newOCI(t, f, func(o *OCIOptions) { o.Timeout = 100 * time.Millisecond })
			_, err := o.Push(t.Context(), releaseOf(etcd("7", "a")))
			wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
		})
		t.Run(step+" cancelled", func(t *testing.T) {
			t.Parallel()
			f := registry(t)
			arrived := hang(f, step)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-arrived; cancel() }()
			_, err := newOCI(t, f, nil).Push(ctx, releaseOf(etcd("7", "a")))
			wantError(t, err, pipeline.Transient, pipeline.ReasonDeadline)
		})
	}
}
