package amqp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rabbitmq/amqp091-go"
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

// unread is a broker of AMQP 0.9.1 that reads no answer.
type unread struct{ net.Conn }

func (u unread) Ack(uint64, bool) error        { return u.answer() }
func (u unread) Nack(uint64, bool, bool) error { return u.answer() }
func (u unread) Reject(uint64, bool) error     { return u.answer() }

func (u unread) answer() error {
	_, err := u.Write([]byte{1})
	return err
}

// TestAnswersThatNobodyReads: they last no longer than their context, and cost
// the connection.
func TestAnswersThatNobodyReads(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(Delivery, context.Context) error{"accept": Delivery.Accept, "reject": Delivery.Reject} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				deliveries := make(chan amqp091.Delivery, 1)
				deliveries <- amqp091.Delivery{Acknowledger: unread{near}}
				c := &conn091{network: near, deliveries: deliveries}
				d, err := c.receive(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := answer(d, ctx); !errors.Is(err, io.ErrClosedPipe) {
					t.Errorf("answered: %v", err)
				}
				if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("the connection is still there: %v", err)
				}
			})
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
