package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/clients/amqp"
	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/schemas"
)

func (c *cli) bridgeCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "bridge -c FILE",
		Short: "Bring the messages of Koji and Greenwave from their bus to NATS",
		Long: `bridge listens to the buses of bridge.sources, on which Koji's protonmsg plugin,
fedora-messaging and Greenwave tell what happens, and publishes as events, until
it is told to stop: builds that are complete or promoted, and decisions on
builds. A message is acknowledged once JetStream has stored its event.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := loadBridgeConfig(path, c.getenv)
			if err != nil {
				return err
			}
			log := newLogger(config.Log, c.stderr)
			for _, w := range config.Warnings {
				log.Warn("configuration: " + w)
			}
			boundMemory(c.getenv, log)
			return serveBridge(cmd.Context(), config, log, func(endpoints) {})
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// serveBridge runs the bridge until ctx ends, or NATS is closed for good. It
// calls started before the first bus is connected to.
func serveBridge(ctx context.Context, c Config, log *slog.Logger, started func(endpoints)) error {
	set, err := schemas.Load()
	if err != nil {
		return err
	}
	registry := newRegistry()
	bridge := events.NewBridge(events.BridgeOptions{Schemas: set, Registerer: registry, Logger: log})
	buses, err := c.buses(bridge, log)
	if err != nil {
		return err
	}
	ops, err := startOps(ctx, c.Ops.Listen, opsParts{metrics: registry, ready: bridge.Ready}, log)
	if err != nil {
		return err
	}
	defer ops.stop()
	url := c.NATS.address()
	conn, err := connect(ctx, c.NATS, url, log)
	if ctx.Err() != nil {
		return nil // told to stop before there was anything to do
	}
	if err != nil {
		return err
	}
	defer conn.Close()

	if err := bridge.PublishTo(conn); err != nil {
		return err
	}
	v := buildVersion()
	log.Info("started", "version", v.Version, "revision", v.Revision, "nats", conn.ConnectedUrlRedacted(), "ops", ops.url(), "buses", len(buses))
	started(endpoints{NATS: url, Ops: ops.url()})

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	closed := conn.StatusChanged(nats.CLOSED)
	go func() {
		select {
		case <-closed:
			stop(errClosed)
		case <-ctx.Done():
		}
	}()
	var running sync.WaitGroup
	for _, b := range buses {
		running.Go(func() { b.run(ctx) })
	}
	running.Wait()
	if errors.Is(context.Cause(ctx), errClosed) {
		return errClosed
	}
	log.Info("ended")
	return nil
}

var errClosed = errors.New("bridge: the connection to nats is closed for good")

// busLine is one bus and where its messages go.
type busLine struct {
	from *amqp.Source
	to   *events.BusSource
}

// buses makes the configured buses. They connect when they run.
func (c Config) buses(bridge *events.Bridge, log *slog.Logger) ([]busLine, error) {
	roots, err := clients.CertPool(c.TLS.CAPaths(), nil)
	if err != nil {
		return nil, err
	}
	var all []busLine
	for _, b := range c.Bridge.Sources {
		to := bridge.Source(b.Name, b.source())
		options := b.options(roots)
		options.Logger, options.State = log.With("bus", b.Name), to.SetState
		from, err := amqp.New(options)
		if err != nil {
			return nil, fmt.Errorf("bus %s: %w", b.Name, err)
		}
		all = append(all, busLine{from: from, to: to})
	}
	return all, nil
}

// source is the CloudEvents source of what comes from the bus.
func (b BusConfig) source() string {
	if b.EventSource != "" {
		return b.EventSource
	}
	return "/bus/" + b.Name
}

func (b BusConfig) options(roots *x509.CertPool) amqp.Options {
	return amqp.Options{
		Protocol: amqp.Protocol(b.Protocol), URLs: b.URLs,
		Username: b.Username, PasswordFile: b.Password.Path,
		TLS:       amqp.TLS{CAFile: b.TLS.CAFile.Path, RootCAs: roots, CertFile: b.TLS.CertFile.Path, KeyFile: b.TLS.KeyFile.Path},
		Addresses: b.Addresses,
		Queue:     amqp.Queue{Name: b.Queue, Declare: b.Declare, Durable: b.Durable, Exchange: b.Exchange, RoutingKeys: b.RoutingKeys},
		Prefetch:  b.Prefetch,
	}
}

func (l busLine) run(ctx context.Context) {
	l.from.Run(ctx, func(ctx context.Context, d amqp.Delivery) {
		l.to.Handle(ctx, events.BusMessage{ID: d.ID, Topic: d.Topic, Time: d.Time, Header: d.Header, Body: d.Body}, d)
	})
}
