package amqp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeConn hands out a list of messages, and then waits or fails.
type fakeConn struct {
	bodies []string
	fails  error // after the last message; nil: nothing more comes

	mu     sync.Mutex
	closed bool
}

func (c *fakeConn) links() []link { return []link{c} }

func (c *fakeConn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

func (c *fakeConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *fakeConn) receive(ctx context.Context) (Delivery, error) {
	if len(c.bodies) > 0 {
		body := c.bodies[0]
		c.bodies = c.bodies[1:]
		return Delivery{Message: Message{Body: []byte(body)}}, nil
	}
	if c.fails != nil {
		return Delivery{}, c.fails
	}
	<-ctx.Done()
	return Delivery{}, ctx.Err()
}

func mustNew(t *testing.T, o Options, open func(context.Context, Options, string) (connection, error)) *Source {
	t.Helper()
	o.Protocol, o.Addresses = V10, []string{"a"}
	if o.URLs == nil {
		o.URLs = []string{"amqp://one"}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.open = open
	return s
}

func TestNextBrokerIsTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var asked []string
		var states []string
		s := mustNew(t, Options{
			URLs: []string{"amqp://one", "amqp://user:hunter2@two/vhost?x"}, Prefetch: 1,
			State: func(err error) { states = append(states, fmt.Sprint(err)) },
		}, func(_ context.Context, _ Options, at string) (connection, error) {
			asked = append(asked, at[:len("amqp://one")])
			if len(asked) == 4 {
				return &fakeConn{bodies: []string{"x"}}, nil
			}
			return nil, errors.New("refused\nby it")
		})
		began := time.Now()
		s.Run(ctx, func(context.Context, Delivery) { cancel() })
		if want := []string{"amqp://one", "amqp://use", "amqp://one", "amqp://use"}; !slices.Equal(asked, want) {
			t.Errorf("asked %v, want %v", asked, want)
		}
		want := []string{"amqp://one: refused by it", "amqp://two: refused by it", "amqp://one: refused by it", "<nil>"}
		if !slices.Equal(states, want) {
			t.Errorf("states %q, want %q", states, want)
		}
		// 200, 400 and 800 ms, of each of which up to a half is taken off.
		if waited := time.Since(began); waited < 700*time.Millisecond || waited > 1400*time.Millisecond {
			t.Errorf("waited %s", waited)
		}
	})
}

// TestNextBrokerAfterOneThatWorked: who has lost the first asks the second, and
// who has lost the last the first.
func TestNextBrokerAfterOneThatWorked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var asked []string
		s := mustNew(t, Options{URLs: []string{"one", "two"}, Prefetch: 1}, func(_ context.Context, _ Options, at string) (connection, error) {
			if asked = append(asked, at); len(asked) == 4 {
				cancel()
			}
			return &fakeConn{bodies: []string{"x"}, fails: errors.New("gone")}, nil
		})
		s.Run(ctx, func(context.Context, Delivery) { <-time.After(time.Hour) })
		if want := []string{"one", "two", "one", "two"}; !slices.Equal(asked, want) {
			t.Errorf("asked %v, want %v", asked, want)
		}
	})
}

// TestPingAsksAllAtOnce: a broker that says nothing is no reason to blame the next.
func TestPingAsksAllAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Options{URLs: []string{"amqp://silent", "amqp://healthy", "amqp://gone"}, Prefetch: 1}, nil)
		s.ping = func(ctx context.Context, _ Options, at string) error {
			switch at {
			case "amqp://silent":
				<-ctx.Done()
			case "amqp://gone":
				return errors.New("refused")
			}
			return ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := s.Ping(ctx)
		if want := "amqp://silent: context deadline exceeded\namqp://gone: refused"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

func TestWaitBeginsAnewAfterAConnectionThatWorked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		opened, lost := 0, time.Time{}
		s := mustNew(t, Options{Prefetch: 1}, func(context.Context, Options, string) (connection, error) {
			switch opened++; {
			case opened < 12:
				return nil, errors.New("refused")
			case opened == 12:
				return &fakeConn{bodies: []string{"x"}, fails: errors.New("gone")}, nil
			}
			cancel()
			return nil, errors.New("refused")
		})
		s.Run(ctx, func(context.Context, Delivery) {
			<-time.After(time.Hour)
			lost = time.Now()
		})
		if waited := time.Since(lost); waited > firstWait {
			t.Errorf("waited %s after an hour of work", waited)
		}
	})
}

// TestHandlesEndWithTheirConnection: no more than Prefetch at once, their
// context ends with the connection, which is closed when the last has returned.
func TestHandlesEndWithTheirConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		first := &fakeConn{bodies: strings.Split("abcdefgh", "")}
		second := &fakeConn{bodies: []string{"z"}, fails: errors.New("gone")}
		opened := 0
		s := mustNew(t, Options{Prefetch: 3}, func(context.Context, Options, string) (connection, error) {
			if opened++; opened == 1 {
				return second, nil
			}
			return first, nil
		})
		var running, most, handled atomic.Int32
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx, func(ctx context.Context, d Delivery) {
				n := running.Add(1)
				defer running.Add(-1)
				for {
					seen := most.Load()
					if n <= seen || most.CompareAndSwap(seen, n) {
						break
					}
				}
				handled.Add(1)
				<-ctx.Done()
				if first.isClosed() || string(d.Body) == "z" && second.isClosed() {
					t.Error("closed before the message could be settled")
				}
			})
		}()
		<-time.After(time.Minute)
		if most.Load() != 3 || handled.Load() != 4 {
			t.Errorf("%d at once, %d in all; want 3 and, with that of the lost connection, 4", most.Load(), handled.Load())
		}
		if !second.isClosed() {
			t.Error("a lost connection is not closed")
		}
		cancel()
		<-done
		if !first.isClosed() || running.Load() != 0 {
			t.Errorf("closed %t, %d still running", first.isClosed(), running.Load())
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	t.Parallel()
	for attempt := range 100 {
		if d := backoff(attempt); d < firstWait/2 || d > lastWait {
			t.Errorf("attempt %d waits %s", attempt, d)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Options{Protocol: V10, URLs: []string{"amqp://a"}, Addresses: []string{"a"}, Prefetch: 1}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no url": func(o *Options) { o.URLs = nil }, "no prefetch": func(o *Options) { o.Prefetch = 0 },
		"no address": func(o *Options) { o.Addresses = nil }, "no queue": func(o *Options) { o.Protocol = V091 },
		"no such protocol": func(o *Options) { o.Protocol = "stomp" },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
