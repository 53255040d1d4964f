package quay

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

func TestPushReleases(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registry := a.client(t, nil)
	wantRelease(t, registry, application("a", ""), "1.0.0", false)
	wantRelease(t, registry, application("a", ""), "1.0.0", true)
	wantRelease(t, registry, application("b", ""), "2.0.0", false)
	wantRelease(t, registry, application("c", "4.3.2"), "4.3.2", false)
	wantRelease(t, registry, application("c", "4.3.2"), "4.3.2", true)
	wantRelease(t, registry, application("d", ""), "5.0.0", false)
	wantRelease(t, registry, application("a", ""), "1.0.0", true)
	wantRelease(t, registry, application("a", "4.4.0"), "4.4.0", false) // asked for, though 1.0.0 has it
	wantRelease(t, registry, application("a", ""), "4.4.0", true)       // the highest that has it

	_, err := registry.Push(t.Context(), application("e", "4.3.2"))
	wantError(t, err, pipeline.Rejected, pipeline.ReasonVersionExists)
	if want := "release 4.3.2 of myorg/etcd exists with other content"; err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
	a.wantHas(t, "1.0.0=a", "2.0.0=b", "4.3.2=c", "5.0.0=d", "4.4.0=a")
	if n := a.posts(); n != 5 {
		t.Errorf("%d pushes for 5 releases", n)
	}
}

// With force a content gets a release more; one that is asked for stays as it is.
func TestPushReleaseByForce(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registry := a.client(t, nil)
	wantRelease(t, registry, application("a", ""), "1.0.0", false)
	wantRelease(t, registry, forced(application("a", "")), "2.0.0", false)
	wantRelease(t, registry, forced(application("a", "2.0.0")), "2.0.0", true)
	_, err := registry.Push(t.Context(), forced(application("b", "2.0.0")))
	wantError(t, err, pipeline.Rejected, pipeline.ReasonVersionExists)
	a.wantHas(t, "1.0.0=a", "2.0.0=a")

	again := forced(application("a", ""))
	again.Build.Trigger.Again = true
	wantRelease(t, registry, again, "2.0.0", true) // which the try before this one made
	wantRelease(t, registry, application("b", ""), "3.0.0", false)
	wantRelease(t, registry, again, "4.0.0", false)
	a.wantHas(t, "1.0.0=a", "2.0.0=a", "3.0.0=b", "4.0.0=a")
}

func TestFirstReleaseIsConfigured(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	wantRelease(t, a.client(t, func(o *AppRegistryOptions) { o.FirstRelease = "0.1.7" }), application("a", ""), "0.1.7", false)
}

// The request is what operator-courier sent, and no more.
func TestPushSendsWhatCourierSent(t *testing.T) {
	t.Parallel()
	for name, login := range map[string]func(*AppRegistryOptions){
		"robot": func(*AppRegistryOptions) {},
		"token": func(o *AppRegistryOptions) {
			o.Username, o.Password, o.Token = "not used", clients.Secret("beside it"), clients.Secret("Basic "+basicHeader())
		},
	} {
		a := newApps(t)
		wantRelease(t, a.client(t, login), application("content", ""), "1.0.0", false)
		requests := a.Requests()
		i := slices.IndexFunc(requests, func(r sandbox.Request) bool { return r.Method == http.MethodPost })
		post := requests[i]
		want := map[string]string{"robot": "basic ", "token": "Basic "}[name] + basicHeader()
		if got := post.Header.Get("Authorization"); got != want {
			t.Errorf("%s: Authorization is %q", name, got)
		}
		if post.Path != etcdPath || len(post.Query) != 0 || post.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: request is %+v", name, post)
		}
		var body map[string]string
		if err := json.Unmarshal(post.Body, &body); err != nil {
			t.Fatal(err)
		}
		blob, err := base64.StdEncoding.DecodeString(body["blob"])
		if err != nil || len(body) != 3 || body["release"] != "1.0.0" || body["media_type"] != "helm" {
			t.Errorf("%s: body is %v: %v", name, body, err)
		}
		if entries, _ := unpack(t, blob); len(entries) != 2 {
			t.Errorf("%s: entries are %v", name, entries)
		}
		if a.IsPublic("myorg/etcd") {
			t.Error("a new repository is public")
		}
	}
}

// What else is in the list of a package: other media types, digests with a prefix,
// and releases that do not count.
func TestPushReadsLists(t *testing.T) {
	t.Parallel()
	content, err := newPayload(application("a", "").Application)
	if err != nil {
		t.Fatal(err)
	}
	bare := strings.TrimPrefix(content.digest, "sha256:")
	for _, tc := range []struct {
		list, want string
		repeated   bool
		warning    string
	}{
		{`[]`, "1.0.0", false, ""},
		{`[{"release":"7.0.0","mediaType":"application/vnd.cnr.package-manifest.kpm.v0.json","content":{"digest":"` + bare + `"}}]`, "1.0.0", false, ""},
		{`[{"release":"7.0.0","mediaType":"application/vnd.cnr.package-manifest.helm.v0.json","content":{"digest":"` + bare + `"}}]`, "7.0.0", true, ""},
		{`[{"release":"7.0.0","mediaType":"helm","content":{"digest":"sha256:` + bare + `"}}]`, "7.0.0", true, ""},
		{`[{"release":"7.0.0","digest":"sha256:` + bare + `"}]`, "8.0.0", false, ""}, // of the manifest
		{`[{"release":"7.0.0-1","content":{}},{"release":"2.0.0","content":{"digest":"x"}}]`, "3.0.0", false,
			"the next release was counted without 7.0.0-1: not three plain numbers"},
	} {
		a := newApps(t)
		first := true
		a.SetFault(func(r *http.Request) *sandbox.Answer {
			if r.Method != http.MethodGet || !first {
				return nil
			}
			first = false
			return &sandbox.Answer{Status: http.StatusOK, Body: tc.list}
		})
		p := wantRelease(t, a.client(t, nil), application("a", ""), tc.want, tc.repeated)
		if got := strings.Join(p.Warnings, "|"); got != tc.warning {
			t.Errorf("%s: warnings are %q", tc.list, got)
		}
	}
}

// Quay hides a package that is not there from a robot that may make it and owns no
// more of the organization.
func TestPushWhereQuayHidesWhatIsNotThere(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	a.SetFault(func(r *http.Request) *sandbox.Answer {
		if r.Method != http.MethodGet || len(a.Releases("myorg/etcd")) > 0 {
			return nil
		}
		return &sandbox.Answer{Status: http.StatusForbidden, Body: appError("forbidden", "Unauthorized access for: myorg/etcd")}
	})
	wantRelease(t, a.client(t, nil), application("a", ""), "1.0.0", false)
	wantRelease(t, a.client(t, nil), application("b", ""), "2.0.0", false)
}

// While a release is being deleted Quay says of the package that this release does
// not exist. That is no empty package.
func TestPushWhileAReleaseIsDeleted(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registry := a.client(t, nil)
	wantRelease(t, registry, application("a", "3.0.0"), "3.0.0", false)
	a.SetFault(func(r *http.Request) *sandbox.Answer {
		if r.Method != http.MethodGet {
			return nil
		}
		return &sandbox.Answer{Status: http.StatusNotFound, Body: `{"error":{"code":"package-not-found",` +
			`"message":"package myorg/etcd doesn't exist, v: 2.0.0, type: helm","details":{"package":"myorg/etcd","release":"2.0.0"}}}`}
	})
	_, err := registry.Push(t.Context(), application("b", ""))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	a.SetFault(nil)
	wantRelease(t, registry, application("b", ""), "4.0.0", false)
}

func TestPushWithoutRights(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	wantRelease(t, a.client(t, nil), application("a", ""), "1.0.0", false)
	for name, login := range map[string]func(*AppRegistryOptions){
		"nobody":         func(o *AppRegistryOptions) { o.Username, o.Password = "", nil },
		"wrong password": func(o *AppRegistryOptions) { o.Password = clients.Secret("wrong") },
	} {
		for _, repository := range []string{"myorg/etcd", "myorg/other"} {
			r := application("b", "")
			r.Application.Repository = repository
			_, err := a.client(t, login).Push(t.Context(), r)
			if verdictOf(err) != credentials || !strings.Contains(err.Error(), "Unauthorized access for: "+repository) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	a.wantHas(t, "1.0.0=a")
}

func TestPushMakesPublic(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	public := func(token clients.Secret) *AppRegistry {
		return a.client(t, func(o *AppRegistryOptions) {
			api, err := NewAPI(APIOptions{URL: a.URL(), Token: token, HTTP: newClient()})
			if err != nil {
				t.Fatal(err)
			}
			o.Visibility = api
		})
	}
	p := wantRelease(t, public(""), application("a", ""), "1.0.0", false)
	want := []string{"repository myorg/etcd was not made public: no OAuth token to change it with"}
	if p.Visibility != pipeline.VisibilityPrivate || !cmp.Equal(p.Warnings, want) {
		t.Errorf("publication is %+v", p)
	}
	p = wantRelease(t, public(oauthToken), application("a", ""), "1.0.0", true)
	if p.Visibility != pipeline.VisibilityPublic || len(p.Warnings) != 0 || !a.IsPublic("myorg/etcd") {
		t.Errorf("publication is %+v", p)
	}
	if p := wantRelease(t, a.client(t, nil), application("b", ""), "2.0.0", false); p.Visibility != "" {
		t.Errorf("publication is %+v", p)
	}
}

// The lease is on the repository, for the content; a deletion shares it with no push.
func TestPushLocksTheRepository(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	locker := newLocker()
	errLost := errors.New("the bucket is gone")
	lockName := a.Host() + "/cnr/myorg/etcd"
	registry := a.client(t, func(o *AppRegistryOptions) { o.Locker = locker })
	a.SetFault(func(r *http.Request) *sandbox.Answer {
		if r.Method != http.MethodPost {
			return nil
		}
		locker.mu.Lock()
		lease := locker.leases[lockName]
		locker.mu.Unlock()
		if lease == nil || !strings.HasPrefix(lease.owner, "sha256:") {
			t.Errorf("%s is leased to %+v", lockName, lease)
			return nil
		}
		return actedUpon(func() { locker.lose(lockName, errLost) })
	})
	_, err := registry.Push(t.Context(), application("a", ""))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	if !errors.Is(err, errLost) || locker.held() != 0 {
		t.Errorf("error is %v, %d leases are held", err, locker.held())
	}
	a.SetFault(nil)
	wantRelease(t, registry, application("a", ""), "1.0.0", true)

	_, unlock, err := locker.Lock(t.Context(), lockName, "somebody else")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-locker.waits; cancel() }()
	_, err = registry.Push(ctx, application("b", ""))
	wantError(t, err, pipeline.Transient, pipeline.ReasonDeadline)
	a.wantHas(t, "1.0.0=a")
}

// Quay's own words are in the error, our credentials never.
func TestAppRegistryErrorsSayEnough(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registry := a.client(t, nil)
	push := func(status int, body string) string {
		a.SetFault(func(r *http.Request) *sandbox.Answer {
			if r.Method != http.MethodPost {
				return nil
			}
			return &sandbox.Answer{Status: status, Body: body}
		})
		_, err := registry.Push(t.Context(), application("a", ""))
		if err == nil {
			t.Fatalf("%d %s is no error", status, body)
		}
		return err.Error()
	}
	for _, tc := range []struct {
		status int
		body   string
		want   string
	}{
		{400, appError("invalid-usage", "invalid repository name: a\nb"), "400 Bad Request: invalid repository name: a b"},
		{405, `{"error":"Cannot push an application to an image repository with the same name"}`, "with the same name"},
		{404, "<html>", "404 Not Found: it has no app registry, or hides it: Quay has none since 3.9"},
		{405, "<html>", "405 Method Not Allowed: it has no app registry, or hides it: Quay has none since 3.9"},
		{403, appError("forbidden", "You are "+robot+" with "+password+" and "+basicHeader()), "403 Forbidden: You are *** with *** and ***"},
		{500, `{"error": 7}`, "500 Internal Server Error"},
	} {
		if text := push(tc.status, tc.body); !strings.HasSuffix(text, tc.want) || !strings.HasPrefix(text, "POST "+a.URL()+etcdPath) {
			t.Errorf("%d %s: %s", tc.status, tc.body, text)
		}
	}
	if text := push(400, appError("invalid-usage", strings.Repeat("large ", 1000))); len(text) > 500 {
		t.Errorf("error has %d bytes", len(text))
	}
	wantNoSecret(t, push(400, fmt.Sprintf(`{"error":{"code":"x","message":"basic %s"}}`, basicHeader())))
}

// A server that digests in another way makes no release after the other.
func TestPushedDigestIsNotOurs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		digest string
		reason pipeline.Reason // "": published
	}{"not told": {"", ""}, "another": {strings.Repeat("0", 64), pipeline.ReasonQuayRefused}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var posts atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPost:
					posts.Add(1)
					_, _ = io.WriteString(w, `{"status":"ok"}`)
				case posts.Load() == 0:
					_, _ = io.WriteString(w, `[]`)
				default:
					fmt.Fprintf(w, `[{"release":"1.0.0","mediaType":"helm","content":{"digest":%q}}]`, tc.digest)
				}
			}))
			t.Cleanup(server.Close)
			registry, err := NewAppRegistry(AppRegistryOptions{URL: server.URL, FirstRelease: "1.0.0", Timeout: 10 * time.Second, HTTP: newClient()})
			if err != nil {
				t.Fatal(err)
			}
			p, err := registry.Push(t.Context(), application("a", ""))
			if tc.reason != "" {
				wantError(t, err, pipeline.Rejected, tc.reason)
			} else if err != nil || p.Release.Version != "1.0.0" || p.Repeated {
				t.Errorf("%+v, %v", p, err)
			}
			if n := posts.Load(); n != 1 {
				t.Errorf("%d pushes", n)
			}
		})
	}
}
