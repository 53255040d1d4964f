package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	maxRequestBytes  = 32 << 20 // of one request's body; more is answered 413
	maxRecordedBytes = 16 << 10 // of a body that a Request keeps
	maxRecorded      = 4096     // requests that a Server keeps, the newest

	restartPatience = 5 * time.Second // how long Restart waits for its port
	restartPause    = 20 * time.Millisecond
)

// Request is what a Server was asked.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header http.Header // as it came, credentials included
	Body   []byte      // its first 16 KiB
}

// Answer replaces what a stand-in would have said.
type Answer struct {
	Status int // 0: the connection is cut without an answer
	Header http.Header
	Body   string
	// After lets the stand-in act on the request first: it is only its answer
	// that gets lost.
	After bool
	// Sent is called when the client has been sent all of the answer; nil:
	// nothing is. The connection stays open until it returns, so with fewer
	// bytes than a Content-Length in Header, the client is in the middle of it.
	Sent func()
}

// Fault looks at a request before its stand-in does. A nil Answer lets it pass.
// A Fault may take its time: the request's context ends when the client gives
// up. It may be called by many requests at once.
type Fault func(*http.Request) *Answer

// Server serves one handler over HTTP. Its methods are safe for concurrent use.
type Server struct {
	handler http.Handler
	address string // host:port, kept across restarts

	mu       sync.Mutex
	stop     func() // nil while stopped
	fault    Fault
	requests []Request
	first    int           // how many requests were dropped before requests[0]
	news     chan struct{} // closed and replaced at each request
}

// Serve serves h at addr, host:port. Port 0, or none, picks a free one. Without
// a host it listens on loopback only; any other interface has to be named.
func Serve(h http.Handler, addr string) (*Server, error) {
	if addr == "" {
		addr = ":0"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "0"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, err
	}
	s := &Server{handler: h, address: listener.Addr().String(), news: make(chan struct{})}
	s.start(listener)
	return s, nil
}

// URL is the server's address as http://host:port, the same after a Restart.
func (s *Server) URL() string { return "http://" + s.address }

// Host is the server's host:port.
func (s *Server) Host() string { return s.address }

// Stop closes the port and every connection; from then on connecting is
// refused. Stopping a stopped server does nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// Restart serves again, on the same address, after a Stop; the handler keeps
// its state. An error means that somebody else took the port meanwhile, or
// that the server was not stopped.
func (s *Server) Restart() error {
	for deadline := time.Now().Add(restartPatience); ; <-time.After(restartPause) {
		listener, err := net.Listen("tcp", s.address)
		switch {
		case err == nil:
			s.start(listener)
			return nil
		case s.serving():
			return fmt.Errorf("server at %s is running", s.address)
		case time.Now().After(deadline):
			return err
		}
	}
}

func (s *Server) serving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop != nil
}

func (s *Server) start(listener net.Listener) {
	server := &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	go func() { _ = server.Serve(listener) }() // ends with the listener's closing

	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = func() {
		_ = listener.Close() // Close alone misses a listener that Serve has not seen yet
		_ = server.Close()
	}
}

// SetFault installs f before the handler; nil removes it.
func (s *Server) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Requests lists what was asked, oldest first: everything up to 4,096 requests,
// after that at least the newest 2,048.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Await returns the first recorded request that match accepts, waiting for it
// if it has not come yet. Its error is the context's.
func (s *Server) Await(ctx context.Context, match func(Request) bool) (Request, error) {
	next := 0
	for {
		s.mu.Lock()
		from := max(next-s.first, 0)
		fresh := slices.Clone(s.requests[from:])
		next = s.first + len(s.requests)
		news := s.news
		s.mu.Unlock()

		if i := slices.IndexFunc(fresh, match); i >= 0 {
			return fresh[i], nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Request{}, ctx.Err()
		}
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			http.Error(w, "request too large", http.StatusRequestEntityTooLarge)
		}
		return
	}
	var answer *Answer
	if f := s.record(r, body); f != nil {
		r.Body = io.NopCloser(bytes.NewReader(body)) // the fault may read it too
		answer = f(r)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case answer == nil:
		s.handler.ServeHTTP(w, r)
		return
	case answer.After:
		s.handler.ServeHTTP(lost{}, r)
	}
	answer.write(w)
}

// lost is where an answer goes that nobody is to see.
type lost struct{}

func (lost) Header() http.Header         { return http.Header{} }
func (lost) Write(p []byte) (int, error) { return len(p), nil }
func (lost) WriteHeader(int)             {}

// record keeps the request and returns the fault that is to see it.
func (s *Server) record(r *http.Request, body []byte) Fault {
	request := Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header.Clone(),
		Body: bytes.Clone(body[:min(len(body), maxRecordedBytes)]),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == maxRecorded {
		// Half at a time, so that not each request moves all of them.
		s.requests = slices.Clone(s.requests[maxRecorded/2:])
		s.first += maxRecorded / 2
	}
	s.requests = append(s.requests, request)
	close(s.news)
	s.news = make(chan struct{})
	return s.fault
}

func (a *Answer) write(w http.ResponseWriter) {
	if a.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body) // the client may be gone
	if a.Sent != nil {
		_ = http.NewResponseController(w).Flush() // as above
		a.Sent()
	}
}
