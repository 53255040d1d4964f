package quay

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// applicationName is what Quay lets an organization and a repository be named, by
// its util/names.py. In the app registry a repository has no slash.
var applicationName = regexp.MustCompile(`^[a-z0-9][\.a-z0-9_-]{0,254}$`)

// AppRegistryOptions describe where and how an organization's releases go.
type AppRegistryOptions struct {
	URL string // of Quay, such as https://quay.io

	// Token is sent as it is in Authorization. It is what Quay's
	// /cnr/api/v1/users/login gives out: "basic " and the credentials in base64.
	Token clients.Credential
	// Username and Password are of a robot account, and make such a token. Beside
	// Token they are not used; without any of it requests are anonymous.
	Username string
	Password clients.Credential

	// FirstRelease is that of a package without any, such as 1.0.0.
	FirstRelease string

	// Timeout bounds one push with all its requests and its waits for leases, each
	// step of a deletion, and so a call of Visibility or of Ping.
	Timeout time.Duration
	HTTP    *clients.Client

	Locker Locker // nil: only this process pushes

	// Visibility is set when the organization is public.
	Visibility VisibilitySetter
}

func (o AppRegistryOptions) validate() error {
	var faults []error
	if _, err := baseURL(o.URL); err != nil {
		faults = append(faults, err)
	}
	if (o.Username == "") != (clients.SecretOf(o.Password) == "") {
		faults = append(faults, errors.New("a username and a password go together"))
	}
	if strings.ContainsFunc(o.authorization().header(), isControl) {
		faults = append(faults, errors.New("token holds a character that no header may have"))
	}
	if numbers(o.FirstRelease) == nil {
		faults = append(faults, fmt.Errorf("first release %.50q is not int.int.int", o.FirstRelease))
	}
	if o.Timeout <= 0 {
		faults = append(faults, errors.New("timeout must be positive"))
	}
	if o.HTTP == nil {
		faults = append(faults, errors.New("no HTTP client"))
	}
	return errors.Join(faults...)
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// baseURL reads the address of Quay itself.
func baseURL(raw string) (*url.URL, error) {
	base, err := clients.ParseURL(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("quay: %w", err)
	case base.User != nil:
		return nil, errors.New("quay: address holds credentials")
	}
	return base, nil
}

func (o AppRegistryOptions) authorization() *authorization {
	return &authorization{token: o.Token, account: accountOf(o.Username, o.Password)}
}

// authorization makes the header of that name, of what is proven at the moment.
type authorization struct {
	token   clients.Credential
	account *account
}

// header is "" for none.
func (a *authorization) header() string {
	if token := clients.SecretOf(a.token); token != "" || a.account == nil {
		return token.Reveal()
	}
	return "basic " + a.account.basic()
}

// AppRegistry pushes releases of applications to the app registry of a Quay before
// 3.9, or of a server like it, with the credentials of one organization. It is
// safe for concurrent use.
//
// The interface is that of Quay's endpoints/appr, and what is sent through it is
// what operator-courier sent.
type AppRegistry struct {
	base          *url.URL
	authorization *authorization
	http          *clients.Client
	first         string
	timeout       time.Duration
	publicity     publicity
	locks         nameLocks
}

var (
	_ pipeline.Pusher  = (*AppRegistry)(nil)
	_ pipeline.Deleter = (*AppRegistry)(nil)
)

// NewAppRegistry checks the options and makes an AppRegistry; it sends nothing.
func NewAppRegistry(o AppRegistryOptions) (*AppRegistry, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	base, err := baseURL(o.URL)
	if err != nil {
		return nil, err
	}
	return &AppRegistry{
		base: base, authorization: o.authorization(), http: o.HTTP, first: o.FirstRelease, timeout: o.Timeout,
		publicity: publicity{setter: o.Visibility, timeout: o.Timeout}, locks: nameLocks{shared: o.Locker},
	}, nil
}

// Push packs r.Application and pushes it as the release that it asks for, or else
// as the one after the highest that is three plain numbers: the first number and
// one, the others zero. Releases that are not so are named in a warning.
//
// What is there already is not pushed again: without a release asked for, content
// that any release of the package has; with one, that release with the same
// content. The Publication is then Repeated and has the highest such release. Where
// the trigger says Force, content gets another release though it has one, unless
// that is the highest and an earlier try of the trigger may have made it; one that
// is asked for cannot be replaced in any case.
//
// Releases are looked at and pushed while the repository is locked: against the
// other pushes of this AppRegistry, and by a lease of AppRegistryOptions.Locker
// against those of all replicas. Others may push as well: where somebody takes a
// release first, Quay refuses it, and the next one is tried, unless what was taken
// has the same content. So no two contents ever get one release. One content
// gets two only without a Locker, when another replica pushes the same while
// somebody else pushes a release out of turn or deletes one.
//
// After each push the releases are looked at again: what is there counts, not
// what the answer said, and a push whose answer is lost is not repeated.
//
// Errors: Rejected with ReasonQuayRefused, ReasonVersionExists,
// ReasonInvalidVersion or ReasonInvalidManifests; Transient with
// ReasonUnauthorized, ReasonQuayUnavailable or ReasonDeadline; and those of a
// Locker that have a class or a reason of their own.
func (a *AppRegistry) Push(ctx context.Context, r pipeline.Release) (pipeline.Publication, error) {
	done, err := a.push(ctx, r)
	if err != nil {
		return pipeline.Publication{}, classify(ctx, err)
	}
	a.publicity.apply(ctx, &done, done.Release.Repository)
	return done, nil
}

// Ping tells whether there is an app registry and whether it takes the credentials:
// GET /cnr/version, and the login with a name and a password, which changes nothing.
// A token that holds no such, and a server without that login, pass. Errors are
// those of Push.
func (a *AppRegistry) Ping(ctx context.Context) error {
	timed, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	err := a.version(timed)
	if err == nil {
		err = a.login(timed)
	}
	return classify(ctx, err)
}

// checkRepository tells why a repository, organization/name, cannot be in an app
// registry.
func checkRepository(repository string) error {
	organization, name, _ := strings.Cut(repository, "/")
	switch {
	case strings.Contains(name, "/"):
		return pipeline.Reject(pipeline.ReasonQuayRefused,
			fmt.Errorf("repository %.300q has a slash in its name, which an app registry does not allow", repository))
	case !applicationName.MatchString(organization), !applicationName.MatchString(name):
		return pipeline.Reject(pipeline.ReasonQuayRefused, fmt.Errorf("%.300q is no name of a repository", repository))
	}
	return nil
}

// lockName is the name of the lock on a repository.
func (a *AppRegistry) lockName(repository string) string { return a.base.Host + "/cnr/" + repository }
