package events_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

func TestServerKeepsItsStoreToItself(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, err := events.StartServer(events.ServerOptions{Listen: "127.0.0.1:-1", StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o700 {
		t.Errorf("store has mode %o", mode)
	}
	if !strings.HasPrefix(s.URL(), "nats://127.0.0.1:") {
		t.Errorf("url is %s", s.URL())
	}
}

func TestTwoServersCannotShareAStore(t *testing.T) {
	t.Parallel()
	o := events.ServerOptions{Listen: "127.0.0.1:0", StoreDir: t.TempDir()}
	first, err := events.StartServer(o)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := events.StartServer(o); err == nil {
		second.Shutdown()
		t.Error("a second server on the same store")
	} else if !strings.Contains(err.Error(), "in use by another process") {
		t.Error(err)
	}
	first.Shutdown()
	again, err := events.StartServer(o)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Shutdown()
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, listen, dir, want string
	}{
		{"port in use", taken.Addr().String(), t.TempDir(), "address already in use"},
		{"store is a file", "127.0.0.1:0", file, "not a directory"},
		{"no store", "127.0.0.1:0", "", "no store directory"},
		{"no port", "127.0.0.1", t.TempDir(), `"127.0.0.1" is not host:port`},
		{"port is a word", "127.0.0.1:http", t.TempDir(), "has no port"},
		{"port too large", "127.0.0.1:70000", t.TempDir(), "has no port"},
		{"not an address of ours", "192.0.2.1:0", t.TempDir(), "cannot assign"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := events.StartServer(events.ServerOptions{Listen: tt.listen, StoreDir: tt.dir})
			if err == nil {
				s.Shutdown()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("no %q in %q", tt.want, err)
			}
		})
	}
}

func TestServerKeepsWhatItStored(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
		t.Fatal(err)
	}
	b.announce(nvr(1))
	b.Stop()
	b.Restart()
	if got := len(b.stored("KOJI")); got != 1 {
		t.Errorf("%d messages", got)
	}
}
