package sandbox

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/Masterminds/semver/v3"
)

const (
	cnrPath     = "/cnr/"
	cnrVersion  = "0.2.7"
	packagePath = cnrPath + "api/v1/packages/{namespace}/{name}"

	maxListed = 100 // packages, as quay.io has it in APP_REGISTRY_RESULTS_LIMIT
)

// applicationName is what Quay lets the name of a repository be.
var applicationName = regexp.MustCompile(`^[a-z0-9][\.a-z0-9_-]{0,254}$`)

// appRegistry serves Quay's app registry as Quay had it up to 3.8, in its
// endpoints/appr, for what publishes to it and looks at what is there.
func (r *Registry) appRegistry() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+cnrPath+"version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"cnr-api": cnrVersion})
	})
	mux.HandleFunc("POST "+cnrPath+"api/v1/users/login", r.loginToApps)
	mux.HandleFunc("GET "+cnrPath+"api/v1/packages", r.listApps)
	for pattern, serve := range map[string]func(*appRequest) (any, error){
		"POST " + packagePath:                           r.pushApp,
		"GET " + packagePath:                            r.showApp,
		"GET " + packagePath + "/{release}":             r.showRelease,
		"GET " + packagePath + "/{release}/{type}":      r.showManifest,
		"GET " + packagePath + "/{release}/{type}/pull": r.pullApp,
		"DELETE " + packagePath + "/{release}/{type}":   r.deleteApp,
	} {
		mux.HandleFunc(pattern, r.withApp(serve))
	}
	return mux
}

// appRequest is a request about one package.
type appRequest struct {
	*http.Request
	w          http.ResponseWriter
	account    string // the organization whose robot asks, "" for anybody
	repository string // namespace/name
}

func (q *appRequest) release() string   { return q.PathValue("release") }
func (q *appRequest) mediaType() string { return shortMediaType(q.PathValue("type")) }

// appError is an answer of the app registry that is an error.
type appError struct {
	status        int
	code, message string
	details       any
}

func (e *appError) Error() string { return e.message }

// withApp serves a request about one package, unless a repository for images has
// its name: Quay looks at that first. An answer that is nil has been sent.
func (r *Registry) withApp(serve func(*appRequest) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		username, password, _ := req.BasicAuth()
		q := &appRequest{
			Request: req, w: w, account: r.account(username, password),
			repository: req.PathValue("namespace") + "/" + req.PathValue("name"),
		}
		if _, exists := r.lookUp(q.repository); exists && !r.isApplication(q.repository) {
			writeJSON(w, http.StatusMethodNotAllowed, map[string]string{
				"error": "Cannot push an application to an image repository with the same name",
			})
			return
		}
		answer, err := serve(q)
		if err != nil {
			refuseApp(w, err)
		} else if answer != nil {
			writeJSON(w, http.StatusOK, answer)
		}
	}
}

func refuseApp(w http.ResponseWriter, err error) {
	e := &appError{status: http.StatusInternalServerError, code: "internal-error", message: err.Error()}
	errors.As(err, &e)
	if e.details == nil {
		e.details = map[string]any{}
	}
	writeJSON(w, e.status, map[string]any{
		"error": map[string]any{"code": e.code, "message": e.message, "details": e.details},
	})
}

// permit tells whether who asks may do an action, which Quay answers with the
// scopes that it takes.
func (r *Registry) permit(q *appRequest, action string, scopes ...string) error {
	if r.may(q.account, q.repository, action) {
		return nil
	}
	return &appError{
		http.StatusForbidden, "forbidden", "Unauthorized access for: " + q.repository,
		map[string]any{"package": q.repository, "scopes": scopes},
	}
}

func invalidUsage(message string) error {
	return &appError{http.StatusBadRequest, "invalid-usage", message, nil}
}

// pushApp checks in Quay's order, and as Quay does it makes the repository before
// it looks at what is to go into it: a first push that is refused leaves it empty.
func (r *Registry) pushApp(q *appRequest) (any, error) {
	if !applicationName.MatchString(q.PathValue("name")) {
		return nil, invalidUsage("invalid repository name: " + q.repository)
	}
	if !r.isApplication(q.repository) {
		if err := r.permit(q, actionPush, "create"); err != nil {
			return nil, err
		}
		if err := r.createApplication(q.repository); err != nil {
			return nil, err
		}
	}
	if err := r.permit(q, actionPush, "push"); err != nil {
		return nil, err
	}
	var values map[string]any
	_ = json.NewDecoder(q.Body).Decode(&values) // anything else is as if nothing had been sent
	for _, field := range []string{"release", "media_type", "blob"} {
		if _, ok := values[field]; !ok {
			return nil, invalidUsage("Missing " + field)
		}
	}
	release := AppRelease{Release: fmt.Sprint(values["release"]), MediaType: shortMediaType(fmt.Sprint(values["media_type"]))}
	if _, err := semver.StrictNewVersion(release.Release); err != nil {
		return nil, &appError{
			http.StatusUnprocessableEntity, "invalid-release", fmt.Sprintf("Invalid version string: '%s'", release.Release),
			map[string]string{"version": release.Release},
		}
	}
	blob, _ := values["blob"].(string)
	return map[string]string{"status": "ok"}, r.addRelease(q.repository, release, blob)
}

// createApplication makes a repository of an application, private.
func (r *Registry) createApplication(repository string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.appsReadOnly:
		return errAppsReadOnly
	case r.apps[repository] != nil:
		return nil // others were quicker
	}
	r.apps[repository] = &application{number: len(r.apps)}
	r.public[repository] = false
	return nil
}

var errAppsReadOnly = &appError{http.StatusMethodNotAllowed, "read-only", "Currently in read-only mode", nil}

// addRelease adds what a push brings, where there is no such release yet.
func (r *Registry) addRelease(repository string, release AppRelease, blob string) error {
	data, badBlob := base64.StdEncoding.DecodeString(blob)
	if badBlob == nil {
		release.Blob = data
		release.Digest, badBlob = contentDigest(data)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	app := r.apps[repository]
	switch {
	case app.index(release.Release, release.MediaType) >= 0:
		return &appError{http.StatusConflict, "package-exists", "package exists already", nil}
	case r.appsReadOnly:
		return errAppsReadOnly
	case badBlob != nil:
		return badBlob
	}
	release.created = time.Now()
	app.releases = append(app.releases, release)
	return nil
}

func (r *Registry) deleteApp(q *appRequest) (any, error) {
	if err := r.permit(q, actionPush, "pull", "push"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.appsReadOnly {
		return nil, errAppsReadOnly
	}
	app := r.apps[q.repository]
	if app == nil {
		return nil, packageNotFound(q.repository, "", "")
	}
	i := app.index(q.release(), q.mediaType())
	if i < 0 {
		return nil, packageNotFound(q.repository, q.release(), q.mediaType())
	}
	app.remove(i)
	return map[string]string{"status": "deleted", "package": q.repository, "release": q.release()}, nil
}

// packageNotFound spells what is not named as Python does.
func packageNotFound(repository, release, mediaType string) error {
	details := map[string]any{"package": repository, "release": nil, "media_type": nil}
	if release != "" {
		details["release"], details["media_type"] = release, mediaType
	}
	return &appError{
		http.StatusNotFound, "package-not-found",
		fmt.Sprintf("package %s doesn't exist, v: %s, type: %s", repository, cmp.Or(release, "None"), cmp.Or(mediaType, "None")),
		details,
	}
}

// loginToApps gives the token for a name and a password, which are what it is.
func (r *Registry) loginToApps(w http.ResponseWriter, req *http.Request) {
	var values struct {
		User struct{ Username, Password string }
	}
	_ = json.NewDecoder(req.Body).Decode(&values) // as above
	username, password := values.User.Username, values.User.Password
	switch {
	case username == "" || password == "":
		refuseApp(w, invalidUsage("Missing username or password"))
	case r.account(username, password) == "":
		refuseApp(w, &appError{http.StatusUnauthorized, "unauthorized-access", "Invalid Username or Password", nil})
	default:
		token := base64.StdEncoding.EncodeToString([]byte(username + ":" + password))
		writeJSON(w, http.StatusOK, map[string]string{"token": "basic " + token})
	}
}
