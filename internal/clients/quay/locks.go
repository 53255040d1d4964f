package quay

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Locker gives out leases on names that all replicas of the service share.
type Locker interface {
	// Lock waits until nobody else has the lease on name, which may be any text,
	// such as "quay.io/myorg/etcd:1.0" or "quay.io/cnr/myorg/etcd". held is a child
	// of ctx that ends also, with the loss as its cause, when the lease is lost;
	// unlock gives the lease back. Two callers of the same owner may have it at
	// once: they do the same work.
	Lock(ctx context.Context, name, owner string) (held context.Context, unlock func(), err error)
}

// nameLocks lock the names of tags and of repositories, each on its own, so that
// builds of one package with different tags do not wait for each other.
type nameLocks struct {
	here   locks
	shared Locker // nil: there is nobody to share with
}

// hold calls f while it has the lock of a name. The context that f gets ends when
// the lease is lost, which is then the error.
func (l *nameLocks) hold(ctx context.Context, name, owner string, f func(context.Context) error) error {
	held, unlock, err := l.lock(ctx, name, owner)
	if err != nil {
		return err
	}
	defer unlock()
	err = f(held)
	if err != nil && held.Err() != nil && ctx.Err() == nil {
		return &leaseError{name: name, err: context.Cause(held)}
	}
	return err
}

// holdAll is hold for several names. All who hold some of them must ask in the
// same order.
func (l *nameLocks) holdAll(ctx context.Context, names []string, owner string, f func(context.Context) error) error {
	if len(names) == 0 {
		return f(ctx)
	}
	return l.hold(ctx, names[0], owner, func(held context.Context) error {
		return l.holdAll(held, names[1:], owner, f)
	})
}

// lock waits for the lock of a name: for its turn in this process, then for the
// lease, so that one of us at most waits for the others. What is named may be
// changed until held ends.
func (l *nameLocks) lock(ctx context.Context, name, owner string) (held context.Context, unlock func(), err error) {
	leave, err := l.here.lock(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if l.shared == nil {
		return ctx, leave, nil
	}
	held, giveBack, err := l.shared.Lock(ctx, name, owner)
	if err != nil {
		leave()
		return nil, nil, &leaseError{name: name, err: err}
	}
	return held, func() { giveBack(); leave() }, nil
}

// leaseError says why there is no lease, or no longer.
type leaseError struct {
	name string
	err  error
}

func (e *leaseError) Error() string {
	return "lease on " + e.name + ": " + clients.OneLine(e.err.Error(), maxText)
}
func (e *leaseError) Unwrap() error { return e.err }

// Class is Transient, unless the Locker knows better.
func (e *leaseError) Class() pipeline.Class { return pipeline.ClassOf(e.err) }

// Reason is ReasonQuayUnavailable, unless the Locker knows better.
func (e *leaseError) Reason() pipeline.Reason {
	var known interface{ Reason() pipeline.Reason }
	if errors.As(e.err, &known) && known.Reason() != "" {
		return known.Reason()
	}
	return pipeline.ReasonQuayUnavailable
}

// locks is a lock for each name that somebody holds or waits for. The zero
// value is ready.
type locks struct {
	mu   sync.Mutex
	used map[string]*turn
}

// turn is the lock of one name.
type turn struct {
	taken chan struct{} // holds one element while somebody has it
	users int           // who have it or wait for it
}

// lock waits for the lock of name, until ctx is done.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	t := l.join(name)
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken; l.leave(name, t) }, nil
	case <-ctx.Done():
		l.leave(name, t)
		return nil, fmt.Errorf("wait for other pushes to %s: %w", name, ctx.Err())
	}
}

func (l *locks) join(name string) *turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.used[name]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		if l.used == nil {
			l.used = make(map[string]*turn)
		}
		l.used[name] = t
	}
	t.users++
	return t
}

func (l *locks) leave(name string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(l.used, name)
	}
}
