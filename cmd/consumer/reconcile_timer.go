package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// reconcileLease is what the one replica has that reconciles for all.
	reconcileLease = "reconcile"
	// leaseTry is how long a replica asks for it: who has it keeps it.
	leaseTry = 2 * time.Second
	// soonest is how long after the start, and after a look that failed, it looks,
	// at most: by then the service should have read what came while it was away.
	soonest = 5 * time.Minute
)

// reconciler looks for builds whose announcement was lost, each so often, and
// announces them. Of all replicas it is one that does.
type reconciler struct {
	config    ReconcileConfig
	compare   pipeline.Reconciliation
	announcer events.Announcer
	durable   string
	leases    *events.Leases
	owner     string // of the lease: this process
	metrics   *reconcileMetrics
	log       *slog.Logger
}

// newReconciler makes the reconciler of a service, which does nothing, and has no
// metrics, unless it is configured to.
func newReconciler(c Config, compare pipeline.Reconciliation, js jetstream.JetStream, leases *events.Leases, reg prometheus.Registerer, log *slog.Logger) *reconciler {
	r := &reconciler{
		config: c.Reconcile, compare: compare, announcer: newAnnouncer(c, provisionOptions(c).Names, js), durable: c.NATS.Durable,
		leases: leases, owner: rand.Text(), log: log,
	}
	if r.config.Every > 0 {
		r.compare.Held = make(map[pipeline.Holding]time.Time)
		r.metrics = newReconcileMetrics(reg)
	}
	return r
}

// jittered is between nine tenths of d and d, so that replicas that were started
// together do not ask together.
func jittered(d time.Duration) time.Duration { return d - mathrand.N(d/10+1) }

// start lets it work until stop is called, which waits for its end.
func (r *reconciler) start(ctx context.Context) (stop func()) {
	if r.config.Every == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { r.run(ctx) })
	return func() { cancel(); running.Wait() }
}

func (r *reconciler) run(ctx context.Context) {
	l := lead{leases: r.leases, owner: r.owner}
	defer l.leave()
	soon := min(r.config.Every, soonest)
	for wait := soon; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(jittered(wait)):
		}
		held, err := l.hold(ctx)
		if err == nil {
			err = r.look(held)
		}
		if ctx.Err() != nil { // what failed for that is no failure
			return
		}
		r.tell(err)
		wait = soon
		switch {
		case err == nil, errors.Is(err, errElsewhere):
			wait = r.config.Every
		case !errors.Is(err, errBehind): // what fails here may not fail elsewhere
			l.leave()
		}
	}
}

// errElsewhere is the error of a replica that need not look, as another one does.
var errElsewhere = errors.New("another replica reconciles")

// errBehind is the error of a look that would find what only waits to be read.
var errBehind = errors.New("the service has yet to read messages about builds")

// tell says how a look ended.
func (r *reconciler) tell(err error) {
	switch {
	case err == nil:
		r.metrics.runs.WithLabelValues(runOK).Inc()
		r.metrics.success.SetToCurrentTime()
	case errors.Is(err, errElsewhere):
		r.log.Debug("reconcile: " + err.Error())
	case errors.Is(err, errBehind):
		r.metrics.runs.WithLabelValues(runSkipped).Inc()
		r.log.Info("reconcile: put off", "err", err)
	default:
		r.metrics.runs.WithLabelValues(runFailed).Inc()
		r.log.Warn("reconcile: the comparison with the hub did not come to its end", "err", err)
	}
}

// look compares once, and announces what is missing as it is found. What only
// the ledger lacks it leaves alone.
func (r *reconciler) look(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil { // of what no build's own look has caught
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	waiting, err := r.announcer.Backlog(ctx, r.durable)
	if err != nil {
		return err
	}
	if waiting > 0 {
		return fmt.Errorf("%w: %d", errBehind, waiting)
	}
	now := time.Now()
	window := pipeline.Window{From: now.Add(-r.config.Since), To: now.Add(-r.config.Grace)}
	announced, unrecorded := 0, 0
	counts, err := r.compare.Run(ctx, window, func(f pipeline.Found) error {
		if !f.Worth(false) {
			unrecorded++
			return nil
		}
		done, err := r.announcer.Announce(ctx, f.Build)
		if err != nil || done.Repeated {
			return err
		}
		announced++
		r.metrics.announced.Inc()
		r.log.Warn("reconcile: a build was missing and is announced", "event_id", done.ID, "nvr", f.Build.NVR.String(), "build_id", f.Build.ID,
			"organization", organizationsOf(f), "missing", string(f.Missing[0].Gap), "completed", f.Build.Completed)
		return nil
	})
	r.metrics.builds.Add(float64(counts.Listed))
	if err == nil {
		r.log.Info("reconciled", "listed", counts.Listed, "wanted", counts.Ours, "announced", announced, "unrecorded", unrecorded)
	}
	return err
}

func organizationsOf(f pipeline.Found) string {
	names := make([]string, len(f.Missing))
	for i, m := range f.Missing {
		names[i] = m.Organization
	}
	return strings.Join(names, ",")
}

// lead is the lease of the one replica that reconciles. It is kept from one look
// to the next, unless that failed, or each replica would look in its turn.
type lead struct {
	leases *events.Leases
	owner  string
	held   context.Context //nolint:containedctx // of the lease: it ends with that
	unlock func()
}

// hold is a context that ends when the lease is lost. It is errElsewhere where
// another replica has the lease.
func (l *lead) hold(ctx context.Context) (context.Context, error) {
	if l.held != nil && l.held.Err() == nil {
		return l.held, nil
	}
	l.leave()
	trying, cancel := context.WithCancel(ctx)
	impatient := time.AfterFunc(leaseTry, cancel)
	held, unlock, err := l.leases.Lock(trying, reconcileLease, l.owner)
	if !impatient.Stop() && err == nil { // too late: held has ended
		unlock()
		err = trying.Err()
	}
	if err != nil {
		cancel()
		if errors.Is(err, events.ErrLeaseTaken) {
			return nil, errElsewhere
		}
		return nil, err
	}
	l.held, l.unlock = held, func() { unlock(); cancel() }
	return held, nil
}

// leave gives the lease back, if there is one.
func (l *lead) leave() {
	if l.unlock != nil {
		l.unlock()
	}
	l.held, l.unlock = nil, nil
}

// How a look ended.
const (
	runOK      = "ok"
	runFailed  = "failed"
	runSkipped = "skipped"
)

type reconcileMetrics struct {
	runs      *prometheus.CounterVec // outcome
	success   prometheus.Gauge
	builds    prometheus.Counter
	announced prometheus.Counter
}

// newReconcileMetrics registers with reg, every series present from the start.
func newReconcileMetrics(reg prometheus.Registerer) *reconcileMetrics {
	m := &reconcileMetrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "omps_reconcile_runs_total", Help: "Comparisons of this replica with what the hub has completed, by how they ended.",
		}, []string{"outcome"}),
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "omps_reconcile_last_success_timestamp_seconds", Help: "When a comparison of this replica last came to its end; 0: never.",
		}),
		builds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "omps_reconcile_builds_total", Help: "Builds with operator manifests that the hub has listed.",
		}),
		announced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "omps_reconcile_announced_total", Help: "Builds that were missing and were announced.",
		}),
	}
	reg.MustRegister(m.runs, m.success, m.builds, m.announced)
	for _, outcome := range []string{runOK, runFailed, runSkipped} {
		m.runs.WithLabelValues(outcome)
	}
	return m
}
