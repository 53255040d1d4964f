package quay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// stepStartOfTwo is the POST of a blob to a registry that takes it with the PUT.
const stepStartOfTwo = stepStart + " of two"

// hit says which requests meet a fault, and what did.
type hit struct {
	step string
	nth  int // of the step; -1: each

	mu   sync.Mutex
	seen int
	met  string
}

func always(step string) *hit        { return &hit{step: step, nth: -1} }
func once(step string, nth int) *hit { return &hit{step: step, nth: nth} }

func (h *hit) meets(step string, r *http.Request) bool {
	if step != strings.TrimSuffix(h.step, " of two") {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen++
	if h.nth >= 0 && h.nth != h.seen-1 {
		return false
	}
	h.met = writeName(r)
	return true
}

func (h *hit) happened() bool { return h.request() != "" }

// request names what has met the fault.
func (h *hit) request() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.met
}

// writeName is the digest of a blob, or the path.
func writeName(r *http.Request) string {
	if digest := r.URL.Query().Get("digest"); digest != "" {
		return digest
	}
	return r.URL.Path
}

// takenWrites counts what a registry was told to keep, and has kept.
type takenWrites struct {
	next  http.Handler
	mu    sync.Mutex
	count map[string]int
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (k *takenWrites) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := &statusWriter{ResponseWriter: w}
	k.next.ServeHTTP(answer, r)
	if answer.status != http.StatusCreated {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.count == nil {
		k.count = make(map[string]int)
	}
	k.count[writeName(r)]++
}

func (k *takenWrites) times(name string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count[name]
}

// whole makes a registry refuse an image manifest without its blobs, as Quay and
// distribution do.
func whole(f *fakeRegistry) {
	next := f.next
	f.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stepOf(r) != stepPutManifest {
			next.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		manifest, err := v1.ParseManifest(bytes.NewReader(body))
		if err != nil {
			writeErrors(w, http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
			return
		}
		for _, blob := range append(manifest.Layers, manifest.Config) {
			found := httptest.NewRecorder()
			next.ServeHTTP(found, httptest.NewRequest(http.MethodHead, "/v2/any/blobs/"+blob.Digest.String(), nil))
			if found.Code != http.StatusOK {
				writeErrors(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "manifest blob unknown to registry")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// faulty is a registry with bearer tokens whose requests may meet a fault.
type faulty struct {
	*fakeRegistry
	*tokens
	taken *takenWrites
	oci   *OCI
	older []byte // image manifest of build 6
}

// newFaulty makes one whose pushes have a step.
func newFaulty(t *testing.T, step string) *faulty {
	r := newRegistry(t)
	taken := &takenWrites{next: r.next}
	r.next = taken
	whole(r)
	if step == stepStartOfTwo || step == stepCommit {
		inTwo(r)
	}
	f := &faulty{fakeRegistry: r, tokens: withTokens(r), taken: taken, oci: newOCI(t, r, nil)}

	img := mustImage(t, etcd("6"))
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if f.older, err = img.RawManifest(); err != nil {
		t.Fatal(err)
	}
	f.ask(t, http.MethodPost, "myorg/any/blobs/uploads/?digest="+digestOf(config).String(), config)
	return f
}

// nvr7 names build 7.
var nvr7 = pipeline.NVR{Name: "etcd-operator-container", Version: "1.0", Release: "7"}

// bundle is build 7 with a repository and a layer of its own, and each kind of tag.
// There, tag a names the image of build 6.
func (f *faulty) bundle(t *testing.T, name string) pipeline.Bundle {
	b := etcd("7", "a", "b", nvr7.String())
	b.Repository = "myorg/" + name
	b.Files[0].Data = []byte(name)
	f.ask(t, http.MethodPut, b.Repository+"/manifests/a", f.older)
	return b
}

// ask has the registry itself answer, and gives the body.
func (f *faulty) ask(t *testing.T, method, path string, body []byte) []byte {
	t.Helper()
	r := httptest.NewRequest(method, "/v2/"+path, bytes.NewReader(body))
	r.Header.Set("Content-Type", string(manifestType))
	w := httptest.NewRecorder()
	f.taken.next.ServeHTTP(w, r)
	if w.Code/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// push logs in and pushes b while the requests of h meet x.
func (f *faulty) push(t *testing.T, b pipeline.Bundle, x fault, h *hit) (pipeline.Publication, error) {
	ctx, lose := context.WithCancel(t.Context())
	defer lose()
	f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
		if !h.meets(s, r) {
			return f.guard(s, w, r)
		}
		if x.acted && slices.Contains(writeSteps, h.step) {
			f.next.ServeHTTP(httptest.NewRecorder(), r)
		}
		_, _ = io.Copy(io.Discard, r.Body) // else net/http does not see the client leave
		switch {
		case x.hung:
			lose()
			<-r.Context().Done()
		case x.cut:
			panic(http.ErrAbortHandler)
		default:
			f.answer(w, x, h)
		}
		return true
	})
	defer f.setFault(f.guard)
	f.oci.logins.forget(f.oci.registry.Repo(b.Repository))
	return f.oci.Push(ctx, releaseOf7(b))
}

func releaseOf7(b pipeline.Bundle) pipeline.Release {
	r := releaseOf(b)
	r.Build.NVR = nvr7
	return r
}

func (f *faulty) answer(w http.ResponseWriter, x fault, h *hit) {
	if x.expired {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/v2/auth",service="fake"`, f.URL))
	}
	if h.nth < 0 {
		w.Header().Set("Retry-After", "99999999")
	}
	w.WriteHeader(x.status)
	_, _ = io.WriteString(w, x.body)
}

// wantPublished looks at all that the registry has of b, and at p.
func (f *faulty) wantPublished(t *testing.T, after string, b pipeline.Bundle, p pipeline.Publication) {
	t.Helper()
	want := digest(t, b)
	if len(p.Bundles) != 1 || !cmp.Equal(p.Bundles[0].Tags, b.Tags) || !strings.HasSuffix(p.Bundles[0].Reference, "@"+want) {
		t.Errorf("after %s: publication is %+v", after, p)
	}
	for _, ref := range append([]string{want}, b.Tags...) {
		if got := digestOf(f.ask(t, http.MethodGet, b.Repository+"/manifests/"+ref, nil)).String(); got != want {
			t.Errorf("after %s: %s names %s, not %s", after, ref, got, want)
		}
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(f.ask(t, http.MethodGet, b.Repository+"/manifests/"+want, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range append(manifest.Layers, manifest.Config) {
		if got := digestOf(f.ask(t, http.MethodGet, b.Repository+"/blobs/"+blob.Digest.String(), nil)); got != blob.Digest {
			t.Errorf("after %s: blob %s is %s", after, blob.Digest, got)
		}
	}
	var list struct{ Tags []string }
	if err := json.Unmarshal(f.ask(t, http.MethodGet, b.Repository+"/tags/list", nil), &list); err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(list.Tags, b.Tags) {
		t.Errorf("after %s: the repository has tags %q", after, list.Tags)
	}
	for _, tag := range b.Tags {
		if n := f.taken.times("/v2/" + b.Repository + "/manifests/" + tag); n != 1 {
			t.Errorf("after %s: tag %s was set %d times", after, tag, n)
		}
	}
}
