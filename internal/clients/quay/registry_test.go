package quay

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	robot    = "myorg+robot"
	password = "swordfish-hunter2"
)

// fakeRegistry is the library's own registry behind a handler that notes each
// request and may answer in the registry's place.
type fakeRegistry struct {
	*httptest.Server
	next http.Handler

	mu    sync.Mutex
	steps []string
	auth  []string // of each request
	fault func(step string, w http.ResponseWriter, r *http.Request) bool
}

func newRegistry(t *testing.T) *fakeRegistry {
	t.Helper()
	f := newUnstarted()
	f.Start()
	t.Cleanup(f.Close)
	return f
}

func newUnstarted() *fakeRegistry {
	f := &fakeRegistry{next: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	return f
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	step := stepOf(r)
	f.mu.Lock()
	f.steps = append(f.steps, step)
	f.auth = append(f.auth, r.Header.Get("Authorization"))
	fault := f.fault
	f.mu.Unlock()
	if fault != nil && fault(step, w, r) {
		return
	}
	f.next.ServeHTTP(w, r)
}

func (f *fakeRegistry) setFault(fault func(step string, w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// failing makes every request of a step end with a status and a body.
func (f *fakeRegistry) failing(step string, status int, body string) {
	f.setFault(func(s string, w http.ResponseWriter, _ *http.Request) bool {
		if s != step {
			return false
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	})
}

// taken returns the steps since the last call.
func (f *fakeRegistry) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	steps := f.steps
	f.steps, f.auth = nil, nil
	return steps
}

func (f *fakeRegistry) authorizations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.auth)
}

func (f *fakeRegistry) host() string {
	_, host, _ := strings.Cut(f.URL, "://")
	return host
}

// inTwo makes a registry take blobs in two requests alone.
func inTwo(f *fakeRegistry) {
	next := f.next
	f.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stepOf(r) == stepStart {
			_, _ = io.Copy(io.Discard, r.Body)
			r.URL.RawQuery = ""
		}
		next.ServeHTTP(w, r)
	})
}

// mute makes a registry not say what a tag names that was set.
func mute(f *fakeRegistry) {
	next := f.next
	f.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stepOf(r) == stepPutManifest {
			w = muteWriter{w}
		}
		next.ServeHTTP(w, r)
	})
}

type muteWriter struct{ http.ResponseWriter }

func (w muteWriter) WriteHeader(status int) {
	w.Header().Del(digestHeader)
	w.ResponseWriter.WriteHeader(status)
}

// The steps of a push.
const (
	stepPing        = "GET /v2/"
	stepToken       = "GET token"
	stepHeadTag     = "HEAD manifest"
	stepGetManifest = "GET manifest"
	stepGetBlob     = "GET blob"
	stepStart       = "POST upload"
	stepCommit      = "PUT upload"
	stepPutManifest = "PUT manifest"
)

func stepOf(r *http.Request) string {
	switch {
	case r.URL.Path == "/v2/":
		return r.Method + " /v2/"
	case r.URL.Path == "/v2/auth":
		return r.Method + " token"
	case strings.Contains(r.URL.Path, "/blobs/uploads/"):
		return r.Method + " upload"
	case strings.Contains(r.URL.Path, "/blobs/"):
		return r.Method + " blob"
	case strings.Contains(r.URL.Path, "/manifests/"):
		return r.Method + " manifest"
	}
	return r.Method + " " + r.URL.Path
}

// tokens makes a registry ask for bearer tokens, which /v2/auth gives out for
// robot and password.
type tokens struct {
	registry *fakeRegistry

	mu     sync.Mutex
	valid  map[string]bool
	count  int
	scopes []string
}

func withTokens(f *fakeRegistry) *tokens {
	k := &tokens{registry: f, valid: map[string]bool{}}
	f.setFault(k.guard)
	return k
}

// expire makes all tokens that were given out worth nothing.
func (k *tokens) expire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.valid)
}

func (k *tokens) given() (count int, scopes []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count, k.scopes
}

func (k *tokens) guard(step string, w http.ResponseWriter, r *http.Request) bool {
	if step == stepToken {
		k.give(w, r)
		return true
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.valid[token] {
		return false
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/v2/auth",service="fake"`, k.registry.URL))
	writeErrors(w, http.StatusUnauthorized, "UNAUTHORIZED", "access to the requested resource is not authorized")
	return true
}

func (k *tokens) give(w http.ResponseWriter, r *http.Request) {
	if user, pass, _ := r.BasicAuth(); user != robot || pass != password {
		writeErrors(w, http.StatusUnauthorized, "UNAUTHORIZED", "Could not find robot with username")
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count++
	token := fmt.Sprintf("bearer-token-%d", k.count)
	k.valid[token] = true
	k.scopes = append(k.scopes, r.URL.Query()["scope"]...)
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
}

func writeErrors(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, errorsBody(code, message))
}

func errorsBody(code, message string) string {
	body, err := json.Marshal(map[string]any{"errors": []any{map[string]any{"code": code, "message": message, "detail": map[string]any{}}}})
	if err != nil {
		panic(err)
	}
	return string(body)
}

func basicHeader() string {
	return base64.StdEncoding.EncodeToString([]byte(robot + ":" + password))
}

func newClient() *clients.Client {
	return clients.New(clients.Options{Name: "registry", Timeout: 10 * time.Second, Hosts: []string{"127.0.0.1"}})
}

// newOCI makes a pusher for a fake registry; change may be nil.
func newOCI(t *testing.T, f *fakeRegistry, change func(*OCIOptions)) *OCI {
	t.Helper()
	o := OCIOptions{
		Registry: f.host(), PlainHTTP: true, Username: robot, Password: clients.Secret(password),
		Timeout: 10 * time.Second, HTTP: newClient(),
	}
	if change != nil {
		change(&o)
	}
	oci, err := NewOCI(o)
	if err != nil {
		t.Fatal(err)
	}
	return oci
}

func etcd(build string, tags ...string) pipeline.Bundle {
	return pipeline.Bundle{
		CSV: "etcdoperator.v0.9.4", Version: "0.9.4", Channels: []string{"alpha"}, DefaultChannel: "alpha",
		Repository: "myorg/etcd", Tags: tags,
		Files: []pipeline.File{
			{Path: "manifests/etcd.clusterserviceversion.yaml", Data: []byte("kind: ClusterServiceVersion\n# build " + build + "\n")},
			{Path: "manifests/etcdclusters.crd.yaml", Data: []byte("kind: CustomResourceDefinition\n")},
			{Path: "metadata/annotations.yaml", Data: []byte("annotations:\n  operators.operatorframework.io.bundle.package.v1: etcd\n")},
		},
		Labels: map[string]string{
			"operators.operatorframework.io.bundle.package.v1": "etcd",
			pipeline.LabelBuildID:                              build,
			pipeline.LabelBuildNVR:                             "etcd-operator-container-1.0-" + build,
		},
	}
}

func releaseOf(bundles ...pipeline.Bundle) pipeline.Release {
	return pipeline.Release{Package: "etcd", Bundles: bundles}
}

func mustPush(t *testing.T, o *OCI, bundles ...pipeline.Bundle) pipeline.Publication {
	t.Helper()
	p, err := o.Push(t.Context(), releaseOf(bundles...))
	if err != nil {
		t.Fatalf("push: %v", err)
	}
	return p
}

func wantError(t *testing.T, err error, class pipeline.Class, reason pipeline.Reason) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s %s", class, reason)
	}
	if c, r := pipeline.ClassOf(err), pipeline.ReasonOf(err); c != class || r != reason {
		t.Fatalf("error is %s %s, want %s %s: %v", c, r, class, reason, err)
	}
}

func count(steps []string, step string) int {
	n := 0
	for _, s := range steps {
		if s == step {
			n++
		}
	}
	return n
}
