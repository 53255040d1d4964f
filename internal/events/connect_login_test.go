package events_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

func TestConnectWithClientCertificate(t *testing.T) {
	t.Parallel()
	issuer := httptest.NewTLSServer(nil) // for its certificate
	defer issuer.Close()
	s := guarded(t, func(o *server.Options) {
		o.TLS, o.TLSTimeout = true, 10
		o.TLSConfig = &tls.Config{
			Certificates: issuer.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12,
		}
	})
	key, err := x509.MarshalPKCS8PrivateKey(issuer.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate().Raw})))
	nc, err := events.Connect(t.Context(), events.ConnOptions{URL: s.ClientURL(), TLS: events.TLSFiles{
		CAFile: cert, CertFile: cert,
		KeyFile: write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	state, err := nc.TLSConnectionState()
	if err != nil || !state.HandshakeComplete {
		t.Errorf("no TLS: %v", err)
	}
	conns, err := s.Connz(&server.ConnzOptions{})
	if err != nil || len(conns.Conns) != 1 {
		t.Errorf("connections %+v, %v", conns, err)
	}
}

func TestConnectWithCredentialsFile(t *testing.T) {
	t.Parallel()
	login := credentialsLogin(t)
	s := guarded(t, login.server)
	nc, err := events.Connect(t.Context(), events.ConnOptions{URL: s.ClientURL(), CredentialsFile: write(t, "omps.creds", login.client["credentials"])})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	conns, err := s.Connz(&server.ConnzOptions{Username: true})
	if err != nil || len(conns.Conns) != 1 || conns.Conns[0].AuthorizedUser != login.user {
		t.Errorf("connections %+v, %v", conns, err)
	}
}

type testKey struct {
	pair   nkeys.KeyPair
	public string
	seed   []byte
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) testKey {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return testKey{pair, public, seed}
}
