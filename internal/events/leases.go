package events

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Leases are names that one owner at a time may have, in a key-value bucket
// that all replicas share. A lease whose holder died ends by itself, with the life
// of the bucket's keys. It is safe for concurrent use.
type Leases struct{ bucket bucket }

// NewLeases are the leases in a bucket. It does not talk to NATS yet.
func NewLeases(js jetstream.JetStream, name string) *Leases {
	return &Leases{bucket: bucket{js: js, name: name}}
}

const (
	// A lease is renewed after a fourth of its life. One try may take half as
	// long, and on one that failed the next one follows after a tenth of that.
	renewalPart, callPart, retryPart = 4, 8, 40
	// leasePause is how long to wait before a lease that is taken is asked for
	// again, at first and at most.
	leasePause, maxLeasePause = 5 * time.Millisecond, 250 * time.Millisecond
)

// ErrLeaseTaken is the error of a wait for a lease that ended while another owner
// had it.
var ErrLeaseTaken = errors.New("somebody else has it")

// ErrLeaseLost is the cause of the end of a context whose lease was lost.
var ErrLeaseLost = errors.New("the lease is lost")

// Lock waits until nobody but owner has the lease on name, or ctx ends. The
// context that it returns ends when the lease is lost, with ErrLeaseLost as its
// cause; unlock gives the lease back. Callers of one owner may have it at once:
// they do the same work.
func (l *Leases) Lock(ctx context.Context, name, owner string) (held context.Context, unlock func(), err error) {
	kv, stream, err := l.bucket.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	life := cmp.Or(stream.CachedInfo().Config.MaxAge, leaseTime)
	// A name may hold anything, and be longer than a subject may.
	sum := sha256.Sum256([]byte(name))
	key := hex.EncodeToString(sum[:16])
	r := &renewal{kv: kv, key: key, owner: owner, life: life, ended: make(chan struct{})}
	if err := r.take(ctx); err != nil {
		return nil, nil, fmt.Errorf("lease on %s: %w", name, err)
	}
	held, lose := context.WithCancelCause(ctx)
	renewing, stop := context.WithCancel(held)
	go r.run(renewing, lose)
	return held, func() {
		stop()
		<-r.ended
		r.giveBack(context.WithoutCancel(ctx))
		lose(nil)
	}, nil
}

// renewal keeps a lease alive. The value of a lease is how many have it at
// once, and their owner.
type renewal struct {
	kv         jetstream.KeyValue
	key, owner string
	life       time.Duration
	users      int // by the revision
	revision   uint64
	asked      time.Time // when what the revision says was asked for
	ended      chan struct{}
}

func leaseValue(users int, owner string) []byte { return fmt.Appendf(nil, "%d %s", users, owner) }

func readLease(value []byte) (users int, owner string) {
	number, owner, _ := strings.Cut(string(value), " ")
	users, _ = strconv.Atoi(number)
	return max(users, 1), owner
}

// take makes the key ours, waiting while it is somebody else's. Where it is
// ours already, of a run for another event or from before a crash, we share it.
func (r *renewal) take(ctx context.Context) (err error) {
	taken := false
	for pause := leasePause; ; pause = min(2*pause, maxLeasePause) {
		r.users, r.asked = 1, time.Now()
		r.revision, err = r.kv.Create(ctx, r.key, leaseValue(r.users, r.owner))
		switch {
		case err == nil:
			return nil
		case taken && ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ErrLeaseTaken, ctx.Err())
		case !lostRace(err):
			return err
		}
		taken = true
		if r.shared(ctx) && r.change(ctx, 1) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrLeaseTaken, ctx.Err())
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// shared reads the lease anew and tells whether it is our owner's.
func (r *renewal) shared(ctx context.Context) bool {
	there, err := r.kv.Get(ctx, r.key)
	if err != nil {
		return false
	}
	users, owner := readLease(there.Value())
	if owner != r.owner {
		return false
	}
	r.users, r.revision = users, there.Revision()
	return true
}

// change writes the lease with so many users more, and deletes it behind the
// last one. Others of the same owner may write meanwhile.
func (r *renewal) change(ctx context.Context, by int) error {
	for {
		asked := time.Now()
		revision, err := r.put(ctx, r.users+by)
		if err == nil {
			r.users, r.revision, r.asked = r.users+by, revision, asked
			return nil
		}
		if !lostRace(err) || !r.shared(ctx) {
			return err
		}
	}
}

func (r *renewal) put(ctx context.Context, users int) (revision uint64, err error) {
	if users <= 0 {
		return 0, r.kv.Delete(ctx, r.key, jetstream.LastRevision(r.revision))
	}
	return r.kv.Update(ctx, r.key, leaseValue(users, r.owner), r.revision)
}

func (r *renewal) run(ctx context.Context, lose func(error)) {
	defer close(r.ended)
	wait := time.NewTimer(r.life / renewalPart)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		// Well before the server may give it to somebody else.
		end := r.asked.Add(r.life - r.life/renewalPart)
		err := r.renew(ctx, end)
		switch {
		case err == nil:
			wait.Reset(r.life / renewalPart)
		case lostRace(err), !time.Now().Before(end):
			lose(fmt.Errorf("%w: %w", ErrLeaseLost, err))
			return
		default:
			wait.Reset(min(r.life/retryPart, time.Until(end)))
		}
	}
}

func (r *renewal) renew(ctx context.Context, end time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, min(r.life/callPart, time.Until(end)))
	defer cancel()
	return r.change(ctx, 0)
}

// giveBack frees the lease for others at once. Where it fails, time does.
func (r *renewal) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.life/renewalPart)
	defer cancel()
	_ = r.change(ctx, -1)
}
