package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

const tokenPath = "/v2/auth"

// access is what a token allows: actions by repository. Tokens carry it signed,
// so that the registry need not remember any.
type access map[string][]string

// admits tells whether a request's token allows what it wants.
func (r *Registry) admits(req *http.Request, repository, action string) bool {
	if !r.guarded() {
		return true
	}
	token, ok := bearer(req)
	if !ok {
		return false
	}
	allowed, ok := r.open(token)
	return ok && (repository == "" || slices.Contains(allowed[repository], action))
}

// challenge answers 401 and says where tokens are to be had.
func (r *Registry) challenge(w http.ResponseWriter, req *http.Request, repository string) {
	header := fmt.Sprintf(`Bearer realm="http://%s%s",service=%q`, req.Host, tokenPath, req.Host)
	if repository != "" {
		header += fmt.Sprintf(`,scope="repository:%s:pull,push"`, repository)
	}
	w.Header().Set("WWW-Authenticate", header)
	refuseOCI(w, "access to the requested resource is not authorized")
}

// serveToken hands out a token for the scopes that were asked for. Like Quay's
// it leaves out what the account may not do instead of refusing; only wrong
// credentials are refused.
func (r *Registry) serveToken(w http.ResponseWriter, req *http.Request) {
	username, password, sent := req.BasicAuth()
	account := r.account(username, password)
	if sent && account == "" {
		refuseOCI(w, "Could not find robot with specified username and password")
		return
	}
	scopes := req.URL.Query()["scope"]
	if !sent && len(scopes) == 0 {
		refuseOCI(w, "access to the requested resource is not authorized")
		return
	}
	granted := access{}
	for _, scope := range scopes {
		parts := strings.Split(scope, ":")
		if len(parts) != 3 || parts[0] != "repository" {
			writeJSON(w, http.StatusBadRequest, ociErrors("INVALID_REQUEST", "Unable to decode repository and actions: "+scope))
			return
		}
		if r.isApplication(parts[1]) {
			refuseApplication(w)
			return
		}
		for _, action := range strings.Split(parts[2], ",") {
			if r.may(account, parts[1], action) {
				granted[parts[1]] = append(granted[parts[1]], action)
			}
		}
	}
	writeJSON(w, http.StatusOK, map[string]string{"token": r.seal(granted)})
}

// account is the name of the organization whose robot this is, "" for nobody.
func (r *Registry) account(username, password string) string {
	for _, org := range r.organizations {
		if org.Username != "" && org.Username == username && org.Password == password {
			return org.Name
		}
	}
	return ""
}

func (r *Registry) may(account, repository, action string) bool {
	org := r.organization(repository)
	return org.Username == "" || org.Name == account || action == actionPull && r.IsPublic(repository)
}

func (r *Registry) seal(a access) string {
	claims, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings always marshal
	}
	return base64.RawURLEncoding.EncodeToString(claims) + "." + base64.RawURLEncoding.EncodeToString(r.sign(claims))
}

func (r *Registry) open(token string) (access, bool) {
	text, signature, _ := strings.Cut(token, ".")
	claims, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, false
	}
	signed, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(signed, r.sign(claims)) {
		return nil, false
	}
	var a access
	return a, json.Unmarshal(claims, &a) == nil
}

func (r *Registry) sign(claims []byte) []byte {
	mac := hmac.New(sha256.New, r.key)
	mac.Write(claims)
	return mac.Sum(nil)
}

// bearer is the token that a request carries.
func bearer(req *http.Request) (token string, ok bool) {
	return strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
}

func refuseOCI(w http.ResponseWriter, message string) {
	writeJSON(w, http.StatusUnauthorized, ociErrors("UNAUTHORIZED", message))
}

func ociErrors(code, message string) any {
	return map[string]any{"errors": []any{map[string]any{"code": code, "message": message, "detail": map[string]any{}}}}
}
