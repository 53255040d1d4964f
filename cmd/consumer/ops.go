package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newRegistry makes a registry with the metrics of the process itself.
func newRegistry() *prometheus.Registry {
	v := buildVersion()
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "omps_build_info", Help: "Always 1; the labels say what is running.",
			ConstLabels: prometheus.Labels{"version": v.Version, "revision": v.Revision, "go": v.Go},
		}, func() float64 { return 1 }),
	)
	return reg
}

// readiness answers for whatever knows at the time whether the service can
// work. The zero value is of one that is not connected yet.
type readiness struct {
	mu  sync.Mutex
	now func() error
}

func (r *readiness) set(ask func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = ask
}

func (r *readiness) ask() error {
	r.mu.Lock()
	now := r.now
	r.mu.Unlock()
	if now == nil {
		return errors.New("not connected to nats yet")
	}
	return now()
}

// newReadiness is not ready until it is set. It is a metric too, since not every
// Prometheus looks at probes.
func newReadiness(reg prometheus.Registerer) *readiness {
	r := &readiness{}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "omps_ready", Help: "Whether the service can work, as /readyz tells it: 1 or 0.",
	}, func() float64 {
		if r.ask() != nil {
			return 0
		}
		return 1
	}))
	return r
}

// opsParts are what the ops server shows.
type opsParts struct {
	metrics *prometheus.Registry
	ready   func() error // why the service cannot work, or nil
	health  http.Handler // the services around it; nil: none
	page    *page        // nil: there is no status page
}

// front is what a running service shows of itself.
type front struct {
	ops   *opsServer
	page  *page
	ready *readiness
}

// openFront starts the ops server of a service that is not connected yet: its
// page follows nothing, and it is not ready.
func openFront(ctx context.Context, c Config, registry *prometheus.Registry, out outside, log *slog.Logger) (front, error) {
	page, err := newPage(c, log)
	if err != nil {
		return front{}, err
	}
	ready := newReadiness(registry)
	ops, err := startOps(ctx, c.Ops.Listen, opsParts{
		metrics: registry, ready: ready.ask, health: newHealth(ctx, out.healthChecks(c), healthTimeout), page: page,
	}, log)
	return front{ops: ops, page: page, ready: ready}, err
}

// opsServer serves probes, metrics and the status page.
type opsServer struct {
	http http.Server
	addr net.Addr
	done chan struct{}
}

// startOps listens on the address.
func startOps(ctx context.Context, listen string, parts opsParts, log *slog.Logger) (*opsServer, error) {
	var network net.ListenConfig
	listener, err := network.Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("ops: %w", err)
	}
	s := &opsServer{addr: listener.Addr(), done: make(chan struct{})}
	s.http = http.Server{
		Handler:           opsHandler(parts),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if parts.page != nil {
		s.http.RegisterOnShutdown(parts.page.close)
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("ops server ended", "err", err)
		}
	}()
	return s, nil
}

func opsHandler(parts opsParts) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := parts.ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(parts.metrics, promhttp.HandlerOpts{Registry: parts.metrics, Timeout: 10 * time.Second}))
	for _, version := range []string{"", "/v1", "/v2"} { // OMPS had them under its two versions
		if parts.health != nil {
			mux.Handle("GET "+version+"/health/ping", parts.health)
		}
		mux.HandleFunc("GET "+version+"/about", about)
	}
	if parts.page != nil {
		parts.page.register(mux)
	}
	return mux
}

// url is where the server listens.
func (s *opsServer) url() string { return "http://" + s.addr.String() }

// stop ends the server, open requests too when they take too long.
func (s *opsServer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	<-s.done
}
