package quay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

const stepDelete = "DELETE manifest"

// newQuay is a fake registry that deletes as Quay does: a digest with all its tags.
func newQuay(t *testing.T) *fakeRegistry {
	f := newRegistry(t)
	f.next = sandbox.NewRegistry()
	return f
}

func tagsOfRegistry(t *testing.T, f *fakeRegistry) []string {
	t.Helper()
	w := httptest.NewRecorder()
	f.next.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/myorg/etcd/tags/list", nil))
	var list struct{ Tags []string }
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	return list.Tags
}

func deletion(version string) pipeline.Deletion {
	return pipeline.Deletion{Repository: "myorg/etcd", Version: version}
}

func wantDeleted(t *testing.T, o *OCI, version string, want ...string) {
	t.Helper()
	got, err := o.Delete(t.Context(), deletion(version))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("deletion of %q: %q, %v, want %q", version, got, err, want)
	}
}

// Whether or not a registry deletes tags together with what they name, they are gone.
func TestDelete(t *testing.T) {
	t.Parallel()
	for name, newFake := range map[string]func(*testing.T) *fakeRegistry{"Quay": newQuay, "by name": newRegistry} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			o := newOCI(t, f, nil)
			mustPush(t, o, etcd("7", "0.9.4", "a-1-7"), etcd("8", "1.0.0_x", "a-1-8"), etcd("9", "2.0.0", "a-1-9"))

			wantDeleted(t, o, "1.0.0+x", "1.0.0_x")
			left := []string{"0.9.4", "2.0.0", "a-1-7", "a-1-8", "a-1-9"}
			if name == "Quay" {
				left = []string{"0.9.4", "2.0.0", "a-1-7", "a-1-9"}
			}
			if got := tagsOfRegistry(t, f); !slices.Equal(got, left) {
				t.Errorf("tags are %q, want %q", got, left)
			}
			_, err := o.Delete(t.Context(), deletion("1.0.0+x"))
			wantError(t, err, pipeline.Rejected, pipeline.ReasonPackageNotFound)
			if want := "myorg/etcd:1.0.0_x not found"; err.Error() != want {
				t.Errorf("error is %v, want %s", err, want)
			}

			if name != "Quay" { // its digest is gone already, and so no image
				left = slices.DeleteFunc(left, func(tag string) bool { return tag == "a-1-8" })
				wantDeleted(t, o, "a-1-8", "a-1-8")
			}
			wantDeleted(t, o, "", left...)
			if got := tagsOfRegistry(t, f); len(got) != 0 {
				t.Errorf("tags are %q", got)
			}
			_, err = o.Delete(t.Context(), deletion(""))
			wantError(t, err, pipeline.Rejected, pipeline.ReasonPackageNotFound)
			mustPush(t, o, etcd("7", "0.9.4")) // nothing is remembered of what is gone
		})
	}
}

func TestDeleteRefusesNames(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	for _, tc := range []struct {
		repository, version string
		reason              pipeline.Reason
	}{
		{"myorg/Etcd", "", pipeline.ReasonQuayRefused},
		{"", "1.0.0", pipeline.ReasonQuayRefused},
		{"myorg/../x", "1.0.0", pipeline.ReasonQuayRefused},
		{"myorg/etcd", ".1", pipeline.ReasonInvalidVersion},
		{"myorg/etcd", strings.Repeat("1", 129), pipeline.ReasonInvalidVersion},
	} {
		_, err := o.Delete(t.Context(), pipeline.Deletion{Repository: tc.repository, Version: tc.version})
		wantError(t, err, pipeline.Rejected, tc.reason)
	}
	if steps := f.taken(); count(steps, stepHeadTag) != 0 {
		t.Errorf("requests are %v", steps)
	}
}

// Who asks Quay for a token to push makes the repository that is not there.
func TestDeleteOfNothingAsksOnlyToPull(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	k := withTokens(f)
	o := newOCI(t, f, nil)
	for _, version := range []string{"", "1.0.0"} {
		_, err := o.Delete(t.Context(), deletion(version))
		wantError(t, err, pipeline.Rejected, pipeline.ReasonPackageNotFound)
	}
	pull := "repository:myorg/etcd:pull"
	if _, scopes := k.given(); !slices.Equal(scopes, []string{pull, pull}) {
		t.Errorf("scopes are %q", scopes)
	}
	mustPush(t, o, etcd("7", "a"))
	wantDeleted(t, o, "a", "a")
	if _, scopes := k.given(); !slices.Equal(scopes[2:], []string{"repository:myorg/etcd:push,pull", pull}) {
		t.Errorf("scopes are %q", scopes)
	}
}

// Some registries want a right to delete, and say so. Quay knows no such right,
// and refuses a token to who asks for it.
func TestDeleteRightIsAskedForWhereItIsWanted(t *testing.T) {
	t.Parallel()
	f := newQuay(t)
	k := withTokens(f)
	f.setFault(func(step string, w http.ResponseWriter, r *http.Request) bool {
		_, scopes := k.given()
		if step == stepDelete && !slices.Contains(scopes, "repository:myorg/etcd:delete") {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/v2/auth",service="fake",scope="repository:myorg/etcd:delete"`, f.URL))
			writeErrors(w, http.StatusUnauthorized, "UNAUTHORIZED", "insufficient scope")
			return true
		}
		return k.guard(step, w, r)
	})
	o := newOCI(t, f, nil)
	mustPush(t, o, etcd("7", "a"))
	wantDeleted(t, o, "a", "a")
}

// What was deleted before an error is said beside it.
func TestDeleteOfAllEndsHalfWay(t *testing.T) {
	t.Parallel()
	f := newQuay(t)
	o := newOCI(t, f, nil)
	mustPush(t, o, etcd("7", "a"), etcd("8", "b"))
	var deletions atomic.Int32
	f.setFault(func(step string, w http.ResponseWriter, _ *http.Request) bool {
		if step != stepDelete || deletions.Add(1) == 1 {
			return false
		}
		writeErrors(w, http.StatusConflict, "TAG_IMMUTABLE", "tag is immutable")
		return true
	})
	got, err := o.Delete(t.Context(), deletion(""))
	wantError(t, err, pipeline.Rejected, pipeline.ReasonQuayRefused)
	if !slices.Equal(got, []string{"a"}) || !slices.Equal(tagsOfRegistry(t, f), []string{"b"}) {
		t.Errorf("deleted %q, left %q", got, tagsOfRegistry(t, f))
	}
}

// Looks that fail say nothing against an answer that was clear.
func TestDeleteCannotLook(t *testing.T) {
	t.Parallel()
	f := newQuay(t)
	o := newOCI(t, f, nil)
	mustPush(t, o, etcd("7", "a"))
	var deleted atomic.Bool
	f.setFault(func(step string, w http.ResponseWriter, _ *http.Request) bool {
		if step == stepDelete {
			deleted.Store(true)
		}
		if step == stepHeadTag && deleted.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	})
	wantDeleted(t, o, "a", "a")
}

// Somebody pushes the tag anew while its image is being deleted: that is none of
// the deletion's business.
func TestDeleteLeavesWhatIsPushedMeanwhile(t *testing.T) {
	t.Parallel()
	f := newRegistry(t) // which deletes tags by name only
	o, other := newOCI(t, f, nil), newOCI(t, f, nil)
	mustPush(t, o, etcd("7", "a"))
	var once sync.Once
	f.setFault(func(step string, _ http.ResponseWriter, _ *http.Request) bool {
		if step == stepDelete {
			once.Do(func() { mustPush(t, other, etcd("8", "a")) })
		}
		return false
	})
	wantDeleted(t, o, "a", "a")
	if got := named(t, f, "a"); got != digest(t, etcd("8")) {
		t.Errorf("a names %s", got)
	}
}

func TestDeleteListsAllPages(t *testing.T) {
	t.Parallel()
	f := newQuay(t)
	o := newOCI(t, f, nil)
	mustPush(t, o, etcd("7", "a", "b"), etcd("8", "c"))
	const list = "GET /v2/myorg/etcd/tags/list"
	f.setFault(func(step string, w http.ResponseWriter, r *http.Request) bool {
		if step != list {
			return false
		}
		next := map[string]string{"": "a", "a": "b", "b": "c"}
		last := next[r.URL.Query().Get("last")]
		if last != "c" {
			w.Header().Set("Link", fmt.Sprintf(`</v2/myorg/etcd/tags/list?last=%s>; rel="next"`, last))
		}
		_, _ = fmt.Fprintf(w, `{"tags": [%q, "gone-%s", "no tag"]}`, last, last)
		return true
	})
	wantDeleted(t, o, "", "a", "b", "c")

	for name, page := range map[string]func(http.ResponseWriter){
		"too many tags": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"tags": ["a"`+strings.Repeat(`,"a"`, maxTags)+`]}`)
		},
		"too many pages": func(w http.ResponseWriter) {
			w.Header().Set("Link", `</v2/myorg/etcd/tags/list?last=a>; rel="next"`)
			_, _ = io.WriteString(w, `{"tags": []}`)
		},
	} {
		f.setFault(func(step string, w http.ResponseWriter, _ *http.Request) bool {
			if step == list {
				page(w)
			}
			return step == list
		})
		_, err := o.Delete(t.Context(), deletion(""))
		if verdictOf(err) != unsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A deletion and a push never have a tag at the same time, and a lost lease ends it.
func TestDeleteLocksTags(t *testing.T) {
	t.Parallel()
	f := newQuay(t)
	locker := newLocker()
	o := newOCI(t, f, sharing(locker))
	mustPush(t, o, etcd("7", "a", "b"))
	errLost := errors.New("the bucket is gone")
	f.setFault(func(step string, w http.ResponseWriter, _ *http.Request) bool {
		if step != stepDelete {
			return false
		}
		locker.mu.Lock()
		for _, tag := range []string{"a", "b"} {
			if lease := locker.leases[f.host()+"/myorg/etcd:"+tag]; lease == nil || lease.owner != deleteOwner {
				t.Errorf("tag %s is not locked", tag)
			}
		}
		locker.mu.Unlock()
		locker.lose(f.host()+"/myorg/etcd:a", errLost)
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	_, err := o.Delete(t.Context(), deletion(""))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	if !errors.Is(err, errLost) || locker.held() != 0 {
		t.Errorf("error is %v, %d leases are held", err, locker.held())
	}
	f.setFault(nil)
	wantDeleted(t, o, "", "a", "b")
}

// An organization has images that are no bundles, and these stay.
func TestDeleteLeavesOtherImages(t *testing.T) {
	t.Parallel()
	f := newQuay(t)
	o := newOCI(t, f, nil)
	application := etcd("", "1.0.0")
	application.Labels = map[string]string{"name": "etcd"}
	mustPush(t, o, application)
	for _, version := range []string{"1.0.0", ""} {
		_, err := o.Delete(t.Context(), deletion(version))
		wantError(t, err, pipeline.Rejected, pipeline.ReasonQuayRefused)
	}
	if got := tagsOfRegistry(t, f); !slices.Equal(got, []string{"1.0.0"}) {
		t.Errorf("tags are %q", got)
	}
}
