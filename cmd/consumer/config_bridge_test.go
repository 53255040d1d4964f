package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
)

// TestBridgeDoubts: what the bridge itself does is doubted, as by check, and what
// the service does is not.
func TestBridgeDoubts(t *testing.T) {
	t.Parallel()
	const bus = "bridge: {sources: [{name: x, protocol: amqp-1.0, urls: [amqp://a], username: x, password_file: secret, addresses: [a]}]}\n"
	const natsInClear = "nats: {url: 'nats://nats.example.com', user: bridge, password_file: secret}\n"
	const service = "quay: {registry: a, url: 'http://a', plain_http: true}\ntracing: {otlp_url: 'http://a', authorization_file: secret}\n"
	folder := writeFiles(t, map[string]string{"c.yaml": bus + natsInClear + service, "secret": "x"})
	c, err := loadBridgeConfig(folder+"/c.yaml", none)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, warning := range c.Warnings {
		got = append(got, strings.TrimPrefix(warning, folder))
	}
	want := []string{
		"/c.yaml:1: bridge.sources[0].urls[0]: the password goes unencrypted to a",
		"/c.yaml:2: nats.url: sends the password in clear to a server that does not ask for TLS: tls:// insists on it",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// TestBridgeAloneIsProbed as a bridge: it has no use for nats.api_prefix, which
// the service refuses.
func TestBridgeAloneIsProbed(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	c.NATS.URL, c.NATS.APIPrefix = eventstest.Start(t).URL, "JS.OMPS.API"
	c.Bridge.Sources = []BusConfig{defaultBus()}
	log := slog.New(slog.DiscardHandler)
	if _, err := natsProbe(c, log).ask(t.Context()); err != nil {
		t.Error(err)
	}
	c.Organizations = map[string]OrganizationConfig{"myorg": {}}
	if _, err := natsProbe(c, log).ask(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "nats.api_prefix is JS.OMPS.API") {
		t.Errorf("with an organization: %v", err)
	}
}

// TestBridgeDoubtsPasswordsInClear: nobody is on the way to this machine.
func TestBridgeDoubtsPasswordsInClear(t *testing.T) {
	t.Parallel()
	for address, doubted := range map[string]bool{
		"amqp://broker.example.com": true, "amqp://192.0.2.1:5672": true, "amqp://[2001:db8::1]:5672": true,
		"amqps://broker.example.com": false, "amqp://127.0.0.1:5672": false, "amqp://localhost": false, "amqp://[::1]:5672": false,
	} {
		for username, known := range map[string]bool{"omps": true, "": false} {
			f := newFaults("c.yaml")
			BridgeConfig{Sources: []BusConfig{{URLs: []string{"amqps://a", address}, Username: username}}}.doubt(f)
			var got string
			for _, w := range f.warnings {
				got += w.Path + " " + w.Text
			}
			if want := "bridge.sources[0].urls[1] the password goes unencrypted to "; (doubted && known) != strings.HasPrefix(got, want) || len(f.warnings) > 1 {
				t.Errorf("%s as %q: %q", address, username, got)
			}
		}
	}
}
