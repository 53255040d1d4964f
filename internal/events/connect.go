package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// ConnOptions say where NATS is and who we are there. At most one of
// CredentialsFile, NkeySeedFile and User is set. Files are read again at each
// reconnect, so that a rotated secret needs no restart.
type ConnOptions struct {
	URL  string // one or more, separated by commas
	Name string // shown by the server

	CredentialsFile string
	NkeySeedFile    string
	User            string
	PasswordFile    string
	TLS             TLSFiles

	// InboxPrefix is what the subjects of answers to us begin with, so that a
	// server can keep them from other users; "": _INBOX.
	InboxPrefix string

	Logger *slog.Logger // nil: silent
	// Closed is called once when the connection is closed for good, with the
	// last error it met, if any. It may be nil.
	Closed func(error)
}

// TLSFiles are PEM files. CertFile and KeyFile go together.
type TLSFiles struct{ CAFile, CertFile, KeyFile string }

const (
	connectTimeout = 5 * time.Second
	// pingInterval times two is how long a dead peer goes unnoticed; the
	// library's own is two minutes.
	pingInterval = 20 * time.Second
	// drainTimeout bounds what Drain waits for.
	drainTimeout = 10 * time.Second

	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
)

// Connect connects, trying until ctx ends. The connection then reconnects for
// ever. It buffers nothing while it is down: a publish fails at once, and what
// was to be settled comes again.
func Connect(ctx context.Context, o ConnOptions) (*nats.Conn, error) {
	log := orSilent(o.Logger)
	shown, err := redactURLs(o.URL)
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	for attempt := 1; ; attempt++ {
		nc, err := o.connect(log)
		if err == nil {
			log.Info("connected to nats", "url", nc.ConnectedUrlRedacted(), "version", nc.ConnectedServerVersion())
			return nc, nil
		}
		log.Warn("nats does not answer", "url", shown, "attempt", attempt, "err", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to nats at %s: %w (%w)", shown, err, ctx.Err())
		case <-time.After(backoff(attempt, lastWait)):
		}
	}
}

func (o ConnOptions) validate() error {
	ways := 0
	for _, way := range []string{o.CredentialsFile, o.NkeySeedFile, o.User} {
		if way != "" {
			ways++
		}
	}
	var faults []error
	if ways > 1 {
		faults = append(faults, errors.New("more than one of credentials file, nkey seed file and user"))
	}
	if (o.User == "") != (o.PasswordFile == "") {
		faults = append(faults, errors.New("user and password file go together"))
	}
	if (o.TLS.CertFile == "") != (o.TLS.KeyFile == "") {
		faults = append(faults, errors.New("certificate and key file go together"))
	}
	return errors.Join(faults...)
}

func (o ConnOptions) connect(log *slog.Logger) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name(o.Name),
		nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval),
		nats.DrainTimeout(drainTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		// Without it, two equal authorization errors close the connection for
		// good, as during the rotation of a secret.
		nats.IgnoreAuthErrorAbort(),
	}
	auth, err := o.authOption()
	if err != nil {
		return nil, err
	}
	options = append(options, auth...)
	var conn atomic.Pointer[nats.Conn]
	options = append(options, nats.CustomReconnectDelay(func(attempt int) time.Duration {
		if nc := conn.Load(); nc != nil {
			tellRefusal(nc, log)
			o.readNkey(nc)
		}
		return backoff(attempt, lastWait)
	}))
	if o.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(o.InboxPrefix))
	}
	if o.TLS.CAFile != "" {
		options = append(options, nats.RootCAs(o.TLS.CAFile))
	}
	if o.TLS.CertFile != "" {
		options = append(options, nats.ClientCert(o.TLS.CertFile, o.TLS.KeyFile))
	}
	nc, err := nats.Connect(o.URL, append(options, o.callbacks(log)...)...)
	conn.Store(nc)
	return nc, err
}

// tellRefusal logs what ended the attempt before, where the library tells nobody:
// a handshake that failed, as for a certificate that ran out, or a server that
// is full. Logins that are refused come to the error handler.
func tellRefusal(nc *nats.Conn, log *slog.Logger) {
	err := nc.LastError()
	for _, told := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, told) {
			return
		}
	}
	if err != nil {
		log.Warn("nats does not answer", "err", err)
	}
}

// readNkey takes over the public key of a seed that may have been replaced: the
// library reads the seed again for each login, but the key in its option only
// once. Called between two attempts, by the goroutine that makes them: nothing
// else reads that option.
func (o ConnOptions) readNkey(nc *nats.Conn) {
	if o.NkeySeedFile == "" {
		return
	}
	var fresh nats.Options
	if option, err := nats.NkeyOptionFromSeed(o.NkeySeedFile); err == nil && option(&fresh) == nil {
		nc.Opts.Nkey = fresh.Nkey
	}
}

func (o ConnOptions) authOption() ([]nats.Option, error) {
	switch {
	case o.CredentialsFile != "":
		return []nats.Option{nats.UserCredentials(o.CredentialsFile)}, nil
	case o.NkeySeedFile != "":
		seed, err := nats.NkeyOptionFromSeed(o.NkeySeedFile)
		return []nats.Option{seed}, err
	case o.User != "":
		if _, err := readPassword(o.PasswordFile); err != nil {
			return nil, err
		}
		// A file that cannot be read during a reconnect is an authorization
		// error there, and read again for the next attempt.
		return []nats.Option{nats.UserInfoHandler(func() (string, string) {
			password, _ := readPassword(o.PasswordFile)
			return o.User, password
		})}, nil
	}
	return nil, nil
}

func readPassword(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

func (o ConnOptions) callbacks(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if err != nil {
				log.Warn("connection to nats lost", "err", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Warn("nats does not answer", "err", err)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to nats again", "url", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if sub != nil {
				log.Error("nats", "subject", sub.Subject, "err", err)
				return
			}
			log.Error("nats", "err", err)
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			if o.Closed != nil {
				o.Closed(nc.LastError())
			}
		}),
	}
}

// redactURLs is the list of URLs without what comes before the @. A URL that
// cannot be read is not shown: it may hold a password.
func redactURLs(list string) (string, error) {
	parts := strings.Split(list, ",")
	for i, part := range parts {
		part = strings.TrimSpace(part)
		if !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		u, err := url.Parse(part)
		if err != nil || u.Host == "" {
			return "", fmt.Errorf("url %d of %d cannot be read", i+1, len(parts))
		}
		u.User = nil
		parts[i] = u.String()
	}
	return strings.Join(parts, ","), nil
}

// backoff is the wait after the given attempt, counted from 1: doubling from
// firstWait to last, of which up to a half is taken off at random so that
// replicas spread.
func backoff(attempt int, last time.Duration) time.Duration {
	d := last
	if shift := max(attempt, 1) - 1; shift < 16 {
		d = min(firstWait<<shift, last)
	}
	return d - rand.N(d/2+1)
}
