package events

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// delivery is a message that is ours to answer.
type delivery struct {
	msg      jetstream.Msg
	stream   string
	sequence uint64    // in the stream
	tries    uint64    // this delivery counted
	stored   time.Time // when the stream took it

	// err is what the first look found, if that ends it already.
	err error
}

func newDelivery(msg jetstream.Msg) (*delivery, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	return &delivery{
		msg: msg, stream: meta.Stream, sequence: meta.Sequence.Stream,
		tries: meta.NumDelivered, stored: meta.Timestamp,
	}, nil
}

// age is never negative, whatever the two clocks say.
func (d *delivery) age(now time.Time) time.Duration { return max(now.Sub(d.stored), 0) }

// key names a message across its deliveries.
type key struct {
	stream   string
	sequence uint64
}

func (d *delivery) key() key { return key{d.stream, d.sequence} }

// held keeps the deliveries of this process from being given to anyone else.
// Who releases one, and nobody else, settles it.
type held struct {
	mu  sync.Mutex
	all map[key]*delivery
}

func newHeld() *held { return &held{all: map[key]*delivery{}} }

// hold takes d on. It is false when the message is here already: after an
// outage the server delivers again what never left our hands. A message of the
// same sequence that was stored at another time is another one, of a stream
// made anew; the old one cannot be settled any more and is let go.
func (h *held) hold(d *delivery) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if other, here := h.all[d.key()]; here && other.stored.Equal(d.stored) {
		return false
	}
	h.all[d.key()] = d
	return true
}

// release lets go of d, and is false when that was done before. No heartbeat
// for it is sent after it returns: one behind a nak would undo its delay.
func (h *held) release(d *delivery) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all[d.key()] != d {
		return false
	}
	delete(h.all, d.key())
	return true
}

func (h *held) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

func (h *held) list() []*delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]*delivery, 0, len(h.all))
	for _, d := range h.all {
		list = append(list, d)
	}
	return list
}

// beat tells the server that everything held is in progress, at each tick
// until ctx ends. failed is called for each that could not be told.
func (h *held) beat(ctx context.Context, every time.Duration, failed func(*delivery, error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.beatOnce(failed)
		}
	}
}

func (h *held) beatOnce(failed func(*delivery, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.all {
		if err := d.msg.InProgress(); err != nil {
			failed(d, err)
		}
	}
}
