package events

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// leaseWorld is a server with a bucket for leases.
type leaseWorld struct {
	t      *testing.T
	server *Server
	dir    string
	kv     jetstream.KeyValue
}

func newLeaseWorld(t *testing.T) *leaseWorld {
	t.Helper()
	w := &leaseWorld{t: t, dir: t.TempDir()}
	w.start("127.0.0.1:-1")
	t.Cleanup(func() { w.server.Shutdown() })
	var err error
	w.kv, err = clientOf(t, w.server).CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "leases", History: 1, TTL: testLife})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *leaseWorld) start(listen string) {
	w.t.Helper()
	var err error
	if w.server, err = StartServer(ServerOptions{Listen: listen, StoreDir: w.dir}); err != nil {
		w.t.Fatal(err)
	}
}

// replica is the leases of a process: with a connection of its own.
func (w *leaseWorld) replica() *Leases {
	w.t.Helper()
	return NewLeases(clientOf(w.t, w.server), "leases")
}

// A lease lives as long as the bucket says: shorter here than it should.
const (
	testLife    = 4 * time.Second
	testRenewal = testLife / renewalPart
)

func (w *leaseWorld) lock(l *Leases, owner string) (held context.Context, unlock func()) {
	w.t.Helper()
	held, unlock, err := l.Lock(w.t.Context(), "quay.io/myorg/etcd:1.0", owner)
	if err != nil {
		w.t.Fatal(err)
	}
	return held, unlock
}

// free tells whether another owner gets the lease within d, and gives it back.
func (w *leaseWorld) free(l *Leases, d time.Duration) bool {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	_, unlock, err := l.Lock(ctx, "quay.io/myorg/etcd:1.0", "somebody else")
	if err == nil {
		unlock()
		return true
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		w.t.Errorf("Lock: %v", err)
	}
	return false
}

// lost waits until a lease is lost, and returns how long that took.
func lost(held context.Context, t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	select {
	case <-held.Done():
	case <-time.After(3 * testLife):
		t.Fatal("the lease is never lost")
	}
	if cause := context.Cause(held); !errors.Is(cause, ErrLeaseLost) {
		t.Errorf("ended for %v", cause)
	}
	return time.Since(start)
}

func TestLeaseIsExclusive(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	replicas := [2]*Leases{w.replica(), w.replica()}
	var inside, most, rounds atomic.Int64
	unguarded := 0 // the race detector and the count tell when two are in
	var all sync.WaitGroup
	const owners, each = 8, 5
	for i := range owners {
		all.Go(func() {
			for range each {
				_, unlock, err := replicas[i%2].Lock(t.Context(), "tag", fmt.Sprint("owner ", i))
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), inside.Add(1)))
				unguarded++
				<-time.After(time.Millisecond)
				inside.Add(-1)
				unlock()
				rounds.Add(1)
			}
		})
	}
	all.Wait()
	if most.Load() != 1 || rounds.Load() != owners*each || unguarded != owners*each {
		t.Errorf("%d at once, %d rounds, %d counted", most.Load(), rounds.Load(), unguarded)
	}
}

func TestOtherNamesAreOtherLeases(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	l := w.replica()
	w.lock(l, "me")
	for _, name := range []string{"", "*", "quay.io/myorg/etcd:1.1", strings.Repeat("x", 10_000), "\x00 >"} {
		_, unlock, err := l.Lock(t.Context(), name, "you")
		if err != nil {
			t.Fatalf("%.20q: %v", name, err)
		}
		unlock()
	}
}

func TestUnlockFreesAtOnce(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	one, two := w.replica(), w.replica()
	held, unlock := w.lock(one, "me")
	if w.free(two, 300*time.Millisecond) {
		t.Error("free although it is held")
	}
	unlock()
	unlock() // twice is once
	if held.Err() == nil {
		t.Error("held on after unlock")
	}
	if !w.free(two, time.Second) {
		t.Error("not free after unlock")
	}
}

// Who shares a lease keeps it when the other is done, whichever came first and
// however often it was renewed meanwhile.
func TestOneOwnerSharesItsLease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		first bool // unlocks first
		after time.Duration
	}{
		{"first, at once", true, 0},
		{"second, at once", false, 0},
		{"first, after renewals", true, testRenewal + testRenewal/4},
		{"second, after renewals", false, testRenewal + testRenewal/4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newLeaseWorld(t)
			one, two, other := w.replica(), w.replica(), w.replica()
			leaves, leave := w.lock(one, "me")
			if tt.after > 0 { // so that the renewals of the two alternate
				<-time.After(testRenewal / 2)
			}
			stays, end := w.lock(two, "me")
			if !tt.first {
				leaves, leave, stays, end = stays, end, leaves, leave
			}
			<-time.After(tt.after)
			leave()
			if leaves.Err() == nil || w.free(other, testRenewal+testRenewal/4) {
				t.Error("free although one of the two holds it")
			}
			if stays.Err() != nil {
				t.Errorf("lost: %v", context.Cause(stays))
			}
			end()
			if !w.free(other, time.Second) {
				t.Error("not free after both are done")
			}
		})
	}
}

func TestLeaseOutlivesItsTimeWhileHeld(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	one, two := w.replica(), w.replica()
	held, unlock := w.lock(one, "me")
	if w.free(two, testLife+testRenewal) || held.Err() != nil {
		t.Errorf("gone: %v", context.Cause(held))
	}
	unlock()
}

func TestLeaseOfTheDeadIsTakenOver(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	dead, two := clientOf(t, w.server), w.replica()
	w.lock(NewLeases(dead, "leases"), "me")
	dead.Conn().Close()
	start := time.Now()
	if w.free(two, testLife/2) {
		t.Error("free at once: its holder may still be at work")
	}
	if !w.free(two, testLife) {
		t.Error("never free")
	}
	t.Logf("taken over after %s", time.Since(start).Round(100*time.Millisecond))
}

// The owner itself need not wait for what it left behind in a crash.
func TestOwnerComesBack(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	dead, two := clientOf(t, w.server), w.replica()
	w.lock(NewLeases(dead, "leases"), "me")
	dead.Conn().Close()
	start := time.Now()
	_, unlock := w.lock(two, "me")
	if took := time.Since(start); took > testLife/4 {
		t.Errorf("took %s", took)
	}
	unlock()
}

func TestLeaseIsLost(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(w *leaseWorld, key string) error{
		"deleted": func(w *leaseWorld, key string) error { return w.kv.Delete(w.t.Context(), key) },
		"taken": func(w *leaseWorld, key string) error {
			_, err := w.kv.Put(w.t.Context(), key, leaseValue(1, "you"))
			return err
		},
		"garbage": func(w *leaseWorld, key string) error {
			_, err := w.kv.Put(w.t.Context(), key, []byte("\x00"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLeaseWorld(t)
			held, unlock := w.lock(w.replica(), "me")
			keys, err := w.kv.Keys(t.Context())
			if err != nil || len(keys) != 1 {
				t.Fatalf("%v, %v", keys, err)
			}
			if err := take(w, keys[0]); err != nil {
				t.Fatal(err)
			}
			if took := lost(held, t); took > testRenewal+time.Second {
				t.Errorf("noticed after %s", took)
			}
			before, _ := w.kv.Get(t.Context(), keys[0])
			unlock() // what is somebody else's is left alone
			after, _ := w.kv.Get(t.Context(), keys[0])
			if before != nil && (after == nil || after.Revision() != before.Revision()) {
				t.Errorf("unlock took %+v away", before)
			}
		})
	}
}

func TestLeaseAndAnOutage(t *testing.T) {
	t.Parallel()
	t.Run("short", func(t *testing.T) {
		t.Parallel()
		w := newLeaseWorld(t)
		held, unlock := w.lock(w.replica(), "me")
		at := strings.TrimPrefix(w.server.URL(), "nats://")
		w.server.Shutdown()
		<-time.After(testRenewal + testRenewal/4) // one renewal is missed
		w.start(at)
		<-time.After(testLife)
		if held.Err() != nil {
			t.Errorf("lost: %v", context.Cause(held))
		}
		unlock()
		if !w.free(w.replica(), time.Second) {
			t.Error("not free after unlock")
		}
	})
	t.Run("long", func(t *testing.T) {
		t.Parallel()
		w := newLeaseWorld(t)
		held, unlock := w.lock(w.replica(), "me")
		w.server.Shutdown()
		took := lost(held, t)
		t.Logf("lost %s after the server was", took.Round(10*time.Millisecond))
		if took > testLife-testRenewal/2 {
			t.Errorf("held on for %s, when it may be somebody else's already", took)
		}
		unlock()
	})
}

func TestLockGivesUp(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	w.lock(w.replica(), "me")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	held, unlock, err := w.replica().Lock(ctx, "quay.io/myorg/etcd:1.0", "you")
	if !errors.Is(err, context.DeadlineExceeded) || held != nil || unlock != nil || !strings.Contains(err.Error(), "quay.io/myorg/etcd:1.0") {
		t.Errorf("%v", err)
	}
	if _, _, err := NewLeases(clientOf(t, w.server), "none").Lock(t.Context(), "x", "me"); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("without a bucket: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	held, _, err = w.replica().Lock(ctx, "another", "me")
	if err != nil {
		t.Fatal(err)
	}
	if cancel(); held.Err() == nil || errors.Is(context.Cause(held), ErrLeaseLost) {
		t.Errorf("held is no child of its context: %v", context.Cause(held))
	}
}

// TestLeasesLeakNothing is not parallel: it looks at all that runs.
func TestLeasesLeakNothing(t *testing.T) {
	w := newLeaseWorld(t)
	l := w.replica()
	become := func(want int) {
		t.Helper()
		stacks, renewing := make([]byte, 4<<20), 0
		for range 1000 {
			renewing = strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "(*renewal).run(")
			if renewing == want {
				return
			}
			<-time.After(10 * time.Millisecond)
		}
		t.Fatalf("%d renewals are left, not %d", renewing, want)
	}
	_, unlock := w.lock(l, "me")
	become(1)
	unlock()
	become(0)
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 10 {
		if _, _, err := l.Lock(ctx, fmt.Sprint(i), "me"); err != nil {
			t.Fatal(err)
		}
	}
	become(10)
	cancel() // and nobody unlocks
	become(0)
}
