package quay

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

func TestLocks(t *testing.T) {
	t.Parallel()
	registry, err := name.NewRegistry("quay.io")
	if err != nil {
		t.Fatal(err)
	}
	var l locks
	lock := func(ctx context.Context, repo string) func() {
		t.Helper()
		unlock, err := l.lock(ctx, registry.Repo(repo))
		if err != nil {
			t.Fatal(err)
		}
		return unlock
	}
	first := lock(t.Context(), "myorg/a")
	other := lock(t.Context(), "myorg/b")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.lock(ctx, registry.Repo("myorg/a")); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v while the lock is taken", err)
	}
	got := make(chan struct{})
	go func() {
		defer close(got)
		unlock, err := l.lock(t.Context(), registry.Repo("myorg/a"))
		if err != nil {
			t.Error(err)
			return
		}
		unlock()
	}()
	select {
	case <-got:
		t.Error("two have the lock")
	default:
	}
	first()
	<-got
	other()
	if len(l.used) != 0 {
		t.Errorf("%d locks are kept", len(l.used))
	}
}
