package events

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	gaugeInterval = 15 * time.Second
	// gaugeTimeout bounds the questions about one stream.
	gaugeTimeout = 5 * time.Second
)

// gauges are what only the server can tell. It is asked in the background, so
// that a scrape costs nothing, however much there is: each question is one whose
// answer does not depend on how many messages or entries there are.
type gauges struct {
	c *Consumer

	pending, waiting           prometheus.Gauge // of all inputs together
	lag, unsettled, most       *prometheus.GaugeVec
	oldest                     *prometheus.GaugeVec
	ledgerEntries, deadLetters prometheus.Gauge
	looks                      map[string]*oldestLook // by stream
}

func newGauges(reg prometheus.Registerer, c *Consumer) *gauges {
	one := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	each := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"stream"})
	}
	g := &gauges{
		c:         c,
		pending:   one("omps_consumer_pending", "Messages of the input streams that were not delivered yet."),
		waiting:   one("omps_waiting", "Deliveries that wait for their next try or are held by another replica."),
		lag:       each("omps_consumer_lag", "Messages of an input stream that were not delivered yet, to any replica."),
		unsettled: each("omps_consumer_ack_pending", "Messages of an input stream that were delivered and are not settled: in work or waiting, on any replica."),
		most:      each("omps_consumer_max_ack_pending", "How many of these there may be before nothing new is delivered; 0: any number."),
		oldest:    each("omps_oldest_unsettled_seconds", "Age of the oldest message of an input stream that is not settled; 0: there is none, NaN: the server does not tell."),

		ledgerEntries: one("omps_ledger_entries", "Builds that the ledger knows, one for each organization."),
		deadLetters:   one("omps_dead_letters_stored", "Dead letters that lie in their stream."),
		looks:         map[string]*oldestLook{},
	}
	reg.MustRegister(g.pending, g.waiting, g.lag, g.unsettled, g.most, g.oldest, g.ledgerEntries, g.deadLetters)
	g.live(reg)
	for _, stream := range c.opts.Provision.Names.inputs() {
		for _, vec := range []*prometheus.GaugeVec{g.lag, g.unsettled, g.most} {
			vec.WithLabelValues(stream)
		}
		g.oldest.WithLabelValues(stream).Set(math.NaN())
		g.looks[stream] = &oldestLook{js: c.js, stream: stream}
	}
	return g
}

// live registers what this process knows at each scrape.
func (g *gauges) live(reg prometheus.Registerer) {
	conn, o := g.c.opts.Conn, g.c.opts
	fixed := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	fixed("omps_in_flight", "Deliveries held by this process, queued or in work.", func() float64 { return float64(g.c.held.count()) })
	fixed("omps_workers", "Deliveries that this process works on at once, at most.", func() float64 { return float64(o.Workers) })
	fixed("omps_max_age_seconds", "How old a message may become before it fails.", func() float64 { return o.Policy.MaxAge.Seconds() })
	fixed("omps_nats_connected", "Whether there is a connection to NATS: 1 or 0.", func() float64 {
		if conn.IsConnected() {
			return 1
		}
		return 0
	})
	reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "omps_nats_reconnects_total", Help: "How often the connection to NATS was lost and came back.",
	}, func() float64 { return float64(conn.Stats().Reconnects) }))
}

// keep asks the server until ctx ends.
func (g *gauges) keep(ctx context.Context) {
	tick := time.NewTicker(gaugeInterval)
	defer tick.Stop()
	for {
		if err := g.ask(ctx); err != nil && ctx.Err() == nil {
			g.c.log.Debug("gauges", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ask sets what the server tells. What it does not tell stays as it was.
func (g *gauges) ask(ctx context.Context) error {
	var faults []error
	var pending, unsettled float64
	for _, in := range g.c.intakes {
		info, err := g.askDurable(ctx, in)
		if err != nil {
			faults = append(faults, fmt.Errorf("stream %s: %w", in.stream, err))
			continue
		}
		pending += float64(info.NumPending)
		unsettled += float64(info.NumAckPending)
	}
	if len(faults) == 0 {
		g.pending.Set(pending)
		g.waiting.Set(max(unsettled-float64(g.c.held.count()), 0))
	}
	return errors.Join(append(faults, g.askStores(ctx))...)
}

func (g *gauges) askDurable(ctx context.Context, in *intake) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, gaugeTimeout)
	defer cancel()
	durable, err := g.c.js.Consumer(ctx, in.stream, g.c.opts.Provision.Names.Durable)
	if err != nil {
		return nil, err
	}
	info := durable.CachedInfo()
	in.watch.saw(info)
	g.lag.WithLabelValues(in.stream).Set(float64(info.NumPending))
	g.unsettled.WithLabelValues(in.stream).Set(float64(info.NumAckPending))
	g.most.WithLabelValues(in.stream).Set(float64(max(info.Config.MaxAckPending, 0)))
	g.oldest.WithLabelValues(in.stream).Set(g.looks[in.stream].age(ctx, info, time.Now()))
	return info, nil
}

// askStores counts entries and dead letters by what their streams say of
// themselves.
func (g *gauges) askStores(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, gaugeTimeout)
	defer cancel()
	entries, err := g.c.opts.Ledger.Count(ctx)
	if err == nil {
		g.ledgerEntries.Set(float64(entries))
	}
	name := g.c.opts.Provision.Names.DeadLetters
	letters, lettersErr := g.c.js.Stream(ctx, name)
	if lettersErr != nil {
		return errors.Join(err, fmt.Errorf("stream %s: %w", name, lettersErr))
	}
	g.deadLetters.Set(float64(letters.CachedInfo().State.Msgs))
	return err
}

// oldestLook finds out how old the oldest message is that is not settled. That
// takes one more right on the stream, without which it goes unknown.
type oldestLook struct {
	js     jetstream.JetStream
	stream string
	from   jetstream.Stream // nil until it was found

	failures, rest int // in a row, and how often not to ask
}

// mostRest is for how many looks a server that did not answer is left alone: an
// hour. It logs each request that it does not permit.
const mostRest = int(time.Hour / gaugeInterval)

// age is in seconds, NaN when it is not known.
func (l *oldestLook) age(ctx context.Context, info *jetstream.ConsumerInfo, now time.Time) float64 {
	if info.NumPending == 0 && info.NumAckPending == 0 {
		return 0
	}
	if l.rest > 0 {
		l.rest--
		return math.NaN()
	}
	stored, err := l.stored(ctx, info)
	if err != nil {
		l.failures++
		l.rest, l.from = min(1<<min(l.failures, 10)-1, mostRest), nil
		return math.NaN()
	}
	l.failures = 0
	if stored.IsZero() {
		return 0
	}
	return max(now.Sub(stored).Seconds(), 0)
}

// stored is when the stream took the oldest message: the first behind those that
// are all settled which the durable is given. It is zero when there is none any
// more.
func (l *oldestLook) stored(ctx context.Context, info *jetstream.ConsumerInfo) (time.Time, error) {
	if l.from == nil {
		stream, err := l.js.Stream(ctx, l.stream)
		if err != nil {
			return time.Time{}, err
		}
		l.from = stream
	}
	filters := info.Config.FilterSubjects
	if len(filters) == 0 {
		filters = []string{info.Config.FilterSubject}
	}
	var oldest time.Time
	for _, filter := range filters {
		if filter == "" {
			filter = ">"
		}
		msg, err := getMsg(ctx, l.from, info.AckFloor.Stream+1, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return time.Time{}, err
		}
		if oldest.IsZero() || msg.time.Before(oldest) {
			oldest = msg.time
		}
	}
	return oldest, nil
}
