package main

import (
	"crypto/tls"
	"fmt"
	"net/url"

	"github.com/omps-consumer/omps-consumer/internal/clients/amqp"
)

// BridgeConfig is what `consumer bridge` does. The service has no use for it.
type BridgeConfig struct {
	Sources []BusConfig `yaml:"sources"`
}

// BusConfig is a message bus whose messages become events.
type BusConfig struct {
	Name     string     `yaml:"name"`     // in logs and metrics
	Protocol string     `yaml:"protocol"` // amqp-1.0 or amqp-0.9.1
	URLs     []string   `yaml:"urls"`     // tried in turn
	Username string     `yaml:"username"`
	Password SecretFile `yaml:"password_file"`
	TLS      BusTLS     `yaml:"tls"`

	Addresses []string `yaml:"addresses"` // amqp-1.0: what is read

	// What follows is for amqp-0.9.1.
	Queue       string   `yaml:"queue"`
	Declare     bool     `yaml:"declare"` // make the queue and its bindings
	Durable     bool     `yaml:"durable"` // make it so that it outlives our absence
	Exchange    string   `yaml:"exchange"`
	RoutingKeys []string `yaml:"routing_keys"`

	Prefetch    int    `yaml:"prefetch"`     // messages in hand at once
	EventSource string `yaml:"event_source"` // the CloudEvents source; "": /bus/NAME
}

// BusTLS holds PEM files for the connection to a bus.
type BusTLS struct {
	CAFile   File `yaml:"ca_file"`
	CertFile File `yaml:"cert_file"`
	KeyFile  File `yaml:"key_file"`
}

// defaultBus is what each bus starts from. It has no name, protocol or URL.
func defaultBus() BusConfig {
	return BusConfig{
		URLs: []string{}, Addresses: []string{}, Declare: true, Durable: true,
		Exchange: "amq.topic", RoutingKeys: []string{}, Prefetch: 50,
	}
}

const (
	maxPrefetch = 1000
	maxSources  = 50
)

func (b BridgeConfig) check(f *faults) {
	if len(b.Sources) > maxSources {
		f.add("bridge.sources", fmt.Sprintf("expects at most %d", maxSources))
	}
	paths := make(map[string]string, len(b.Sources)) // by name
	for i, bus := range b.Sources {
		at := itemPath("bridge.sources", i)
		if !objectName.MatchString(bus.Name) {
			f.add(at+".name", "expects 1 to 64 letters, digits, dashes or underscores")
		} else if other, taken := paths[bus.Name]; taken {
			f.add(at+".name", "has the same name as "+other)
		}
		paths[bus.Name] = at
		bus.check(f, at)
	}
}

func (b BusConfig) check(f *faults, at string) {
	f.oneOf(at+".protocol", b.Protocol, string(amqp.V10), string(amqp.V091))
	if len(b.URLs) == 0 {
		f.add(at+".urls", "expects at least one URL")
	}
	for i, u := range b.URLs {
		f.check(itemPath(at+".urls", i), b.checkBroker(u))
	}
	b.checkLogin(f, at)
	f.upTo(at+".prefetch", b.Prefetch, maxPrefetch)
	if b.EventSource != "" {
		f.check(at+".event_source", checkSource(b.EventSource))
	}
	switch b.Protocol {
	case string(amqp.V10):
		b.check10(f, at)
	case string(amqp.V091):
		b.check091(f, at)
	}
}

// checkBroker wants a URL whose path, if it has one, means something: it is the
// virtual host of AMQP 0.9.1.
func (b BusConfig) checkBroker(address string) error {
	if err := checkURL(address, "amqp", "amqps"); err != nil {
		return err
	}
	if u, err := url.Parse(address); err != nil || u.Path != "" && u.Path != "/" && b.Protocol == string(amqp.V10) {
		return fmt.Errorf("must not hold a path, which has no meaning in %s", amqp.V10)
	}
	return nil
}

// encrypted tells how many of the brokers are reached by TLS.
func (b BusConfig) encrypted() (n int) {
	for _, address := range b.URLs {
		if u, err := url.Parse(address); err == nil && u.Scheme == "amqps" {
			n++
		}
	}
	return n
}

func (b BusConfig) checkLogin(f *faults, at string) {
	f.pair(at+".username", b.Username, at+".password_file", b.Password.Written)
	f.pair(at+".tls.cert_file", b.TLS.CertFile.Written, at+".tls.key_file", b.TLS.KeyFile.Written)
	if b.Username != "" {
		f.check(at+".username", checkWord(b.Username))
	}
	switch encrypted := b.encrypted(); {
	case b.TLS != BusTLS{} && encrypted == 0:
		f.add(at+".tls", "has no use: no URL begins with amqps://")
	case b.Username == "" && b.TLS.CertFile.Written != "" && encrypted < len(b.URLs):
		f.add(at+".tls.cert_file", "is who we are, and not every URL begins with amqps://")
	case b.Username == "" && b.TLS.CertFile.Written == "" && b.Protocol == string(amqp.V091):
		f.add(at+".username", "is missing, or else tls.cert_file: this protocol knows no login without")
	}
}

func (b BusConfig) check10(f *faults, at string) {
	if len(b.Addresses) == 0 {
		f.add(at+".addresses", "expects at least one address, such as queue://NAME")
	}
	for i, address := range b.Addresses {
		f.check(itemPath(at+".addresses", i), checkWord(address))
	}
	if b.Queue != "" {
		f.add(at+".queue", "has no meaning in amqp-1.0, use addresses")
	}
	if len(b.RoutingKeys) > 0 {
		f.add(at+".routing_keys", "has no meaning in amqp-1.0, use addresses")
	}
}

func (b BusConfig) check091(f *faults, at string) {
	f.check(at+".queue", checkWord(b.Queue))
	if len(b.Addresses) > 0 {
		f.add(at+".addresses", "has no meaning in amqp-0.9.1, use queue and routing_keys")
	}
	switch {
	case b.Declare && len(b.RoutingKeys) == 0:
		f.add(at+".routing_keys", "expects at least one topic that the queue is bound to, or declare: false for a queue that is there")
	case !b.Declare && len(b.RoutingKeys) > 0:
		f.add(at+".routing_keys", "has no use with declare: false")
	case b.Declare:
		f.check(at+".exchange", checkWord(b.Exchange))
	}
	for i, key := range b.RoutingKeys {
		f.check(itemPath(at+".routing_keys", i), checkWord(key))
	}
}

// doubt warns of passwords that everybody on the way can read.
func (b BridgeConfig) doubt(f *faults) {
	for i, bus := range b.Sources {
		for j, address := range bus.URLs {
			if bus.Username != "" && inClear(address, "amqp") {
				f.warn(itemPath(itemPath("bridge.sources", i)+".urls", j), "the password goes unencrypted to "+hostOf(address))
			}
		}
	}
}

// readFiles looks whether the files can be used. They are read again at each
// connection.
func (b BridgeConfig) readFiles(r fileReader) {
	for i := range b.Sources {
		bus, at := &b.Sources[i], itemPath("bridge.sources", i)
		r.secret(at+".password_file", &bus.Password)
		r.authorities(at+".tls.ca_file", &bus.TLS.CAFile)
		r.keyPair(at+".tls", &bus.TLS.CertFile, &bus.TLS.KeyFile)
	}
}

// keyPair wants a certificate and the key that belongs to it, if they are set.
func (r fileReader) keyPair(at string, certFile, keyFile *File) {
	cert, key := r.read(at+".cert_file", certFile, false), r.read(at+".key_file", keyFile, true)
	if cert == nil || key == nil {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		r.add(at+".cert_file", "is no pair with key_file: "+err.Error())
	}
}

// loadBridgeConfig checks a whole configuration, and has no use for files but
// those of the bridge and of its connection to NATS: it needs none of the
// service's secrets. Nor does it doubt what only the service does.
func loadBridgeConfig(path string, getenv func(string) string) (Config, error) {
	c, faults, err := checkedConfig(path)
	if err != nil {
		return Config{}, err
	}
	if len(c.Bridge.Sources) == 0 {
		faults.add("bridge.sources", "none is configured, so there is nothing to bridge")
	}
	c.Organizations, c.Quay, c.Tracing, c.NATS.Embedded.StoreDir = nil, QuayConfig{}, TracingConfig{}, File{}
	c.readFiles(faults, getenv)
	if err := faults.err(); err != nil {
		return Config{}, err
	}
	c.Bridge.doubt(faults)
	c.doubtPlain(faults)
	for _, w := range faults.warnings {
		c.Warnings = append(c.Warnings, w.String())
	}
	return c, nil
}
