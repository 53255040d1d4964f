package clients

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// CertPool is the system's root certificates plus those in the PEM files and
// in more, PEM that lies in memory and may be empty. A file that cannot be read
// or holds no certificate is an error, and so is more that Certificates refuses.
func CertPool(files []string, more []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("system certificates: %w", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("certificates: %s holds none in PEM form", file)
		}
	}
	if len(more) == 0 {
		return pool, nil
	}
	certificates, err := Certificates(more)
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	for _, c := range certificates {
		pool.AddCert(c)
	}
	return pool, nil
}

// Certificates reads the certificates in PEM data, of which there has to be one
// at least. Text and other blocks between them are left aside; a certificate
// that cannot be read is an error.
func Certificates(data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be read: %w", len(list)+1, err)
		}
		list = append(list, c)
	}
	// pem.Decode passes over a block that is damaged.
	switch begun := bytes.Count(data, []byte("-----BEGIN CERTIFICATE-----")); {
	case begun == 0:
		return nil, errors.New("no certificate in PEM form")
	case begun > len(list):
		return nil, fmt.Errorf("of %d certificates only %d can be read", begun, len(list))
	}
	return list, nil
}
