package events_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/schemas"
)

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

var (
	lookup = pipeline.Lookup{Organizations: []pipeline.Organization{{
		Name: "myorg", Match: []string{"etcd-*"}, Target: pipeline.TargetOCI,
	}}}
	errKoji = pipeline.Retry(pipeline.ReasonKojiUnavailable, errors.New("koji is down"))
)

// handlerFunc is a Handler.
type handlerFunc func(ctx context.Context, t pipeline.Trigger) []pipeline.Result

func (f handlerFunc) Run(ctx context.Context, t pipeline.Trigger) []pipeline.Result { return f(ctx, t) }

// result is what a run for t gives when it ends with err.
func result(t pipeline.Trigger, err error) []pipeline.Result {
	r := pipeline.Result{
		Trigger: t, Organization: "myorg", NVR: t.NVR, BuildID: 7, Package: "etcd", Target: pipeline.TargetOCI, Err: err,
		Durations: map[pipeline.StageName]time.Duration{},
	}
	if err == nil {
		r.Archive = pipeline.Archive{Name: "operator_manifests.zip", Checksum: pipeline.Checksum{Algorithm: "md5", Hex: "d41d8cd98f00b204e9800998ecf8427e"}}
		r.Publication.Bundles = []pipeline.PushedBundle{{
			Version: "0.9.4", CSV: "etcdoperator.v0.9.4", Repository: "myorg/etcd",
			Reference: "quay.io/myorg/etcd@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		}}
	}
	return []pipeline.Result{r}
}

// publishes is a handler whose every run succeeds.
var publishes = handlerFunc(func(_ context.Context, t pipeline.Trigger) []pipeline.Result { return result(t, nil) })

// counted counts the runs of h by NVR.
type counted struct {
	h events.Handler

	mu   sync.Mutex
	runs map[string]int
}

func count(h events.Handler) *counted { return &counted{h: h, runs: map[string]int{}} }

func (c *counted) Run(ctx context.Context, t pipeline.Trigger) []pipeline.Result {
	c.mu.Lock()
	c.runs[t.NVR.String()]++
	c.mu.Unlock()
	return c.h.Run(ctx, t)
}

func (c *counted) of(nvr string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs[nvr]
}

// distinct is how many builds were run at all, total how many runs there were.
func (c *counted) distinct() (builds, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.runs {
		total += n
	}
	return len(c.runs), total
}

// bus is a server with its streams, and a client of it that is not ours.
type bus struct {
	*eventstest.Server
	tb testing.TB
	nc *nats.Conn
	js jetstream.JetStream
}

func newBus(tb testing.TB) *bus {
	tb.Helper()
	b := &bus{Server: eventstest.Start(tb), tb: tb}
	b.nc = connect(tb, b.URL)
	var err error
	if b.js, err = jetstream.New(b.nc); err != nil {
		tb.Fatal(err)
	}
	return b
}

// Stop stops the server; our client knows when it returns.
func (b *bus) Stop() {
	b.tb.Helper()
	b.Server.Stop()
	eventually(b.tb, "client is disconnected", func() bool { return !b.nc.IsConnected() })
}

// Restart starts it again, and our client with it.
func (b *bus) Restart() {
	b.tb.Helper()
	b.Server.Restart()
	eventually(b.tb, "client is connected again", b.nc.IsConnected)
}

func connect(tb testing.TB, url string) *nats.Conn {
	tb.Helper()
	nc, err := events.Connect(tb.Context(), events.ConnOptions{URL: url, Name: tb.Name()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

func provisioned() events.ProvisionOptions {
	return events.ProvisionOptions{
		Names: events.DefaultNames(), Manage: true, Replicas: 1,
		AckWait: 30 * time.Second, MaxWaiting: 5000, Since: 24 * time.Hour,
	}
}

func nvr(i int) string { return fmt.Sprintf("etcd-operator-container-1.%d-1", i) }

// announce publishes a build event and waits for its PubAck.
func (b *bus) announce(nvr string) {
	b.tb.Helper()
	e, subject, err := events.NewBuildEvent(events.BuildEvent{NVR: nvr, Source: "https://koji.example.com/kojihub", ID: "event-" + nvr})
	if err != nil {
		b.tb.Fatal(err)
	}
	header, data, err := events.EncodeStructured(e)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.publish(&nats.Msg{Subject: subject, Header: header, Data: data})
}

func (b *bus) publish(msg *nats.Msg) {
	b.tb.Helper()
	if _, err := b.js.PublishMsg(b.tb.Context(), msg); err != nil {
		b.tb.Fatal(err)
	}
}

// stored is all that a stream holds.
func (b *bus) stored(stream string) []*jetstream.RawStreamMsg {
	b.tb.Helper()
	s, err := b.js.Stream(b.tb.Context(), stream)
	if err != nil {
		b.tb.Fatal(err)
	}
	state := s.CachedInfo().State
	var all []*jetstream.RawStreamMsg
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; seq++ {
		msg, err := s.GetMsg(b.tb.Context(), seq)
		if err != nil {
			b.tb.Fatal(err)
		}
		all = append(all, msg)
	}
	return all
}

// results are the events of the results stream, in order.
func (b *bus) results() []event.Event {
	b.tb.Helper()
	var all []event.Event
	for _, msg := range b.stored(events.DefaultNames().Results) {
		e, err := events.Decode(msg.Subject, msg.Header, msg.Data)
		if err != nil {
			b.tb.Fatal(err)
		}
		if got := msg.Header.Get(jetstream.MsgIDHeader); got != e.ID() {
			b.tb.Errorf("message id %q of event %q", got, e.ID())
		}
		all = append(all, e)
	}
	return all
}

func (b *bus) info(stream string) *jetstream.ConsumerInfo {
	b.tb.Helper()
	c, err := b.js.Consumer(b.tb.Context(), stream, events.DefaultNames().Durable)
	if err != nil {
		b.tb.Fatal(err)
	}
	return c.CachedInfo()
}

// settled tells whether nothing is left to do on a stream.
func (b *bus) settled(stream string) bool {
	b.tb.Helper()
	info := b.info(stream)
	return info.NumPending == 0 && info.NumAckPending == 0
}

// caughtUp tells whether the last message was delivered. The server counts a new
// one as pending only a moment after it has stored it, and what was delivered
// before a restart it does not remember exactly.
func (b *bus) caughtUp(stream string) bool {
	b.tb.Helper()
	last := b.last(stream)
	return b.info(stream).Delivered.Stream >= last
}

// last is the sequence of the last message that our durable on a stream is
// given, 0 for none.
func (b *bus) last(stream string) uint64 {
	b.tb.Helper()
	s, err := b.js.Stream(b.tb.Context(), stream)
	if err != nil {
		b.tb.Fatal(err)
	}
	cfg := b.info(stream).Config
	msg, err := s.GetLastMsgForSubject(b.tb.Context(), cfg.FilterSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && cfg.OptStartTime != nil && msg.Time.Before(*cfg.OptStartTime) {
		return 0
	}
	if err != nil {
		b.tb.Fatal(err)
	}
	return msg.Sequence
}

// eventually waits until ok holds.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	within(tb, patience, what, ok)
}

func within(tb testing.TB, limit time.Duration, what string, ok func() bool) {
	tb.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			tb.Fatalf("not within %s: %s", limit, what)
		case <-tick.C:
		}
	}
}

// receive waits for a value from a chan.
func receive[T any](tb testing.TB, what string, from <-chan T) T {
	tb.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		tb.Fatalf("not within %s: %s", patience, what)
		panic("unreachable")
	}
}

// service is a running Consumer.
type service struct {
	*events.Consumer
	tb       testing.TB
	nc       *nats.Conn
	registry *prometheus.Registry
	stop     context.CancelFunc
	ended    chan error    // what Run returned
	done     chan struct{} // closed when it has
}

// options are what a test may change before a service starts.
func (b *bus) options(h events.Handler) events.Options {
	b.tb.Helper()
	set, err := schemas.Load()
	if err != nil {
		b.tb.Fatal(err)
	}
	policy := events.DefaultPolicy()
	policy.Delays = []time.Duration{10 * time.Millisecond, 50 * time.Millisecond}
	policy.Recheck = 100 * time.Millisecond
	return events.Options{
		Provision: provisioned(), Reader: events.Reader{Organizations: []string{"myorg"}, Schemas: set},
		Lookup: lookup, Handler: h, Ledger: events.NewLedger(b.js, events.DefaultNames().Ledger), Source: "/omps-consumer",
		Workers: 4, Grace: 10 * time.Second, Policy: policy, Logger: slog.New(slog.NewTextHandler(b.tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// run provides and starts a service with a connection of its own. It is
// stopped with the test, if not before.
func (b *bus) run(o events.Options) *service {
	b.tb.Helper()
	s := &service{tb: b.tb, nc: connect(b.tb, b.URL), registry: prometheus.NewRegistry(), ended: make(chan error, 1), done: make(chan struct{})}
	if err := events.Provision(b.tb.Context(), b.js, o.Provision); err != nil {
		b.tb.Fatal(err)
	}
	o.Conn, o.Registerer = s.nc, s.registry
	var err error
	if s.Consumer, err = events.New(o); err != nil {
		b.tb.Fatal(err)
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	go func() {
		defer close(s.done)
		s.ended <- s.Run(ctx)
	}()
	b.tb.Cleanup(func() {
		s.stop()
		<-s.done
	})
	return s
}

// end stops the service and waits for it.
func (s *service) end() error {
	s.tb.Helper()
	s.stop()
	return receive(s.tb, "end of Run", s.ended)
}

// finish is end where nothing may go wrong.
func (s *service) finish() {
	s.tb.Helper()
	if err := s.end(); err != nil {
		s.tb.Errorf("Run: %v", err)
	}
}

// metric is the sum of the series that have the labels, each "name=value".
func (s *service) metric(name string, labels ...string) float64 {
	s.tb.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.tb.Fatal(err)
	}
	sum, found := 0.0, false
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	series:
		for _, m := range family.GetMetric() {
			has := map[string]bool{}
			for _, l := range m.GetLabel() {
				has[l.GetName()+"="+l.GetValue()] = true
			}
			for _, l := range labels {
				if !has[l] {
					continue series
				}
			}
			found = true
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	if !found {
		s.tb.Fatalf("no series %s %v", name, labels)
	}
	return sum
}
