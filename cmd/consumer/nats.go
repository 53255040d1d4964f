package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// connect connects to the NATS server at url as the configuration says.
func connect(ctx context.Context, c NATSConfig, url string, log *slog.Logger) (*nats.Conn, error) {
	return events.Connect(ctx, events.ConnOptions{
		URL: url, Name: "omps-consumer", Logger: log,
		CredentialsFile: c.CredentialsFile.Path, NkeySeedFile: c.NKeySeedFile.Path,
		User: c.User, PasswordFile: c.Password.Path,
		TLS: events.TLSFiles{CAFile: c.TLS.CAFile.Path, CertFile: c.TLS.CertFile.Path, KeyFile: c.TLS.KeyFile.Path},
	})
}

// provisionOptions say which streams and durables the service needs.
func provisionOptions(c Config) events.ProvisionOptions {
	s := c.NATS.Streams
	return events.ProvisionOptions{
		Names: events.Names{
			Koji: s.Koji, Requests: s.Requests, Results: s.Results, DeadLetters: s.DeadLetters, Durable: c.NATS.Durable,
		},
		Manage: c.NATS.Manage, Replicas: c.NATS.Replicas,
		AckWait: c.Intake.AckWait, MaxWaiting: c.Intake.MaxWaiting, Since: c.Intake.MaxAge,
	}
}

// provision makes or checks the streams and durables.
func provision(ctx context.Context, conn *nats.Conn, o events.ProvisionOptions) error {
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	err = events.Provision(ctx, js, o)
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		return fmt.Errorf("jetstream is not enabled on the nats server, or not for this account: %w", err)
	}
	return err
}
