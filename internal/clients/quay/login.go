package quay

import (
	"context"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// userAgent is what the registry sees, followed by the library's own.
const userAgent = "omps-consumer"

// maxLogins bounds the tokens kept. One is some kilobytes; far more
// repositories than this are not pushed to within a token's life of an hour.
const maxLogins = 512

// logins keeps the authenticated transport of each repository, so that a push
// costs neither a ping nor a token once its repository is known. The zero value
// is ready.
type logins struct {
	mu   sync.Mutex
	kept map[name.Repository]http.RoundTripper
}

func (l *logins) get(repo name.Repository) http.RoundTripper {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept[repo]
}

func (l *logins) keep(repo name.Repository, rt http.RoundTripper) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == nil || len(l.kept) >= maxLogins {
		l.kept = make(map[name.Repository]http.RoundTripper)
	}
	l.kept[repo] = rt
}

func (l *logins) forget(repo name.Repository) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.kept, repo)
}

// login is an authenticated transport for pulling from and pushing to repo. One
// token serves both: Quay creates a missing repository when it gives out a
// token to push, and to a token that may only pull a missing repository is
// forbidden.
func (o *OCI) login(ctx context.Context, repo name.Repository) (http.RoundTripper, error) {
	if rt := o.logins.get(repo); rt != nil {
		return rt, nil
	}
	rt, err := o.authenticate(ctx, repo.Scope(transport.PushScope))
	if err != nil {
		return nil, err
	}
	o.logins.keep(repo, rt)
	return rt, nil
}

// open logs in and makes a session with repo.
func (o *OCI) open(ctx context.Context, repo name.Repository) (*session, error) {
	rt, err := o.login(ctx, repo)
	if err != nil {
		return nil, err
	}
	return newSession(repo, rt)
}

// authenticate asks the registry how it wants to be logged in to, and does it.
// The library sends credentials to the registry and to the token realm that it
// names, and never along with a redirect.
func (o *OCI) authenticate(ctx context.Context, scopes ...string) (http.RoundTripper, error) {
	return transport.NewWithContext(ctx, o.registry, o.auth, transport.NewUserAgent(o.wire, userAgent), scopes)
}
