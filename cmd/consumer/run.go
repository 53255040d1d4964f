package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/schemas"
)

// preflightTimeout bounds the look at streams and durables at the start.
const preflightTimeout = 30 * time.Second

func (c *cli) runCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run the service",
		Long: `run takes in events and publishes builds until it is told to stop.

` + environmentHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, env, err := LoadRunConfig(path, c.getenv)
			if err != nil {
				return err
			}
			if err := config.NATS.checkAccount(); err != nil {
				return &usageError{err}
			}
			log := newLogger(config.Log, c.stderr)
			for _, w := range config.Warnings {
				log.Warn("configuration: " + w)
			}
			for _, o := range env.Overrides {
				log.Info("the environment stands above the configuration", "variable", o.Variable, "key", o.Key, "value", o.Value)
			}
			boundMemory(c.getenv, log)
			if env.CAURL != "" {
				if config.TLS.Fetched, err = fetchAuthorities(cmd.Context(), env.CAURL, config.TLS, log); err != nil {
					return fmt.Errorf("certificate authorities of %s (tls.ca_files takes them as a file): %w", caVariable, err)
				}
			}
			return serve(cmd.Context(), config, log, func(endpoints) {})
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// endpoints are where a running service can be reached.
type endpoints struct{ NATS, Ops string }

// serve runs the service until ctx ends. It calls started once everything
// is up and before the first message is taken.
func serve(ctx context.Context, c Config, log *slog.Logger, started func(endpoints)) error {
	registry := newRegistry()
	set, err := schemas.Load()
	if err != nil {
		return err
	}

	traces, err := newTracing(c, registry, log)
	if err != nil {
		return err
	}
	defer traces.stop()
	out, err := newTracedOutside(c, traces.tracer, registry, log)
	if err != nil {
		return err
	}
	status, err := newPage(c, log)
	if err != nil {
		return err
	}
	ready := newReadiness(registry)
	ops, err := startOps(ctx, c.Ops.Listen, opsParts{
		metrics: registry, ready: ready.ask, health: newHealth(ctx, out.healthChecks(c), healthTimeout), page: status,
	}, log)
	if err != nil {
		return err
	}
	defer ops.stop()

	url, stop, err := natsServer(c.NATS, log)
	if err != nil {
		return err
	}
	defer stop()
	conn, err := connect(ctx, c.NATS, url, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	streams := provisionOptions(c)
	if err := preflight(ctx, conn, c, log); err != nil {
		return err
	}

	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	ledger := events.NewLedger(js, streams.Names.Ledger)
	ledger.Register(registry)
	defer status.follow(newPageReaders(conn, js, streams.Names))()
	leases := events.NewLeases(js, streams.Names.Leases)
	targets, err := out.targets(c, leases)
	if err != nil {
		return err
	}
	line := out.pipeline(c, targets, events.NewObjects(js), ledger, registry)
	line.Tracer = traces.tracer

	policy := events.DefaultPolicy()
	policy.MaxAge, policy.MaxTries, policy.Recheck = c.Intake.MaxAge, uint64(c.Intake.MaxTries), c.Intake.Recheck
	consumer, err := events.New(events.Options{
		Conn: conn, Provision: streams,
		Reader: c.reader(set), Lookup: line.Lookup, Handler: line, Ledger: ledger,
		Source: c.Results.Source, Workers: c.Intake.Workers, BuildTimeout: c.Intake.BuildTimeout, Grace: c.Intake.Grace, Policy: policy,
		Registerer: registry, Tracer: traces.tracer, Logger: log,
	})
	if err != nil {
		return err
	}
	ready.set(consumer.Ready)

	v := buildVersion()
	log.Info("started", "version", v.Version, "revision", v.Revision, "nats", conn.ConnectedUrlRedacted(), "ops", ops.url(),
		"organizations", len(c.Organizations), "workers", c.Intake.Workers, "gated", c.Greenwave != nil)
	defer newReconciler(c, newReconciliation(c, out, line, targets, ledger), js, leases, registry, log).start(ctx)()
	started(endpoints{NATS: url, Ops: ops.url()})
	if err := consumer.Run(ctx); err != nil {
		return fmt.Errorf("service: %w", err)
	}
	log.Info("ended")
	return nil
}

// natsServer is the URL of the server that the configuration names, or else of
// one that runs in this process until stop is called.
func natsServer(c NATSConfig, log *slog.Logger) (url string, stop func(), err error) {
	if c.URL != "" {
		return c.URL, func() {}, nil
	}
	server, err := events.StartServer(events.ServerOptions{
		Listen: c.Embedded.Listen, StoreDir: c.Embedded.StoreDir.Path, Logger: log,
	})
	if err != nil {
		return "", nil, err
	}
	return server.URL(), server.Shutdown, nil
}
