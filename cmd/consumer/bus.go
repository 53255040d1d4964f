package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// busTimeout bounds connecting from a command beside the service.
const busTimeout = 15 * time.Second

// busFlags say where the NATS server of the service is.
type busFlags struct{ config, server string }

func (f *busFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVarP(&f.config, "config", "c", "", "connect to NATS as this configuration says; other secrets are not read")
	cmd.PersistentFlags().StringVarP(&f.server, "server", "s", "", "NATS server URL (default: the configuration's, without one nats://127.0.0.1:4222)")
}

// bus is a connection to the service's NATS server.
type bus struct {
	conn  *nats.Conn
	js    jetstream.JetStream
	url   string // one or more, as configured
	names events.Names
	log   *slog.Logger
}

func (b bus) close() { b.conn.Close() }

// connectBus connects within busTimeout. Warnings about the connection go to
// stderr.
func (c *cli) connectBus(ctx context.Context, flags busFlags) (bus, error) {
	config, names := DefaultConfig(), events.DefaultNames()
	if flags.config != "" {
		var err error
		if config, err = loadBusConfig(flags.config, c.getenv); err != nil {
			return bus{}, err
		}
		names = provisionOptions(config).Names
	}
	url := config.NATS.address()
	if flags.server != "" {
		url = flags.server
	}
	log := slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	conn, err := connect(ctx, config.NATS, url, log)
	if err != nil {
		return bus{}, err
	}
	js, err := jetstream.NewWithAPIPrefix(conn, config.NATS.APIPrefix)
	if err != nil {
		conn.Close()
		return bus{}, fmt.Errorf("jetstream: %w", err)
	}
	return bus{conn: conn, js: js, url: url, names: names, log: log}, nil
}

// loadBusConfig checks a whole configuration but reads no files other than
// those that NATS needs: who looks at dead letters need not hold the
// organizations' secrets.
func loadBusConfig(path string, getenv func(string) string) (Config, error) {
	c, faults, err := checkedConfig(path)
	if err != nil {
		return Config{}, err
	}
	c.Organizations, c.TLS.CAFiles, c.Bridge, c.Tracing = nil, nil, BridgeConfig{}, TracingConfig{}
	c.readFiles(faults, getenv)
	return c, faults.err()
}

// checkedConfig reads a configuration, and none of the files that it names.
// What is wrong with it is in faults; the error is a *ConfigError too.
func checkedConfig(path string) (c Config, f *faults, err error) {
	data, err := readCapped(path, maxConfigBytes)
	if err != nil {
		return Config{}, nil, &ConfigError{Faults: []Fault{{File: path, Text: "cannot be read: " + err.Error()}}}
	}
	f, c = newFaults(path), DefaultConfig()
	decodeConfig(f, data, &c)
	c.check(f)
	return c, f, nil
}

// explained says what a missing JetStream looks like from here.
func explained(err error) error {
	// The library has two of the latter, one for consumers that push.
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, nats.ErrJetStreamNotEnabled) {
		return fmt.Errorf("jetstream is not enabled on the nats server, or this account may not ask for this"+
			" (nats.api_prefix is what it imports JetStream under, and --organization asks for less): %w", err)
	}
	return err
}
