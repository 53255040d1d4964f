package main

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/clients/greenwave"
	"github.com/omps-consumer/omps-consumer/internal/clients/koji"
	"github.com/omps-consumer/omps-consumer/internal/clients/quay"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// safeRetries is how often a request that can be repeated without harm is
// tried again at once. Everything longer is a redelivery's business.
const safeRetries = 2

// outside is everything that a build meets on its way.
type outside struct {
	koji      *koji.Client
	greenwave *greenwave.Client // nil: no gate is configured
	quay      map[string]*quay.OCI
}

// newOutside makes the clients of a checked configuration. They send nothing
// yet. locker guards the tags that are set; it may be nil where none are.
func newOutside(c Config, reg prometheus.Registerer, log *slog.Logger, locker quay.Locker) (outside, error) {
	roots, err := clients.CertPool(c.TLS.CAPaths())
	if err != nil {
		return outside{}, err
	}
	m := maker{roots: roots, metrics: clients.NewMetrics(reg), log: log}
	out := outside{quay: make(map[string]*quay.OCI, len(c.Organizations))}
	out.koji, err = koji.New(koji.Options{
		HubURL: c.Koji.HubURL, RootURL: c.Koji.RootURL,
		Hub: m.client("koji", c.Koji.Timeout), Files: m.client("koji-files", c.Koji.Timeout),
	})
	if err != nil {
		return outside{}, err
	}
	if g := c.Greenwave; g != nil {
		out.greenwave, err = greenwave.New(greenwave.Options{
			URL: g.URL, Context: g.Context, ProductVersion: g.ProductVersion, HTTP: m.client("greenwave", g.Timeout),
		})
		if err != nil {
			return outside{}, err
		}
	}
	// One transport for all organizations: they share connections, not logins.
	registry, api := m.client("registry", 0), m.client("quay", c.Quay.Timeout)
	for name, o := range c.Organizations {
		if out.quay[name], err = newQuay(c.Quay, o, registry, api, locker); err != nil {
			return outside{}, fmt.Errorf("organization %s: %w", name, err)
		}
	}
	return out, nil
}

func newQuay(c QuayConfig, o OrganizationConfig, registry, api *clients.Client, locker quay.Locker) (*quay.OCI, error) {
	options := quay.OCIOptions{
		Registry: c.Registry, PlainHTTP: c.PlainHTTP, Timeout: c.Timeout, HTTP: registry,
		Username: o.PushUsername, Password: o.PushPassword.Secret, Locker: locker,
	}
	if o.Public {
		visibility, err := quay.NewAPI(quay.APIOptions{URL: c.URL, Token: o.OAuthToken.Secret, HTTP: api})
		if err != nil {
			return nil, err
		}
		options.Visibility = visibility
	}
	return quay.NewOCI(options)
}

// maker makes clients that share what they have in common.
type maker struct {
	roots   *x509.CertPool
	metrics *clients.Metrics
	log     *slog.Logger
}

func (m maker) client(name string, timeout time.Duration) *clients.Client {
	return clients.New(clients.Options{
		Name: name, Timeout: timeout, Retries: safeRetries, RootCAs: m.roots, Logger: m.log, Metrics: m.metrics,
	})
}

// pipeline joins the clients to a pipeline.
func (o outside) pipeline(c Config, ledger pipeline.Ledger, reg prometheus.Registerer) *pipeline.Pipeline {
	p := &pipeline.Pipeline{
		Lookup:  pipeline.Lookup{Finder: o.koji, Organizations: c.PipelineOrganizations()},
		Fetch:   pipeline.Fetch{Opener: o.koji, Limits: c.PipelineLimits()},
		Push:    pipeline.Push{Pushers: make(map[string]pipeline.Pusher, len(o.quay))},
		Ledger:  ledger,
		Now:     time.Now,
		Metrics: pipeline.NewMetrics(reg),
	}
	if o.greenwave != nil {
		p.Gate.Decider = o.greenwave
	}
	for name, pusher := range o.quay {
		p.Push.Pushers[name] = pusher
	}
	return p
}
