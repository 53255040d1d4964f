package quay

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// TestResolveTokens: the password is for the token, and anonymous tokens do.
func TestResolveTokens(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	reference, digest := withIndex(t, f)
	k := withTokens(f)
	mustResolve(t, newResolver(t, f, asRobot), reference, digest)
	if diff := cmp.Diff([]string{"", "Basic " + basicHeader(), "Bearer bearer-token-1"}, f.authorizations()); diff != "" {
		t.Error(diff)
	}
	if _, scopes := k.given(); !cmp.Equal(scopes, []string{"repository:myorg/multi:pull"}) {
		t.Errorf("scopes %q", scopes)
	}
	_, err := newResolver(t, f, nil).ResolveImage(t.Context(), reference)
	wantUnresolved(t, err, true, pipeline.ReasonImageUnavailable)
	_, err = newResolver(t, f, func(o *ResolverOptions) { asRobot(o); o.Password = clients.Secret("wrong") }).ResolveImage(t.Context(), reference)
	wantUnresolved(t, err, false, pipeline.ReasonUnauthorized)

	f.taken()
	f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
		if s == stepToken {
			k.mu.Lock()
			k.valid["for-all"] = true
			k.mu.Unlock()
			_, _ = io.WriteString(w, `{"token":"for-all"}`)
			return true
		}
		return k.guard(s, w, r)
	})
	mustResolve(t, newResolver(t, f, nil), reference, digest)
	if diff := cmp.Diff([]string{"", "", "Bearer for-all"}, f.authorizations()); diff != "" {
		t.Error(diff)
	}
}

// TestResolveBasic: a registry that takes the password itself.
func TestResolveBasic(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	reference, digest := withIndex(t, f)
	f.setFault(func(_ string, w http.ResponseWriter, r *http.Request) bool {
		if user, pass, _ := r.BasicAuth(); user == robot && pass == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="fake"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	mustResolve(t, newResolver(t, f, asRobot), reference, digest)
	_, err := newResolver(t, f, nil).ResolveImage(t.Context(), reference)
	wantUnresolved(t, err, true, pipeline.ReasonImageUnavailable)
	_, err = newResolver(t, f, func(o *ResolverOptions) { asRobot(o); o.Password = clients.Secret("wrong") }).ResolveImage(t.Context(), reference)
	wantUnresolved(t, err, false, pipeline.ReasonUnauthorized)
}

// TestResolveElsewhere: a known registry is asked over TLS and anonymously,
// whatever it asks for.
func TestResolveElsewhere(t *testing.T) {
	t.Parallel()
	f := newTLSRegistry(t)
	reference, digest := withIndex(t, f)
	r := newResolver(t, f, knowing(f))
	mustResolve(t, r, reference, digest)
	for _, challenge := range []string{`Basic realm="x"`, fmt.Sprintf(`Bearer realm="%s/v2/auth",service="x"`, f.URL)} {
		f.setFault(func(_ string, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		})
		_, err := r.ResolveImage(t.Context(), reference)
		wantUnresolved(t, err, true, pipeline.ReasonImageUnavailable)
	}
	if auth := strings.Join(f.authorizations(), ""); auth != "" {
		t.Errorf("sent %q", auth)
	}
}

// TestResolvePlainHTTP: only one's own registry does without TLS, though the
// library would fall back for names that look local.
func TestResolvePlainHTTP(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	reference, _ := withIndex(t, f)
	for name, change := range map[string]func(*ResolverOptions){
		"known": func(o *ResolverOptions) { o.Registry, o.Known = "quay.example", []string{f.host()} },
		"own":   func(o *ResolverOptions) { o.PlainHTTP = false },
	} {
		_, err := newResolver(t, f, change).ResolveImage(t.Context(), reference)
		wantUnresolved(t, err, false, pipeline.ReasonImageUnavailable)
		if steps := f.taken(); len(steps) != 0 {
			t.Errorf("%s: requests arrived: %v", name, steps)
		}
	}
}

// TestResolvePrivate: what an archive names is not looked for inside, except
// where the configuration names it too.
func TestResolvePrivate(t *testing.T) {
	t.Parallel()
	own, f := newRegistry(t), newTLSRegistry(t)
	reference, digest := withIndex(t, own)
	r := newResolver(t, own, nil)
	mustResolve(t, r, reference, digest)
	for host, where := range map[string]string{
		f.host(): "is loopback", strings.Replace(f.host(), "127.0.0.1", "localhost", 1): "is loopback",
		"10.255.255.1": "is private", "169.254.169.254": "is link-local", "[fd00:ec2::254]:8080": "is private",
		"[::ffff:aff:ff01]": "is private", "100.64.0.1": "is behind a carrier's NAT", "0.0.0.0:5000": "is unspecified",
	} {
		_, err := r.ResolveImage(t.Context(), host+"/myorg/x:1")
		wantUnresolved(t, err, true, pipeline.ReasonImageUnavailable)
		if !strings.Contains(err.Error(), where+": not dialled") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if steps := f.taken(); len(steps) != 0 {
		t.Errorf("requests arrived: %v", steps)
	}
}

// TestResolveOwnRegistryWithPort: the default port makes no other registry.
func TestResolveOwnRegistryWithPort(t *testing.T) {
	t.Parallel()
	r := newResolver(t, newRegistry(t), func(o *ResolverOptions) { o.Registry, o.PlainHTTP = "quay.invalid", false })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for reference, asked := range map[string]string{
		"quay.invalid/x:1": "https://quay.invalid/v2/", "quay.invalid:443/x:1": "https://quay.invalid/v2/",
		"quay.invalid:80/x:1": "https://quay.invalid:80/v2/",
	} {
		if _, err := r.ResolveImage(ctx, reference); err == nil || !strings.Contains(err.Error(), asked) {
			t.Errorf("%s: %v", reference, err)
		}
	}
}

func TestResolveRedirects(t *testing.T) {
	t.Parallel()
	f := newTLSRegistry(t)
	reference, digest := withIndex(t, f)
	plain, seen := stranger(t, func(http.ResponseWriter, *http.Request) {})
	for target, ok := range map[string]bool{f.URL + "/v2/myorg/multi/manifests/1?x=signed": true, plain.URL + "/x?x=signed": false} {
		f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
			if s != stepHeadTag && s != stepGetManifest || r.URL.RawQuery != "" {
				return false
			}
			http.Redirect(w, r, target, http.StatusTemporaryRedirect)
			return true
		})
		got, err := newResolver(t, f, knowing(f)).ResolveImage(t.Context(), reference)
		switch {
		case ok && (got != digest || err != nil), !ok && err == nil:
			t.Errorf("to %s: %s, %v", target, got, err)
		case !ok:
			wantNoSecret(t, err.Error())
		}
	}
	if len(seen()) != 0 {
		t.Errorf("sent off TLS: %q", seen())
	}
}
