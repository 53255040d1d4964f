package quay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	oauthToken = "oauth-token-abcdef"
	repoPath   = "/api/v1/repository/myorg/etcd"
)

// fakeAPI answers as Quay's endpoints/api does, with a status and a body for
// each of the two requests.
type fakeAPI struct {
	*httptest.Server
	getStatus, postStatus int
	getBody, postBody     string

	mu       sync.Mutex
	requests []string
}

func newFakeAPI(t *testing.T) *fakeAPI {
	t.Helper()
	f := &fakeAPI{getStatus: 200, getBody: `{"is_public":false}`, postStatus: 200, postBody: `{"success":true}`}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.requests = append(f.requests, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Method, r.URL, r.Header.Get("Authorization"), body)))
	f.mu.Unlock()
	status, answer := f.getStatus, f.getBody
	if r.Method == http.MethodPost {
		status, answer = f.postStatus, f.postBody
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

func newAPI(t *testing.T, f *fakeAPI, token clients.Secret) *API {
	t.Helper()
	api, err := NewAPI(APIOptions{URL: f.URL, Token: token, HTTP: newClient()})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func TestMakePublic(t *testing.T) {
	t.Parallel()
	const (
		public  = `{"namespace":"myorg","name":"etcd","is_public":true}`
		private = `{"namespace":"myorg","name":"etcd","is_public":false}`
		denied  = `{"status":403,"error_message":"Insufficient scope","error_type":"insufficient_scope","title":"insufficient_scope"}`
	)
	for name, test := range map[string]struct {
		token     clients.Secret
		getStatus int
		getBody   string
		post      int
		postBody  string
		want      pipeline.Visibility
		err       string
		requests  int
	}{
		"public already":            {oauthToken, 200, public, 0, "", pipeline.VisibilityPublic, "", 1},
		"made public":               {oauthToken, 200, private, 200, `{"success":true}`, pipeline.VisibilityPublic, "", 2},
		"not allowed":               {oauthToken, 200, private, 403, denied, pipeline.VisibilityPrivate, "403 Forbidden: Insufficient scope", 2},
		"over the license":          {oauthToken, 200, private, 402, `{"message":"Payment Required"}`, pipeline.VisibilityPrivate, "402 Payment Required", 2},
		"gone in between":           {oauthToken, 200, private, 200, `null`, "", "does not confirm", 2},
		"not confirmed":             {oauthToken, 200, private, 200, `{"success":false}`, "", "does not confirm", 2},
		"no JSON":                   {oauthToken, 200, private, 200, `<html>`, "", "no JSON object", 2},
		"created, not ok":           {oauthToken, 200, private, 201, `{"success":true}`, "", "201", 2},
		"change times out":          {oauthToken, 200, private, 504, "", "", "504", 2},
		"change fails":              {oauthToken, 200, private, 500, `{"message":"oops"}`, "", "500", 2},
		"change is limited":         {oauthToken, 200, private, 429, "", pipeline.VisibilityPrivate, "429", 2},
		"API is down":               {oauthToken, 503, "", 0, "", "", "503", 1},
		"token is wrong":            {oauthToken, 401, denied, 0, "", "", "401 Unauthorized: Insufficient scope", 1},
		"no such repository":        {oauthToken, 404, "", 0, "", "", "404", 1},
		"does not say":              {oauthToken, 200, `{}`, 0, "", "", "does not say", 1},
		"says nonsense":             {oauthToken, 200, `{"is_public":"yes"}`, 0, "", "", "no JSON object", 1},
		"front end":                 {oauthToken, 200, "Healthcheck requested", 0, "", "", "no JSON object", 1},
		"answer without an end":     {oauthToken, 200, strings.Repeat(" ", maxAPIAnswer+1), 0, "", "", "too large", 1},
		"no token, public already":  {"", 200, public, 0, "", pipeline.VisibilityPublic, "", 1},
		"no token, hidden":          {"", 401, denied, 0, "", pipeline.VisibilityPrivate, "no OAuth token", 1},
		"no token, forbidden":       {"", 403, denied, 0, "", pipeline.VisibilityPrivate, "no OAuth token", 1},
		"no token, not found":       {"", 404, denied, 0, "", pipeline.VisibilityPrivate, "no OAuth token", 1},
		"no token, private":         {"", 200, private, 0, "", pipeline.VisibilityPrivate, "no OAuth token", 1},
		"no token, API is down":     {"", 500, "", 0, "", "", "500", 1},
		"no token, does not say it": {"", 200, `{}`, 0, "", "", "does not say", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeAPI(t)
			f.getStatus, f.getBody, f.postBody = test.getStatus, test.getBody, test.postBody
			if test.post != 0 {
				f.postStatus = test.post
			}
			got, err := newAPI(t, f, test.token).MakePublic(t.Context(), "myorg/etcd")
			if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("visibility is %q, error %v; want %q, %q", got, err, test.want, test.err)
			}
			if err != nil && strings.Contains(err.Error(), oauthToken) {
				t.Errorf("error gives the token away: %v", err)
			}
			auth := ""
			if test.token != "" {
				auth = "Bearer " + oauthToken
			}
			want := []string{
				strings.TrimSpace("GET " + repoPath + "?includeTags=false " + auth),
				"POST " + repoPath + "/changevisibility " + auth + ` {"visibility":"public"}`,
			}[:test.requests]
			if diff := cmp.Diff(want, f.requests); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// The change is made, its answer is lost.
func TestVisibilityIsUnknownAfterLostAnswer(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"is_public":false}`)
	}))
	t.Cleanup(s.Close)
	api, err := NewAPI(APIOptions{URL: s.URL, Token: clients.Secret(oauthToken), HTTP: newClient()})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := api.MakePublic(t.Context(), "myorg/etcd"); got != "" || err == nil {
		t.Errorf("visibility is %q, error %v", got, err)
	}
}

func TestOAuthTokenStaysAtHome(t *testing.T) {
	t.Parallel()
	other, seen := stranger(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"is_public":false,"success":true}`)
	})
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(home.Close)
	api, err := NewAPI(APIOptions{URL: home.URL, Token: clients.Secret(oauthToken), HTTP: newClient()})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = api.MakePublic(t.Context(), "myorg/etcd")
	if len(seen()) == 0 {
		t.Error("the redirect was not followed, nothing is proven")
	}
	for _, request := range seen() {
		if strings.Contains(request, oauthToken) {
			t.Errorf("token was sent elsewhere: %s", request)
		}
	}
	for _, text := range []string{fmt.Sprintf("%+v", api), fmt.Sprintf("%#v", api), fmt.Sprintf("%+v", APIOptions{Token: clients.Secret(oauthToken)})} {
		if strings.Contains(text, oauthToken) {
			t.Errorf("printing gives the token away: %s", text)
		}
	}
}

func TestNewAPIChecksOptions(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "quay.io", "ftp://quay.io", "https://", "https://user:" + password + "@quay.io", "https://quay.io?x=y", "://"} {
		_, err := NewAPI(APIOptions{URL: address, HTTP: newClient()})
		if err == nil {
			t.Errorf("%q is accepted", address)
			continue
		}
		wantNoSecret(t, err.Error())
	}
	if _, err := NewAPI(APIOptions{URL: "https://quay.io"}); err == nil {
		t.Error("no HTTP client is accepted")
	}
}

// setter is a VisibilitySetter as a function.
type setter func(repository string) (pipeline.Visibility, error)

func (s setter) MakePublic(ctx context.Context, repository string) (pipeline.Visibility, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		return "", errors.New("call without a deadline")
	}
	return s(repository)
}

func TestPushSetsVisibility(t *testing.T) {
	t.Parallel()
	second := etcd("7", "a")
	second.Repository = "myorg/other"
	release := []pipeline.Bundle{etcd("6", "a"), etcd("7", "b"), second}
	for name, test := range map[string]struct {
		setter  setter
		want    pipeline.Visibility
		warning string
		calls   int
	}{
		"public": {func(string) (pipeline.Visibility, error) { return pipeline.VisibilityPublic, nil },
			pipeline.VisibilityPublic, "", 2},
		"private": {func(string) (pipeline.Visibility, error) {
			return pipeline.VisibilityPrivate, errors.New("no OAuth token")
		},
			pipeline.VisibilityPrivate, "repository myorg/etcd was not made public: no OAuth token", 1},
		"second is private": {func(repository string) (pipeline.Visibility, error) {
			if repository == "myorg/etcd" {
				return pipeline.VisibilityPublic, nil
			}
			return pipeline.VisibilityPrivate, errors.New("402")
		}, pipeline.VisibilityPrivate, "repository myorg/other was not made public: 402", 2},
		"unknown": {func(string) (pipeline.Visibility, error) { return "", errors.New("503") },
			"", "repository myorg/etcd was not made public: 503", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			count := setter(func(repository string) (pipeline.Visibility, error) {
				calls++
				return test.setter(repository)
			})
			p := mustPush(t, newOCI(t, newRegistry(t), func(o *OCIOptions) { o.Visibility = count }), release...)
			var warnings []string
			if test.warning != "" {
				warnings = []string{test.warning}
			}
			if p.Visibility != test.want || !cmp.Equal(p.Warnings, warnings) || calls != test.calls {
				t.Errorf("visibility is %q, warnings %q, %d calls", p.Visibility, p.Warnings, calls)
			}
		})
	}
}

func TestPushAsksForNoVisibilityOfFailedPush(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	f.failing(stepStart, http.StatusBadGateway, "")
	o := newOCI(t, f, func(o *OCIOptions) {
		o.Visibility = setter(func(string) (pipeline.Visibility, error) {
			t.Error("called")
			return "", nil
		})
	})
	if _, err := o.Push(t.Context(), releaseOf(etcd("7", "a"))); err == nil {
		t.Error("no error")
	}
}
