package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/schemas"
)

// preflightTimeout bounds the look at streams and durables at the start.
const preflightTimeout = 30 * time.Second

// connect connects to the NATS server at url as the configuration says.
func connect(ctx context.Context, c NATSConfig, url string, log *slog.Logger) (*nats.Conn, error) {
	return events.Connect(ctx, events.ConnOptions{
		URL: url, Name: "omps-consumer", Logger: log,
		CredentialsFile: c.CredentialsFile.Path, NkeySeedFile: c.NKeySeedFile.Path,
		User: c.User, PasswordFile: c.Password.Path,
		InboxPrefix: c.InboxPrefix,
		TLS:         events.TLSFiles{CAFile: c.TLS.CAFile.Path, CertFile: c.TLS.CertFile.Path, KeyFile: c.TLS.KeyFile.Path},
	})
}

// address is the server's URL for who is not the service: without one that is
// configured, that of the service's own server on this machine.
func (n NATSConfig) address() string {
	if n.URL != "" {
		return n.URL
	}
	return "nats://" + n.Embedded.Listen
}

// joinBus connects the service to its NATS server, and makes or checks there all
// that it needs. The server may be one in this process, which runs until stop is
// called.
func joinBus(ctx context.Context, c Config, log *slog.Logger) (b bus, stop func(), err error) {
	url, stopServer, err := natsServer(c.NATS, log)
	if err != nil {
		return bus{}, nil, err
	}
	conn, err := connect(ctx, c.NATS, url, log)
	if err != nil {
		stopServer()
		return bus{}, nil, err
	}
	stop = func() { conn.Close(); stopServer() }
	if err := preflight(ctx, conn, c, log); err != nil {
		stop()
		return bus{}, nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		stop()
		return bus{}, nil, fmt.Errorf("jetstream: %w", err)
	}
	return bus{conn: conn, js: js, url: url, names: provisionOptions(c).Names, log: log}, stop, nil
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

// ownAPIPrefix is what JetStream requests begin with in the account whose
// JetStream they are for.
const ownAPIPrefix = "$JS.API"

// checkAccount refuses an account that only imports the JetStream of another
// one: keys could not be written from there.
func (n NATSConfig) checkAccount() error {
	if n.APIPrefix != ownAPIPrefix {
		return fmt.Errorf("nats.api_prefix is %s, which is for commands: the service has to be in the account that holds the streams, with %s", n.APIPrefix, ownAPIPrefix)
	}
	return nil
}

// provisionOptions say which streams and durables the service needs.
func provisionOptions(c Config) events.ProvisionOptions {
	s := c.NATS.Streams
	names := events.Names{
		Koji: s.Koji, Greenwave: s.Greenwave, Requests: s.Requests, Results: s.Results, DeadLetters: s.DeadLetters,
		Durable: c.NATS.Durable, Ledger: c.NATS.Buckets.Ledger, Leases: c.NATS.Buckets.Leases,
	}
	if c.Greenwave == nil {
		names.Greenwave = ""
	}
	return events.ProvisionOptions{
		Names:  names,
		Manage: c.NATS.Manage, Replicas: c.NATS.Replicas,
		AckWait: c.Intake.AckWait, MaxWaiting: c.Intake.MaxWaiting, Since: c.Intake.MaxAge,
	}
}

// reader reads the events that concern the configured organizations and gate.
func (c Config) reader(set *schemas.Set) events.Reader {
	r := events.Reader{Organizations: c.names(), Schemas: set}
	if g := c.Greenwave; g != nil {
		r.Gate = events.GateScope{Context: g.Context, ProductVersion: g.ProductVersion}
	}
	return r
}

// preflight makes or checks all that the service needs on NATS. What keeps it
// from running is one error, and what is unsafe one warning.
func preflight(ctx context.Context, conn *nats.Conn, c Config, log *slog.Logger) error {
	report, err := lookAtNATS(ctx, conn, preflightOptions(c))
	if err != nil {
		return err
	}
	for _, note := range report.Notes {
		log.Info("preflight: " + note)
	}
	if len(report.Warnings) > 0 {
		log.Warn("preflight: the nats server is not as safe as it should be", "warnings", report.Warnings)
	}
	return nil
}

// preflightOptions say what the service needs to do with NATS.
func preflightOptions(c Config) events.PreflightOptions {
	o := events.PreflightOptions{
		Provision: provisionOptions(c), Embedded: c.NATS.URL == "", Announce: c.Reconcile.Every > 0,
	}
	for _, organization := range c.Organizations {
		o.Archives = o.Archives || organization.AcceptArchives
	}
	return o
}

func lookAtNATS(ctx context.Context, conn *nats.Conn, o events.PreflightOptions) (events.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	report, err := events.Preflight(ctx, conn, o)
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		err = fmt.Errorf("jetstream is not enabled on the nats server, or not for this account: %w", err)
	}
	return report, err
}
