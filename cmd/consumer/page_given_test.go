package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// given is what a page reads instead of NATS. Its rows have the sequences from
// first on; one of which the sequence is 0 is missing.
type given struct {
	mu      sync.Mutex
	down    bool
	fault   error // of every read
	created time.Time
	first   uint64
	rows    []pageRow
	entries []events.Entry
	letters []events.DeadLetter
	reads   int // results that were asked for
}

func (g *given) readers() pageReaders {
	return pageReaders{
		connected: func() bool { g.mu.Lock(); defer g.mu.Unlock(); return !g.down },
		bounds: func(context.Context) (events.Bounds, error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			return events.Bounds{First: g.first, Last: g.first + uint64(len(g.rows)) - 1, Created: g.created}, g.fault
		},
		rows: func(_ context.Context, from, to uint64) ([]pageRow, error) { return g.span(from, to) },
		outcomes: func(_ context.Context, from, to uint64) ([]events.OutcomeAt, error) {
			rows, err := g.span(from, to)
			var all []events.OutcomeAt
			for _, row := range rows {
				all = append(all, events.OutcomeAt{Sequence: row.Sequence, Time: row.Time, Outcome: pipeline.Outcome(row.Outcome)})
			}
			return all, err
		},
		result: func(_ context.Context, sequence uint64) (w events.Watched, found bool, err error) {
			rows, err := g.span(sequence, sequence)
			for _, row := range rows {
				data := events.ResultData{NVR: row.NVR, Organization: row.Organization, Outcome: pipeline.Outcome(row.Outcome)}
				w, found = events.Watched{Sequence: row.Sequence, Time: row.Time, Data: data}, true
			}
			return w, found, err
		},
		entries: func(_ context.Context, limit int) ([]events.Entry, uint64, error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.entries[:min(len(g.entries), limit)], uint64(len(g.entries)), g.fault
		},
		find: func(_ context.Context, nvr string) (found []events.Entry, err error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, e := range g.entries {
				if e.NVR == nvr {
					found = append(found, e)
				}
			}
			return found, g.fault
		},
		letters: func(_ context.Context, limit int) ([]events.DeadLetter, uint64, error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.letters[:min(len(g.letters), limit)], uint64(len(g.letters)), g.fault
		},
	}
}

func (g *given) span(from, to uint64) ([]pageRow, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads += int(to - from + 1)
	var all []pageRow
	for sequence := max(from, g.first); sequence <= to && sequence < g.first+uint64(len(g.rows)); sequence++ {
		if row := g.rows[sequence-g.first]; row.Sequence != 0 {
			all = append(all, row)
		}
	}
	return all, g.fault
}

// add adds rows behind the others.
func (g *given) add(rows ...pageRow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, row := range rows {
		row.Sequence = g.first + uint64(len(g.rows))
		g.rows = append(g.rows, row)
	}
}

// change does something to it while nobody reads.
func (g *given) change(do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do()
}

// givenPage serves a page of what is given, as the service does.
func givenPage(t *testing.T, g *given) (p *page, url string) {
	t.Helper()
	if g == nil {
		return pageFrom(t, nil)
	}
	readers := g.readers()
	return pageFrom(t, &readers)
}

// pageFrom is givenPage of what readers read; nil: there is no connection yet.
func pageFrom(t *testing.T, readers *pageReaders) (p *page, url string) {
	t.Helper()
	c := DefaultConfig()
	c.Organizations = map[string]OrganizationConfig{"myorg": {}, "community": {}}
	p, err := newPage(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ops, err := startOps(t.Context(), "127.0.0.1:0", opsParts{
		metrics: prometheus.NewRegistry(), ready: func() error { return nil }, health: http.NotFoundHandler(), page: p,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {}
	if readers != nil {
		stop = p.follow(*readers)
	}
	t.Cleanup(func() { ops.stop(); stop() })
	return p, ops.url()
}

// busyPage is the page of a system with many builds.
func busyPage(t *testing.T) (url string) {
	g := &given{first: 1}
	names := []string{"etcd", "prometheus", "strimzi-kafka", "cluster-logging", "service-mesh", "jaeger-product", "compliance", "sriov-network"}
	reasons := []string{"invalid-manifests", "gate-unsatisfied", "forbidden-registry"}
	const count = 330
	for i := range count {
		name := names[i%len(names)]
		age := time.Duration(count-1-i) * time.Duration(11+i%13) * time.Minute
		r := pageRow{
			Time: time.Now().Add(-age), NVR: fmt.Sprintf("%s-operator-container-v1.%d.%d-%d", name, i%7, i%5, 20+i), BuildID: int64(1873000 + i),
			Organization: []string{"myorg", "community", "certified-operators"}[i%3], Package: name, Outcome: "published", Tries: 1,
			Versions: []string{fmt.Sprintf("1.%d.%d", i%7, i%5)}, Repository: "myorg/" + name,
			Stages: []stageTime{
				{"lookup", int64(20 + i*7%90)}, {"gate", int64(150 + i*31%700)}, {"fetch", int64(30 + i*13%200)},
				{"prepare", int64(15 + i*5%60)}, {"push", int64(180 + i*17%900)},
			},
		}
		switch {
		case i%9 == 4:
			r.Outcome, r.Versions, r.Reason, r.Stages = "rejected", nil, reasons[i%3], r.Stages[:4]
			r.Message = "manifests/" + name + ".clusterserviceversion.yaml: spec.install.spec.deployments[0]: image registry.example.net/" + name + " is of a registry that is not allowed"
		case i%23 == 7:
			r.Outcome, r.Versions, r.Reason, r.Tries, r.Message = "failed", nil, "quay-unavailable", 57, "push: quay.io: 503 Service Unavailable"
		case i > count-60 && i%11 == 8:
			r.Outcome, r.Versions, r.Stages = "waiting", nil, r.Stages[:2]
			r.Reason, r.Wants = "gate-waiting", []string{"cvp.redhat.default.operator-bundle-image", "osci.brew-build.tier0.functional"}
		}
		g.add(r)
	}
	g.entries = []events.Entry{{
		Organization: "community", NVR: "etcd-operator-container-v2.0.0-1", State: events.StatePublishing, Reason: pipeline.ReasonKojiUnavailable,
		Message: "lookup: koji getBuild: 502 Bad Gateway", First: time.Now().Add(-40 * time.Minute), Last: time.Now(), Tries: 9,
	}}
	for i := range g.rows {
		r := g.rows[count-1-i]
		g.entries = append(g.entries, events.Entry{
			Organization: r.Organization, NVR: r.NVR, State: events.State(r.Outcome), Reason: pipeline.Reason(r.Reason), Message: r.Message,
			First: r.Time.Add(-time.Minute), Last: r.Time, Tries: r.Tries,
		})
	}
	g.letters = []events.DeadLetter{{
		Sequence: 17, Time: time.Now().Add(-3 * time.Hour), Reason: "unreadable-event", Error: "no cloudevent: payload is not JSON",
		Subject: "koji.build.completed", Tries: 1,
	}}
	_, url = givenPage(t, g)
	return url
}
