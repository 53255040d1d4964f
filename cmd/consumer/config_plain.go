package main

import (
	"net/url"
	"slices"
	"strings"
)

// doubtPlain warns of passwords that everybody on the way can read.
func (c *Config) doubtPlain(f *faults) {
	if c.Quay.PlainHTTP && (inClear("http://"+c.Quay.Registry, "http") || inClear(c.Quay.URL, "http")) {
		f.warn("quay.plain_http", "sends passwords and tokens in clear to another machine")
	}
	asksForTLS := c.NATS.TLS.CAFile.Written != "" || c.NATS.TLS.CertFile.Written != "" // whatever the scheme
	for _, u := range strings.Split(c.NATS.URL, ",") {
		if c.NATS.User != "" && !asksForTLS && inClear(strings.TrimSpace(u), "nats", "ws") {
			f.warn("nats.url", "sends the password in clear to a server that does not ask for TLS: tls:// insists on it")
			break
		}
	}
	if c.Tracing.Authorization.Written != "" && inClear(c.Tracing.OTLPURL, "http") {
		f.warn("tracing.otlp_url", "sends what authorization_file holds in clear to another machine")
	}
}

// inClear tells whether an address is spoken to in one of the schemes, which have
// no TLS, over a network that others share.
func inClear(address string, schemes ...string) bool {
	u, err := url.Parse(address)
	return err == nil && slices.Contains(schemes, u.Scheme) && !isLoopbackHost(u.Hostname())
}
