package quay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Names that the distribution specification allows.
var (
	repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

const maxRepositoryName = 255

// checkName tells why images cannot be in a repository, organization/name.
func checkName(repository string) error {
	if len(repository) > maxRepositoryName || !repositoryName.MatchString(repository) {
		return pipeline.Reject(pipeline.ReasonQuayRefused, fmt.Errorf("%.300q is no name of a repository", repository))
	}
	return nil
}

// OCIOptions describe where and how an organization's bundle images go.
type OCIOptions struct {
	Registry  string // host[:port]
	PlainHTTP bool   // no TLS, for a registry on the same machine

	Username string // of a robot account; with no Password: anonymous
	Password clients.Credential

	// Timeout bounds the push of one bundle with all its requests and its waits
	// for leases, each step of a deletion, and so a call of Visibility or of Ping.
	Timeout time.Duration
	HTTP    *clients.Client

	Locker Locker // nil: only this process pushes

	// Visibility is set when the organization is public.
	Visibility VisibilitySetter
}

func (o OCIOptions) validate() error {
	var faults []error
	if _, err := name.NewRegistry(o.Registry, name.StrictValidation); err != nil {
		faults = append(faults, fmt.Errorf("registry: %w", err))
	}
	if (o.Username == "") != (clients.SecretOf(o.Password) == "") {
		faults = append(faults, errors.New("a username and a password go together"))
	}
	if o.Timeout <= 0 {
		faults = append(faults, errors.New("timeout must be positive"))
	}
	if o.HTTP == nil {
		faults = append(faults, errors.New("no HTTP client"))
	}
	return errors.Join(faults...)
}

// OCI pushes bundle images with the credentials of one organization. It is
// safe for concurrent use.
type OCI struct {
	registry  name.Registry
	auth      authn.Authenticator
	wire      *wire
	timeout   time.Duration
	publicity publicity
	logins    logins
	locks     nameLocks
}

var _ pipeline.Pusher = (*OCI)(nil)

// NewOCI checks the options and makes an OCI; it sends nothing.
func NewOCI(o OCIOptions) (*OCI, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	registry, err := name.NewRegistry(o.Registry, name.StrictValidation)
	if err != nil {
		return nil, err
	}
	account := accountOf(o.Username, o.Password)
	return &OCI{
		registry: registry, auth: account.authenticator(), wire: newWire(o, account, registry), timeout: o.Timeout,
		publicity: publicity{setter: o.Visibility, timeout: o.Timeout},
		locks:     nameLocks{shared: o.Locker},
	}, nil
}

// Push makes the image of each bundle and puts it into its repository, in the
// order of r.Bundles. A tag that already names the image is left as it is, and
// so is, with a warning, one that names the image of a later build or that the
// registry will not move. Of bundles that want the same tag, the last has it.
// An image that no tag would name gets one of our own, build-<build id> or,
// without a build, sha256-<12 digits of the digest>. That a tag was set counts by
// the digest in the registry's answer, and where there is none, by reading it back.
//
// Where the trigger of r.Build says Force, all of the image is sent again, and each
// tag that names it already.
//
// A tag is looked at and set while it is locked: against the other pushes of this
// OCI, and by a lease of OCIOptions.Locker against those of all replicas, so that
// no older build takes a tag from a newer one. Nothing is sent for a tag whose
// lease is lost, and what is under way is given up. What remains is a registry
// that acts on a request long after the wait for its answer was given up. Without
// a Locker, an older build of another replica may take a tag in the milliseconds
// between look and set. A tag made of the build's NVR, which is no other's, is not
// looked at again after it named nothing before the uploads. Locks are taken one at
// a time, and only of tags that may have to be set: a lease costs two writes, while
// what is there already takes looks alone.
//
// The Publication is Repeated when nothing had to be sent. Its Visibility is
// empty when the organization is not public: nobody has asked. With an error
// it holds the bundles that were pushed before, and the one that met the error
// with the tags that name it already, if there are any.
//
// Errors: Rejected with ReasonQuayRefused or ReasonInvalidManifests; Transient
// with ReasonUnauthorized, ReasonQuayUnavailable, also for a lease that was not
// given or was lost, or ReasonDeadline; and those of a Locker that have a class
// or a reason of their own.
func (o *OCI) Push(ctx context.Context, r pipeline.Release) (pipeline.Publication, error) {
	var p pipeline.Publication
	sent := false
	for i, b := range r.Bundles {
		done, err := o.pushBundle(ctx, r, i)
		p.Warnings = append(p.Warnings, done.warnings...)
		if err == nil || len(done.tags) > 0 {
			p.Bundles = append(p.Bundles, pipeline.PushedBundle{
				Version: b.Version, CSV: b.CSV, Repository: b.Repository,
				Reference: done.reference, Tags: done.tags,
				Channels: b.Channels, DefaultChannel: b.DefaultChannel,
			})
		}
		if err != nil {
			return p, classify(ctx, err)
		}
		sent = sent || done.sent
	}
	p.Repeated = !sent && len(p.Bundles) > 0
	repositories := make([]string, len(p.Bundles))
	for i, b := range p.Bundles {
		repositories[i] = b.Repository
	}
	o.publicity.apply(ctx, &p, repositories...)
	return p, nil
}

// Ping tells whether the registry answers and takes the credentials: GET /v2/,
// after the login that the registry asks for. Errors are those of Push.
func (o *OCI) Ping(ctx context.Context) error { return classify(ctx, o.ping(ctx)) }

func (o *OCI) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	rt, err := o.authenticate(ctx)
	if err != nil {
		return err
	}
	url := o.wire.scheme() + "://" + o.registry.RegistryStr() + "/v2/"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return transport.CheckError(resp, http.StatusOK)
}
