package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificateOf is the certificate of a server with TLS, as PEM.
func certificateOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// silentTLS serves TLS and does not log who does not trust it.
func silentTLS(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestFetchAuthorities(t *testing.T) {
	t.Parallel()
	authority, _ := keyPair(t)
	var tries atomic.Int64
	mux := http.NewServeMux()
	serve := func(path, text string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
	}
	serve("/ca.crt", "# ours\n"+authority+authority)
	serve("/page", "<html>log in</html>")
	serve("/empty", "")
	serve("/large", authority+strings.Repeat("\n", maxPEMBytes))
	serve("/largest", authority+strings.Repeat("\n", maxPEMBytes-len(authority)))
	serve("/broken", authority+authority[:len(authority)-10])
	mux.HandleFunc("GET /flaky", func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(authority))
	})
	mux.Handle("GET /moved", http.RedirectHandler("/ca.crt?token=hunter2", http.StatusFound))
	plain, secure := httptest.NewServer(mux), silentTLS(t, mux)
	t.Cleanup(plain.Close)
	closed := httptest.NewServer(mux)
	closed.Close()
	known := TLSConfig{CAFiles: []File{{Path: filepath.Join(writeFiles(t, map[string]string{"ca.pem": string(certificateOf(secure))}), "ca.pem")}}}

	const warning = "fetched without tls"
	for _, c := range []struct {
		address string
		known   TLSConfig
		want    string // part of the error; "": none
		warns   bool
	}{
		{plain.URL + "/ca.crt?key=hunter2", TLSConfig{}, "", true},
		{plain.URL + "/largest", TLSConfig{}, "", true},
		{plain.URL + "/flaky", TLSConfig{}, "", true},
		{plain.URL + "/moved", TLSConfig{}, "", true},
		{secure.URL + "/ca.crt", known, "", false},
		{secure.URL + "/ca.crt?key=hunter2", TLSConfig{}, "certificate signed by unknown authority", false},
		{plain.URL + "/page?key=hunter2", TLSConfig{}, "answer: no certificate in PEM form", true},
		{plain.URL + "/empty", TLSConfig{}, "answer: no certificate in PEM form", true},
		{plain.URL + "/broken", TLSConfig{}, "answer: of 2 certificates only 1 can be read", true},
		{plain.URL + "/large", TLSConfig{}, "answer is too large", true},
		{plain.URL + "/absent?key=hunter2", TLSConfig{}, "404 Not Found", true},
		{closed.URL + "/ca.crt?key=hunter2", TLSConfig{}, "connection refused", true},
	} {
		var log lockedBuffer
		data, err := fetchAuthorities(t.Context(), c.address, c.known, newLogger(LogConfig{Level: "debug"}, &log))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.address, err, c.want)
		}
		if (len(data) > 0) != (c.want == "") {
			t.Errorf("%s: %d bytes", c.address, len(data))
		}
		if got := strings.Contains(log.String(), warning); got != c.warns {
			t.Errorf("%s: warned: %v, want %v", c.address, got, c.warns)
		}
		if strings.Contains(fmt.Sprint(err)+log.String(), "hunter2") {
			t.Errorf("%s: the query shows: %v\n%s", c.address, err, log.String())
		}
	}
	if tries.Load() != 3 {
		t.Errorf("%d tries of what fails twice", tries.Load())
	}
	if _, err := fetchAuthorities(t.Context(), plain.URL+"/ca.crt", TLSConfig{CAFiles: []File{{Path: "/no/such/file"}}}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error for an authority that is gone")
	}
}

func TestFetchAuthoritiesEnds(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() }))
	t.Cleanup(s.Close)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := fetchAuthorities(ctx, s.URL, TLSConfig{}, slog.New(slog.DiscardHandler)); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// What was fetched is trusted by every client, and what was not is not.
func TestFetchedAuthorities(t *testing.T) {
	t.Parallel()
	s := silentTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			_, _ = w.Write([]byte("<methodResponse><params><param><value><int>1</int></value></param></params></methodResponse>"))
		case strings.HasSuffix(r.URL.Path, "/about"):
			_, _ = w.Write([]byte(`{"version":"2.3"}`))
		default:
			_, _ = w.Write([]byte(`{"cnr-api":"0.2.6"}`))
		}
	}))
	text := fmt.Sprintf(`
koji: {hub_url: %[1]q, root_url: %[1]q}
greenwave: {url: %[1]q}
quay: {registry: %[2]q, url: %[1]q}
organizations:
  images: {}
  releases: {target: app-registry}
`, s.URL, s.Listener.Addr())
	for _, fetched := range [][]byte{nil, certificateOf(s)} {
		c := mustParse(t, "config.yaml", text, none)
		c.TLS.Fetched = fetched
		for name, ask := range asksOf(t, c) {
			err := ask(t.Context())
			if (err == nil) != (fetched != nil) || err != nil && !strings.Contains(err.Error(), "unknown authority") {
				t.Errorf("%s, %d bytes fetched: %v", name, len(fetched), err)
			}
		}
	}
}

// asksOf is one call of each client.
func asksOf(t *testing.T, c Config) map[string]func(context.Context) error {
	t.Helper()
	out, err := newOutside(c, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	targets, err := out.targets(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	asks := map[string]func(context.Context) error{
		"koji": out.koji.Ping, "koji files": out.koji.PingFiles, "greenwave": out.greenwave.Ping, "quay": out.quayCheck(c),
	}
	for name, target := range targets {
		asks[name] = target.Ping
	}
	return asks
}

// The service does not start without the authorities that it is to trust.
func TestRunWithoutAuthorities(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	path := filepath.Join(writeFiles(t, map[string]string{"config.yaml": "ops: {listen: \"127.0.0.1:0\"}\nnats: {embedded: {listen: \"127.0.0.1:0\"}}\n"}), "config.yaml")
	var errs lockedBuffer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	code := run(ctx, []string{"run", "-c", path}, environment(map[string]string{"CA_URL": s.URL + "/ca.crt"}), &errs, &errs)
	if want := "consumer: certificate authorities of CA_URL (tls.ca_files takes them as a file): GET " + s.URL + "/ca.crt: 404 Not Found"; code != exitFailed || !strings.Contains(errs.String(), want) {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

// Every time-out of the configuration ends the calls that it is for.
func TestTimeoutsApply(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server sees the client go
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	const short, long = "50ms", "1h"
	for limited, names := range map[string][]string{
		"koji": {"koji", "koji files"}, "greenwave": {"greenwave"}, "quay": {"images", "releases"},
	} {
		timeout := map[string]string{"koji": long, "greenwave": long, "quay": long}
		timeout[limited] = short
		asks := asksOf(t, mustParse(t, "config.yaml", fmt.Sprintf(`
koji: {hub_url: %[1]q, root_url: %[1]q, timeout: %[3]s}
greenwave: {url: %[1]q, timeout: %[4]s}
quay: {registry: %[2]q, url: %[1]q, plain_http: true, timeout: %[5]s}
organizations:
  images: {}
  releases: {target: app-registry}
`, s.URL, s.Listener.Addr(), timeout["koji"], timeout["greenwave"], timeout["quay"]), none))
		for _, name := range names {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			start := time.Now()
			err := asks[name](ctx)
			if err == nil || ctx.Err() != nil {
				t.Errorf("%s.timeout: %s ends after %v with %v", limited, name, time.Since(start), err)
			}
			cancel()
		}
	}
}
