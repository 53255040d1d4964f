package quay

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// deleteVerdict is the verdict on a fault that lasts, of a deletion.
func (x fault) deleteVerdict() verdict {
	switch {
	case x.acted:
		return success // it is gone, whatever is said of it
	case strings.Contains(x.body, `"UNSUPPORTED"`):
		return unsupported
	}
	return x.want
}

// goesByName tells whether a fault that happens once leaves but the tag to delete:
// there is no image, it says, or that it is gone.
func (x fault) goesByName() bool {
	return x.status == http.StatusNotFound || x.status == http.StatusAccepted && !x.acted
}

// failDeletion makes DELETE meet a fault, each time or the first time.
func failDeletion(t *testing.T, f *fakeRegistry, k *tokens, x fault, lasting bool) (context.Context, *atomic.Int32) {
	ctx, lose := context.WithCancel(t.Context())
	t.Cleanup(lose)
	var met atomic.Int32
	f.setFault(func(step string, w http.ResponseWriter, r *http.Request) bool {
		if step != stepDelete || met.Add(1) > 1 && !lasting {
			return k.guard(step, w, r)
		}
		if x.acted {
			f.next.ServeHTTP(httptest.NewRecorder(), r)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case x.hung:
			lose()
			<-r.Context().Done()
		case x.cut:
			panic(http.ErrAbortHandler)
		default:
			if x.expired {
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/v2/auth",service="fake"`, f.URL))
			}
			w.WriteHeader(x.status)
			_, _ = io.WriteString(w, x.body)
		}
		return true
	})
	return ctx, &met
}

func TestDeleteMeetsFaults(t *testing.T) {
	t.Parallel()
	for _, lasting := range []bool{true, false} {
		for i, x := range faults {
			t.Run(fmt.Sprint(lasting, i), func(t *testing.T) {
				t.Parallel()
				f := newQuay(t)
				k := withTokens(f)
				o := newOCI(t, f, nil)
				mustPush(t, o, etcd("7", "a", "b"), etcd("8", "c"))
				ctx, met := failDeletion(t, f, k, x, lasting)
				got, err := o.Delete(ctx, deletion("a"))
				want := x.deleteVerdict()
				switch {
				case x.hung && x.acted:
					want = lost // nobody is left to look
				case x.expired && !lasting:
					want = success // with another token
				case x.goesByName() && !lasting:
					want = success
				}
				if v := verdictOf(err); v != want {
					t.Errorf("%s: %v, want %v: %v", x, v, want, err)
				}
				if met.Load() == 0 {
					t.Fatal("nothing was deleted")
				}
				if (err == nil) != slices.Equal(got, []string{"a"}) {
					t.Errorf("%s: deleted %q and %v", x, got, err)
				}
				f.setFault(k.guard)
				if err != nil && !x.acted {
					wantDeleted(t, o, "a", "a")
				}
				left := []string{"c"}
				if x.goesByName() && !lasting {
					left = []string{"b", "c"}
				}
				if tags := tagsOfRegistry(t, f); !slices.Equal(tags, left) {
					t.Errorf("%s: tags are %q", x, tags)
				}
			})
		}
	}
}
