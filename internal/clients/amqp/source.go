package amqp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

const (
	// openTimeout bounds connecting, logging in and subscribing.
	openTimeout = 30 * time.Second
	// heartbeat is how often the broker has to be heard of.
	heartbeat = 20 * time.Second

	firstWait = 200 * time.Millisecond
	lastWait  = 10 * time.Second

	// maxReason bounds what a broker says of a failure, in bytes.
	maxReason = 300
)

// Source is a bus that is listened to.
type Source struct {
	o    Options
	open func(context.Context, Options, string) (connection, error)
	ping func(context.Context, Options, string) error
}

// connection is one to a broker, with a link for each address.
type connection interface {
	links() []link
	close()
}

// link hands out messages. An error means that the connection is of no more
// use, or that ctx has ended.
type link interface {
	receive(ctx context.Context) (Delivery, error)
}

// New makes a source. It connects when it runs. The error says what is missing
// in the options.
func New(o Options) (*Source, error) {
	s := &Source{o: o}
	switch {
	case len(o.URLs) == 0:
		return nil, errors.New("amqp: no url")
	case o.Prefetch < 1:
		return nil, errors.New("amqp: prefetch is not positive")
	case o.Protocol == V10 && len(o.Addresses) > 0:
		s.open, s.ping = open10, ping10
	case o.Protocol == V091 && o.Queue.Name != "":
		s.open, s.ping = open091, ping091
	default:
		return nil, fmt.Errorf("amqp: nothing to read by protocol %q", o.Protocol)
	}
	if s.o.Logger == nil {
		s.o.Logger = slog.New(slog.DiscardHandler)
	}
	if s.o.State == nil {
		s.o.State = func(error) {}
	}
	return s, nil
}

// Ping connects to all brokers at once and logs in, as long as ctx lasts. It
// takes and changes nothing. The error names each that does not let us in.
func (s *Source) Ping(ctx context.Context) error {
	faults := make([]error, len(s.o.URLs))
	var running sync.WaitGroup
	for i, at := range s.o.URLs {
		running.Go(func() {
			if err := s.ping(ctx, s.o, at); err != nil {
				faults[i] = shown(at, err)
			}
		})
	}
	running.Wait()
	return errors.Join(faults...)
}

// shown is an error fit for a log. What a broker says is of any length.
func shown(at string, err error) error {
	return fmt.Errorf("%s: %s", host(at), clients.OneLine(err.Error(), maxReason))
}

// Run calls handle for every message, in goroutines of its own and at most
// Prefetch of each address at once, until ctx ends and the last handle has
// returned. The context of handle ends with the connection that the message
// came by, or with ctx; settling works on until handle returns.
//
// A connection that fails or is lost is made again, with the next URL, after a
// growing wait.
func (s *Source) Run(ctx context.Context, handle func(context.Context, Delivery)) {
	for attempt := 1; ctx.Err() == nil; attempt++ {
		at := s.o.URLs[(attempt-1)%len(s.o.URLs)]
		worked, err := s.session(ctx, at, handle)
		if ctx.Err() != nil {
			break
		}
		err = shown(at, err)
		s.o.State(err)
		if worked { // so the wait begins anew
			attempt %= len(s.o.URLs)
		}
		wait := backoff(attempt)
		s.o.Logger.Warn("bus cannot be read", "attempt", attempt, "again_in", wait.Round(time.Millisecond).String(), "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// session is one connection from beginning to end. It worked if it lasted for
// longer than any wait for the next.
func (s *Source) session(ctx context.Context, at string, handle func(context.Context, Delivery)) (worked bool, _ error) {
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	c, err := s.open(opening, s.o, at)
	cancel()
	if err != nil {
		return false, err
	}
	defer c.close()
	s.o.State(nil)
	s.o.Logger.Info("listening to bus", "url", host(at))
	began := time.Now()

	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	var work sync.WaitGroup
	for _, l := range c.links() {
		work.Go(func() { lost(s.pump(ctx, l, &work, handle)) })
	}
	work.Wait()
	return time.Since(began) > lastWait, context.Cause(ctx)
}

// pump hands over what one link receives until there is no more.
func (s *Source) pump(ctx context.Context, l link, work *sync.WaitGroup, handle func(context.Context, Delivery)) error {
	places := make(chan struct{}, s.o.Prefetch)
	for {
		d, err := l.receive(ctx)
		if err != nil {
			return err
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		work.Go(func() {
			defer func() { <-places }()
			handle(ctx, d)
		})
	}
}

// backoff is the wait after an attempt, counted from 1: doubling, of which up
// to a half is taken off at random so that replicas spread.
func backoff(attempt int) time.Duration {
	d := lastWait
	if shift := max(attempt, 1) - 1; shift < 16 {
		d = min(firstWait<<shift, lastWait)
	}
	return d - rand.N(d/2+1)
}
