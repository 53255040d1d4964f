package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// healthTimeout bounds the look at one service.
	healthTimeout = 5 * time.Second
	// healthAge is how long what was seen is told again.
	healthAge = 5 * time.Second
	// healthDetails bounds in bytes what is told of a service.
	healthDetails = 300
)

// serviceHealth is what was seen of one service.
type serviceHealth struct {
	OK      bool   `json:"ok"`
	Details string `json:"details"`
}

// healthReport is the answer that OMPS gave of itself: Status is that of HTTP.
// A service that is not configured is null.
type healthReport struct {
	OK       bool `json:"ok"`
	Status   int  `json:"status"`
	Services struct {
		Koji      *serviceHealth `json:"koji"`
		Quay      *serviceHealth `json:"quay"`
		Greenwave *serviceHealth `json:"greenwave"`
	} `json:"services"`
}

// healthChecks ask the services whether they can be worked with. One that is
// nil is not configured.
type healthChecks struct{ koji, quay, greenwave func(context.Context) error }

// health looks at the services when somebody asks, at most once at a time and
// once in healthAge, however many ask. It is safe for concurrent use.
type health struct {
	look func() healthReport
	now  func() time.Time

	mu   sync.Mutex
	last *healthLook // nil: none was begun
}

// healthLook is one look at the services. Its result is there when done is
// closed.
type healthLook struct {
	done   chan struct{}
	report healthReport
	at     time.Time // the end
}

// newHealth looks at nothing yet. Looks end with ctx, not with the requests
// that began them: others wait for the same one.
func newHealth(ctx context.Context, checks healthChecks, timeout time.Duration) *health {
	return &health{look: func() healthReport { return checks.all(ctx, timeout) }, now: time.Now}
}

// all asks everything at once.
func (c healthChecks) all(ctx context.Context, timeout time.Duration) healthReport {
	r := healthReport{OK: true, Status: http.StatusOK}
	var running sync.WaitGroup
	begin := func(ask func(context.Context) error) *serviceHealth {
		if ask == nil {
			return nil
		}
		seen := &serviceHealth{OK: true, Details: "It works!"}
		running.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			if err := ask(ctx); err != nil {
				*seen = serviceHealth{Details: clients.OneLine(err.Error(), healthDetails)}
			}
		})
		return seen
	}
	s := &r.Services
	s.Koji, s.Quay, s.Greenwave = begin(c.koji), begin(c.quay), begin(c.greenwave)
	running.Wait()
	for _, seen := range []*serviceHealth{s.Koji, s.Quay, s.Greenwave} {
		if seen != nil && !seen.OK {
			r.OK, r.Status = false, http.StatusServiceUnavailable
		}
	}
	return r
}

// report is what was seen in the last healthAge, or is seen now. The error is
// that of ctx.
func (h *health) report(ctx context.Context) (healthReport, error) {
	look := h.current()
	select {
	case <-look.done:
		return look.report, nil
	case <-ctx.Done():
		return healthReport{}, ctx.Err()
	}
}

// current is a look that is young enough or under way, begun if there is none.
func (h *health) current() *healthLook {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != nil && !h.last.isOlderThan(healthAge, h.now()) {
		return h.last
	}
	look := &healthLook{done: make(chan struct{})}
	h.last = look
	go func() {
		defer close(look.done)
		look.report = h.look()
		look.at = h.now()
	}()
	return look
}

// isOlderThan is false for a look under way.
func (l *healthLook) isOlderThan(age time.Duration, now time.Time) bool {
	select {
	case <-l.done:
		return now.Sub(l.at) >= age
	default:
		return false
	}
}

// ServeHTTP answers with the report.
func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	report, err := h.report(r.Context())
	if err != nil { // nobody is there any more
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	answerJSON(w, report.Status, report)
}

// about tells what is running.
func about(w http.ResponseWriter, _ *http.Request) {
	v := buildVersion()
	answerJSON(w, http.StatusOK, map[string]string{"version": v.Version, "revision": v.Revision, "go": v.Go})
}

// answerJSON writes an answer that is true only now.
func answerJSON(w http.ResponseWriter, status int, answer any) {
	data, err := json.Marshal(answer)
	if err != nil {
		panic(err) // texts, numbers and truth values
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}

// healthChecks are those of the configured services.
func (o outside) healthChecks(c Config) healthChecks {
	checks := healthChecks{koji: o.koji.Ping, quay: o.quayCheck(c)}
	if o.greenwave != nil {
		checks.greenwave = o.greenwave.Ping
	}
	return checks
}

// quayCheck tells whether what the organizations publish to answers: the
// registry, the app registry or both. It logs in nowhere: that one
// organization's password is wrong does not mean that Quay is down.
func (o outside) quayCheck(c Config) func(context.Context) error {
	var registry, appRegistry bool
	for _, org := range c.Organizations {
		appRegistry = appRegistry || org.isFor(pipeline.TargetAppRegistry)
		registry = registry || org.isFor(pipeline.TargetOCI)
	}
	return func(ctx context.Context) error {
		if appRegistry {
			if err := isThere(ctx, o.quay, strings.TrimSuffix(c.Quay.URL, "/")+"/cnr/version"); err != nil {
				return fmt.Errorf("app registry: %w", err)
			}
		}
		if registry || !appRegistry {
			return isThere(ctx, o.registry, c.Quay.registryURL()+"/v2/")
		}
		return nil
	}
}

// registryURL is the root of the registry.
func (q QuayConfig) registryURL() string {
	if q.PlainHTTP {
		return "http://" + q.Registry
	}
	return "https://" + q.Registry
}

// isThere tells whether a server has something at the address, if only for
// those who log in: a registry answers 401 there.
func isThere(ctx context.Context, client *clients.Client, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return fmt.Errorf("address cannot be asked for: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if !slices.Contains([]int{http.StatusOK, http.StatusUnauthorized, http.StatusForbidden}, resp.StatusCode) {
		return client.StatusError(resp)
	}
	return resp.Body.Close()
}
