package quay

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// withIndex is a registry with an index of several images at myorg/multi:1.
func withIndex(t *testing.T, f *fakeRegistry) (reference, digest string) {
	t.Helper()
	index, err := random.Index(64, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(f.host() + "/myorg/multi:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index, remote.WithTransport(f.Client().Transport)); err != nil {
		t.Fatal(err)
	}
	hash, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	f.taken()
	return tag.String(), hash.String()
}

// newResolver makes a resolver whose own registry is f; change may be nil.
func newResolver(t *testing.T, f *fakeRegistry, change func(*ResolverOptions)) *Resolver {
	t.Helper()
	o := ResolverOptions{
		Registry: f.host(), PlainHTTP: true, Timeout: 10 * time.Second,
		HTTP: newClient(), Internet: clients.New(clients.Options{Name: "images"}),
	}
	if change != nil {
		change(&o)
	}
	r, err := NewResolver(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func asRobot(o *ResolverOptions) { o.Username, o.Password = robot, clients.Secret(password) }

// knowing makes f, which has TLS, a known registry beside another of one's own.
func knowing(f *fakeRegistry) func(*ResolverOptions) {
	return func(o *ResolverOptions) {
		asRobot(o)
		roots := x509.NewCertPool()
		roots.AddCert(f.Certificate())
		o.Registry, o.Known = "quay.example", []string{f.host()}
		o.HTTP = clients.New(clients.Options{Name: "images", RootCAs: roots, Hosts: []string{f.host()}})
	}
}

func mustResolve(t *testing.T, r *Resolver, reference, want string) {
	t.Helper()
	if got, err := r.ResolveImage(t.Context(), reference); got != want || err != nil {
		t.Errorf("%s is %q, %v; want %s", reference, got, err, want)
	}
}

func wantUnresolved(t *testing.T, err error, noImage bool, reason pipeline.Reason) {
	t.Helper()
	wantError(t, err, pipeline.Transient, reason)
	if errors.Is(err, pipeline.ErrNoImage) != noImage {
		t.Errorf("ErrNoImage is %v in: %v", !noImage, err)
	}
	wantNoSecret(t, err.Error())
	if strings.Contains(err.Error(), "signed") {
		t.Errorf("error has a query: %v", err)
	}
}

func TestResolveIndex(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	reference, digest := withIndex(t, f)
	r := newResolver(t, f, nil)
	for range 2 {
		mustResolve(t, r, reference, digest)
		if diff := cmp.Diff([]string{stepPing, stepHeadTag}, f.taken()); diff != "" {
			t.Error(diff)
		}
	}
	for _, absent := range []string{f.host() + "/myorg/multi", f.host() + "/myorg/other:1"} {
		_, err := r.ResolveImage(t.Context(), absent)
		wantUnresolved(t, err, true, pipeline.ReasonImageUnavailable)
	}
}

// TestResolveWithoutDigestHeader: where HEAD is no answer, GET is.
func TestResolveWithoutDigestHeader(t *testing.T) {
	t.Parallel()
	const other = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for fault, head := range map[string]func(http.ResponseWriter){
		"no digest": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "2") },
		"no type":   func(w http.ResponseWriter) { w.Header()["Content-Type"] = nil; w.Header().Set(digestHeader, other) },
		"no digest in it": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "2")
			w.Header().Set(digestHeader, "sha256:short")
		},
		"another hash": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "2")
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set(digestHeader, "sha512:"+strings.Repeat("0", 128))
		},
		"405": func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"501": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotImplemented) },
	} {
		f := newRegistry(t)
		reference, digest := withIndex(t, f)
		f.setFault(func(step string, w http.ResponseWriter, _ *http.Request) bool {
			if step == stepHeadTag {
				head(w)
			}
			return step == stepHeadTag
		})
		mustResolve(t, newResolver(t, f, nil), reference, digest)
		if diff := cmp.Diff([]string{stepPing, stepHeadTag, stepGetManifest}, f.taken()); diff != "" {
			t.Errorf("%s: %s", fault, diff)
		}
	}
}

// TestResolveOddManifests: nothing but a manifest has a digest to pin.
func TestResolveOddManifests(t *testing.T) {
	t.Parallel()
	for body, ok := range map[string]bool{
		`{"schemaVersion":2,"config":{}}`:    true,
		`{"schemaVersion":2,"manifests":[]}`: true,
		`{"schemaVersion":1,"config":{}}`:    false,
		`{"schemaVersion":2}`:                false,
		`{"schemaVersion":2,"config":{}`:     false,
		`Healthcheck requested`:              false,
		``:                                   false,
		`{"schemaVersion":2,"config":{"x":"` + strings.Repeat("x", maxAnswer) + `"}}`: false,
	} {
		f := newRegistry(t)
		f.setFault(func(step string, w http.ResponseWriter, _ *http.Request) bool {
			if step == stepGetManifest {
				_, _ = io.WriteString(w, body)
			}
			return step == stepGetManifest || step == stepHeadTag
		})
		digest, err := newResolver(t, f, nil).ResolveImage(t.Context(), f.host()+"/myorg/x:1")
		if ok && (err != nil || digest != digestOf([]byte(body)).String()) {
			t.Errorf("%.100s: %s, %v", body, digest, err)
		} else if !ok {
			wantUnresolved(t, err, false, pipeline.ReasonImageUnavailable)
		}
	}
}

// TestResolveEveryStatus at every step, as nobody and as the robot.
func TestResolveEveryStatus(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	k := withTokens(f)
	reference := f.host() + "/myorg/multi:1"
	nobody, known := newResolver(t, f, nil), newResolver(t, f, asRobot)
	for status := 201; status <= 599; status++ {
		if http.StatusText(status) == "" && status != 299 && status != 499 && status != 599 {
			continue // unknown ones are alike
		}
		for _, step := range []string{stepPing, stepToken, stepHeadTag, stepGetManifest} {
			f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
				switch {
				case s == step:
					w.WriteHeader(status)
					return true
				case step == stepGetManifest && s == stepHeadTag:
					w.WriteHeader(http.StatusMethodNotAllowed)
					return true
				case s == stepToken:
					_, _ = io.WriteString(w, `{"token":"t"}`)
					return true
				case s != stepPing:
					return false
				}
				return k.guard(s, w, r)
			})
			for r, password := range map[*Resolver]bool{nobody: false, known: step == stepToken} {
				_, err := r.ResolveImage(t.Context(), reference)
				denied := status == 401 || status == 403
				if step == stepPing && status == 401 { // without a challenge it goes on, and there is no image
					wantUnresolved(t, err, true, pipeline.ReasonImageUnavailable)
					continue
				}
				reason := pipeline.ReasonImageUnavailable
				if denied && password {
					reason = pipeline.ReasonUnauthorized
				}
				missing := status == 404 || denied && !password
				if step == stepHeadTag && (status == 405 || status == 501) {
					missing = true // GET finds none
				}
				if err == nil {
					t.Fatalf("%s %d: no error", step, status)
				}
				wantUnresolved(t, err, missing, reason)
				if t.Failed() {
					t.Fatalf("%s %d as %v", step, status, password)
				}
			}
		}
	}
}

func TestResolveRetryAfter(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	for _, step := range []string{stepPing, stepHeadTag} {
		f.setFault(func(s string, w http.ResponseWriter, _ *http.Request) bool {
			if s == step {
				w.Header().Set("Retry-After", "120")
				writeErrors(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "pull rate limit")
			}
			return s == step
		})
		_, err := newResolver(t, f, nil).ResolveImage(t.Context(), f.host()+"/x:1")
		wantUnresolved(t, err, false, pipeline.ReasonImageUnavailable)
		if after := pipeline.AfterOf(err); after != 2*time.Minute {
			t.Errorf("%s: after %s", step, after)
		}
	}
}

func TestResolveEndsInTime(t *testing.T) {
	t.Parallel()
	for _, step := range []string{stepPing, stepToken, stepHeadTag, stepGetManifest} {
		f := newRegistry(t)
		k := withTokens(f)
		arrived := make(chan struct{}, 9)
		f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
			switch s {
			case step:
				arrived <- struct{}{}
				<-r.Context().Done()
				return true
			case stepHeadTag:
				w.WriteHeader(http.StatusMethodNotAllowed)
				return true
			}
			return k.guard(s, w, r)
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		_, err := newResolver(t, f, asRobot).ResolveImage(ctx, f.host()+"/x:1")
		wantUnresolved(t, err, false, pipeline.ReasonImageUnavailable)
		if !strings.Contains(err.Error(), context.Canceled.Error()) {
			t.Errorf("%s: %v", step, err)
		}
		_, err = newResolver(t, f, func(o *ResolverOptions) { asRobot(o); o.Timeout = 100 * time.Millisecond }).
			ResolveImage(t.Context(), f.host()+"/x:1")
		wantUnresolved(t, err, false, pipeline.ReasonImageUnavailable)
	}
}

func TestResolveBodyThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
		if s == stepGetManifest {
			_, _ = io.WriteString(w, `{"schemaVersion":2,`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
		return s == stepGetManifest || s == stepHeadTag
	})
	_, err := newResolver(t, f, func(o *ResolverOptions) { o.Timeout = 100 * time.Millisecond }).ResolveImage(t.Context(), f.host()+"/x:1")
	wantUnresolved(t, err, false, pipeline.ReasonImageUnavailable)
}

func TestResolveManyAtOnce(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	reference, digest := withIndex(t, f)
	withTokens(f)
	r := newResolver(t, f, asRobot)
	var running sync.WaitGroup
	for i := range 20 {
		running.Go(func() {
			if i%2 == 0 {
				mustResolve(t, r, reference, digest)
			} else if _, err := r.ResolveImage(t.Context(), f.host()+"/myorg/absent:"+strconv.Itoa(i)); !errors.Is(err, pipeline.ErrNoImage) {
				t.Errorf("absent: %v", err)
			}
		})
	}
	running.Wait()
}

func TestNewResolverChecksOptions(t *testing.T) {
	t.Parallel()
	good := ResolverOptions{
		Registry: "quay.io", Username: robot, Password: clients.Secret(password), Known: []string{"docker.io", "registry.example:5000"},
		Timeout: time.Second, HTTP: newClient(), Internet: newClient(),
	}
	for fault, change := range map[string]func(*ResolverOptions){
		"":                                      func(*ResolverOptions) {},
		"registry: ":                            func(o *ResolverOptions) { o.Registry = "" },
		"go together":                           func(o *ResolverOptions) { o.Password = nil },
		"positive":                              func(o *ResolverOptions) { o.Timeout = 0 },
		"no HTTP client":                        func(o *ResolverOptions) { o.HTTP = nil },
		"no HTTP client for the internet":       func(o *ResolverOptions) { o.Internet = nil },
		"known registry: registries must be":    func(o *ResolverOptions) { o.Known = []string{"quay.io", "a/b"} },
		"known registry: strict validation req": func(o *ResolverOptions) { o.Known = []string{""} },
	} {
		o := good
		change(&o)
		r, err := NewResolver(o)
		if (err == nil) != (fault == "") || err != nil && !strings.Contains(err.Error(), fault) {
			t.Errorf("%q: error %v", fault, err)
		}
		wantNoSecret(t, fmt.Sprintf("%v %+v %#v", r, r, r))
	}
}
