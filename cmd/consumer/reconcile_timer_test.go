package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// hubFunc lists the builds of a hub.
type hubFunc func(visit func(pipeline.CompletedBuild) error) error

func (f hubFunc) ListBuilds(_ context.Context, _ pipeline.Window, visit func(pipeline.CompletedBuild) error) error {
	return f(visit)
}

// A replica that cannot reach the hub leaves it to the others to look: the lease
// is kept by one that succeeds.
func TestReplicaThatFailsIsRelieved(t *testing.T) {
	t.Parallel()
	s := newLossySystem(t)
	s.start()
	js, c := s.jetStream(), s.config
	c.Reconcile = ReconcileConfig{Every: 200 * time.Millisecond, Since: time.Hour, Grace: time.Minute}
	replica := func(err error) *reconciler {
		compare := pipeline.Reconciliation{Builds: hubFunc(func(func(pipeline.CompletedBuild) error) error { return err }), Now: time.Now}
		return newReconciler(c, compare, js, events.NewLeases(js, "omps-leases"), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	}
	ended := func(r *reconciler, outcome string) float64 {
		return testutil.ToFloat64(r.metrics.runs.WithLabelValues(outcome))
	}
	broken, sound := replica(errors.New("no route to host")), replica(nil)
	t.Cleanup(broken.start(t.Context()))
	s.await("a look that failed", func() bool { return ended(broken, runFailed) > 0 })
	t.Cleanup(sound.start(t.Context()))
	s.await("looks of the sound one", func() bool { return ended(sound, runOK) > 2 })
	failed := ended(broken, runFailed)
	looks := ended(sound, runOK)
	s.await("more of them", func() bool { return ended(sound, runOK) > looks+2 })
	if now := ended(broken, runFailed); now != failed {
		t.Errorf("%g looks failed meanwhile: the sound one has not kept the lease", now-failed)
	}
}

// What only the ledger lacks is downloaded once, and not at each look.
func TestServiceRemembersWhatIsHeld(t *testing.T) {
	t.Parallel()
	s := newLossySystem(t)
	s.config.Reconcile = ReconcileConfig{Every: 200 * time.Millisecond, Since: 24 * time.Hour, Grace: 10 * time.Minute}
	s.start()
	s.watch()
	nvr := s.lostBuild("lost-there", 2*time.Hour)
	if r := s.next(); r.Outcome != "published" {
		t.Fatalf("%+v", r)
	}
	s.awaitLog(`"msg":"settled"`, nvr)
	var downloads atomic.Int32
	s.world.KojiServer.SetFault(func(r *http.Request) *sandbox.Answer {
		if r.Method == http.MethodGet {
			downloads.Add(1)
		}
		return nil
	})
	s.forget()
	s.await("looks that find it", func() bool { return strings.Count(s.log.String(), `"unrecorded":1`) > 3 })
	if n := downloads.Load(); n != 1 {
		t.Errorf("%d downloads", n)
	}
}
