package events

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// ServerOptions configure an embedded server.
type ServerOptions struct {
	Listen   string       // host:port; port 0 takes a free one
	StoreDir string       // created, for its owner only, where missing
	Logger   *slog.Logger // nil: silent
}

// Server is a NATS server with JetStream in this process, for installations
// that have none of their own. Every write reaches the disk before it is
// acknowledged.
type Server struct {
	nats *server.Server
	lock *os.File // on the store: two servers there would lose what they acknowledged
}

// StartServer starts a server and returns when it takes connections.
func StartServer(o ServerOptions) (*Server, error) {
	host, port, err := splitListen(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("embedded nats server: %w", err)
	}
	if o.StoreDir == "" {
		// The library would take a directory under /tmp.
		return nil, errors.New("embedded nats server: no store directory")
	}
	if err := os.MkdirAll(o.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded nats server: %w", err)
	}
	lock, err := lockStore(o.StoreDir)
	if err != nil {
		return nil, fmt.Errorf("embedded nats server: %w", err)
	}
	ns, err := server.NewServer(&server.Options{
		ServerName: "omps-consumer", Host: host, Port: port,
		JetStream: true, StoreDir: o.StoreDir, SyncAlways: true,
		NoSigs: true, DisableJetStreamBanner: true,
	})
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("embedded nats server: %w", err)
	}
	log := &serverLog{log: orSilent(o.Logger).With("component", "nats-server")}
	ns.SetLogger(log, false, false)
	ns.Start() // returns when it listens, or has said why it cannot
	if err := log.fatal(); err != nil {
		ns.Shutdown()
		_ = lock.Close()
		return nil, fmt.Errorf("embedded nats server on %s: %w", o.Listen, err)
	}
	return &Server{nats: ns, lock: lock}, nil
}

func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("listen %q is not host:port", listen)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < -1 || port > 65535 {
		return "", 0, fmt.Errorf("listen %q has no port", listen)
	}
	if port == 0 {
		port = server.RANDOM_PORT // 0 would be the standard one, 4222
	}
	return host, port, nil
}

// URL is where clients connect.
func (s *Server) URL() string { return s.nats.ClientURL() }

// Shutdown stops the server and waits until its store is closed.
func (s *Server) Shutdown() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	_ = s.lock.Close()
}

// serverLog hands the server's log on. Its notices only matter when something
// is wrong with it, so they are debug lines.
type serverLog struct {
	log *slog.Logger

	mu  sync.Mutex
	err error // the first fatal one
}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *serverLog) Debugf(string, ...any)           {}
func (l *serverLog) Tracef(string, ...any)           {}

// Fatalf reports what keeps the server from running. The library expects the
// process to end here; StartServer returns it as its error instead.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf(format, v...)
	}
	l.log.Error(l.err.Error())
}

func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func orSilent(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
