package quay

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

const etcdPath = "/cnr/api/v1/packages/myorg/etcd"

// apps is a Quay with an app registry and what was asked of it.
type apps struct {
	*sandbox.Registry
	*sandbox.Server
}

func newApps(t *testing.T) apps {
	t.Helper()
	r := sandbox.NewRegistry(sandbox.Organization{Name: "myorg", Username: robot, Password: password, OAuthToken: oauthToken})
	s, err := sandbox.Serve(r, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return apps{r, s}
}

// client makes a client of the app registry; change may be nil.
func (a apps) client(t *testing.T, change func(*AppRegistryOptions)) *AppRegistry {
	t.Helper()
	o := AppRegistryOptions{
		URL: a.URL(), Username: robot, Password: clients.Secret(password), FirstRelease: "1.0.0",
		Timeout: 10 * time.Second, HTTP: newClient(),
	}
	if change != nil {
		change(&o)
	}
	registry, err := NewAppRegistry(o)
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

// actedUpon lets a request be done, and calls then while its client is in the
// middle of the answer.
func actedUpon(then func()) *sandbox.Answer {
	return &sandbox.Answer{After: true, Status: http.StatusOK, Header: http.Header{"Content-Length": {"2"}}, Sent: then}
}

// has is what the etcd repository holds: release=content, in the order of the pushes.
func (a apps) has(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, r := range a.Releases("myorg/etcd") {
		files, err := r.Files()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r.Release+"="+string(files["bundle.yaml"]))
	}
	return all
}

func (a apps) wantHas(t *testing.T, want ...string) {
	t.Helper()
	if got := a.has(t); !slices.Equal(got, want) {
		t.Errorf("the repository has %q, want %q", got, want)
	}
}

// posts counts the pushes that were asked for.
func (a apps) posts() int {
	n := 0
	for _, r := range a.Requests() {
		if r.Method == http.MethodPost && r.Path == etcdPath {
			n++
		}
	}
	return n
}

func application(content, version string) pipeline.Release {
	return pipeline.Release{Package: "etcd", Application: &pipeline.Application{
		Repository: "myorg/etcd", Version: version,
		Files: []pipeline.File{{Path: "bundle.yaml", Data: []byte(content)}},
	}}
}

func forced(r pipeline.Release) pipeline.Release {
	r.Build.Trigger.Force = true
	return r
}

// wantRelease pushes r and wants it to be a release then.
func wantRelease(t *testing.T, a *AppRegistry, r pipeline.Release, version string, repeated bool) pipeline.Publication {
	t.Helper()
	p, err := a.Push(t.Context(), r)
	if err != nil {
		t.Fatalf("push: %v", err)
	}
	content, err := newPayload(r.Application)
	if err != nil {
		t.Fatal(err)
	}
	want := pipeline.PushedRelease{Version: version, Repository: "myorg/etcd", Digest: content.digest}
	if p.Release == nil || *p.Release != want || p.Repeated != repeated {
		t.Errorf("publication is %+v with %+v, want %+v, repeated %t", p, p.Release, want, repeated)
	}
	return p
}

func TestNewAppRegistryChecksOptions(t *testing.T) {
	t.Parallel()
	good := AppRegistryOptions{
		URL: "https://quay.io", Username: robot, Password: clients.Secret(password), FirstRelease: "1.0.0", Timeout: time.Second, HTTP: newClient(),
	}
	token := func(token string) func(*AppRegistryOptions) {
		return func(o *AppRegistryOptions) { o.Username, o.Password, o.Token = "", nil, clients.Secret(token) }
	}
	for name, test := range map[string]struct {
		fault  string
		change func(*AppRegistryOptions)
	}{
		"good":               {"", func(*AppRegistryOptions) {}},
		"token":              {"", token("basic " + basicHeader())},
		"anonymous":          {"", token("")},
		"line end":           {"no header may have", token("basic " + basicHeader() + "\n")},
		"two logins":         {"", func(o *AppRegistryOptions) { o.Token = "basic " + clients.Secret(basicHeader()) }},
		"no password":        {"go together", func(o *AppRegistryOptions) { o.Password = nil }},
		"no username":        {"go together", func(o *AppRegistryOptions) { o.Username = "" }},
		"no URL":             {"quay: address", func(o *AppRegistryOptions) { o.URL = "quay.io" }},
		"credentials in URL": {"address holds credentials", func(o *AppRegistryOptions) { o.URL = "https://" + password + "@quay.io" }},
		"first release":      {`"1.0" is not int.int.int`, func(o *AppRegistryOptions) { o.FirstRelease = "1.0" }},
		"no timeout":         {"timeout must be positive", func(o *AppRegistryOptions) { o.Timeout = 0 }},
		"two things at once": {"int.int.int\nno HTTP client", func(o *AppRegistryOptions) { o.FirstRelease, o.HTTP = "", nil }},
	} {
		o := good
		test.change(&o)
		registry, err := NewAppRegistry(o)
		if test.fault == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			wantNoSecret(t, fmt.Sprintf("%v %+v %#v", registry, registry, registry))
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: error is %v, want %q", name, err, test.fault)
			continue
		}
		wantNoSecret(t, err.Error())
	}
}

func TestAppRegistryPing(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registry := a.client(t, nil)
	if err := registry.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	for _, answer := range []sandbox.Answer{
		{Status: 200, Body: "<html>Quay</html>"}, {Status: 200, Body: `{}`}, {Status: 404, Body: "<html>"}, {Status: 503}, {},
	} {
		a.SetFault(func(*http.Request) *sandbox.Answer { return &answer })
		if got := verdictOf(registry.Ping(t.Context())); got != passes {
			t.Errorf("%+v: %v", answer, got)
		}
	}
	for name, test := range map[string]struct {
		change func(*AppRegistryOptions)
		answer *sandbox.Answer
		want   verdict
	}{
		"wrong password":    {func(o *AppRegistryOptions) { o.Password = clients.Secret("wrong") }, nil, credentials},
		"anonymous":         {func(o *AppRegistryOptions) { o.Username, o.Password = "", nil }, nil, success},
		"another token":     {func(o *AppRegistryOptions) { o.Username, o.Password, o.Token = "", nil, clients.Secret("Bearer x") }, nil, success},
		"no such login":     {nil, &sandbox.Answer{Status: 404, Body: "<html>"}, success},
		"no answer":         {nil, &sandbox.Answer{}, passes},
		"credentials echo":  {nil, &sandbox.Answer{Status: 401, Body: appError("unauthorized-access", password)}, credentials},
		"login without 401": {nil, &sandbox.Answer{Status: 403}, success},
	} {
		a.SetFault(func(r *http.Request) *sandbox.Answer {
			if r.Method == http.MethodPost {
				return test.answer
			}
			return nil
		})
		err := a.client(t, test.change).Ping(t.Context())
		if got := verdictOf(err); got != test.want {
			t.Errorf("%s: %v", name, err)
		}
		wantNoSecret(t, fmt.Sprint(err))
	}
	hung := a.client(t, func(o *AppRegistryOptions) { o.Timeout = 50 * time.Millisecond })
	a.SetFault(func(r *http.Request) *sandbox.Answer { <-r.Context().Done(); return nil })
	if got := verdictOf(hung.Ping(t.Context())); got != passes {
		t.Errorf("without an answer: %v", got)
	}
}

func TestAppRegistryRefusesNames(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registry := a.client(t, nil)
	for _, repository := range []string{
		"", "myorg", "myorg/", "/etcd", "myorg/a/b", "myorg/Etcd", "myorg/.etcd", "myorg/..", "../etcd", "myorg/x?force=true#", "myorg/" + strings.Repeat("a", 256),
	} {
		r := application("x", "")
		r.Application.Repository = repository
		_, err := registry.Push(t.Context(), r)
		wantError(t, err, pipeline.Rejected, pipeline.ReasonQuayRefused)
		if repository == "myorg/a/b" && !strings.Contains(err.Error(), "slash") {
			t.Errorf("error is %v", err)
		}
		_, err = registry.Delete(t.Context(), pipeline.Deletion{Repository: repository})
		wantError(t, err, pipeline.Rejected, pipeline.ReasonQuayRefused)
	}
	for _, version := range []string{"1.0", "1.0.0-2", "1.0.02", "1.a.2", "1.0.0.1", "v1.0.0", "1.0.0/x", strings.Repeat("1", 127) + ".0.0"} {
		_, err := registry.Push(t.Context(), application("x", version))
		wantError(t, err, pipeline.Rejected, pipeline.ReasonInvalidVersion)
	}
	for _, version := range []string{"..", "1/helm", "1.0.0?x", "%2e", strings.Repeat("1", 129)} {
		_, err := registry.Delete(t.Context(), pipeline.Deletion{Repository: "myorg/etcd", Version: version})
		wantError(t, err, pipeline.Rejected, pipeline.ReasonInvalidVersion)
	}
	if _, err := registry.Push(t.Context(), pipeline.Release{}); err == nil {
		t.Error("a release without an application is pushed")
	}
	r := application("x", "")
	r.Application.Files = nil
	_, err := registry.Push(t.Context(), r)
	wantError(t, err, pipeline.Rejected, pipeline.ReasonInvalidManifests)
	if n := len(a.Requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
