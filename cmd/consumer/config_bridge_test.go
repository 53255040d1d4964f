package main

import (
	"errors"
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

// TestBridgeReadsItsOwnFilesOnly: the bridge needs no secret of the service, nor
// the service one of the bridge.
func TestBridgeReadsItsOwnFilesOnly(t *testing.T) {
	t.Parallel()
	const org = "organizations: {myorg: {push_username: x, push_password_file: not/there}}\n"
	const bus = "bridge: {sources: [{name: x, protocol: amqp-1.0, urls: [amqps://a], username: x, password_file: not/there, addresses: [a]}]}\n"
	const anonymous = "bridge: {sources: [{name: x, protocol: amqp-1.0, urls: [amqps://a], addresses: [a]}]}\n"
	for name, c := range map[string]struct {
		text string
		load func(string) error
		says string
	}{
		"bridge":                     {org + anonymous, loadsBridge, ""},
		"bridge beside spans":        {anonymous + "tracing: {otlp_url: 'https://a', authorization_file: not/there}\n", loadsBridge, ""},
		"bridge beside a store":      {anonymous + "nats: {embedded: {store_dir: '${NOT_SET}/nats'}}\n", loadsBridge, ""},
		"bridge without its login":   {anonymous + "nats: {url: 'tls://a', user: x, password_file: not/there}\n", loadsBridge, "nats.password_file"},
		"bridge without authorities": {anonymous + org + "tls: {ca_files: [not/there]}\n", loadsBridge, "tls.ca_files[0]"},
		"bridge without its own":     {bus, loadsBridge, "bridge.sources[0].password_file"},
		"bridge without sources":     {org, loadsBridge, "nothing to bridge"},
		"service":                    {bus, loadsRun, ""},
		"service and a bad bridge":   {strings.Replace(bus, "amqps", "ftp", 1), loadsRun, "bridge.sources[0].urls[0]"},
	} {
		err := c.load(writeFiles(t, map[string]string{"c.yaml": c.text}) + "/c.yaml")
		var faults *ConfigError
		if c.says == "" && err != nil || c.says != "" && (!errors.As(err, &faults) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// TestCommandsReadTheirOwnFilesOnly: who looks from outside needs no secret of the
// bridge, nor that of the collector of spans.
func TestCommandsReadTheirOwnFilesOnly(t *testing.T) {
	t.Parallel()
	file := writeFiles(t, map[string]string{"c.yaml": `organizations: {myorg: {push_username: x, push_password_file: not/there, match: ["*"]}}
tracing: {otlp_url: 'https://a', authorization_file: not/there}
bridge: {sources: [{name: x, protocol: amqp-1.0, urls: [amqps://a], username: x, password_file: not/there, addresses: [a]}]}
`}) + "/c.yaml"
	for name, load := range map[string]func() (Config, error){
		"status":    func() (Config, error) { return loadBusConfig(file, none) },
		"reconcile": func() (Config, error) { return loadReconcileConfig(reconcileFlags{bus: busFlags{config: file}}, none) },
		"publish": func() (Config, error) {
			return loadPublishConfig(publishFlags{config: file, organization: "myorg", dryRun: true}, none)
		},
	} {
		if _, err := load(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := loadReconcileConfig(reconcileFlags{bus: busFlags{config: file}, registry: true}, none)
	if err == nil || !strings.Contains(err.Error(), "push_password_file") || strings.Contains(err.Error(), "tracing") || strings.Contains(err.Error(), "bridge") {
		t.Errorf("reconcile with the registry: %v", err)
	}
}

func loadsBridge(file string) error {
	_, err := loadBridgeConfig(file, none)
	return err
}

func loadsRun(file string) error {
	_, _, err := LoadRunConfig(file, none)
	return err
}
