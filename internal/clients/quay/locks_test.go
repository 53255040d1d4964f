package quay

import (
	"context"
	"errors"
	"testing"
)

func TestLocks(t *testing.T) {
	t.Parallel()
	var l locks
	lock := func(ctx context.Context, name string) func() {
		t.Helper()
		unlock, err := l.lock(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return unlock
	}
	first := lock(t.Context(), "quay.io/myorg/a:1")
	other := lock(t.Context(), "quay.io/myorg/a:2")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.lock(ctx, "quay.io/myorg/a:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v while the lock is taken", err)
	}
	got := make(chan struct{})
	go func() {
		defer close(got)
		unlock, err := l.lock(t.Context(), "quay.io/myorg/a:1")
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
