package quay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// memoryLocker is a Locker that replicas in one process share.
type memoryLocker struct {
	waits chan string // gets the name of each lease that somebody has to wait for, when there is room

	mu     sync.Mutex
	leases map[string]*memoryLease
}

type memoryLease struct {
	owner string
	users int
	lose  []context.CancelCauseFunc
	free  chan struct{} // closed when nobody has it any more
}

func newLocker() *memoryLocker {
	return &memoryLocker{waits: make(chan string, 1), leases: make(map[string]*memoryLease)}
}

func (l *memoryLocker) Lock(ctx context.Context, name, owner string) (context.Context, func(), error) {
	for {
		held, unlock, free := l.try(ctx, name, owner)
		if free == nil {
			return held, unlock, nil
		}
		select {
		case l.waits <- name:
		default:
		}
		select {
		case <-free:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (l *memoryLocker) try(ctx context.Context, name, owner string) (held context.Context, unlock func(), busy <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease := l.leases[name]
	if lease == nil {
		lease = &memoryLease{owner: owner, free: make(chan struct{})}
		l.leases[name] = lease
	}
	if lease.owner != owner {
		return nil, nil, lease.free
	}
	held, lose := context.WithCancelCause(ctx)
	lease.users++
	lease.lose = append(lease.lose, lose)
	return held, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		lose(nil)
		if lease.users--; lease.users == 0 {
			delete(l.leases, name)
			close(lease.free)
		}
	}, nil
}

// lose ends a lease that is held.
func (l *memoryLocker) lose(name string, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lose := range l.leases[name].lose {
		lose(cause)
	}
}

func (l *memoryLocker) held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.leases)
}

// lockerFunc is a Locker that does one thing.
type lockerFunc func(ctx context.Context, name, owner string) (context.Context, func(), error)

func (f lockerFunc) Lock(ctx context.Context, name, owner string) (context.Context, func(), error) {
	return f(ctx, name, owner)
}

func sharing(l Locker) func(*OCIOptions) { return func(o *OCIOptions) { o.Locker = l } }

// The older build has looked at the tag and is about to set it when the newer
// one comes, in another replica. Only a lease keeps the newer one waiting.
func TestNewerBuildComesBetweenLookAndSet(t *testing.T) {
	t.Parallel()
	older, newer := etcd("7", "latest"), etcd("8", "latest")
	for name, test := range map[string]struct {
		locker *memoryLocker
		want   pipeline.Bundle
	}{
		"without a Locker": {nil, older},
		"with a Locker":    {newLocker(), newer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			var share func(*OCIOptions)
			var waits <-chan string
			if test.locker != nil {
				share, waits = sharing(test.locker), test.locker.waits
			}
			one, two := newOCI(t, f, share), newOCI(t, f, share)
			done := make(chan error, 1)
			var started atomic.Bool
			f.setFault(func(step string, _ http.ResponseWriter, r *http.Request) bool {
				if step != stepPutManifest || !strings.HasSuffix(r.URL.Path, "/latest") || !started.CompareAndSwap(false, true) {
					return false
				}
				go func() {
					_, err := two.Push(t.Context(), releaseOf(newer))
					done <- err
				}()
				select {
				case err := <-done:
					done <- err
				case <-waits:
				}
				return false
			})
			if p := mustPush(t, one, older); p.Bundles[0].Tags[0] != "latest" {
				t.Errorf("publication is %+v", p)
			}
			if err := <-done; err != nil {
				t.Errorf("push of the newer build: %v", err)
			}
			if got := named(t, f, "latest"); got != digest(t, test.want) {
				t.Errorf("latest names %s, want that of build %s", got, test.want.Labels[pipeline.LabelBuildID])
			}
			if test.locker != nil && test.locker.held() != 0 {
				t.Error("leases are kept")
			}
		})
	}
}

// Whoever comes first, with whatever delays: the newer build has the tag.
func TestReplicasRaceForTags(t *testing.T) {
	t.Parallel()
	rounds := 200
	if testing.Short() {
		rounds = 30
	}
	f := newRegistry(t)
	f.setFault(func(string, http.ResponseWriter, *http.Request) bool {
		<-time.After(rand.N(500 * time.Microsecond)) // a registry takes its time
		return false
	})
	locker := newLocker()
	one, two := newOCI(t, f, sharing(locker)), newOCI(t, f, sharing(locker))
	want := digest(t, etcd("8"))
	for i := range rounds {
		tag := fmt.Sprint("round-", i)
		var both sync.WaitGroup
		for build, o := range map[string]*OCI{"7": one, "8": two} {
			both.Go(func() {
				if _, err := o.Push(t.Context(), releaseOf(etcd(build, tag))); err != nil {
					t.Errorf("round %d, build %s: %v", i, build, err)
				}
			})
		}
		both.Wait()
		if got := named(t, f, tag); got != want {
			t.Fatalf("round %d: %s names %s, not the newer build's image", i, tag, got)
		}
	}
}

// cancelling calls then after a request of a step whose path ends in suffix is
// answered, before anybody sees the answer.
type cancelling struct {
	next         http.RoundTripper
	step, suffix string
	then         func()
}

func (c *cancelling) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if stepOf(r) == c.step && strings.HasSuffix(r.URL.Path, c.suffix) {
		c.then()
	}
	return resp, err
}

func TestLeaseIsLost(t *testing.T) {
	t.Parallel()
	errLost := errors.New("the bucket is gone")
	for _, after := range []string{stepHeadTag, stepPutManifest} {
		t.Run(after, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			locker := newLocker()
			o := newOCI(t, f, sharing(locker))
			tag := f.host() + "/myorg/etcd:latest"
			o.wire.next = &cancelling{next: o.wire.next, step: after, suffix: "/latest", then: func() {
				if locker.held() == 1 { // no first look
					locker.lose(tag, errLost)
				}
			}}
			f.taken()
			_, err := o.Push(t.Context(), releaseOf(etcd("7", "latest")))
			wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
			if !errors.Is(err, errLost) || err.Error() != "lease on "+tag+": the bucket is gone" {
				t.Errorf("error is %v", err)
			}
			puts := map[string]int{stepHeadTag: 0, stepPutManifest: 1}[after]
			if steps := f.taken(); count(steps, stepPutManifest) != puts || steps[len(steps)-1] != after {
				t.Errorf("requests are %v", steps)
			}
			if locker.held() != 0 {
				t.Error("the lease is not given back")
			}
			o.wire.next = o.wire.next.(*cancelling).next
			mustPush(t, o, etcd("7", "latest"))
		})
	}
}

func TestNoLease(t *testing.T) {
	t.Parallel()
	bare := errors.New("no answer\nfrom the bucket")
	for name, test := range map[string]struct {
		err  error
		want verdict
	}{
		"bare":            {bare, passes},
		"with a class":    {pipeline.Reject(pipeline.ReasonInternal, bare), verdict{pipeline.Rejected, pipeline.ReasonInternal}},
		"with a reason":   {fmt.Errorf("wrapped: %w", pipeline.Retry(pipeline.ReasonDeadline, bare)), verdict{pipeline.Transient, pipeline.ReasonDeadline}},
		"of another type": {classed{}, verdict{pipeline.Waiting, pipeline.ReasonQuayUnavailable}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			o := newOCI(t, f, sharing(lockerFunc(func(context.Context, string, string) (context.Context, func(), error) {
				return nil, nil, test.err
			})))
			_, err := o.Push(t.Context(), releaseOf(etcd("7", "latest")))
			if got := verdictOf(err); got != test.want || !errors.Is(err, test.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %v: %v", got, test.want, err)
			}
			if n := count(f.taken(), stepPutManifest); n != 0 {
				t.Errorf("%d image manifests were put", n)
			}
			if len(o.locks.here.used) != 0 {
				t.Error("the lock is kept")
			}
		})
	}
}

type classed struct{}

func (classed) Error() string         { return "not yet" }
func (classed) Class() pipeline.Class { return pipeline.Waiting }

// A push that waits for a lease ends with its caller, or with its own time-out.
func TestWaitForLeaseEnds(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	locker := newLocker()
	_, unlock, err := locker.Lock(t.Context(), f.host()+"/myorg/etcd:latest", "somebody else")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-locker.waits; cancel() }()
	_, err = newOCI(t, f, sharing(locker)).Push(ctx, releaseOf(etcd("7", "latest")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonDeadline)

	short := newOCI(t, f, func(o *OCIOptions) { o.Locker, o.Timeout = locker, 100*time.Millisecond })
	_, err = short.Push(t.Context(), releaseOf(etcd("7", "latest")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
}

// The lease is asked for by the tag's full name and the image's digest, and
// while it is held another tag of the repository can be set.
func TestLeasesAreForTags(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	locker := newLocker()
	var mu sync.Mutex
	asked := map[string]string{}
	o := newOCI(t, f, sharing(lockerFunc(func(ctx context.Context, name, owner string) (context.Context, func(), error) {
		mu.Lock()
		asked[name] = owner
		mu.Unlock()
		return locker.Lock(ctx, name, owner)
	})))
	other := etcd("8", "b")
	f.setFault(func(step string, _ http.ResponseWriter, r *http.Request) bool {
		if step == stepPutManifest && strings.HasSuffix(r.URL.Path, "/a") {
			if _, err := o.Push(r.Context(), releaseOf(other)); err != nil {
				t.Errorf("push of another tag: %v", err)
			}
		}
		return false
	})
	b := etcd("7", "a")
	mustPush(t, o, b)
	mu.Lock()
	defer mu.Unlock()
	for tag, pushed := range map[string]pipeline.Bundle{"a": b, "b": other} {
		if owner := asked[f.host()+"/myorg/etcd:"+tag]; owner != digest(t, pushed) {
			t.Errorf("leases are %v", asked)
		}
	}
	if len(asked) != 2 {
		t.Errorf("leases are %v", asked)
	}
}
