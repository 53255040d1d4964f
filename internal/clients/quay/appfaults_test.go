package quay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// appError is the body of an error of the app registry.
func appError(code, message string) string {
	body, err := json.Marshal(map[string]any{"error": map[string]any{"code": code, "message": message, "details": map[string]any{}}})
	if err != nil {
		panic(err)
	}
	return string(body)
}

const (
	imageBody = `{"error":"Cannot push an application to an image repository with the same name"}`
	htmlPage  = "<html><body>oops</body></html>"
)

var invalidVersion = verdict{pipeline.Rejected, pipeline.ReasonInvalidVersion}

// appFaults is every error of Quay's endpoints/appr, what lies in front of it, and
// answers that are lost. want is the verdict on one that a push or a deletion meets
// each time.
var appFaults = []fault{
	{status: 200, body: "Healthcheck requested", want: passes},
	{status: 200, body: "Healthcheck requested", want: passes, acted: true},
	{status: 200, body: "null", want: passes},
	{status: 200, body: "[]", want: passes, acted: true},
	{status: 201, body: `{"status":"ok"}`, want: passes},
	{status: 204, want: passes},
	{status: 302, want: passes},
	{status: 307, want: passes},
	{status: 400, body: appError("invalid-usage", "invalid repository name: myorg/etcd"), want: final},
	{status: 400, body: appError("invalid-usage", "Missing blob"), want: final},
	{status: 400, body: htmlPage, want: passes},
	{status: 400, body: appError("", "no code"), want: passes},
	{status: 401, want: credentials},
	{status: 401, body: appError("unauthorized-access", "Invalid Username or Password"), want: credentials},
	{status: 402, want: passes},
	{status: 403, body: appError("forbidden", "Unauthorized access for: myorg/etcd"), want: credentials},
	{status: 403, body: htmlPage, want: credentials},
	{status: 404, body: htmlPage, want: passes},
	{status: 404, body: appError("resource-not-found", ""), want: passes},
	{status: 404, body: appError("package-release-not-found", "No release match"), want: passes},
	{status: 405, body: imageBody, want: final},
	{status: 405, body: appError("read-only", "Currently in read-only mode"), want: passes},
	{status: 405, body: htmlPage, want: passes},
	{status: 405, body: `{"error":""}`, want: passes},
	{status: 408, want: passes},
	{status: 408, want: passes, acted: true},
	{status: 409, body: appError("package-exists", "package exists already"), want: passes},
	{status: 409, body: appError("package-exists", "package exists already"), want: passes, acted: true},
	{status: 409, body: appError("resource-in-use", ""), want: passes},
	{status: 409, body: htmlPage, want: passes},
	{status: 413, body: htmlPage, want: passes},
	{status: 422, body: appError("invalid-release", "Invalid version string: '1'"), want: invalidVersion},
	{status: 422, body: appError("invalid-parameters", ""), want: final},
	{status: 422, body: htmlPage, want: passes},
	{status: 429, want: passes},
	{status: 500, body: appError("internal-error", "Not a gzipped file"), want: passes},
	{status: 500, body: htmlPage, want: passes, acted: true},
	{status: 501, body: appError("unsupported", ""), want: passes},
	{status: 502, want: passes},
	{status: 502, want: passes, acted: true},
	{status: 503, want: passes},
	{status: 504, want: passes},
	{status: 504, want: passes, acted: true},
	{cut: true, want: passes},
	{cut: true, want: passes, acted: true},
	{hung: true, want: lost},
	{hung: true, want: lost, acted: true},
}

// onWrite is the verdict on a fault that a push or a deletion meets each time.
func (x fault) onWrite(method string) verdict {
	switch {
	case x.acted && !x.hung:
		return success // what is there tells
	case x.status == 404 && x.body != htmlPage && method == http.MethodDelete:
		return gone
	}
	return x.want
}

// onRead is the verdict on a fault that the list of releases meets each time.
func (x fault) onRead() verdict {
	switch {
	case x.cut, x.hung, x.body == imageBody:
		return x.want
	case x.want == credentials:
		return credentials
	}
	return passes
}

// meet makes requests of a method meet a fault, the nth of them or, with -1, each.
func (a apps) meet(t *testing.T, x fault, method string, nth int32) (context.Context, func() bool) {
	ctx, lose := context.WithCancel(t.Context())
	t.Cleanup(lose)
	var seen atomic.Int32
	a.SetFault(func(r *http.Request) *sandbox.Answer {
		if r.Method != method || !strings.HasPrefix(r.URL.Path, etcdPath) {
			return nil
		}
		if n := seen.Add(1) - 1; nth >= 0 && n != nth {
			return nil
		}
		switch {
		case x.hung && x.acted:
			return actedUpon(lose)
		case x.hung:
			lose()
			<-r.Context().Done()
			return &sandbox.Answer{}
		}
		answer := &sandbox.Answer{Status: x.status, Body: x.body, After: x.acted, Header: http.Header{"Retry-After": {"7"}}}
		if x.status/100 == 3 {
			answer.Header.Set("Location", a.URL()+"/elsewhere")
		}
		return answer
	})
	return ctx, func() bool { return seen.Load() > max(nth, 0) }
}

func TestAppRegistryFaultThatLasts(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		for i, x := range appFaults {
			t.Run(fmt.Sprint(method, i), func(t *testing.T) {
				t.Parallel()
				a := newApps(t)
				registry := a.client(t, nil)
				wantRelease(t, registry, application("a", ""), "1.0.0", false)
				ctx, met := a.meet(t, x, method, -1)
				var err error
				switch method {
				case http.MethodDelete:
					_, err = registry.Delete(ctx, pipeline.Deletion{Repository: "myorg/etcd", Version: "1.0.0"})
				default:
					_, err = registry.Push(ctx, application("b", ""))
				}
				want := x.onRead()
				if method != http.MethodGet {
					want = x.onWrite(method)
				}
				if x.hung && x.acted {
					want = lost
				}
				if got := verdictOf(err); got != want || !met() {
					t.Errorf("%s: %v, want %v: %v", x, got, want, err)
				}
				if _, ok := pipeline.DoubtOf(err); ok {
					t.Errorf("%s: is doubtful", x)
				}
				var wait time.Duration
				if want.class == pipeline.Transient && want != success && x.status != 0 {
					wait = 7 * time.Second
				}
				if x.status == http.StatusConflict && method == http.MethodPost {
					wait = 0 // not the answer is the error, but that others are always quicker
				}
				if got := pipeline.AfterOf(err); got != wait && x.status != 200 && x.status/100 != 3 {
					t.Errorf("%s: waits %s, want %s: %v", x, got, wait, err)
				}
			})
		}
	}
}

// Whatever goes wrong once, the same push or the next one ends with the content in
// one release, and nothing lost.
func TestAppRegistryFaultThatHappensOnce(t *testing.T) {
	t.Parallel()
	for _, at := range []struct {
		method string
		nth    int32
	}{{http.MethodGet, 0}, {http.MethodGet, 1}, {http.MethodPost, 0}} {
		for i, x := range appFaults {
			t.Run(fmt.Sprint(at, i), func(t *testing.T) {
				t.Parallel()
				a := newApps(t)
				registry := a.client(t, nil)
				wantRelease(t, registry, application("a", ""), "1.0.0", false)
				ctx, met := a.meet(t, x, at.method, at.nth)
				p, err := registry.Push(ctx, application("b", ""))
				if !met() {
					t.Fatal("the push does not come so far")
				}
				a.SetFault(nil)
				if err != nil {
					p, err = registry.Push(t.Context(), application("b", ""))
				}
				if err != nil || p.Release.Version != "2.0.0" {
					t.Errorf("after %s: %+v, %v", x, p, err)
				}
				a.wantHas(t, "1.0.0=a", "2.0.0=b")
			})
		}
	}
}

func TestAppRegistryDeletionMeetsFaultOnce(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		for i, x := range appFaults {
			t.Run(fmt.Sprint(method, i), func(t *testing.T) {
				t.Parallel()
				a := newApps(t)
				registry := a.client(t, nil)
				wantRelease(t, registry, application("a", ""), "1.0.0", false)
				wantRelease(t, registry, application("b", ""), "2.0.0", false)
				ctx, met := a.meet(t, x, method, 0)
				all := pipeline.Deletion{Repository: "myorg/etcd"}
				deleted, err := registry.Delete(ctx, all)
				if !met() {
					t.Fatal("the deletion does not come so far")
				}
				a.SetFault(nil)
				if err != nil || len(a.has(t)) > 0 { // "gone", it was said of one
					var more []string
					more, err = registry.Delete(t.Context(), all)
					deleted = append(deleted, more...)
				}
				slices.Sort(deleted)
				want := []string{"1.0.0", "2.0.0"}
				if x.hung && x.acted && method == http.MethodDelete {
					want = want[1:] // nobody was left to look
				}
				if err != nil || !slices.Equal(deleted, want) || len(a.has(t)) != 0 {
					t.Errorf("after %s: deleted %q, %v, left %q", x, deleted, err, a.has(t))
				}
			})
		}
	}
}

// Every row of the table decides on some fault.
func TestEveryAppRuleIsMet(t *testing.T) {
	t.Parallel()
	registry := newApps(t).client(t, nil)
	met := make([]bool, len(appRules))
	for _, x := range appFaults {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if x.status == 0 {
				continue
			}
			req := httptest.NewRequest(method, etcdPath, nil)
			resp := &http.Response{StatusCode: x.status, Body: io.NopCloser(strings.NewReader("")), Request: req}
			met[appRules.ruleFor(registry.refused(resp, []byte(x.body)))] = true
		}
	}
	for i, rule := range appRules {
		if !met[i] {
			t.Errorf("no fault meets the rule for %d %s", rule.status, rule.code)
		}
	}
}

// Every status that net/http knows, bare and at each request.
func TestAppRegistryEveryStatus(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registry := a.client(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for status := 200; status < 600; status++ {
			if http.StatusText(status) == "" && status%100 != 99 {
				continue
			}
			a.meet(t, fault{status: status, body: htmlPage}, method, -1)
			_, err := registry.Push(t.Context(), application("a", ""))
			want := passes
			if status == http.StatusUnauthorized || status == http.StatusForbidden {
				want = credentials
			}
			if got := verdictOf(err); got != want {
				t.Errorf("%s answered by %d: %v, want %v: %v", method, status, got, want, err)
			}
		}
	}
}
