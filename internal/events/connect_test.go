package events_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

const secret = "hunter2-hunter2"

// guarded is a server that asks for authentication.
func guarded(t *testing.T, change func(o *server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true}
	change(o)
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConnectWithPasswordFile(t *testing.T) {
	t.Parallel()
	s := guarded(t, func(o *server.Options) { o.Username, o.Password = "omps", secret })
	var log logBuffer
	nc, err := events.Connect(t.Context(), events.ConnOptions{
		URL: s.ClientURL(), User: "omps", PasswordFile: write(t, "password", secret+"\n"),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if lines := log.lines("connected to nats"); len(lines) != 1 {
		t.Errorf("log is %q", lines)
	}
	if lines := log.lines(secret); len(lines) > 0 {
		t.Errorf("secret in %q", lines)
	}
}

func newNkey(t *testing.T) (seed, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err = pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return string(text), public
}

func TestConnectWithNkeySeedFile(t *testing.T) {
	t.Parallel()
	seed, public := newNkey(t)
	s := guarded(t, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} })
	nc, err := events.Connect(t.Context(), events.ConnOptions{URL: s.ClientURL(), NkeySeedFile: write(t, "seed", seed)})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestConnectChecksTheServersCertificate(t *testing.T) {
	t.Parallel()
	issuer := httptest.NewTLSServer(nil) // for its certificate
	defer issuer.Close()
	s := guarded(t, func(o *server.Options) {
		o.TLS, o.TLSTimeout = true, 10
		o.TLSConfig = &tls.Config{Certificates: issuer.TLS.Certificates, MinVersion: tls.VersionTLS12}
	})
	ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate().Raw})))
	nc, err := events.Connect(t.Context(), events.ConnOptions{URL: s.ClientURL(), TLS: events.TLSFiles{CAFile: ca}})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var unknown x509.UnknownAuthorityError
	if _, err := events.Connect(ctx, events.ConnOptions{URL: s.ClientURL()}); !errors.As(err, &unknown) {
		t.Errorf("without its authority: %v", err)
	}
}

func TestConnectWaitsForTheServer(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	var log logBuffer
	done := make(chan error, 1)
	go func() {
		nc, err := events.Connect(t.Context(), events.ConnOptions{
			URL: "nats://omps:" + secret + "@" + address, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err == nil {
			nc.Close()
		}
		done <- err
	}()
	go func() { // not a server yet: whoever connects is sent away
		for {
			conn, err := free.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	eventually(t, "an attempt", func() bool { return len(log.lines("does not answer")) >= 1 })
	free.Close()
	s, err := events.StartServer(events.ServerOptions{Listen: address, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	if err := receive(t, "connection", done); err != nil {
		t.Error(err)
	}
	if lines := log.lines(secret); len(lines) > 0 {
		t.Errorf("secret in %q", lines)
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = events.Connect(ctx, events.ConnOptions{URL: "omps:" + secret + "@" + free.Addr().String()})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("error is %v", err)
	}
	if strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), free.Addr().String()) {
		t.Errorf("error is %v", err)
	}
}

func TestConnectRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		o    events.ConnOptions
		want string
	}{
		{"url", events.ConnOptions{URL: "nats://omps:" + secret + "@host:port"}, "url 1 of 1 cannot be read"},
		{"second url", events.ConnOptions{URL: "nats://a:4222,nats://omps:" + secret + "@%zz"}, "url 2 of 2 cannot be read"},
		{"no url", events.ConnOptions{}, "url 1 of 1 cannot be read"},
		{"two ways", events.ConnOptions{URL: "nats://a", CredentialsFile: "x", User: "y", PasswordFile: "z"}, "more than one"},
		{"no password", events.ConnOptions{URL: "nats://a", User: "y"}, "user and password file go together"},
		{"no user", events.ConnOptions{URL: "nats://a", PasswordFile: "y"}, "user and password file go together"},
		{"no key", events.ConnOptions{URL: "nats://a", TLS: events.TLSFiles{CertFile: "x"}}, "certificate and key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := events.Connect(t.Context(), tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("no %q in %v", tt.want, err)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("secret in %q", err)
			}
		})
	}
}

// A missing file may be mounted a moment later, so it is tried again too.
func TestConnectWithoutItsFiles(t *testing.T) {
	t.Parallel()
	_, public := newNkey(t)
	s := guarded(t, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} })
	missing := filepath.Join(t.TempDir(), "missing")
	for name, o := range map[string]events.ConnOptions{
		"credentials": {CredentialsFile: missing}, "seed": {NkeySeedFile: missing},
		"password": {User: "omps", PasswordFile: missing}, "ca": {TLS: events.TLSFiles{CAFile: missing}},
		"certificate": {TLS: events.TLSFiles{CertFile: missing, KeyFile: missing}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			o.URL = s.ClientURL()
			nc, err := events.Connect(ctx, o)
			if err == nil {
				nc.Close()
				t.Fatal("connected")
			}
			if !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), "no such file") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestConnectReconnectsAndBuffersNothing(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	var closed atomic.Int32
	nc, err := events.Connect(t.Context(), events.ConnOptions{URL: b.URL, Closed: func(error) { closed.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	b.Stop()
	eventually(t, "disconnected", func() bool { return !nc.IsConnected() })
	if err := nc.Publish("x", nil); err == nil {
		t.Error("a publish without a connection is kept")
	}
	b.Restart()
	eventually(t, "connected again", nc.IsConnected)
	if closed.Load() != 0 {
		t.Error("closed by an outage")
	}
	nc.Close()
	eventually(t, "closed", func() bool { return closed.Load() == 1 })
}
