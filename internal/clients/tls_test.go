package clients

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func poolOf(t *testing.T, certificate *x509.Certificate) *x509.CertPool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	pool, err := CertPool([]string{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func TestCertPoolFaults(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, filepath.Join(t.TempDir(), "absent.pem")} {
		if _, err := CertPool([]string{file}, nil); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if pool, err := CertPool(nil, nil); pool == nil || err != nil {
		t.Errorf("system certificates: %v", err)
	}
}

// newAuthority is a certificate that signed itself, as PEM.
func newAuthority(t *testing.T) []byte {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	one := newAuthority(t)
	damaged := bytes.Replace(one, []byte("MII"), []byte("M!!"), 1)
	unreadable := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no certificate")})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("no key")})
	for name, c := range map[string]struct {
		data []byte
		want int // certificates; 0: an error
		says string
	}{
		"one":                {one, 1, ""},
		"two, text between":  {slices.Concat([]byte("first\n"), one, []byte("second\n"), one), 2, ""},
		"one beside a key":   {slices.Concat(key, one), 1, ""},
		"nothing":            {nil, 0, "no certificate in PEM form"},
		"a page":             {[]byte("<html>moved</html>"), 0, "no certificate in PEM form"},
		"a key":              {key, 0, "no certificate in PEM form"},
		"a damaged one":      {slices.Concat(one, damaged), 0, "of 2 certificates only 1 can be read"},
		"one that is none":   {slices.Concat(one, unreadable), 0, "certificate 2 cannot be read"},
		"the end is missing": {one[:len(one)-10], 0, "of 1 certificates only 0 can be read"},
	} {
		got, err := Certificates(c.data)
		if len(got) != c.want || (err == nil) != (c.want > 0) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %d certificates, %v", name, len(got), err)
		}
		pool, err := CertPool(nil, c.data)
		if ok := c.want > 0 || len(c.data) == 0; (err == nil) != ok || ok && pool == nil {
			t.Errorf("%s: pool: %v", name, err)
		}
	}
}
