package sandbox

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
)

func testImage(t *testing.T, content string) v1.Image {
	t.Helper()
	layer := static.NewLayer([]byte(content), "application/vnd.oci.image.layer.v1.tar")
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func reference(t *testing.T, s *Server, repository string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s.Host() + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestRegistryWithoutRobotsIsOpen(t *testing.T) {
	t.Parallel()
	s := serve(t, NewRegistry())
	image := testImage(t, "content")
	var wg sync.WaitGroup
	for _, repository := range []string{"one/app:1", "one/app:2", "two/app:1", "two/tags:manifests"} {
		wg.Go(func() {
			ref := reference(t, s, repository)
			if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
				t.Error(err)
				return
			}
			pulled, err := remote.Image(ref, remote.WithContext(t.Context()))
			if err != nil {
				t.Error(err)
				return
			}
			want, _ := image.Digest()
			if got, err := pulled.Digest(); err != nil || got != want {
				t.Errorf("%s has digest %v, want %v: %v", repository, got, want, err)
			}
		})
	}
	wg.Wait()
	tags, err := remote.List(reference(t, s, "one/app").Context(), remote.WithContext(t.Context()))
	if err != nil || strings.Join(tags, " ") != "1 2" {
		t.Errorf("tags are %v: %v", tags, err)
	}
}

// Images outlive a restart: the state is the handler's.
func TestRegistryKeepsImagesOverARestart(t *testing.T) {
	t.Parallel()
	s := serve(t, NewRegistry())
	ref := reference(t, s, "one/app:1")
	if err := remote.Write(ref, testImage(t, "content"), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, err := remote.Head(ref, remote.WithContext(t.Context())); err == nil {
		t.Error("a stopped registry answers")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Head(ref, remote.WithContext(t.Context())); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func guardedRegistry(t *testing.T) (*Registry, *Server) {
	t.Helper()
	r := NewRegistry(
		Organization{Name: "mine", Username: "mine+robot", Password: "secret", OAuthToken: "mine-token"},
		Organization{Name: "theirs", Username: "theirs+robot", Password: "other", OAuthToken: "theirs-token"},
	)
	return r, serve(t, r)
}

var (
	mine   = &authn.Basic{Username: "mine+robot", Password: "secret"}
	theirs = &authn.Basic{Username: "theirs+robot", Password: "other"}
	wrong  = &authn.Basic{Username: "mine+robot", Password: "wrong"}
)

func TestRobotsGuardTheirOrganizations(t *testing.T) {
	t.Parallel()
	r, s := guardedRegistry(t)
	image := testImage(t, "content")
	ref := reference(t, s, "mine/app:1")
	push := func(auth authn.Authenticator, ref name.Reference) error {
		return remote.Write(ref, image, remote.WithAuth(auth), remote.WithContext(t.Context()))
	}
	pull := func(auth authn.Authenticator) error {
		_, err := remote.Get(ref, remote.WithAuth(auth), remote.WithContext(t.Context()))
		return err
	}
	for who, auth := range map[string]authn.Authenticator{"nobody": authn.Anonymous, "another robot": theirs, "a wrong password": wrong} {
		if err := push(auth, ref); statusOf(err) != http.StatusUnauthorized {
			t.Errorf("push by %s: %v", who, err)
		}
	}
	if err := push(mine, ref); err != nil {
		t.Fatal(err)
	}
	if r.IsPublic("mine/app") {
		t.Error("a new repository is public")
	}
	if err := pull(mine); err != nil {
		t.Errorf("pull by its robot: %v", err)
	}
	for who, auth := range map[string]authn.Authenticator{"nobody": authn.Anonymous, "another robot": theirs} {
		if err := pull(auth); statusOf(err) != http.StatusUnauthorized {
			t.Errorf("pull of a private image by %s: %v", who, err)
		}
	}
	if err := push(authn.Anonymous, reference(t, s, "elsewhere/app:1")); err != nil {
		t.Errorf("push to an organization without a robot: %v", err)
	}

	got := api(t, http.MethodPost, s.URL()+"/api/v1/repository/mine/app/changevisibility", "mine-token", `{"visibility": "public"}`)
	if got.status != http.StatusOK || got.body != "{\"success\":true}\n" || !r.IsPublic("mine/app") {
		t.Fatalf("changing visibility: %+v", got)
	}
	if err := pull(authn.Anonymous); err != nil {
		t.Errorf("pull of a public image by nobody: %v", err)
	}
	image = testImage(t, "another content") // the client does not push what is there
	if err := push(authn.Anonymous, ref); statusOf(err) != http.StatusUnauthorized {
		t.Errorf("push of a public image by nobody: %v", err)
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	_, s := guardedRegistry(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/v2/auth?scope=repository:mine/app:pull,push", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(mine.Username, mine.Password)
	var answer struct{ Token string }
	decodeJSON(t, send(t, req).body, &answer)

	list := s.URL() + "/v2/mine/app/tags/list"
	claims, signature, _ := strings.Cut(answer.Token, ".")
	for _, tc := range []struct {
		token, url string
		status     int
	}{
		{answer.Token, list, http.StatusNotFound}, // allowed, and nothing there
		{answer.Token, s.URL() + "/v2/", http.StatusOK},
		{answer.Token, s.URL() + "/v2/theirs/app/tags/list", http.StatusUnauthorized},
		{"x" + answer.Token, list, http.StatusUnauthorized},
		{claims, list, http.StatusUnauthorized},
		{claims + "." + signature[2:], list, http.StatusUnauthorized},
		{"", list, http.StatusUnauthorized},
	} {
		if got := api(t, http.MethodGet, tc.url, tc.token, ""); got.status != tc.status {
			t.Errorf("GET %s with token %q is answered %d %s", tc.url, tc.token, got.status, got.body)
		}
	}
	for query, status := range map[string]int{
		"":                              http.StatusUnauthorized,
		"?scope=registry:catalog":       http.StatusBadRequest,
		"?scope=repository:mine/x:pull": http.StatusOK, // a token that allows nothing
	} {
		if got := api(t, http.MethodGet, s.URL()+"/v2/auth"+query, "", ""); got.status != status {
			t.Errorf("asking for %q is answered %d %s", query, got.status, got.body)
		}
	}
}

func TestQuayAPI(t *testing.T) {
	t.Parallel()
	_, s := guardedRegistry(t)
	if err := remote.Write(reference(t, s, "mine/app:1"), testImage(t, "x"), remote.WithAuth(mine)); err != nil {
		t.Fatal(err)
	}
	const app, change = "/api/v1/repository/mine/app", "/api/v1/repository/mine/app/changevisibility"
	for _, tc := range []struct {
		method, path, token, body string
		status                    int
		answer                    string
	}{
		{"GET", app, "mine-token", "", 200, `"is_public":false`},
		{"GET", app, "", "", 401, `"error_type":"invalid_token"`},
		{"GET", app, "theirs-token", "", 403, `"error_type":"insufficient_scope"`},
		{"GET", "/api/v1/repository/mine/no-such", "mine-token", "", 404, `"error_type":"not_found"`},
		{"GET", "/api/v1/repository/mine", "mine-token", "", 404, `"error_type":"not_found"`},
		{"GET", "/api/v1/user/", "mine-token", "", 404, `"error_type":"not_found"`},
		{"GET", "/api/v2/", "mine-token", "", 404, "404"},
		{"PUT", app, "mine-token", "", 405, "not allowed"},
		{"GET", change, "mine-token", "", 405, "not allowed"},
		{"POST", change, "", `{"visibility": "public"}`, 401, `"title":"invalid_token"`},
		{"POST", change, "theirs-token", `{"visibility": "public"}`, 403, `"detail":"Unauthorized"`},
		{"POST", change, "mine-token", `{"visibility": "shared"}`, 400, `'shared' is not one of`},
		{"POST", change, "mine-token", `public`, 400, `"error_type":"invalid_request"`},
		{"POST", "/api/v1/repository/mine/no-such/changevisibility", "mine-token", `{"visibility": "public"}`, 404, `"status":404`},
		{"POST", change, "mine-token", `{"visibility": "public"}`, 200, `{"success":true}`},
		{"GET", app, "", "", 200, `"is_public":true`},
		{"POST", change, "mine-token", `{"visibility": "private"}`, 200, `{"success":true}`},
		{"GET", app, "", "", 401, `"status":401`},
	} {
		got := api(t, tc.method, s.URL()+tc.path, tc.token, tc.body)
		if got.status != tc.status || !strings.Contains(got.body, tc.answer) {
			t.Errorf("%s %s with %q and %s is answered %d %s", tc.method, tc.path, tc.token, tc.body, got.status, got.body)
		}
	}
}

func api(t *testing.T, method, url, token, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return send(t, req)
}

// statusOf is the HTTP status that an error of the registry client carries.
func statusOf(err error) int {
	var e *transport.Error
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}
