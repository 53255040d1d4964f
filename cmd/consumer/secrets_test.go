package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// The secrets that must not get out.
const (
	leakPassword = "hunter2-robot-password"
	leakToken    = "hunter2-app-registry-token"
	leakOAuth    = "hunter2-oauth-token"
)

// leaks is every spelling of them in which a server could say them back.
func leaks() map[string]string {
	all := make(map[string]string)
	for _, secret := range []string{leakPassword, leakToken, leakOAuth} {
		all[secret] = secret
		all[secret+", base64"] = base64.StdEncoding.EncodeToString([]byte(secret))
	}
	for _, org := range []string{"images", "releases"} {
		all["the login of "+org] = base64.StdEncoding.EncodeToString([]byte(org + "+robot:" + leakPassword))
	}
	for what, leak := range maps.Clone(all) {
		all[what+", in a URL"] = url.QueryEscape(leak)
	}
	return all
}

// gossip stands before a registry and says back, in as many ways as servers have,
// whatever it was sent. What it does is in the name of the repository.
type gossip struct {
	t    *testing.T
	next http.Handler

	mu    sync.Mutex
	heard strings.Builder
}

// mode is what a repository asks for: the step that fails, and how.
var mode = regexp.MustCompile(`m-(token|write|read|api)-([a-z0-9]+)`)

func (g *gossip) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		g.t.Error(err)
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	said := said(r)
	g.mu.Lock()
	g.heard.WriteString(said)
	g.mu.Unlock()

	asked, err := url.QueryUnescape(r.URL.String())
	if err != nil {
		g.t.Error(err)
	}
	if m := mode.FindStringSubmatch(asked); m != nil && g.concerns(m[1], r) {
		g.fail(w, r, m[2], said)
		return
	}
	g.next.ServeHTTP(w, r)
}

func (g *gossip) concerns(step string, r *http.Request) bool {
	api := strings.HasPrefix(r.URL.Path, "/api/")
	token := strings.Contains(r.URL.Path, "auth") || r.URL.Query().Has("scope")
	write := r.Method != http.MethodGet && r.Method != http.MethodHead
	return step == "api" && api || step == "token" && token ||
		!api && !token && (step == "write" && write || step == "read" && !write)
}

// said is what a request says, its credentials in all their forms.
func said(r *http.Request) string {
	header := r.Header.Get("Authorization")
	_, credentials, _ := strings.Cut(header, " ")
	_, password, _ := r.BasicAuth()
	return strings.Join([]string{"gossip: you sent", header, credentials, password}, " ")
}

// fail answers with a status, or in a way that has a name.
func (g *gossip) fail(w http.ResponseWriter, r *http.Request, how, said string) {
	var status int
	switch how {
	case "cut": // in the middle of the answer
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, said)
		panic(http.ErrAbortHandler)
	case "garbage":
		_, _ = io.WriteString(w, said)
	case "json":
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": said, "token": 17, "message": said})
	case "redirect":
		http.Redirect(w, r, "http://"+r.Host+"/elsewhere?gossip="+url.QueryEscape(said), http.StatusTemporaryRedirect)
	case "userinfo":
		w.Header().Set("Location", "http://u:"+url.PathEscape(leakPassword)+"@169.254.169.254/?"+url.QueryEscape(said))
		w.WriteHeader(http.StatusTemporaryRedirect)
	case "header":
		w.Header().Set("Docker-Content-Digest", said)
		w.Header().Set("Content-Type", said)
		w.Header().Set("Location", said)
		w.Header().Set("Www-Authenticate", `Bearer realm="`+said+`"`)
		w.WriteHeader(http.StatusCreated)
	case "html":
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<html><title>"+said+"</title>")
	default:
		if _, err := fmt.Sscan(how, &status); err != nil {
			g.t.Errorf("no way to fail is called %s", how)
		}
		if status == http.StatusUnauthorized {
			w.Header().Set("Www-Authenticate", `Basic realm="`+said+`"`)
		}
		g.refuse(w, status, said)
	}
}

// refuse is an error as registries write it, with letters spelled as JSON allows.
func (g *gossip) refuse(w http.ResponseWriter, status int, said string) {
	spelled := strings.ReplaceAll(said, "h", `\u0068`)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"%[1]s","detail":{"message":"%[1]s"}}],"error":{"message":"%[1]s","details":{}},"message":"%[1]s","error_message":"%[1]s"}`, spelled)
}

// TestSecretsStayInside makes everything fail that is ever shown a secret, by a
// server that says it back, and looks for it wherever the service writes.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	g := &gossip{t: t, next: sandbox.NewRegistry(
		sandbox.Organization{Name: "images", Username: "images+robot", Password: leakPassword, OAuthToken: "another"},
		sandbox.Organization{Name: "releases", Username: "releases+robot", Password: leakPassword, OAuthToken: "another"},
		sandbox.Organization{Name: "tokens", OAuthToken: "another"},
	)}
	registry := httptest.NewServer(g)
	t.Cleanup(registry.Close)
	s, file := gossipSystem(t, registry)
	s.start()
	s.watch()

	var builds []string // ORGANIZATION/NVR
	for _, step := range []string{"token", "read", "write", "api"} {
		for _, how := range []string{"400", "401", "403", "404", "409", "429", "500", "502", "cut", "garbage", "json", "redirect", "userinfo", "header", "html"} {
			for _, org := range []string{"images", "releases", "tokens"} {
				if step == "token" && org != "images" {
					continue
				}
				nvr := fmt.Sprintf("gossip-container-1.0-%d", len(builds)+1)
				builds = append(builds, org+"/"+nvr)
				if _, err := s.world.Koji.AddBuild(sandbox.Build{NVR: nvr, Archive: sandbox.SampleArchive()}); err != nil {
					t.Fatal(err)
				}
				s.publish("omps.request.push."+org, fmt.Sprintf(
					`{"specversion":"1.0","id":"%[1]s","source":"/x","type":"org.koji.operator-manifests.push-requested.v1","data":{"nvr":%[1]q,"repository":"m-%[2]s-%[3]s"}}`,
					nvr, step, how), nil)
			}
		}
	}
	outcomes := make(map[pipeline.Outcome]int)
	for range builds {
		outcomes[s.next().Outcome]++
	}
	if outcomes[pipeline.OutcomeFailed] == 0 || outcomes[pipeline.OutcomeRejected] == 0 || outcomes[pipeline.OutcomePublished] == 0 {
		t.Errorf("not everything happened: %v", outcomes)
	}
	g.mu.Lock()
	heard := g.heard.String()
	g.mu.Unlock()
	for _, secret := range []string{leakPassword, leakToken, leakOAuth} {
		if !strings.Contains(heard, secret) {
			t.Errorf("%s was never shown to the server", secret)
		}
	}
	for where, text := range s.writings(file, builds) {
		for what, leak := range leaks() {
			if i := strings.Index(text, leak); i >= 0 {
				t.Errorf("%s shows %s: …%s…", where, what, text[max(i-200, 0):min(i+200, len(text))])
			}
		}
		if slices.Contains([]string{"log", "stream OMPS_RESULTS", "stream OMPS_DEAD_LETTERS", "status of one", "GET /", "pages of builds"}, where) && !strings.Contains(text, "gossip: you sent") {
			t.Errorf("%s does not hold what the server said, so nothing was looked for in it", where)
		}
	}
}

// gossipSystem is a service on a configuration file with all kinds of secrets, that
// gives up after one try.
func gossipSystem(t *testing.T, registry *httptest.Server) (s *system, file string) {
	t.Helper()
	world, err := sandbox.Start(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	s = &system{t: t, world: world, nats: eventstest.Start(t), log: &lockedBuffer{}, results: make(chan events.ResultData, 1000)}
	folder := writeFiles(t, map[string]string{
		"password": leakPassword, "token": "Custom " + leakToken, "oauth": leakOAuth,
		"config.yaml": fmt.Sprintf(`
nats: {url: %q}
intake: {ack_wait: 3s, max_tries: 1, workers: 32}
koji: {hub_url: %q, root_url: %q}
quay: {registry: %q, url: %q, plain_http: true, timeout: 20s}
ops: {listen: "127.0.0.1:0"}
log: {level: debug}
organizations:
  images: {public: true, oauth_token_file: oauth, push_username: images+robot, push_password_file: password}
  releases: {target: app-registry, public: true, oauth_token_file: oauth, push_username: releases+robot, push_password_file: password}
  tokens: {target: app-registry, public: true, oauth_token_file: oauth, app_registry_token_file: token}
`, s.nats.URL, world.HubURL(), world.FilesURL(), registry.Listener.Addr(), registry.URL)})
	file = filepath.Join(folder, "config.yaml")
	if s.config, err = LoadConfig(file, none); err != nil {
		t.Fatal(err)
	}
	return s, file
}

// writings is all that the service, and the commands that look at it, write
// anywhere.
func (s *system) writings(file string, builds []string) map[string]string {
	s.t.Helper()
	all := map[string]string{"log": s.log.String()}
	for _, build := range builds {
		code, page := s.get("/builds/" + build)
		if code != http.StatusOK {
			s.t.Errorf("the page of %s: %d", build, code)
		}
		all["pages of builds"] += page
	}
	for _, path := range []string{"/", "/metrics", "/about", "/readyz", "/health/ping"} {
		_, all["GET "+path] = s.get(path)
	}
	for name, args := range map[string][]string{
		"check": {"check", "-c", file}, "check online": {"check", "-c", file, "--online"},
		"status": {"status", "-c", file, "--limit", "0"}, "status of one": {"status", "-c", file, "gossip-container-1.0-1"},
		"deadletters": {"deadletters", "ls", "-c", file, "--limit", "0"}, "dead letter": {"deadletters", "show", "1", "-c", file},
	} {
		_, out, errs := command(s.t, args...)
		all[name] = out + errs
	}
	js := s.jetStream()
	for name := range js.StreamNames(s.t.Context()).Name() {
		all["stream "+name] = s.everything(js, name)
	}
	return all
}

// everything is the subjects, headers and payloads of a stream.
func (s *system) everything(js jetstream.JetStream, name string) string {
	s.t.Helper()
	stream, err := js.Stream(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(s.t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	var text strings.Builder
	for left := stream.CachedInfo().State.Msgs; left > 0; left-- {
		msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			s.t.Fatalf("read %s: %v", name, err)
		}
		fmt.Fprintf(&text, "%s %v %s\n", msg.Subject(), msg.Headers(), msg.Data())
	}
	return text.String()
}

// TestSecretsAreFollowed mends wrong secrets in their files while the service runs.
func TestSecretsAreFollowed(t *testing.T) {
	t.Parallel()
	registry := httptest.NewServer(sandbox.NewRegistry(
		sandbox.Organization{Name: "images", Username: "images+robot", Password: "right", OAuthToken: "right-token"},
		sandbox.Organization{Name: "releases", Username: "releases+robot", Password: "right", OAuthToken: "right-token"},
		sandbox.Organization{Name: "tokens", Username: "tokens+robot", Password: "right", OAuthToken: "right-token"},
	))
	t.Cleanup(registry.Close)
	s, file := gossipSystem(t, registry)
	s.start()
	s.watch()
	push := func(nvr, org string) events.ResultData {
		t.Helper()
		if _, err := s.world.Koji.AddBuild(sandbox.Build{NVR: nvr, Archive: sandbox.SampleArchive()}); err != nil {
			t.Fatal(err)
		}
		s.publish("omps.request.push."+org, fmt.Sprintf(
			`{"specversion":"1.0","id":%[1]q,"source":"/x","type":"org.koji.operator-manifests.push-requested.v1","data":{"nvr":%[1]q}}`, nvr), nil)
		return s.next()
	}
	organizations := []string{"images", "releases", "tokens"}
	for _, org := range organizations {
		if r := push(org+"-container-1.0-1", org); r.Error == nil || r.Error.Reason != "unauthorized" {
			t.Errorf("with a wrong secret: %+v", r)
		}
	}
	for name, secret := range map[string]string{
		"password": "right", "oauth": "right-token",
		"token": "basic " + base64.StdEncoding.EncodeToString([]byte("tokens+robot:right")),
	} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, org := range organizations {
		if r := push(org+"-container-1.0-2", org); r.Outcome != pipeline.OutcomePublished || r.Visibility != "public" {
			t.Errorf("with the right secret: %+v", r)
		}
	}
}
