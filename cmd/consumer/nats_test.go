package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
)

// proxy is a way to a server on which it can be made to say something.
type proxy struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	conns []net.Conn // of clients
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, to: u.Host}
	t.Cleanup(func() { _ = listener.Close() })
	go p.accept()
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client)
		p.mu.Unlock()
		forward := func(to, from net.Conn) {
			_, _ = io.Copy(to, from)
			_, _ = to.Close(), from.Close()
		}
		go forward(server, client)
		go forward(client, server)
	}
}

// say makes the server say a line of its own to every client.
func (p *proxy) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_, _ = io.WriteString(c, line+"\r\n")
	}
}

// writeConfig writes a configuration where nothing is but NATS.
func writeConfig(t *testing.T, natsURL, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf(`
nats: {url: %q%s}
koji: {hub_url: "http://127.0.0.1:1/kojihub", root_url: "http://127.0.0.1:1/"}
quay: {registry: "127.0.0.1:1", url: "http://127.0.0.1:1", plain_http: true}
ops: {listen: "127.0.0.1:0"}
organizations: {myorg: {}}
`, natsURL, more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An error that the client cannot make anything of closes its connection for
// good: only a new process helps, and whoever started this one has to know.
func TestConnectionClosedForGoodEndsTheProcess(t *testing.T) {
	t.Parallel()
	p := newProxy(t, eventstest.Start(t).URL)
	var out, errs lockedBuffer
	ended := make(chan int, 1)
	path := writeConfig(t, p.url(), "")
	go func() {
		ended <- run(t.Context(), []string{"run", "-c", path}, func(string) string { return "" }, &out, &errs)
	}()
	s := &system{t: t, log: &errs}
	s.awaitLog(`"msg":"started"`)
	p.say("-ERR 'Nothing You Have Heard Of'")
	select {
	case code := <-ended:
		if code != exitFailed || !strings.Contains(errs.String(), "consumer: service: the connection to nats is closed") {
			t.Errorf("exit %d: %s", code, errs.String())
		}
	case <-time.After(patience):
		t.Fatalf("runs on without a connection: %s", errs.String())
	}
}

func TestPreflightIsOneMessage(t *testing.T) {
	t.Parallel()
	bus := eventstest.Start(t)
	js := (&system{t: t, nats: bus}).jetStream()
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "KOJI", Subjects: []string{"koji.>"}, Storage: jetstream.MemoryStorage},
		{Name: "OMPS_RESULTS", Subjects: []string{"omps.result.>"}},
	} {
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	config, err := LoadConfig(writeConfig(t, bus.URL, ""), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connect(t.Context(), config.NATS, bus.URL, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var log lockedBuffer
	if err := preflight(t.Context(), conn, config, newLogger(config.Log, &log)); err != nil {
		t.Fatal(err)
	}
	var lines []struct {
		Level, Msg string
		Warnings   []string
	}
	for line := range strings.Lines(log.String()) {
		lines = append(lines, struct {
			Level, Msg string
			Warnings   []string
		}{})
		if err := json.Unmarshal([]byte(line), &lines[len(lines)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if len(lines) != 2 || lines[0].Level != "INFO" || !strings.Contains(lines[0].Msg, "sync_interval cannot be read") ||
		lines[1].Level != "WARN" || len(lines[1].Warnings) != 2 {
		t.Fatalf("log is %s", log.String())
	}
	if w := lines[1].Warnings; !strings.HasPrefix(w[0], "stream KOJI: is kept in memory") || !strings.HasPrefix(w[1], "stream OMPS_RESULTS: ") {
		t.Errorf("warnings %q", w)
	}
}

func TestCheckOnlinePrintsWarnings(t *testing.T) {
	t.Parallel()
	bus := eventstest.Start(t)
	js := (&system{t: t, nats: bus}).jetStream()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KOJI", Subjects: []string{"koji.>"}, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	_, _, errs := command(t, "check", "--online", "-c", writeConfig(t, bus.URL, ""))
	for _, want := range []string{"\nnats: ok\n", "\nnats: warning: stream KOJI: is kept in memory", "\nnats: the server's sync_interval cannot be read"} {
		if !strings.Contains("\n"+errs, want) {
			t.Errorf("no %q in %s", want, errs)
		}
	}
	_, _, errs = command(t, "check", "--online", "-c", writeConfig(t, bus.URL, ", manage: false"))
	for _, want := range []string{"\nnats: preflight: ", "\n  stream OMPS_RESULTS: is missing\n", "\n  warning: stream KOJI: is kept in memory"} {
		if !strings.Contains("\n"+errs, want) {
			t.Errorf("no %q in %s", want, errs)
		}
	}
	names := 0
	for range js.StreamNames(t.Context()).Name() {
		names++
	}
	if names != 1 {
		t.Errorf("there are %d streams after a check", names)
	}
}

func TestPreflightWithoutJetStream(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	_, _, errs := command(t, "check", "--online", "-c", writeConfig(t, s.ClientURL(), ""))
	if !strings.Contains(errs, "nats: jetstream is not enabled on the nats server, or not for this account: preflight: ") {
		t.Errorf("said %s", errs)
	}
}
