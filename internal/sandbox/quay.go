package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

const apiPath = "/api/v1/"

// serveAPI serves what a publisher needs of Quay's API:
//
//	GET  /api/v1/repository/ORG/NAME
//	POST /api/v1/repository/ORG/NAME/changevisibility  {"visibility": "public"}
func (r *Registry) serveAPI(w http.ResponseWriter, req *http.Request) {
	repository, ok := strings.CutPrefix(req.URL.Path, apiPath+"repository/")
	repository, change := strings.CutSuffix(repository, "/changevisibility")
	method := http.MethodGet
	if change {
		method = http.MethodPost
	}
	switch {
	case !ok || strings.Count(repository, "/") != 1:
		quayError(w, req, http.StatusNotFound, "not_found", "Not Found")
	case req.Method != method:
		writeJSON(w, http.StatusMethodNotAllowed, map[string]string{
			"message": "The method is not allowed for the requested URL.",
		})
	case change:
		r.changeVisibility(w, req, repository)
	default:
		r.describe(w, req, repository)
	}
}

// describe answers who may see the repository: everybody when it is public.
func (r *Registry) describe(w http.ResponseWriter, req *http.Request, repository string) {
	public, exists := r.lookUp(repository)
	if !public && !r.authorized(w, req, repository) {
		return
	}
	if !exists {
		quayError(w, req, http.StatusNotFound, "not_found", "Not Found")
		return
	}
	org, name, _ := strings.Cut(repository, "/")
	kind := "image"
	if r.isApplication(repository) {
		kind = "application"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"namespace": org, "name": name, "kind": kind, "description": "", "state": "NORMAL",
		"is_public": public, "is_organization": true, "is_starred": false, "is_free_account": false,
		"status_token": "", "trust_enabled": false, "tag_expiration_s": 1209600,
		"tags": map[string]any{}, "can_write": false, "can_admin": false,
	})
}

func (r *Registry) changeVisibility(w http.ResponseWriter, req *http.Request, repository string) {
	if !r.authorized(w, req, repository) {
		return
	}
	var wanted struct {
		Visibility string `json:"visibility"`
	}
	if err := json.NewDecoder(req.Body).Decode(&wanted); err != nil {
		quayError(w, req, http.StatusBadRequest, "invalid_request", "Missing JSON body")
		return
	}
	if !slices.Contains([]string{"public", "private"}, wanted.Visibility) {
		quayError(w, req, http.StatusBadRequest, "invalid_request",
			fmt.Sprintf("'%s' is not one of ['public', 'private']", wanted.Visibility))
		return
	}
	r.mu.Lock()
	_, exists := r.public[repository]
	if exists {
		r.public[repository] = wanted.Visibility == "public"
	}
	r.mu.Unlock()
	if !exists {
		quayError(w, req, http.StatusNotFound, "not_found", "Not Found")
		return
	}
	writeJSON(w, http.StatusOK, map[string]bool{"success": true})
}

func (r *Registry) lookUp(repository string) (public, exists bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	public, exists = r.public[repository]
	return public, exists
}

// authorized tells whether the request carries the OAuth token of the
// repository's organization, and answers it when not.
func (r *Registry) authorized(w http.ResponseWriter, req *http.Request, repository string) bool {
	token, _ := bearer(req)
	known := slices.ContainsFunc(r.organizations, func(o Organization) bool {
		return o.OAuthToken != "" && o.OAuthToken == token
	})
	switch {
	case !known:
		quayError(w, req, http.StatusUnauthorized, "invalid_token", "Requires authentication")
	case r.organization(repository).OAuthToken != token:
		quayError(w, req, http.StatusForbidden, "insufficient_scope", "Unauthorized")
	default:
		return true
	}
	return false
}

// quayError answers in the form of RFC 7807, with Quay's two old keys beside.
func quayError(w http.ResponseWriter, req *http.Request, status int, kind, detail string) {
	writeJSON(w, status, map[string]any{
		"detail": detail, "error_message": detail, "error_type": kind, "title": kind,
		"type": fmt.Sprintf("http://%s%serror/%s", req.Host, apiPath, kind), "status": status,
	})
}
