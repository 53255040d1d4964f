package quay

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestLoginOncePerRepository(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	k := withTokens(f)
	o := newOCI(t, f, nil)
	mustPush(t, o, etcd("7", "a"), etcd("8", "b"))
	mustPush(t, o, etcd("9", "a"))
	other := etcd("7", "a")
	other.Repository = "myorg/other"
	mustPush(t, o, other)

	logins, scopes := k.given()
	if want := []string{"repository:myorg/etcd:push,pull", "repository:myorg/other:push,pull"}; logins != 2 || !cmp.Equal(scopes, want) {
		t.Errorf("%d tokens for %q, want %q", logins, scopes, want)
	}
	if pings := count(f.taken(), stepPing); pings != 2 {
		t.Errorf("%d pings", pings)
	}
}

// The password goes to the token realm only, everything else gets the token.
func TestLoginSendsPasswordToRealmOnly(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	withTokens(f)
	mustPush(t, newOCI(t, f, nil), etcd("7", "a"))
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, step := range f.steps {
		want := "Bearer bearer-token-1"
		switch step {
		case stepPing:
			want = ""
		case stepToken:
			want = "Basic " + basicHeader()
		}
		if f.auth[i] != want {
			t.Errorf("%s was sent %q, want %q", step, f.auth[i], want)
		}
	}
}

func TestLoginBasic(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	f.setFault(func(_ string, w http.ResponseWriter, r *http.Request) bool {
		if user, pass, _ := r.BasicAuth(); user == robot && pass == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="fake"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	mustPush(t, newOCI(t, f, nil), etcd("7", "a"))
	_, err := newOCI(t, f, func(o *OCIOptions) { o.Password = clients.Secret("wrong") }).Push(t.Context(), releaseOf(etcd("8", "a")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonUnauthorized)
}

func TestLoginAnonymous(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	mustPush(t, newOCI(t, f, func(o *OCIOptions) { o.Username, o.Password = "", nil }), etcd("7", "a"))
	for _, auth := range f.authorizations() {
		if auth != "" {
			t.Errorf("sent %q", auth)
		}
	}
}

func TestLoginRefused(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	withTokens(f)
	_, err := newOCI(t, f, func(o *OCIOptions) { o.Password = clients.Secret("wrong") }).Push(t.Context(), releaseOf(etcd("7", "a")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonUnauthorized)
	if !strings.Contains(err.Error(), "Could not find robot with username") {
		t.Errorf("error is %v, without what Quay says", err)
	}
}

// A token that expires in the middle of a push is replaced, and the request
// that met it is sent again.
func TestLoginTokenExpires(t *testing.T) {
	t.Parallel()
	for _, step := range []string{stepHeadTag, stepStart, stepCommit, stepPutManifest} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			if step == stepCommit {
				inTwo(f)
			}
			k := withTokens(f)
			var once sync.Once
			f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
				if s == step {
					once.Do(k.expire)
				}
				return k.guard(s, w, r)
			})
			mustPush(t, newOCI(t, f, nil), etcd("7", "a", "b"))
			if given, _ := k.given(); given < 2 {
				t.Errorf("%d tokens", given)
			}
		})
	}
}

// A 200 of a front end to the ping looks like a registry that wants no login.
// The next try asks again.
func TestLoginIsForgottenAfterFailure(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	k := withTokens(f)
	var once sync.Once
	f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
		healthcheck := false
		if s == stepPing {
			once.Do(func() {
				_, _ = io.WriteString(w, "Healthcheck requested")
				healthcheck = true
			})
		}
		return healthcheck || k.guard(s, w, r)
	})
	o := newOCI(t, f, nil)
	_, err := o.Push(t.Context(), releaseOf(etcd("7", "a")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonUnauthorized)
	mustPush(t, o, etcd("7", "a"))
}

func TestLoginsAreBounded(t *testing.T) {
	t.Parallel()
	o := newOCI(t, newRegistry(t), nil)
	for i := range 2*maxLogins + 1 {
		o.logins.keep(o.registry.Repo(fmt.Sprintf("myorg/p%d", i)), http.DefaultTransport)
		if n := len(o.logins.kept); n > maxLogins {
			t.Fatalf("%d logins are kept", n)
		}
	}
	if o.logins.get(o.registry.Repo(fmt.Sprintf("myorg/p%d", 2*maxLogins))) == nil {
		t.Error("the last login is not kept")
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	k := withTokens(f)
	if err := newOCI(t, f, nil).Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if _, scopes := k.given(); len(scopes) != 0 {
		t.Errorf("scopes are %q", scopes)
	}
	wantError(t, newOCI(t, f, func(o *OCIOptions) { o.Password = clients.Secret("wrong") }).Ping(t.Context()),
		pipeline.Transient, pipeline.ReasonUnauthorized)
	f.failing(stepPing, http.StatusServiceUnavailable, "")
	wantError(t, newOCI(t, f, nil).Ping(t.Context()), pipeline.Transient, pipeline.ReasonQuayUnavailable)
	f.failing(stepPing, http.StatusNotFound, "")
	wantError(t, newOCI(t, f, nil).Ping(t.Context()), pipeline.Transient, pipeline.ReasonQuayUnavailable)
	hang(f, stepPing)
	wantError(t, newOCI(t, f, func(o *OCIOptions) { o.Timeout = 50 * time.Millisecond }).Ping(t.Context()),
		pipeline.Transient, pipeline.ReasonQuayUnavailable)
	f.setFault(nil)
	if err := newOCI(t, f, nil).Ping(t.Context()); err != nil {
		t.Errorf("registry without a login: %v", err)
	}
}

func TestNewOCIChecksOptions(t *testing.T) {
	t.Parallel()
	good := OCIOptions{Registry: "quay.io", Username: robot, Password: clients.Secret(password), Timeout: time.Second, HTTP: newClient()}
	for name, test := range map[string]struct {
		fault  string
		change func(*OCIOptions)
	}{
		"good":               {"", func(*OCIOptions) {}},
		"anonymous":          {"", func(o *OCIOptions) { o.Username, o.Password = "", nil }},
		"no registry":        {"registry: ", func(o *OCIOptions) { o.Registry = "" }},
		"URL":                {"registry: ", func(o *OCIOptions) { o.Registry = "https://quay.io" }},
		"registry and path":  {"registry: ", func(o *OCIOptions) { o.Registry = "quay.io/myorg" }},
		"no password":        {"go together", func(o *OCIOptions) { o.Password = nil }},
		"no username":        {"go together", func(o *OCIOptions) { o.Username = "" }},
		"no timeout":         {"timeout must be positive", func(o *OCIOptions) { o.Timeout = 0 }},
		"no client":          {"no HTTP client", func(o *OCIOptions) { o.HTTP = nil }},
		"two things at once": {"positive\nno HTTP client", func(o *OCIOptions) { o.Timeout, o.HTTP = 0, nil }},
	} {
		o := good
		test.change(&o)
		oci, err := NewOCI(o)
		if test.fault == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			wantNoSecret(t, fmt.Sprintf("%v %+v %#v", oci, oci, oci))
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: error is %v, want %q", name, err, test.fault)
		}
	}
}
