package eventstest

import (
	"net/url"
	"sync"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// Server is an embedded server that can be stopped and started again on the
// same port and store, as in an outage.
type Server struct {
	URL string

	tb    testing.TB
	store string

	mu      sync.Mutex
	running *events.Server
}

// Start starts a server on a free loopback port with a store of its own. It
// ends with the test.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{tb: tb, store: tb.TempDir()}
	s.start("127.0.0.1:0")
	s.URL = s.running.URL()
	tb.Cleanup(s.Stop)
	return s
}

// Stop stops the server and waits for its end. Stopping twice is once.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		s.running.Shutdown()
		s.running = nil
	}
}

// Restart starts a stopped server again where it was.
func (s *Server) Restart() {
	s.tb.Helper()
	at, err := url.Parse(s.URL)
	if err != nil {
		s.tb.Fatalf("server url: %v", err)
	}
	s.start(at.Host)
}

func (s *Server) start(listen string) {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		s.tb.Fatal("the server runs already")
	}
	running, err := events.StartServer(events.ServerOptions{Listen: listen, StoreDir: s.store})
	if err != nil {
		s.tb.Fatalf("start server: %v", err)
	}
	s.running = running
}
