package clients

import (
	"crypto/x509"
	"fmt"
	"os"
)

// CertPool is the system's root certificates plus those in the PEM files. A
// file that cannot be read or holds no certificate is an error.
func CertPool(files []string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("system certificates: %w", err)
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificates: %s holds none in PEM form", file)
		}
	}
	return pool, nil
}
