package sandbox

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const packages = "/cnr/api/v1/packages"

// testBlob is a tar.gz with one file, in base64.
func testBlob(t *testing.T, content string) string {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, err := range []error{
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "app-12345678/", Mode: 0o700}),
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "app-12345678/bundle.yaml", Size: int64(len(content)), Mode: 0o644}),
		func() error { _, err := w.Write([]byte(content)); return err }(),
		w.Close(), z.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return base64.StdEncoding.EncodeToString(buf.Bytes())
}

func pushBody(t *testing.T, release, mediaType, blob string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"release": release, "media_type": mediaType, "blob": blob})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func basicToken(user, password string) string {
	return "basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// cnr sends a request as a package manager does.
func cnr(t *testing.T, method, url, token, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	return send(t, req)
}

// Each push meets one refusal more than the one below it, so that the order of the checks shows.
func TestAppRegistryChecksInQuaysOrder(t *testing.T) {
	t.Parallel()
	r, s := guardedRegistry(t)
	if err := remote.Write(reference(t, s, "mine/image:1"), testImage(t, "x"), remote.WithAuth(mine)); err != nil {
		t.Fatal(err)
	}
	token, good := basicToken(mine.Username, mine.Password), testBlob(t, "a")
	for i, tc := range []struct {
		name, token, body string
		readOnly          bool
		status            int
		answer            string
	}{
		{"mine/image", "", "", true, 405, `{"error":"Cannot push an application to an image repository with the same name"}`},
		{"mine/Image", "", "", true, 400, `"code":"invalid-usage","details":{},"message":"invalid repository name: mine/Image"`},
		{"mine/" + strings.Repeat("a", 256), token, "", true, 400, `invalid repository name`},
		{"mine/app", "", "", true, 403, `"code":"forbidden","details":{"package":"mine/app","scopes":["create"]},"message":"Unauthorized access for: mine/app"`},
		{"mine/app", basicToken(theirs.Username, theirs.Password), "", true, 403, `Unauthorized access for: mine/app`},
		{"mine/app", basicToken(mine.Username, "wrong"), "", true, 403, `Unauthorized access for: mine/app`},
		{"mine/app", token, "", true, 405, `"code":"read-only","details":{},"message":"Currently in read-only mode"`},
		{"mine/app", token, "", false, 400, `Missing release`},
		{"mine/app", "", "", true, 403, `"scopes":["push"]`}, // by now it is there
		{"mine/app", token, "", true, 400, `Missing release`},
		{"mine/app", token, `{"release": "1.0"}`, true, 400, `Missing media_type`},
		{"mine/app", token, `{"release": "1.0", "media_type": "helm"}`, true, 400, `Missing blob`},
		{"mine/app", token, pushBody(t, "1.0", "helm", "!"), true, 422, `"code":"invalid-release","details":{"version":"1.0"},"message":"Invalid version string: '1.0'"`},
		{"mine/app", token, pushBody(t, "1.0.02", "helm", "!"), true, 422, `invalid-release`},
		{"mine/app", token, `{"release": 1, "media_type": "helm", "blob": ""}`, true, 422, `'1'`},
		{"mine/app", token, pushBody(t, "1.0.0", "helm", good), true, 405, `read-only`},
		{"mine/app", token, pushBody(t, "1.0.0", "helm", good), false, 200, `{"status":"ok"}`},
		{"mine/app", token, pushBody(t, "1.0.0", "helm", "!"), true, 409, `"code":"package-exists","details":{},"message":"package exists already"`},
		{"mine/app", token, pushBody(t, "1.0.0-2", "helm", "!"), true, 405, `read-only`},
		{"mine/app", token, pushBody(t, "1.0.0-2", "helm", "!"), false, 500, `"code":"internal-error"`},
		{"mine/app", token, pushBody(t, "1.0.0-2", "helm", "bm8gZ3ppcA=="), false, 500, `"code":"internal-error"`},
		{"mine/app", token, pushBody(t, "1.0.0-2", "helm", good), false, 200, `{"status":"ok"}`},
		{"mine/app", token, pushBody(t, "1.0.0", "kpm", good), false, 200, `{"status":"ok"}`}, // another media type is another thing
	} {
		r.SetAppsReadOnly(tc.readOnly)
		got := cnr(t, http.MethodPost, s.URL()+packages+"/"+tc.name, tc.token, tc.body)
		if got.status != tc.status || !strings.Contains(got.body, tc.answer) {
			t.Errorf("push %d is answered %d %s, want %d %s", i, got.status, got.body, tc.status, tc.answer)
		}
	}
	if r.IsPublic("mine/app") {
		t.Error("a new repository is public")
	}
	if got := r.Releases("mine/app"); len(got) != 3 || got[0].Digest != got[2].Digest || got[2].MediaType != "kpm" {
		t.Errorf("releases are %v", got)
	}
}

// The repository is made before anything is known of what is to go into it.
func TestRefusedPushLeavesAnEmptyRepository(t *testing.T) {
	t.Parallel()
	r, s := guardedRegistry(t)
	token := basicToken(mine.Username, mine.Password)
	if got := cnr(t, http.MethodPost, s.URL()+packages+"/mine/app", token, "{}"); got.status != http.StatusBadRequest {
		t.Fatalf("%+v", got)
	}
	if got := cnr(t, http.MethodGet, s.URL()+packages+"/mine/app", token, ""); got.status != 200 || got.body != "[]\n" {
		t.Errorf("its releases are %d %s", got.status, got.body)
	}
	if got := cnr(t, http.MethodGet, s.URL()+packages+"?namespace=mine", token, ""); got.status != 200 || got.body != "[]\n" {
		t.Errorf("packages are %d %s", got.status, got.body)
	}
	if got := r.Releases("mine/none"); got != nil {
		t.Errorf("releases of nothing: %v", got)
	}
}

func TestAppRegistryReads(t *testing.T) {
	t.Parallel()
	r, s := guardedRegistry(t)
	token, blob := basicToken(mine.Username, mine.Password), testBlob(t, "content")
	for _, release := range []string{"1.0.0", "10.0.0", "9.0.0"} {
		if got := cnr(t, http.MethodPost, s.URL()+packages+"/mine/app", token, pushBody(t, release, "helm", blob)); got.status != 200 {
			t.Fatalf("%+v", got)
		}
	}
	app := packages + "/mine/app"
	for _, tc := range []struct {
		path, token string
		status      int
		answer      string
	}{
		{"/cnr/version", "", 200, `{"cnr-api":"0.2.7"}`},
		{packages, token, 200, `"default":"10.0.0","manifests":["helm"],"name":"mine/app","namespace":"mine","releases":["10.0.0","9.0.0","1.0.0"],"visibility":"private"`},
		{packages, "", 200, `[]`},
		{packages + "?namespace=theirs", token, 200, `[]`},
		{app, "", 403, `"scopes":["pull"]`},
		{app, token, 200, `"mediaType":"application/vnd.cnr.package-manifest.helm.v0.json"`},
		{packages + "/mine/none", token, 404, `"code":"package-not-found","details":{"media_type":null,"package":"mine/none","release":null},"message":"package mine/none doesn't exist, v: None, type: None"`},
		{packages + "/mine/none", "", 403, `forbidden`},
		{app + "/1.0.0", token, 200, `"mediaType":"application/vnd.cnr.package.helm.v0.tar+gzip"`},
		{app + "/2.0.0", token, 404, `v: 2.0.0`},
		{app + "/1.0.0/helm", token, 200, `"channels":[]`},
		{app + "/1.0.0/kpm", token, 404, `v: 1.0.0, type: kpm`},
		{app + "/1.0.0/helm/pull?format=json", token, 200, `"blob":"` + blob + `","filename":"mine_app_1.0.0.tar.gz","package":"mine/app","release":"1.0.0"`},
		{app + "/2.0.0/helm/pull", token, 404, `package-not-found`},
	} {
		if got := cnr(t, http.MethodGet, s.URL()+tc.path, tc.token, ""); got.status != tc.status || !strings.Contains(got.body, tc.answer) {
			t.Errorf("GET %s is answered %d %s", tc.path, got.status, got.body)
		}
	}
	pulled := cnr(t, http.MethodGet, s.URL()+app+"/1.0.0/helm/pull", token, "")
	if pulled.header.Get("Content-Type") != "application/x-gzip" || base64.StdEncoding.EncodeToString([]byte(pulled.body)) != blob {
		t.Errorf("pulled %+v", pulled)
	}
	release := r.Releases("mine/app")[0]
	files, err := release.Files()
	if err != nil || len(files) != 1 || string(files["bundle.yaml"]) != "content" {
		t.Errorf("files are %q: %v", files, err)
	}
	listed := cnr(t, http.MethodGet, s.URL()+app, token, "")
	var views []struct {
		Release string
		Content struct{ Digest string }
	}
	decodeJSON(t, listed.body, &views)
	if len(views) != 3 || "sha256:"+views[0].Content.Digest != release.Digest || views[1].Release != "10.0.0" {
		t.Errorf("listed %s", listed.body)
	}

	api(t, http.MethodPost, s.URL()+"/api/v1/repository/mine/app/changevisibility", "mine-token", `{"visibility": "public"}`)
	if got := cnr(t, http.MethodGet, s.URL()+app, "", ""); got.status != 200 || !strings.Contains(got.body, `"release":"9.0.0"`) {
		t.Errorf("a public package reads %d %s", got.status, got.body)
	}
	if got := cnr(t, http.MethodGet, s.URL()+packages, "", ""); !strings.Contains(got.body, `"visibility":"public"`) {
		t.Errorf("packages read %s", got.body)
	}
	if got := api(t, http.MethodGet, s.URL()+"/api/v1/repository/mine/app", "", ""); !strings.Contains(got.body, `"kind":"application"`) {
		t.Errorf("the repository is %s", got.body)
	}
}

func TestAppRegistryDeletes(t *testing.T) {
	t.Parallel()
	r, s := guardedRegistry(t)
	token := basicToken(mine.Username, mine.Password)
	for _, release := range []string{"1.0.0", "2.0.0"} {
		cnr(t, http.MethodPost, s.URL()+packages+"/mine/app", token, pushBody(t, release, "helm", testBlob(t, release)))
	}
	for _, tc := range []struct {
		path, token string
		readOnly    bool
		status      int
		answer      string
	}{
		{"/mine/app/1.0.0/helm", "", false, 403, `"scopes":["pull","push"]`},
		{"/mine/app/1.0.0/helm", token, true, 405, `read-only`},
		{"/mine/app/1.0.0/kpm", token, false, 404, `package mine/app doesn't exist, v: 1.0.0, type: kpm`},
		{"/mine/none/1.0.0/helm", token, false, 404, `package mine/none doesn't exist, v: None, type: None`},
		{"/mine/app/1.0.0/helm", token, false, 200, `{"package":"mine/app","release":"1.0.0","status":"deleted"}`},
		{"/mine/app/1.0.0/helm", token, false, 404, `"code":"package-not-found","details":{"media_type":"helm","package":"mine/app","release":"1.0.0"}`},
	} {
		r.SetAppsReadOnly(tc.readOnly)
		if got := cnr(t, http.MethodDelete, s.URL()+packages+tc.path, tc.token, ""); got.status != tc.status || !strings.Contains(got.body, tc.answer) {
			t.Errorf("DELETE %s is answered %d %s", tc.path, got.status, got.body)
		}
	}
	if got := r.Releases("mine/app"); len(got) != 1 || got[0].Release != "2.0.0" {
		t.Errorf("left are %v", got)
	}
}

func TestAppRegistryLogin(t *testing.T) {
	t.Parallel()
	_, s := guardedRegistry(t)
	for body, want := range map[string]struct {
		status int
		answer string
	}{
		`{"user": {"username": "mine+robot", "password": "secret"}}`: {200, `{"token":"` + basicToken("mine+robot", "secret") + `"}`},
		`{"user": {"username": "mine+robot", "password": "wrong"}}`:  {401, `"code":"unauthorized-access"`},
		`{"user": {"username": "mine+robot"}}`:                       {400, `Missing username or password`},
		`nonsense`:                                                   {400, `Missing username or password`},
	} {
		if got := cnr(t, http.MethodPost, s.URL()+"/cnr/api/v1/users/login", "", body); got.status != want.status || !strings.Contains(got.body, want.answer) {
			t.Errorf("%s is answered %d %s", body, got.status, got.body)
		}
	}
}

// Quay lists the first hundred packages and keeps silent about the others.
func TestListOfPackagesIsCut(t *testing.T) {
	t.Parallel()
	s := serve(t, NewRegistry())
	body := pushBody(t, "1.0.0", "helm", testBlob(t, "x"))
	for i := range 105 {
		if got := cnr(t, http.MethodPost, fmt.Sprintf("%s%s/org/app-%d", s.URL(), packages, i), "", body); got.status != 200 {
			t.Fatalf("%+v", got)
		}
	}
	var listed []struct{ Name string }
	decodeJSON(t, cnr(t, http.MethodGet, s.URL()+packages+"?namespace=org", "", "").body, &listed)
	if len(listed) != 100 || listed[99].Name != "org/app-99" {
		t.Errorf("%d packages are listed", len(listed))
	}
}

// Of many pushes of one release, one is taken.
func TestOneReleaseIsTakenOnce(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	s := serve(t, r)
	var mu sync.Mutex
	statuses := map[int]int{}
	var wg sync.WaitGroup
	for i := range 8 {
		body := pushBody(t, "1.0.0", "helm", testBlob(t, fmt.Sprint(i)))
		wg.Go(func() {
			got := cnr(t, http.MethodPost, s.URL()+packages+"/org/app", "", body)
			mu.Lock()
			defer mu.Unlock()
			statuses[got.status]++
		})
	}
	wg.Wait()
	if !maps.Equal(statuses, map[int]int{200: 1, 409: 7}) || len(r.Releases("org/app")) != 1 {
		t.Errorf("statuses are %v, releases %v", statuses, r.Releases("org/app"))
	}
}

// A repository is for images or for an application, whichever came first.
func TestApplicationIsNoImage(t *testing.T) {
	t.Parallel()
	for name, newServer := range map[string]func() *Server{
		"open":    func() *Server { return serve(t, NewRegistry()) },
		"guarded": func() *Server { _, s := guardedRegistry(t); return s },
	} {
		s := newServer()
		token := basicToken(mine.Username, mine.Password)
		if got := cnr(t, http.MethodPost, s.URL()+packages+"/mine/app", token, pushBody(t, "1.0.0", "helm", testBlob(t, "x"))); got.status != 200 {
			t.Fatalf("%+v", got)
		}
		err := remote.Write(reference(t, s, "mine/app:1"), testImage(t, "x"), remote.WithAuth(mine))
		if statusOf(err) != http.StatusMethodNotAllowed {
			t.Errorf("%s: push of an image: %v", name, err)
		}
	}
}

func TestFilesOfAReleaseThatIsNoArchive(t *testing.T) {
	t.Parallel()
	for _, blob := range []string{"", "no gzip", "\x1f\x8b\x08"} {
		if files, err := (AppRelease{Blob: []byte(blob)}).Files(); err == nil {
			t.Errorf("%q holds %v", blob, files)
		}
	}
}
