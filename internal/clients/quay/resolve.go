package quay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// ResolverOptions say whom a Resolver asks, and as whom.
type ResolverOptions struct {
	Registry  string // host[:port] that the credentials are for
	PlainHTTP bool   // no TLS to Registry; any other is only spoken to over TLS

	Username string // at Registry; with no Password: anonymous
	Password clients.Credential

	// Known are other registries that may lie on a private network, each as
	// host[:port]. They are asked anonymously.
	Known []string

	Timeout time.Duration // of each call
	HTTP    *clients.Client
	// Internet asks the registries that are neither Registry nor Known: an archive
	// named them. A Client without Hosts goes to public addresses alone.
	Internet *clients.Client
}

// Resolver asks registries for the digests that tags name, on behalf of one
// organization. It remembers nothing: each call logs in and asks anew, with three
// requests or four, over the connections that its clients keep. It is safe for
// concurrent use.
type Resolver struct {
	own      name.Registry
	wire     *wire // to own
	auth     authn.Authenticator
	known    map[name.Registry]bool
	timeout  time.Duration
	http     *clients.Client
	internet *clients.Client
}

var _ pipeline.ImageResolver = (*Resolver)(nil)

// NewResolver checks the options and makes a Resolver; it sends nothing.
func NewResolver(o ResolverOptions) (*Resolver, error) {
	// Its own registry is spoken to as a push to it would be.
	oci, err := NewOCI(OCIOptions{
		Registry: o.Registry, PlainHTTP: o.PlainHTTP, Username: o.Username, Password: o.Password,
		Timeout: o.Timeout, HTTP: o.HTTP,
	})
	if err != nil {
		return nil, err
	}
	if o.Internet == nil {
		return nil, errors.New("no HTTP client for the internet")
	}
	r := &Resolver{
		own: oci.registry, wire: oci.wire, auth: oci.auth, timeout: o.Timeout,
		known: make(map[name.Registry]bool, len(o.Known)), http: o.HTTP, internet: o.Internet,
	}
	for _, known := range o.Known {
		registry, err := name.NewRegistry(known, name.StrictValidation)
		if err != nil {
			return nil, fmt.Errorf("known registry: %w", err)
		}
		r.known[registry] = true
	}
	return r, nil
}

// ResolveImage is the digest, sha256:…, that reference names by its tag, or by
// latest when it has none: of the index, where there is one. The reference is
// read as container tools do, see parseReference. The registry is asked for no
// more than the digest; where it does not tell, for the manifest, at most 4 MiB.
//
// The robot's password goes to ResolverOptions.Registry and the token realm that
// it names, to no other registry, and never along with a redirect.
//
// pipeline.ErrNoImage is in the error when the reference cannot name an image,
// when the registry answers 404, or 401 or 403 to anything but the password, and
// when an address on the way must not be dialled. Every error is Transient: with
// ReasonUnauthorized where the password is refused, else with
// ReasonImageUnavailable and the registry's Retry-After. A reference that has a
// digest is the caller's mistake, with ReasonInternal.
func (r *Resolver) ResolveImage(ctx context.Context, reference string) (string, error) {
	tag, err := parseReference(reference)
	if err != nil {
		return "", err
	}
	if scheme := r.wire.scheme(); withPort(tag.RegistryStr(), scheme) == withPort(r.own.RegistryStr(), scheme) {
		tag.Registry = r.own
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	digest, err := r.ask(ctx, tag)
	if err != nil {
		return "", unresolved(reference, err)
	}
	return digest, nil
}

func (r *Resolver) ask(ctx context.Context, tag name.Tag) (string, error) {
	s, err := r.login(ctx, tag.Repository)
	if err != nil {
		return "", err
	}
	named, err := s.puller.Head(ctx, tag)
	if err == nil && named.Digest.Algorithm == "sha256" {
		return named.Digest.String(), nil
	}
	if err != nil && !lacksDigest(err) {
		return "", err
	}
	found, err := s.puller.Get(ctx, tag)
	if err != nil {
		return "", err
	}
	if !isManifest(found.Manifest) {
		return "", fmt.Errorf("GET %s: answer is no image manifest", tag)
	}
	return digestOf(found.Manifest).String(), nil
}

// login is a session for pulling from repo.
func (r *Resolver) login(ctx context.Context, repo name.Repository) (*session, error) {
	wire, auth := r.wire, r.auth
	if repo.Registry != r.own {
		client := r.internet
		if r.known[repo.Registry] {
			client = r.http
		}
		wire, auth = newWire(OCIOptions{HTTP: client}, nil, repo.Registry), authn.Anonymous
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth,
		transport.NewUserAgent(wire, userAgent), []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	return newSession(repo, rt)
}

// lacksDigest tells whether a HEAD failed only because the registry does not do
// it, or answers it without what the library asks for.
func lacksDigest(err error) bool {
	var call *clients.CallError
	if errors.As(err, &call) {
		return false
	}
	refused := refusalIn(err)
	return refused == nil || refused.Code == http.StatusMethodNotAllowed || refused.Code == http.StatusNotImplemented
}

// isManifest tells an image manifest or an index of today from the page of a
// front end, and from schema 1, whose digest is not that of its bytes.
func isManifest(body []byte) bool {
	var m struct {
		SchemaVersion     int
		Config, Manifests json.RawMessage
	}
	return json.Unmarshal(body, &m) == nil && m.SchemaVersion == 2 && (m.Config != nil || m.Manifests != nil)
}

// unresolved gives an error its class, its reason and a text that is safe to
// publish.
func unresolved(reference string, err error) error {
	var address *clients.AddressError
	refused := refusalIn(err)
	switch {
	case refused != nil:
		return unresolvedAnswer(reference, refused)
	case errors.As(err, &address):
		return noImage(reference, presentable(err))
	}
	return pipeline.Retry(pipeline.ReasonImageUnavailable, about(reference, presentable(err)))
}

func unresolvedAnswer(reference string, r *refusal) error {
	switch r.Code {
	case http.StatusUnauthorized, http.StatusForbidden:
		if r.password {
			return pipeline.RetryAfter(pipeline.ReasonUnauthorized, r.RetryAfter, about(reference, r))
		}
		return noImage(reference, r)
	case http.StatusNotFound:
		return noImage(reference, r)
	}
	return pipeline.RetryAfter(pipeline.ReasonImageUnavailable, r.RetryAfter, about(reference, r))
}

func noImage(reference string, why error) error {
	return pipeline.Retry(pipeline.ReasonImageUnavailable, about(reference, fmt.Errorf("%w: %w", pipeline.ErrNoImage, why)))
}

func about(reference string, err error) error {
	return fmt.Errorf("%s: %w", clients.OneLine(reference, maxText), err)
}
