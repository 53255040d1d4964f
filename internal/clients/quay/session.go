package quay

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
)

// session is what is done in one repository with one login.
type session struct {
	repo   name.Repository
	login  http.RoundTripper
	pusher *remote.Pusher // deletes
	puller *remote.Puller
}

// newSession makes the library's pusher and puller anew over a transport that may
// be kept, which they take as it is, without a login or retries of their own: what
// they remember must not outlive a push.
func newSession(repo name.Repository, rt http.RoundTripper) (*session, error) {
	options := []remote.Option{
		remote.WithTransport(rt),
		remote.WithRetryPredicate(func(error) bool { return false }), // the client beneath and redelivery retry
	}
	pusher, err := remote.NewPusher(options...)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return nil, err
	}
	return &session{repo: repo, login: rt, pusher: pusher, puller: puller}, nil
}

// heads is the digest that each reference names, zero where there is none.
func (s *session) heads(ctx context.Context, refs []name.Reference) ([]v1.Hash, error) {
	there := make([]v1.Hash, len(refs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, ref := range refs {
		g.Go(func() (err error) {
			there[i], err = s.head(ctx, ref)
			return err
		})
	}
	return there, g.Wait()
}

func (s *session) head(ctx context.Context, ref name.Reference) (v1.Hash, error) {
	found, err := s.puller.Head(ctx, ref)
	if isNotFound(err) {
		return v1.Hash{}, nil
	}
	if err != nil {
		return v1.Hash{}, err
	}
	return found.Digest, nil
}

func isNotFound(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
