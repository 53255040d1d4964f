package amqp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// Protocol is one of two that share no more than their name.
type Protocol string

// The protocols.
const (
	V10  Protocol = "amqp-1.0"
	V091 Protocol = "amqp-0.9.1"
)

// Options say which bus to listen to. Files are read again at each connection,
// so that a rotated secret needs no restart.
type Options struct {
	Protocol Protocol
	URLs     []string // amqp:// or amqps://, without credentials; tried in turn

	// Who we are: a user, or else the certificate of TLS, by SASL EXTERNAL, or
	// else for AMQP 1.0 nobody, by SASL ANONYMOUS.
	Username     string
	PasswordFile string
	TLS          TLS

	Addresses []string // AMQP 1.0: what is read, as the broker names it
	Queue     Queue    // AMQP 0.9.1

	// Prefetch is how many messages are held at once, of each address.
	Prefetch int

	Logger *slog.Logger
	// State is told nil when messages can come, and why they cannot whenever
	// they could not. It may be nil.
	State func(error)
}

// TLS is for amqps URLs. CertFile and KeyFile go together.
type TLS struct {
	CAFile  string         // PEM: who may have signed the broker's certificate
	RootCAs *x509.CertPool // the same without CAFile; nil: whom the system trusts

	CertFile, KeyFile string // PEM: ours
}

// Queue is one of AMQP 0.9.1, where the broker gathers messages for us.
type Queue struct {
	Name    string
	Declare bool // make it and its bindings where they are missing

	// Durable is what it is made as: true outlives the broker's restarts and our
	// absence, false is gone with us.
	Durable     bool
	Exchange    string   // bound to, with each of RoutingKeys
	RoutingKeys []string // * is one word of a topic, # any number
}

// name is how the broker's owner sees us: Fedora wants the properties of a
// connection to name the application.
const name = "omps-consumer"

// host is the part of a URL that may be shown.
func host(at string) string {
	u, err := url.Parse(at)
	if err != nil {
		return "a URL that cannot be read"
	}
	return u.Scheme + "://" + u.Host
}

func (t TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.RootCAs}
	if t.CAFile != "" {
		data, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificate authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("certificate authorities: %s holds none in PEM form", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func (o Options) password() (clients.Secret, error) {
	data, err := os.ReadFile(o.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	password := strings.TrimRight(string(data), "\r\n")
	if password == "" {
		return "", errors.New("password file: is empty")
	}
	return clients.Secret(password), nil
}
