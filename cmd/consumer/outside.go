package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

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

	// One transport each for all organizations: they share connections, not
	// logins. registry is for images, quay for Quay's own addresses.
	registry, quay *clients.Client

	images map[string]pipeline.ImageResolver // by organization
	roots  *x509.CertPool                    // trusted in all calls but those to NATS

	log *slog.Logger
}

// newOutside makes the clients of a checked configuration. They send nothing
// yet. Each is meant for the hosts that are configured for it, and led nowhere
// else but to the internet.
func newOutside(c Config, reg prometheus.Registerer, log *slog.Logger) (outside, error) {
	return newTracedOutside(c, nil, reg, log)
}

// newTracedOutside is newOutside with spans of the requests; a nil tracer makes
// none.
func newTracedOutside(c Config, tracer trace.Tracer, reg prometheus.Registerer, log *slog.Logger) (outside, error) {
	roots, err := clients.CertPool(c.TLS.CAPaths(), c.TLS.Fetched)
	if err != nil {
		return outside{}, err
	}
	m := maker{roots: roots, metrics: clients.NewMetrics(reg), tracer: tracer, log: log}
	quayHosts := []string{c.Quay.Registry, hostOf(c.Quay.URL)}
	out := outside{
		registry: m.client("registry", 0, quayHosts...), quay: m.client("quay", c.Quay.Timeout, quayHosts...),
		roots: roots, log: log,
	}
	out.koji, err = koji.New(koji.Options{
		HubURL: c.Koji.HubURL, RootURL: c.Koji.RootURL,
		Hub:   m.client("koji", c.Koji.Timeout, hostOf(c.Koji.HubURL)),
		Files: m.client("koji-files", c.Koji.Timeout, hostOf(c.Koji.RootURL)),
	})
	if err != nil {
		return outside{}, err
	}
	if g := c.Greenwave; g != nil {
		out.greenwave, err = greenwave.New(greenwave.Options{
			URL: g.URL, Context: g.Context, ProductVersion: g.ProductVersion,
			HTTP: m.client("greenwave", g.Timeout, hostOf(g.URL)),
		})
		if err != nil {
			return outside{}, err
		}
	}
	out.images, err = m.resolvers(c)
	return out, err
}

// hostOf is the host, with its port if it has one, of a configured address.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// maker makes clients that share what they have in common.
type maker struct {
	roots   *x509.CertPool
	metrics *clients.Metrics
	tracer  trace.Tracer
	log     *slog.Logger
}

func (m maker) client(name string, timeout time.Duration, hosts ...string) *clients.Client {
	return clients.New(clients.Options{
		Name: name, Timeout: timeout, Retries: safeRetries, RootCAs: m.roots, Logger: m.log, Metrics: m.metrics, Tracer: m.tracer, Hosts: hosts,
	})
}

// resolvers makes the resolver of each organization, by name. They share two
// clients: one for the registries that the configuration names, and one that
// never enters a private network, for whatever else an archive names.
func (m maker) resolvers(c Config) (map[string]pipeline.ImageResolver, error) {
	named := []string{c.Quay.Registry, hostOf(c.Quay.URL)}
	for _, org := range c.Organizations {
		named = append(named, org.AllowedRegistries...)
	}
	configured, internet := m.client("images", 0, named...), m.client("images", 0)

	all := make(map[string]pipeline.ImageResolver, len(c.Organizations))
	for name, org := range c.Organizations {
		resolver, err := quay.NewResolver(quay.ResolverOptions{
			Registry: c.Quay.Registry, PlainHTTP: c.Quay.PlainHTTP, Known: org.AllowedRegistries,
			Username: org.PushUsername, Password: org.PushPassword.Follow(m.log),
			Timeout: c.Quay.Timeout, HTTP: configured, Internet: internet,
		})
		if err != nil {
			return nil, fmt.Errorf("organization %s: %w", name, err)
		}
		all[name] = resolver
	}
	return all, nil
}

// target is where the builds of one organization go.
type target interface {
	pipeline.Pusher
	pipeline.Deleter
	pipeline.Holder
	// Ping tells whether it answers, and takes the organization's credentials.
	Ping(ctx context.Context) error
}

// targets makes the target of each organization, by name. locker guards what
// is set there; it may be nil where nothing is.
func (o outside) targets(c Config, locker quay.Locker) (map[string]target, error) {
	all := make(map[string]target, len(c.Organizations))
	for name, org := range c.Organizations {
		made, err := o.target(c, org, locker)
		if err != nil {
			return nil, fmt.Errorf("organization %s: %w", name, err)
		}
		all[name] = made
	}
	return all, nil
}

func (o outside) target(c Config, org OrganizationConfig, locker quay.Locker) (target, error) {
	var visibility quay.VisibilitySetter
	if org.Public {
		api, err := quay.NewAPI(quay.APIOptions{URL: c.Quay.URL, Token: org.OAuthToken.Follow(o.log), HTTP: o.quay})
		if err != nil {
			return nil, err
		}
		visibility = api
	}
	if org.isFor(pipeline.TargetAppRegistry) {
		return quay.NewAppRegistry(quay.AppRegistryOptions{
			URL: c.Quay.URL, Timeout: c.Quay.Timeout, HTTP: o.quay,
			Token: org.AppRegistryToken.Follow(o.log), Username: org.PushUsername, Password: org.PushPassword.Follow(o.log),
			FirstRelease: c.DefaultReleaseVersion, Locker: locker, Visibility: visibility,
		})
	}
	return quay.NewOCI(quay.OCIOptions{
		Registry: c.Quay.Registry, PlainHTTP: c.Quay.PlainHTTP, Timeout: c.Quay.Timeout, HTTP: o.registry,
		Username: org.PushUsername, Password: org.PushPassword.Follow(o.log), Locker: locker, Visibility: visibility,
	})
}

// pipeline joins the clients and the targets to a pipeline.
func (o outside) pipeline(c Config, targets map[string]target, objects pipeline.ObjectOpener, ledger pipeline.Ledger, reg prometheus.Registerer) *pipeline.Pipeline {
	p := &pipeline.Pipeline{
		Lookup:  pipeline.Lookup{Finder: o.koji, Labels: o.koji, Organizations: c.PipelineOrganizations()},
		Fetch:   pipeline.Fetch{Opener: o.koji, Objects: objects, Limits: c.PipelineLimits(), Budget: pipeline.NewBudget(int64(c.Limits.InFlightBytes))},
		Prepare: pipeline.Prepare{Images: o.images},
		Push:    pipeline.Push{Pushers: make(map[string]pipeline.Pusher, len(targets))},
		Delete:  pipeline.Delete{Deleters: make(map[string]pipeline.Deleter, len(targets))},
		Ledger:  ledger,
		Now:     time.Now,
		Metrics: pipeline.NewMetrics(reg),
	}
	if o.greenwave != nil {
		p.Gate.Decider = o.greenwave
	}
	for name, t := range targets {
		p.Push.Pushers[name], p.Delete.Deleters[name] = t, t
	}
	return p
}
