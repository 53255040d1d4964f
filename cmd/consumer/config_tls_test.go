package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// keyPair makes a certificate of this machine's, its own authority, and its key,
// both as PEM.
func keyPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func TestTLSFiles(t *testing.T) {
	t.Parallel()
	cert, key := keyPair(t)
	_, otherKey := keyPair(t)
	folder := writeFiles(t, map[string]string{
		"cert.pem": cert, "key.pem": key, "other.pem": otherKey, "text.pem": "no PEM",
		"large.pem": cert + strings.Repeat("\n", maxPEMBytes),
	})
	for text, want := range map[string][]string{
		"tls: {ca_files: [cert.pem]}":                                         nil,
		"nats: {url: tls://n, tls: {cert_file: cert.pem, key_file: key.pem}}": nil,
		"nats: {url: tls://n, tls: {cert_file: cert.pem, key_file: other.pem}}": {
			"nats.tls.cert_file: is no pair with key_file: tls: private key does not match public key",
		},
		"nats: {url: tls://n, tls: {ca_file: text.pem}}": {
			"nats.tls.ca_file: " + folder + "/text.pem holds no certificate in PEM form",
		},
		"tls: {ca_files: [cert.pem, key.pem, large.pem]}": {
			"tls.ca_files[1]: " + folder + "/key.pem holds no certificate in PEM form",
			"tls.ca_files[2]: cannot read " + folder + "/large.pem: larger than 1MiB",
		},
	} {
		c, err := ParseConfig(filepath.Join(folder, "c.yaml"), []byte(text), none)
		var got []string
		if err != nil {
			got = strings.Split(strings.ReplaceAll(err.Error(), folder+"/c.yaml:1: ", ""), "\n")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s", text, diff)
		}
		for _, path := range c.TLS.CAPaths() {
			if path != filepath.Join(folder, "cert.pem") {
				t.Errorf("%s: certificate file is %s", text, path)
			}
		}
	}
}
