package quay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	packagesPath = "cnr/api/v1/packages"

	// maxAppAnswer bounds an answer. Quay shows a release in half a kilobyte, and
	// all of a package at once.
	maxAppAnswer = 16 << 20
)

// Codes of the app registry that decide, by app-registry/appr's exception.py, and
// one for an error that is nothing but a text.
const (
	codeText       = "text"
	codeNoPackage  = "package-not-found"
	codeForbidden  = "forbidden"
	hintNoRegistry = "it has no app registry, or hides it: Quay has none since 3.9"
)

var gone = verdict{pipeline.Rejected, pipeline.ReasonPackageNotFound}

// appRules classify every answer of the app registry other than the one asked for.
var appRules = rulebook{
	{405, "read-only", nil, passes}, // before a Quay lost its app registry
	{405, codeText, nil, final},     // a repository for images has the name; said to reads as well
	{401, "", nil, credentials},
	{403, "", nil, credentials}, // forbidden: no right to create or to push, and all that comes without good credentials

	{200, "", nil, passes}, // "Healthcheck requested": a front end answers
	{429, "", nil, passes},
	{500, "", nil, passes}, // internal-error: of a blob that is no tar.gz, which ours is
	{502, "", nil, passes},
	{503, "", nil, passes},
	{504, "", nil, passes}, // it may have been done: that is looked at
	{0, "", isRead, passes},
	{0, "", hasNoCode, passes}, // a page, as of a Quay without app registry

	{400, "invalid-usage", nil, final}, // the name of a repository
	{404, "", isDelete, gone},
	{409, "", nil, passes}, // package-exists, resource-in-use: others are quicker
	{422, "invalid-release", nil, verdict{pipeline.Rejected, pipeline.ReasonInvalidVersion}},
	{422, "", nil, final}, // invalid-parameters
	{0, "", nil, passes},
}

// endpoint is the address of what concerns one package.
func (a *AppRegistry) endpoint(repository string, more ...string) *url.URL {
	parts := append(strings.Split(repository, "/"), more...)
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return a.base.JoinPath(append([]string{packagesPath}, parts...)...)
}

func (a *AppRegistry) version(ctx context.Context) error {
	var answer struct {
		Version *string `json:"cnr-api"`
	}
	return a.call(ctx, http.MethodGet, a.base.JoinPath("cnr/version"), nil, &answer, func() bool { return answer.Version != nil })
}

// login shows credentials that are refused: to any other request Quay answers as to
// a stranger.
func (a *AppRegistry) login(ctx context.Context) error {
	username, password, ok := (&http.Request{Header: http.Header{"Authorization": {a.authorization.header()}}}).BasicAuth()
	if !ok {
		return nil
	}
	body, err := json.Marshal(map[string]any{"user": map[string]string{"username": username, "password": password}})
	if err != nil {
		return err
	}
	var answer map[string]any
	err = a.call(ctx, http.MethodPost, a.base.JoinPath("cnr/api/v1/users/login"), body, &answer, func() bool { return true })
	switch asRefusal(err).Code {
	case 0, http.StatusUnauthorized: // done, or without an answer
		return err
	}
	return nil
}

// list is the releases of a package: never from the list of packages, which Quay
// cuts short. A package that is not there is an error for isNoPackage.
func (a *AppRegistry) list(ctx context.Context, repository string) (releases, error) {
	var answer []struct {
		Release   string `json:"release"`
		MediaType string `json:"mediaType"`
		Content   struct {
			Digest string `json:"digest"` // Quay's own has no prefix
		} `json:"content"`
	}
	readable := func() bool {
		for _, item := range answer {
			if item.Release == "" {
				return false
			}
		}
		return answer != nil
	}
	if err := a.call(ctx, http.MethodGet, a.endpoint(repository), nil, &answer, readable); err != nil {
		return nil, err
	}
	var list releases
	for _, item := range answer {
		if !isOurs(item.MediaType) {
			continue
		}
		r := release{name: item.Release}
		if digest := strings.TrimPrefix(item.Content.Digest, "sha256:"); digest != "" {
			r.digest = "sha256:" + digest
		}
		list = append(list, r)
	}
	return list, nil
}

// isOurs tells whether a release is shown in our media type: one name may have
// contents in several.
func isOurs(shown string) bool {
	return shown == "" || shown == mediaType || strings.Contains(shown, ".package-manifest."+mediaType+".")
}

func (a *AppRegistry) post(ctx context.Context, repository, release string, p payload) error {
	body, err := p.body(release)
	if err != nil {
		return err
	}
	var answer map[string]any
	return a.call(ctx, http.MethodPost, a.endpoint(repository), body, &answer, func() bool { return answer != nil })
}

// call sends one request and reads its answer into answer, unless it is not what
// was asked for, as readable tells of what can be read. Only a look is ever
// repeated or redirected.
func (a *AppRegistry) call(ctx context.Context, method string, target *url.URL, body []byte, answer any, readable func() bool) error {
	req, err := clients.NewJSONRequest(ctx, method, target, body)
	if err != nil {
		return err
	}
	if header := a.authorization.header(); header != "" {
		req.Header.Set("Authorization", header)
	}
	send := a.http.RoundTripper().RoundTrip
	if method == http.MethodGet {
		send = a.http.Do
	}
	resp, err := send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := clients.ReadBody(resp.Body, maxAppAnswer)
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK && json.Unmarshal(data, answer) == nil && readable() {
		return nil
	}
	return a.refused(resp, data)
}

// refused makes a refusal of an answer that was read.
func (a *AppRegistry) refused(resp *http.Response, body []byte) *refusal {
	resp.Body = io.NopCloser(bytes.NewReader(body))
	r := &refusal{StatusError: a.http.StatusError(resp), rules: appRules, write: resp.Request.Method != http.MethodGet}
	r.Message = withoutSignatures(r.Message)

	var shapes struct {
		Error json.RawMessage `json:"error"`
	}
	var structured struct {
		Code    string `json:"code"`
		Details struct {
			Release *string `json:"release"`
		} `json:"details"`
	}
	var text string
	switch {
	case json.Unmarshal(body, &shapes) != nil:
	case json.Unmarshal(shapes.Error, &text) == nil && text != "":
		r.codes = []string{codeText}
	case json.Unmarshal(shapes.Error, &structured) == nil && structured.Code != "":
		r.codes = []string{structured.Code}
		r.ofRelease = structured.Details.Release != nil
	}
	if len(r.codes) == 0 && (r.Code == http.StatusNotFound || r.Code == http.StatusMethodNotAllowed) {
		r.hint = hintNoRegistry
	}
	return r
}

// asRefusal is the refusal in err, an empty one when there is none.
func asRefusal(err error) *refusal {
	var r *refusal
	if !errors.As(err, &r) {
		return &refusal{StatusError: &clients.StatusError{}}
	}
	return r
}

// isNoPackage tells that there is no such package. While one of its releases is
// being deleted, Quay may say of a package that this release does not exist.
func isNoPackage(err error) bool {
	r := asRefusal(err)
	return r.Code == http.StatusNotFound && r.has(codeNoPackage) && !r.ofRelease
}

func isForbidden(err error) bool {
	r := asRefusal(err)
	return r.Code == http.StatusForbidden && r.has(codeForbidden)
}

func isConflict(err error) bool { return asRefusal(err).Code == http.StatusConflict }

// isDecided tells whether nothing has been done, for certain: anything but a
// refusal may hide that it was.
func isDecided(err error) bool {
	switch status := asRefusal(err).Code; status {
	case http.StatusRequestTimeout, http.StatusConflict:
		return false
	default:
		return status/100 == 4
	}
}
