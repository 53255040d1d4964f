package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// patience bounds every wait of these tests. They wait for events, never for
// time to pass.
const patience = time.Minute

// system is the service with everything around it: a NATS server and the
// stand-ins, each of which can be stopped and brought back.
type system struct {
	t     *testing.T
	world *sandbox.World
	nats  *eventstest.Server
	login []nats.Option // of the test itself, where the server asks for one
	ops   string
	log   *lockedBuffer
	stop  func() error

	config Config

	results chan events.ResultData
}

// newSystem starts the service on a configuration as a user would write it.
// extra is added to the organization "myorg".
func newSystem(t *testing.T, options sandbox.Options, extra string) *system {
	t.Helper()
	s := prepareSystem(t, options, extra)
	s.start()
	s.watch()
	return s
}

// prepareSystem makes everything but the service.
func prepareSystem(t *testing.T, options sandbox.Options, extra string) *system {
	t.Helper()
	world, err := sandbox.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	s := &system{t: t, world: world, nats: eventstest.Start(t), log: &lockedBuffer{}, results: make(chan events.ResultData, 1000)}
	config, err := ParseConfig("test.yaml", fmt.Appendf(nil, `
nats: {url: %q}
intake: {ack_wait: 3s, recheck: 1s, grace: 10s}
koji: {hub_url: %q, root_url: %q, timeout: 5s}
greenwave: {url: %q, timeout: 5s}
quay: {registry: %q, url: %q, plain_http: true, timeout: 5s}
ops: {listen: "127.0.0.1:0"}
organizations:
  myorg:
    match: ["sample-*", "bad-*"]
    replace_registry: [{old: quay.io, new: registry.example.com}]
%s`, s.nats.URL, world.HubURL(), world.FilesURL(), world.GreenwaveURL(), world.RegistryHost(), world.RegistryURL(), extra),
		func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	s.config = config
	return s
}

// start starts the service. It ends with the test, or before by stop.
func (s *system) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	up, ended := make(chan endpoints, 1), make(chan error, 1)
	go func() { ended <- serve(ctx, s.config, newLogger(s.config.Log, s.log), func(e endpoints) { up <- e }) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	s.stop = stop
	select {
	case e := <-up:
		s.ops = e.Ops
	case err := <-ended:
		s.t.Fatalf("the service ended: %v", err)
	}
	s.t.Cleanup(func() {
		if err := stop(); err != nil {
			s.t.Errorf("the service ended with %v", err)
		}
		if s.t.Failed() {
			s.t.Log(s.log.String())
		}
	})
}

// watch collects result events from the stream, over outages of NATS too.
func (s *system) watch() {
	js := s.jetStream()
	consumer, err := js.OrderedConsumer(s.t.Context(), "OMPS_RESULTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	consume, err := consumer.Consume(func(msg jetstream.Msg) {
		e, err := events.Decode(msg.Subject(), msg.Headers(), msg.Data())
		if err != nil {
			s.t.Errorf("a result that cannot be read: %v", err)
			return
		}
		data, err := events.DataOf(e)
		if err != nil {
			s.t.Errorf("a result without data: %v", err)
		}
		s.results <- data
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(consume.Stop)
}

func (s *system) jetStream() jetstream.JetStream {
	s.t.Helper()
	options := append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, s.login...)
	conn, err := nats.Connect(s.nats.URL, options...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

// publish sends one message and waits until it is stored.
func (s *system) publish(subject, data string, header nats.Header) {
	s.t.Helper()
	if header == nil {
		header = nats.Header{}
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if _, err := s.jetStream().PublishMsg(ctx, &nats.Msg{Subject: subject, Header: header, Data: []byte(data)}); err != nil {
		s.t.Fatalf("publish to %s: %v", subject, err)
	}
}

// announce publishes a build's completion, as `nats pub` would.
func (s *system) announce(nvr string) {
	s.t.Helper()
	s.publish("koji.build.completed", fmt.Sprintf(
		`{"specversion":"1.0","id":"announce-%[1]s","source":"https://koji.example.com/","type":"org.koji.build.completed.v1","data":{"nvr":%[1]q}}`, nvr), nil)
}

// next waits for the next result event that is not of outcome waiting.
func (s *system) next() events.ResultData {
	s.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case r := <-s.results:
			if r.Outcome != "waiting" {
				return r
			}
		case <-timeout.C:
			s.t.Fatalf("no result within %s", patience)
		}
	}
}

// deadLetter waits for the next message on the dead-letter stream.
func (s *system) deadLetters(n int) []*jetstream.RawStreamMsg {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	consumer, err := s.jetStream().OrderedConsumer(ctx, "OMPS_DEAD_LETTERS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	var letters []*jetstream.RawStreamMsg
	for range n {
		msg, err := consumer.Next(jetstream.FetchContext(ctx))
		if err != nil {
			s.t.Fatalf("%d of %d dead letters: %v", len(letters), n, err)
		}
		letters = append(letters, &jetstream.RawStreamMsg{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()})
	}
	return letters
}

func (s *system) get(path string) (int, string) {
	s.t.Helper()
	resp, err := http.Get(s.ops + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func pull(t *testing.T, reference string) v1.Image {
	t.Helper()
	ref, err := name.NewDigest(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref)
	if err != nil {
		t.Fatalf("pull %s: %v", reference, err)
	}
	return image
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// awaitLog waits for a line of the log that holds all of the parts.
func (s *system) awaitLog(parts ...string) {
	s.t.Helper()
	s.await(fmt.Sprintf("a line of the log with %q", parts), func() bool {
		for line := range strings.Lines(s.log.String()) {
			if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
				return true
			}
		}
		return false
	})
}

// await waits until something that sends no signal is true.
func (s *system) await(what string, isTrue func() bool) {
	s.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !isTrue() {
		select {
		case <-tick.C:
		case <-deadline.C:
			s.t.Fatalf("there is not, within %s: %s", patience, what)
		}
	}
}
