package quay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// maxAPIAnswer bounds an answer of Quay's API. A repository without its tags
// is a few kilobytes.
const maxAPIAnswer = 1 << 20

// APIOptions describe Quay's own API, which is not part of the registry.
type APIOptions struct {
	URL   string             // of Quay, such as https://quay.io
	Token clients.Credential // of an OAuth application with the scope repo:admin; nil: none
	HTTP  *clients.Client
}

// API changes repositories through Quay's API. It is safe for concurrent use.
type API struct {
	base  *url.URL
	token *clients.Credential // behind a pointer, so that fmt does not print it
	http  *clients.Client
}

var _ VisibilitySetter = (*API)(nil)

// NewAPI checks the options and makes an API; it sends nothing.
func NewAPI(o APIOptions) (*API, error) {
	base, err := baseURL(o.URL)
	switch {
	case err != nil:
		return nil, err
	case o.HTTP == nil:
		return nil, errors.New("no HTTP client")
	}
	return &API{base: base, token: &o.Token, http: o.HTTP}, nil
}

// MakePublic makes repository, organization/name, public unless it is already.
// Quay makes a repository that a push creates private, by its setting
// CREATE_PRIVATE_REPO_ON_PUSH. Without a token it only looks: a repository
// that Quay does not show to strangers is private.
//
// Endpoints are those of Quay's endpoints/api/repository.py. An error holds
// what Quay says; its class does not matter, since no push fails for it.
func (a *API) MakePublic(ctx context.Context, repository string) (pipeline.Visibility, error) {
	public, err := a.isPublic(ctx, repository)
	switch {
	case public:
		return pipeline.VisibilityPublic, nil
	case a.secret() == "" && (err == nil || isHidden(err)):
		return pipeline.VisibilityPrivate, errors.New("no OAuth token to change it with")
	case err != nil:
		return "", err
	}
	err = a.changeVisibility(ctx, repository)
	switch {
	case err == nil:
		return pipeline.VisibilityPublic, nil
	case isRefused(err):
		return pipeline.VisibilityPrivate, err
	}
	return "", err // the change may have been made, only its answer was lost
}

// isRefused tells whether Quay answered that it does not do what it was asked.
func isRefused(err error) bool {
	var status *clients.StatusError
	return errors.As(err, &status) && status.Code/100 == 4
}

func isHidden(err error) bool {
	var status *clients.StatusError
	if !errors.As(err, &status) {
		return false
	}
	switch status.Code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return true
	}
	return false
}

func (a *API) isPublic(ctx context.Context, repository string) (bool, error) {
	target := a.endpoint(repository)
	target.RawQuery = "includeTags=false"
	var answer struct {
		IsPublic *bool `json:"is_public"`
	}
	if err := a.call(ctx, http.MethodGet, target, nil, &answer); err != nil {
		return false, err
	}
	if answer.IsPublic == nil {
		return false, errors.New("quay does not say whether it is public")
	}
	return *answer.IsPublic, nil
}

func (a *API) changeVisibility(ctx context.Context, repository string) error {
	var answer struct {
		Success bool `json:"success"`
	}
	body := []byte(`{"visibility":"public"}`)
	if err := a.call(ctx, http.MethodPost, a.endpoint(repository, "changevisibility"), body, &answer); err != nil {
		return err
	}
	if !answer.Success { // Quay answers 200 null for a repository that does not exist
		return errors.New("quay does not confirm the change")
	}
	return nil
}

// secret is the token of this moment, "" when there is none.
func (a *API) secret() clients.Secret { return clients.SecretOf(*a.token) }

func (a *API) endpoint(repository string, more ...string) *url.URL {
	return a.base.JoinPath(append([]string{"api/v1/repository", repository}, more...)...)
}

// call sends one request, which may be repeated: setting a visibility twice
// sets it once. The token goes to the host of the API only; the client drops
// it on a redirect elsewhere.
func (a *API) call(ctx context.Context, method string, target *url.URL, body []byte, answer any) error {
	req, err := clients.NewJSONRequest(ctx, method, target, body)
	if err != nil {
		return err
	}
	if token := a.secret(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return a.http.StatusError(resp)
	}
	defer resp.Body.Close()
	data, err := clients.ReadBody(resp.Body, maxAPIAnswer)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("answer of quay is no JSON object: %w", err)
	}
	return nil
}
