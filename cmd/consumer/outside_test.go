package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// No client is led from its own host to a network that it has no business in.
func TestOutsideIsGuarded(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(s.Close)
	c := mustParse(t, "config.yaml", fmt.Sprintf(`
koji: {hub_url: %[1]q, root_url: %[1]q}
greenwave: {url: %[1]q}
quay: {registry: %[2]q, url: %[1]q, plain_http: true}
organizations:
  images: {}
  releases: {target: app-registry}
`, s.URL, s.Listener.Addr()), none)
	out, err := newOutside(c, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	asks := asksOf(t, c)
	asks["koji files"] = func(ctx context.Context) error { // whose ping follows no redirect
		_, err := out.koji.OpenArchive(ctx, pipeline.Archive{Path: "packages/x.zip"})
		return err
	}
	asks["images"] = func(ctx context.Context) error {
		_, err := out.images["images"].ResolveImage(ctx, c.Quay.Registry+"/x:1")
		return err
	}
	for name, ask := range asks {
		var refused *clients.AddressError
		if err := ask(t.Context()); !errors.As(err, &refused) || refused.Address != "169.254.169.254" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A registry on a private network is asked for images only by the organizations
// that allow it.
func TestOutsideAsksAllowedRegistries(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(sandbox.NewRegistry())
	t.Cleanup(s.Close)
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(s.Listener.Addr().String() + "/team/operator:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image, remote.WithTransport(s.Client().Transport)); err != nil {
		t.Fatal(err)
	}
	want, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	c := mustParse(t, "config.yaml", fmt.Sprintf(`
quay: {registry: quay.example}
organizations:
  friend: {allowed_registries: [quay.example, %q]}
  stranger: {}
`, s.Listener.Addr()), none)
	c.TLS.Fetched = certificateOf(s)
	out, err := newOutside(c, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	images := out.pipeline(c, nil, nil, nil, prometheus.NewRegistry()).Prepare.Images
	if got, err := images["friend"].ResolveImage(t.Context(), tag.String()); got != want.String() || err != nil {
		t.Errorf("friend: %s, %v", got, err)
	}
	got, err := images["stranger"].ResolveImage(t.Context(), tag.String())
	if !errors.Is(err, pipeline.ErrNoImage) || !strings.Contains(err.Error(), "is loopback: not dialled") {
		t.Errorf("stranger: %s, %v", got, err)
	}
}
