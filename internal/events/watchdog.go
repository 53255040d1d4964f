package events

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// askInterval is how often a quiet durable is asked about at most: each pull
	// that waited in vain may ask, one that the server cut short may not.
	askInterval = pullWait * 9 / 10
	askTimeout  = 2 * time.Second

	// A durable is found anew after rebindAfter pulls in a row that brought
	// nothing although there was something, and again after as many more; after
	// reconnectAfter, and as many more, another server may do better.
	rebindAfter    = 2
	reconnectAfter = 6
)

// sight is what the server says about a durable whose pull brought nothing.
type sight struct {
	pending uint64 // messages not delivered yet
	out     int    // messages delivered and not settled
	most    int    // of out; 0 and below: no limit
	paused  bool
}

func sightOf(info *jetstream.ConsumerInfo) sight {
	return sight{pending: info.NumPending, out: info.NumAckPending, most: info.Config.MaxAckPending, paused: info.Paused}
}

// quiet is why nothing comes from a durable, when nothing does.
type quiet string

const (
	quietFine    quiet = "nothing is pending"
	quietFull    quiet = "as many messages wait to be settled as may, so none that is new comes"
	quietPaused  quiet = "the durable is paused, so nothing comes"
	quietStalled quiet = "messages are pending, and none comes"
)

func (s sight) quiet() quiet {
	switch {
	case s.paused:
		return quietPaused
	case s.pending == 0:
		return quietFine
	case s.most > 0 && s.out >= s.most:
		return quietFull
	}
	return quietStalled
}

// remedy is what to do against a stall.
type remedy int

const (
	remedyNone remedy = iota // a message may have come in the very moment between
	remedyRebind
	remedyReconnect
)

// remedyFor is what to do when so many pulls in a row have stalled.
func remedyFor(stalls int) remedy {
	switch {
	case stalls > 0 && stalls%reconnectAfter == 0:
		return remedyReconnect
	case stalls > 0 && stalls%rebindAfter == 0:
		return remedyRebind
	}
	return remedyNone
}

// watchdog notices a durable that has messages and hands out none, as after a
// change of its leader, and says why none may come otherwise. It belongs to the
// goroutine of its intake, but for saw and health.
type watchdog struct {
	info      func(context.Context) (*jetstream.ConsumerInfo, error)
	log       *slog.Logger
	reconnect func() error
	rebinds   prometheus.Counter

	got    bool // a message, since the last pull ended
	asked  time.Time
	stalls int    // pulls in a row
	health health // not nil while stalled: nothing is served then

	mu   sync.Mutex
	seen quiet // of those that are nobody's fault
}

func newWatchdog(c *Consumer, stream string, rebinds prometheus.Counter) *watchdog {
	return &watchdog{
		info: func(ctx context.Context) (*jetstream.ConsumerInfo, error) {
			durable, err := c.js.Consumer(ctx, stream, c.opts.Provision.Names.Durable)
			if err != nil {
				return nil, err
			}
			return durable.CachedInfo(), nil
		},
		log: c.log.With("stream", stream), reconnect: c.opts.Conn.ForceReconnect, rebinds: rebinds,
	}
}

// newRebinds registers the counter that all watchdogs share.
func newRebinds(reg prometheus.Registerer) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "omps_rebinds_total", Help: "Durables found anew because they handed out nothing although they had messages.",
	})
	reg.MustRegister(c)
	return c
}

// message notes that a pull has brought one.
func (w *watchdog) message() {
	w.got = true
	w.serves()
}

// ended looks into a pull that ended without an error, and tells whether the
// durable is to be found anew.
func (w *watchdog) ended(ctx context.Context, now time.Time) (rebind bool) {
	if w.got {
		w.got = false
		return false
	}
	if now.Sub(w.asked) < askInterval {
		return false
	}
	w.asked = now
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := w.info(ctx)
	if err != nil {
		// If it is gone or out of reach, the next pull says so too.
		w.log.Debug("consumer info", "err", err)
		return false
	}
	w.saw(info)
	s := sightOf(info)
	if s.quiet() != quietStalled {
		w.serves()
		return false
	}
	w.stalls++
	return w.help(s)
}

// serves ends a stall.
func (w *watchdog) serves() {
	if w.stalls >= rebindAfter {
		w.log.Info("the durable hands out messages again")
		w.health.set(nil)
	}
	w.stalls = 0
}

func (w *watchdog) help(s sight) (rebind bool) {
	remedy := remedyFor(w.stalls)
	if remedy == remedyNone {
		return false
	}
	w.rebinds.Inc()
	w.health.set(fmt.Errorf("%s: %d for %d pulls", quietStalled, s.pending, w.stalls))
	w.log.Warn(string(quietStalled), "pending", s.pending, "pulls", w.stalls, "connect_anew", remedy == remedyReconnect)
	if remedy == remedyReconnect {
		if err := w.reconnect(); err != nil {
			w.log.Warn("not connected anew", "err", err)
		}
	}
	return true
}

// saw says what is worth it about a durable, once for each change. It may be
// called at any time, by anybody.
func (w *watchdog) saw(info *jetstream.ConsumerInfo) {
	s := sightOf(info)
	q := s.quiet()
	if q == quietStalled { // or only busy; that is for ended to tell
		q = quietFine
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.seen
	w.seen = q
	switch {
	case q == before || before == "" && q == quietFine:
	case q == quietFine:
		w.log.Info("the durable is open to new messages again")
	default:
		w.log.Warn(string(q), "pending", s.pending, "unsettled", s.out, "max_ack_pending", s.most)
	}
}
