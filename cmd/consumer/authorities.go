package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// Bounds of fetching certificate authorities at the start.
const (
	authoritiesTimeout = 30 * time.Second // with every try
	authoritiesTry     = 10 * time.Second
	authoritiesRetries = 4

	maxSubjects = 5 // that are logged
)

// fetchAuthorities gets the certificates at the address, as PEM. A server with
// TLS has to prove itself to the authorities that are known already.
func fetchAuthorities(ctx context.Context, address string, known TLSConfig, log *slog.Logger) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, authoritiesTimeout)
	defer cancel()
	roots, err := clients.CertPool(known.CAPaths(), nil)
	if err != nil {
		return nil, err
	}
	client := clients.New(clients.Options{
		Name: "ca", Timeout: authoritiesTry, Retries: authoritiesRetries, RootCAs: roots, Logger: log,
		Hosts: []string{hostOf(address)},
	})
	if strings.HasPrefix(strings.ToLower(address), "http:") {
		log.Warn("certificate authorities are fetched without tls: whoever is on the way can put in their own", "variable", caVariable)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, errors.New("address cannot be asked for")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, client.StatusError(resp)
	}
	defer resp.Body.Close()
	data, err := clients.ReadBody(resp.Body, maxPEMBytes)
	if err != nil {
		return nil, err
	}
	certificates, err := clients.Certificates(data)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	var subjects []string
	for _, c := range certificates[:min(len(certificates), maxSubjects)] {
		subjects = append(subjects, c.Subject.String())
	}
	log.Info("certificate authorities added", "variable", caVariable, "certificates", len(certificates), "subjects", subjects)
	return data, nil
}
