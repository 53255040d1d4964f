package amqp

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const secretText = "hunter2"

// openers are both protocols, as they connect.
var openers = map[Protocol]func(context.Context, Options, string) (connection, error){V10: open10, V091: open091}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestSilentBroker: one that accepts connections and says nothing holds nobody
// up for longer than the context lasts.
func TestSilentBroker(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	for protocol, open := range openers {
		t.Run(string(protocol), func(t *testing.T) {
			for _, scheme := range []string{"amqp://", "amqps://"} {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				_, err := open(ctx, Options{Username: "omps", PasswordFile: writeFile(t, secretText+"\n")}, scheme+listener.Addr().String())
				cancel()
				if err == nil || !strings.HasPrefix(err.Error(), "connect: ") || strings.Contains(err.Error(), secretText) {
					t.Errorf("%s %v", scheme, err)
				}
			}
		})
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	absent := filepath.Join(t.TempDir(), "absent")
	for name, c := range map[string]struct {
		o    Options
		says string
	}{
		"no password":       {Options{Username: "omps", PasswordFile: absent}, "password file"},
		"an empty password": {Options{Username: "omps", PasswordFile: writeFile(t, "\n")}, "is empty"},
		"no authorities":    {Options{Username: "omps", PasswordFile: writeFile(t, secretText), TLS: TLS{CAFile: absent}}, "certificate authorities"},
		"not authorities":   {Options{Username: "omps", PasswordFile: writeFile(t, secretText), TLS: TLS{CAFile: writeFile(t, secretText)}}, "none in PEM form"},
		"no certificate":    {Options{TLS: TLS{CertFile: absent, KeyFile: absent}}, "certificate: "},
	} {
		for protocol, open := range openers {
			_, err := open(t.Context(), c.o, "amqps://127.0.0.1:1")
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secretText) {
				t.Errorf("%s, %s: %v", name, protocol, err)
			}
		}
	}
	if _, err := open091(t.Context(), Options{}, "amqp://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "to log in with") {
		t.Errorf("nobody: %v", err)
	}
}
