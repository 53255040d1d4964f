package quay

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// stranger is a server that nobody may send credentials to.
func stranger(t *testing.T, answer http.HandlerFunc) (s *httptest.Server, seen func() []string) {
	t.Helper()
	var mu sync.Mutex
	var requests []string
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		mu.Lock()
		requests = append(requests, fmt.Sprint(r.Method, " ", r.URL, " ", r.Header, " ", string(body)))
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(requests)
	}
}

func wantNoSecret(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		for _, secret := range []string{password, basicHeader(), "bearer-token"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q gives %q away", text, secret)
			}
		}
	}
}

func TestRedirectTakesNoCredentials(t *testing.T) {
	t.Parallel()
	b := etcd("9", "tag")
	config, err := mustImage(t, b).RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"storage": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(config) },
		"a challenge of its own": func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/realm":
				_, _ = io.WriteString(w, `{"token":"other"}`)
			case r.Header.Get("Authorization") == "Bearer other":
				_, _ = w.Write(config)
			default:
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/realm",service="other"`, r.Host))
				w.WriteHeader(http.StatusUnauthorized)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			k := withTokens(f)
			storage, seen := stranger(t, answer)
			o := newOCI(t, f, nil)
			mustPush(t, o, b)
			f.setFault(func(step string, w http.ResponseWriter, r *http.Request) bool {
				if step != stepGetBlob {
					return k.guard(step, w, r)
				}
				http.Redirect(w, r, storage.URL+"/blob?X-Amz-Signature=signed", http.StatusFound)
				return true
			})
			if p := mustPush(t, o, etcd("7", "tag")); len(p.Bundles[0].Tags) != 1 || p.Bundles[0].Tags[0] != "build-7" {
				t.Errorf("the redirect was not followed: %+v", p)
			}
			if len(seen()) == 0 {
				t.Error("nobody asked the storage")
			}
			wantNoSecret(t, seen()...)
		})
	}
}

func TestUploadGoesNowhereElse(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request, other string){
		"location": func(w http.ResponseWriter, _ *http.Request, other string) {
			w.Header().Set("Location", other+"/v2/upload?_state=signed")
			w.WriteHeader(http.StatusAccepted)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request, other string) {
			http.Redirect(w, r, other+"/v2/upload?_state=signed", http.StatusTemporaryRedirect)
		},
	} {
		for _, step := range []string{stepStart, stepCommit} {
			t.Run(name+" of "+step, func(t *testing.T) {
				t.Parallel()
				f := newRegistry(t)
				if step == stepCommit {
					inTwo(f)
				}
				k := withTokens(f)
				other, seen := stranger(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
				f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
					if k.guard(s, w, r) {
						return true
					}
					if s == step {
						_, _ = io.Copy(io.Discard, r.Body)
						answer(w, r, other.URL)
					}
					return s == step
				})
				_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("7", "a")))
				wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
				wantNoSecret(t, err.Error())
				if strings.Contains(err.Error(), "signed") {
					t.Errorf("error has a query: %v", err)
				}
				if got := seen(); len(got) != 0 {
					t.Errorf("sent elsewhere: %q", got)
				}
			})
		}
	}
}

// trusting makes the options fit a registry with TLS.
func trusting(f *fakeRegistry) func(*OCIOptions) {
	return func(o *OCIOptions) {
		roots := x509.NewCertPool()
		roots.AddCert(f.Certificate())
		o.PlainHTTP = false
		o.HTTP = clients.New(clients.Options{Name: "registry", Timeout: 10 * time.Second, RootCAs: roots, Hosts: []string{"127.0.0.1"}})
	}
}

func newTLSRegistry(t *testing.T) *fakeRegistry {
	t.Helper()
	f := newUnstarted()
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

func TestPushOverTLS(t *testing.T) {
	t.Parallel()
	f := newTLSRegistry(t)
	withTokens(f)
	mustPush(t, newOCI(t, f, trusting(f)), etcd("7", "a", "b"))
}

func TestUnknownCertificate(t *testing.T) {
	t.Parallel()
	f := newTLSRegistry(t)
	_, err := newOCI(t, f, func(o *OCIOptions) { o.PlainHTTP = false }).Push(t.Context(), releaseOf(etcd("7", "a")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	if steps := f.taken(); len(steps) != 0 {
		t.Errorf("requests arrived: %v", steps)
	}
}

func TestPlainRealmOfTLSRegistryIsNotAsked(t *testing.T) {
	t.Parallel()
	realm, seen := stranger(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"token":"x"}`) })
	f := newTLSRegistry(t)
	f.setFault(func(_ string, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="fake"`, realm.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	_, err := newOCI(t, f, trusting(f)).Push(t.Context(), releaseOf(etcd("7", "a")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	if got := seen(); len(got) != 0 {
		t.Errorf("realm was asked: %q", got)
	}
}

func TestPlainHTTPOnlyWhenAllowed(t *testing.T) {
	t.Parallel()
	f := newRegistry(t) // at 127.0.0.1, where the library would do without TLS
	withTokens(f)
	_, err := newOCI(t, f, func(o *OCIOptions) { o.PlainHTTP = false }).Push(t.Context(), releaseOf(etcd("7", "a")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	if steps := f.taken(); len(steps) != 0 {
		t.Errorf("requests arrived: %v", steps)
	}
}

// The library tries TLS first, and for names that do not look local nothing else.
func TestPlainHTTPIsAskedForAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ registry, url, want string }{
		{"quay:8080", "https://quay:8080/v2/", "http"},
		{"quay", "https://quay/v2/", "http"},
		{"quay", "http://quay/v2/", "http"},
		{"quay", "https://storage/blob", "https"},
	} {
		o, err := NewOCI(OCIOptions{Registry: test.registry, PlainHTTP: true, Timeout: time.Second, HTTP: newClient()})
		if err != nil {
			t.Fatal(err)
		}
		out, err := o.wire.outgoing(httptest.NewRequest(http.MethodGet, test.url, nil))
		if err != nil || out.URL.Scheme != test.want {
			t.Errorf("%s is asked by %v, %v", test.url, out, err)
		}
	}
}

func TestUploadLocation(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		registry, url string
		plain, ok     bool
	}{
		{"quay.io", "https://quay.io/v2/x/blobs/uploads/1", false, true},
		{"quay.io", "https://quay.io:443/v2/x/blobs/uploads/1", false, true},
		{"quay.io:443", "https://quay.io/v2/x/blobs/uploads/1", false, true},
		{"quay.io", "https://quay.io:8443/v2/x/blobs/uploads/1", false, false},
		{"quay.io", "https://cdn.quay.io/v2/x/blobs/uploads/1", false, false},
		{"quay.io", "http://quay.io/v2/x/blobs/uploads/1", false, false},
		{"quay", "http://quay:80/v2/x/blobs/uploads/1", true, true},
		{"quay", "https://quay:443/v2/x/blobs/uploads/1", true, false},
		{"[::1]:5000", "http://[::1]:5000/v2/x/blobs/uploads/1", true, true},
	} {
		o, err := NewOCI(OCIOptions{Registry: test.registry, PlainHTTP: test.plain, Timeout: time.Second, HTTP: newClient()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.wire.outgoing(httptest.NewRequest(http.MethodPut, test.url, nil)); (err == nil) != test.ok {
			t.Errorf("%s of %s: %v", test.url, test.registry, err)
		}
	}
}

// net/http forgives a body that was read before, but not always.
func TestEachRequestHasItsBody(t *testing.T) {
	t.Parallel()
	const layer = "the bytes of a layer"
	o := newOCI(t, newRegistry(t), nil)
	req, err := http.NewRequest(http.MethodPut, "http://"+o.wire.registry+"/v2/x/blobs/uploads/1", strings.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		out, err := o.wire.outgoing(req)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(out.Body); string(got) != layer {
			t.Errorf("body is %q", got)
		}
	}
}
