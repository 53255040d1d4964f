package quay

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
)

// locks is a lock for each repository that somebody holds or waits for. The
// zero value is ready.
type locks struct {
	mu   sync.Mutex
	used map[name.Repository]*turn
}

// turn is the lock of one repository.
type turn struct {
	taken chan struct{} // holds one element while somebody has it
	users int           // who have it or wait for it
}

// lock waits for the lock of repo, until ctx is done.
func (l *locks) lock(ctx context.Context, repo name.Repository) (unlock func(), err error) {
	t := l.join(repo)
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken; l.leave(repo, t) }, nil
	case <-ctx.Done():
		l.leave(repo, t)
		return nil, fmt.Errorf("wait for other pushes to %s: %w", repo, ctx.Err())
	}
}

func (l *locks) join(repo name.Repository) *turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.used[repo]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		if l.used == nil {
			l.used = make(map[name.Repository]*turn)
		}
		l.used[repo] = t
	}
	t.users++
	return t
}

func (l *locks) leave(repo name.Repository, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(l.used, repo)
	}
}
