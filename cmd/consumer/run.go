package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/schemas"
)

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
	front, err := openFront(ctx, c, registry, out, log)
	if err != nil {
		return err
	}
	defer front.ops.stop()
	b, stop, err := joinBus(ctx, c, log)
	if err != nil {
		return err
	}
	defer stop()

	ledger := events.NewLedger(b.js, b.names.Ledger)
	ledger.Register(registry)
	defer front.page.follow(newPageReaders(b.conn, b.js, b.names))()
	leases := events.NewLeases(b.js, b.names.Leases)
	targets, err := out.targets(c, leases)
	if err != nil {
		return err
	}
	line := out.pipeline(c, targets, events.NewObjects(b.js), ledger, registry)
	line.Tracer = traces.tracer

	policy := events.DefaultPolicy()
	policy.MaxAge, policy.MaxTries, policy.Recheck = c.Intake.MaxAge, uint64(c.Intake.MaxTries), c.Intake.Recheck
	consumer, err := events.New(events.Options{
		Conn: b.conn, Provision: provisionOptions(c),
		Reader: c.reader(set), Lookup: line.Lookup, Handler: line, Ledger: ledger,
		Source: c.Results.Source, Workers: c.Intake.Workers, BuildTimeout: c.Intake.BuildTimeout, Grace: c.Intake.Grace, Policy: policy,
		Registerer: registry, Tracer: traces.tracer, Logger: log,
	})
	if err != nil {
		return err
	}
	front.ready.set(consumer.Ready)

	v := buildVersion()
	log.Info("started", "version", v.Version, "revision", v.Revision, "nats", b.conn.ConnectedUrlRedacted(), "ops", front.ops.url(),
		"organizations", len(c.Organizations), "workers", c.Intake.Workers, "gated", c.Greenwave != nil)
	defer newReconciler(c, newReconciliation(c, out, line, targets, ledger), b.js, leases, registry, log).start(ctx)()
	started(endpoints{NATS: b.url, Ops: front.ops.url()})
	if err := consumer.Run(ctx); err != nil {
		return fmt.Errorf("service: %w", err)
	}
	log.Info("ended")
	return nil
}
