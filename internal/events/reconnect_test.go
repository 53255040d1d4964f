package events_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// login is one way to prove who we are, as a server and a client know it.
type login struct {
	server func(o *server.Options)
	client map[string]string // content by name of file
	user   string            // as the server calls it, where it has a key
}

func passwordLogin(t *testing.T) login {
	t.Helper()
	password := newKey(t, nkeys.CreateUser).public // any text that is new
	return login{
		server: func(o *server.Options) { o.Username, o.Password = "omps", password },
		client: map[string]string{"password": password + "\n"},
	}
}

func nkeyLogin(t *testing.T) login {
	t.Helper()
	seed, public := newNkey(t)
	return login{
		server: func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} },
		client: map[string]string{"seed": seed}, user: public,
	}
}

func credentialsLogin(t *testing.T) login {
	t.Helper()
	operator, account, user := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateUser)
	trusted := jwt.NewOperatorClaims(operator.public)
	if _, err := trusted.Encode(operator.pair); err != nil {
		t.Fatal(err)
	}
	accountJWT, err := jwt.NewAccountClaims(account.public).Encode(operator.pair)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(account.public, accountJWT); err != nil {
		t.Fatal(err)
	}
	userJWT, err := jwt.NewUserClaims(user.public).Encode(account.pair)
	if err != nil {
		t.Fatal(err)
	}
	file, err := jwt.FormatUserConfig(userJWT, user.seed)
	if err != nil {
		t.Fatal(err)
	}
	return login{
		server: func(o *server.Options) {
			o.TrustedOperators, o.AccountResolver = []*jwt.OperatorClaims{trusted}, resolver
		},
		client: map[string]string{"credentials": string(file)}, user: user.public,
	}
}

// certificateLogin has new certificates on both sides, each its own authority.
func certificateLogin(t *testing.T) login {
	t.Helper()
	serverCert, serverPEM, _ := newCertificate(t)
	_, clientPEM, keyPEM := newCertificate(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(clientPEM))
	return login{
		server: func(o *server.Options) {
			o.TLS, o.TLSTimeout = true, 10
			o.TLSConfig = &tls.Config{
				Certificates: []tls.Certificate{serverCert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
				MinVersion: tls.VersionTLS12,
			}
		},
		client: map[string]string{"ca": serverPEM, "cert": clientPEM, "key": keyPEM},
	}
}

func newCertificate(t *testing.T) (cert tls.Certificate, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	if cert, err = tls.X509KeyPair([]byte(certPEM), []byte(keyPEM)); err != nil {
		t.Fatal(err)
	}
	return cert, certPEM, keyPEM
}

// A secret that is changed on the server first, and in our files some refusals
// later, costs no more than that.
func TestReconnectReadsARotatedSecret(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		login   func(t *testing.T) login
		options func(file func(name string) string) events.ConnOptions
	}{
		"password": {passwordLogin, func(file func(string) string) events.ConnOptions {
			return events.ConnOptions{User: "omps", PasswordFile: file("password")}
		}},
		"nkey": {nkeyLogin, func(file func(string) string) events.ConnOptions {
			return events.ConnOptions{NkeySeedFile: file("seed")}
		}},
		"credentials": {credentialsLogin, func(file func(string) string) events.ConnOptions {
			return events.ConnOptions{CredentialsFile: file("credentials")}
		}},
		"certificate": {certificateLogin, func(file func(string) string) events.ConnOptions {
			return events.ConnOptions{TLS: events.TLSFiles{CAFile: file("ca"), CertFile: file("cert"), KeyFile: file("key")}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := tt.login(t), tt.login(t)
			old := guarded(t, before.server)
			files := map[string]string{}
			for name, text := range before.client {
				files[name] = write(t, name, text)
			}
			o := tt.options(func(name string) string { return files[name] })
			var log logBuffer
			closed := make(chan error, 1)
			o.URL, o.Logger, o.Closed = old.ClientURL(), slog.New(slog.NewTextHandler(&log, nil)), func(err error) { closed <- err }
			nc, err := events.Connect(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			port := old.Addr().(*net.TCPAddr).Port
			old.Shutdown()
			old.WaitForShutdown()
			refused := len(log.lines("level=ERROR")) + len(log.lines("does not answer"))
			guarded(t, func(o *server.Options) { o.Port = port; after.server(o) })

			// The library alone would close the connection at the second refusal.
			eventually(t, "four refusals", func() bool {
				return len(log.lines("level=ERROR"))+len(log.lines("does not answer")) >= refused+4
			})
			for name, text := range after.client {
				if err := os.WriteFile(files[name], []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "connected again", nc.IsConnected)
			if len(closed) > 0 {
				t.Errorf("closed: %v", <-closed)
			}
		})
	}
}

// The library's own limit is 60 attempts.
func TestReconnectNeverGivesUp(t *testing.T) {
	t.Parallel()
	for name, refuses := range map[string]bool{"no server": false, "a server that refuses": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := passwordLogin(t), passwordLogin(t)
			s := guarded(t, ours.server)
			var log logBuffer
			nc, err := events.Connect(t.Context(), events.ConnOptions{
				URL: s.ClientURL(), User: "omps", PasswordFile: write(t, "password", ours.client["password"]),
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			port := s.Addr().(*net.TCPAddr).Port
			s.Shutdown()
			s.WaitForShutdown()
			sign := "does not answer"
			if refuses {
				sign = "uthorization"
				s = guarded(t, func(o *server.Options) { o.Port = port; theirs.server(o) })
			}
			eventually(t, "100 attempts", func() bool {
				_ = nc.ForceReconnect() // at once, not after the wait
				return len(log.lines(sign)) >= 100
			})
			if nc.IsClosed() {
				t.Fatal("closed")
			}
			s.Shutdown()
			s.WaitForShutdown()
			guarded(t, func(o *server.Options) { o.Port = port; ours.server(o) })
			eventually(t, "connected again", nc.IsConnected)
		})
	}
}
