package main

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"
)

// check records every setting that has the right type and yet no good meaning.
func (c *Config) check(f *faults) {
	c.NATS.check(f)
	c.Intake.check(f)
	c.Reconcile.check(f)
	c.Limits.check(f)

	f.check("koji.hub_url", checkURL(c.Koji.HubURL, "http", "https"))
	f.check("koji.root_url", checkURL(c.Koji.RootURL, "http", "https"))
	if c.Koji.WebURL != "" {
		f.check("koji.web_url", checkURL(c.Koji.WebURL, "http", "https"))
	}
	f.positive("koji.timeout", c.Koji.Timeout)
	if g := c.Greenwave; g != nil {
		f.check("greenwave.url", checkURL(g.URL, "http", "https"))
		f.check("greenwave.context", checkWord(g.Context))
		f.check("greenwave.product_version", checkWord(g.ProductVersion))
		f.positive("greenwave.timeout", g.Timeout)
	}
	c.Quay.check(f)

	f.check("ops.listen", checkListen(c.Ops.Listen))
	f.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	f.oneOf("log.format", c.Log.Format, "json", "text")
	c.Tracing.check(f)
	f.check("results.source", checkSource(c.Results.Source))
	c.Bridge.check(f)
	f.check("default_release_version", checkReleaseVersion(c.DefaultReleaseVersion))
	c.checkOrganizations(f)
}

// doubt warns of what is allowed and yet probably not meant.
func (c *Config) doubt(f *faults) {
	if len(c.Organizations) == 0 && len(c.Bridge.Sources) == 0 {
		f.warn("organizations", "none is configured, so nothing will be published")
	}
	if c.Intake.Recheck >= c.Intake.MaxAge {
		f.warn("intake.recheck", "is not below max_age, so a build that waits is never looked at again by itself")
	}
	if every := c.Reconcile.Every; every > 0 && c.Reconcile.Since <= every+c.Reconcile.Grace {
		f.warn("reconcile.since", "is not above every and grace together, so what is missed while one look fails is never found")
	}
	c.doubtTimeouts(f)
	c.Bridge.doubt(f)
	c.Tracing.doubt(f)
	if c.NATS.URL == "" && !isLoopback(c.NATS.Embedded.Listen) {
		f.warn("nats.embedded.listen", "other machines can reach this server, which asks nobody who they are")
	}
	c.doubtPlain(f)
	for _, name := range c.names() {
		c.Organizations[name].doubt(f, joinPath("organizations", name))
	}
}

// doubtTimeouts warns of calls that may take longer than the build that they
// are for.
func (c *Config) doubtTimeouts(f *faults) {
	least := func(path string, call time.Duration) {
		if c.Intake.BuildTimeout < call {
			f.warn("intake.build_timeout", fmt.Sprintf("is less than %s, which is %s: a call that takes so long is cut off", path, formatDuration(call)))
		}
	}
	least("koji.timeout", c.Koji.Timeout)
	if c.Greenwave != nil {
		least("greenwave.timeout", c.Greenwave.Timeout)
	}
	least("quay.timeout", c.Quay.Timeout)
}

func (q *QuayConfig) check(f *faults) {
	f.check("quay.registry", checkRegistry(q.Registry))
	f.check("quay.url", checkURL(q.URL, "http", "https"))
	if inClear(q.URL, "http") && !q.PlainHTTP {
		f.add("quay.url", "expects https: tokens would be sent in clear, which plain_http: true allows")
	}
	f.positive("quay.timeout", q.Timeout)
}

func (t *TracingConfig) check(f *faults) {
	if t.OTLPURL != "" {
		f.check("tracing.otlp_url", checkURL(t.OTLPURL, "http", "https"))
	}
}

// doubt warns of what is for spans that there are none of.
func (t *TracingConfig) doubt(f *faults) {
	if t.OTLPURL == "" && t.Authorization.Written != "" {
		f.warn("tracing.authorization_file", "has no use without otlp_url")
	}
}

// objectName is what NATS takes as a stream's or a consumer's name everywhere.
var objectName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// subjectBeginning is the beginning of a subject, without the dot that follows.
var subjectBeginning = regexp.MustCompile(`^[A-Za-z0-9_$-]+(\.[A-Za-z0-9_$-]+)*$`)

const maxSubjectBeginning = 100

func checkSubjectBeginning(s string) error {
	if len(s) > maxSubjectBeginning || !subjectBeginning.MatchString(s) {
		return fmt.Errorf("expects words of letters, digits, dashes, underscores or $ with dots between them, at most %d bytes", maxSubjectBeginning)
	}
	return nil
}

func (n *NATSConfig) check(f *faults) {
	if n.URL != "" {
		for _, u := range strings.Split(n.URL, ",") {
			f.check("nats.url", checkURL(strings.TrimSpace(u), "nats", "tls", "ws", "wss"))
		}
	}
	f.check("nats.embedded.listen", checkListen(n.Embedded.Listen))
	if n.Embedded.StoreDir.Written == "" {
		f.add("nats.embedded.store_dir", "expects a folder")
	}
	f.check("nats.inbox_prefix", checkSubjectBeginning(n.InboxPrefix))
	f.check("nats.api_prefix", checkSubjectBeginning(n.APIPrefix))
	n.checkNames(f)
	switch {
	case n.Replicas != 1 && n.Replicas != 3 && n.Replicas != 5:
		f.add("nats.replicas", "expects 1, 3 or 5")
	case n.URL == "" && n.Replicas != 1:
		f.add("nats.replicas", "expects 1: without nats.url there is one server")
	}
	n.checkLogin(f)
}

// checkNames wants names that NATS takes, and no two alike among streams or
// among buckets.
func (n *NATSConfig) checkNames(f *faults) {
	s, b := n.Streams, n.Buckets
	type named struct{ path, value string }
	for _, alike := range [][]named{
		{{"nats.durable", n.Durable}},
		{
			{"nats.streams.koji", s.Koji}, {"nats.streams.greenwave", s.Greenwave}, {"nats.streams.requests", s.Requests},
			{"nats.streams.results", s.Results}, {"nats.streams.dead_letters", s.DeadLetters},
		},
		{{"nats.buckets.ledger", b.Ledger}, {"nats.buckets.leases", b.Leases}},
	} {
		paths := make(map[string]string, len(alike)) // by name
		for _, name := range alike {
			if !objectName.MatchString(name.value) {
				f.add(name.path, "expects 1 to 64 letters, digits, dashes or underscores")
			}
			if other, taken := paths[name.value]; taken {
				f.add(name.path, "has the same name as "+other)
			}
			paths[name.value] = name.path
		}
	}
}

// checkLogin wants one way of proving who we are, whole, to somebody who asks.
func (n *NATSConfig) checkLogin(f *faults) {
	user := "nats.user"
	if n.User == "" {
		user = "nats.password_file"
	}
	ways := []struct {
		path string
		set  bool
	}{
		{"nats.credentials_file", n.CredentialsFile.Written != ""},
		{"nats.nkey_seed_file", n.NKeySeedFile.Written != ""},
		{user, n.User != "" || n.Password.Written != ""},
	}
	taken := ""
	for _, way := range ways {
		if way.set && taken != "" {
			f.add(way.path, "only one way to log in is possible, "+taken+" is set too")
		}
		if way.set {
			taken = way.path
		}
	}
	if n.User != "" {
		f.check("nats.user", checkWord(n.User))
	}
	f.pair("nats.user", n.User, "nats.password_file", n.Password.Written)
	f.pair("nats.tls.cert_file", n.TLS.CertFile.Written, "nats.tls.key_file", n.TLS.KeyFile.Written)
	if n.URL != "" {
		return
	}
	const useless = "has no use without nats.url: the service's own server is on this machine and asks for nothing"
	if taken != "" {
		f.add(taken, useless)
	}
	if n.TLS != (NATSTLSConfig{}) {
		f.add("nats.tls", useless)
	}
}

// What is sensible in intake. With less than minAckWait, the heartbeats at a
// third of it come so often that one slow answer has a build done twice.
const (
	maxWorkers    = 1024
	maxMaxWaiting = 1_000_000
	maxMaxTries   = 1_000_000
	minAckWait    = 3 * time.Second
	maxAckWait    = time.Hour
	maxGrace      = 10 * time.Minute
)

func (i *IntakeConfig) check(f *faults) {
	f.upTo("intake.workers", i.Workers, maxWorkers)
	f.upTo("intake.max_waiting", i.MaxWaiting, maxMaxWaiting)
	if i.MaxWaiting < i.Workers {
		f.add("intake.max_waiting", fmt.Sprintf("expects at least %s, which is %d", f.nameOf("intake.workers"), i.Workers))
	}
	f.upTo("intake.max_tries", i.MaxTries, maxMaxTries)
	if i.AckWait < minAckWait || i.AckWait > maxAckWait {
		f.add("intake.ack_wait", fmt.Sprintf("expects %s to %s", formatDuration(minAckWait), formatDuration(maxAckWait)))
	}
	f.positive("intake.max_age", i.MaxAge)
	f.positive("intake.build_timeout", i.BuildTimeout)
	f.positive("intake.recheck", i.Recheck)
	if i.Grace <= 0 || i.Grace >= maxGrace {
		f.add("intake.grace", "expects more than 0s and less than "+formatDuration(maxGrace))
	}
}

// What is sensible in reconcile. The ledger forgets what is older than maxSince,
// by default: all of that would seem to be missing.
const (
	minEvery = time.Minute
	maxEvery = 30 * 24 * time.Hour
	maxSince = 90 * 24 * time.Hour
	maxLag   = 24 * time.Hour // of grace
)

func (r *ReconcileConfig) check(f *faults) {
	if r.Every != 0 && (r.Every < minEvery || r.Every > maxEvery) {
		f.add("reconcile.every", fmt.Sprintf("expects %s to %s, or 0s for never", formatDuration(minEvery), formatDuration(maxEvery)))
	}
	if r.Grace < 0 || r.Grace > maxLag {
		f.add("reconcile.grace", "expects 0s to "+formatDuration(maxLag))
	}
	if r.Since <= r.Grace || r.Since > maxSince {
		f.add("reconcile.since", fmt.Sprintf("expects more than %s, and at most %s", f.nameOf("reconcile.grace"), formatDuration(maxSince)))
	}
}

// What is sensible in limits: archives are unpacked in memory.
const (
	maxArchive   ByteSize = 1 << 30
	maxInFlight  ByteSize = 1 << 36
	maxEntries            = 1_000_000
	maxDepth              = 100
	maxNameBytes          = 4096
)

func (l *LimitsConfig) check(f *faults) {
	f.sizeUpTo("limits.archive_bytes", l.ArchiveBytes, maxArchive)
	f.sizeUpTo("limits.unpacked_bytes", l.UnpackedBytes, maxArchive)
	f.sizeUpTo("limits.file_bytes", l.FileBytes, maxArchive)
	f.upTo("limits.files", l.Files, maxEntries)
	f.upTo("limits.depth", l.Depth, maxDepth)
	f.upTo("limits.name_bytes", l.NameBytes, maxNameBytes)
	f.sizeUpTo("limits.in_flight_bytes", l.InFlightBytes, maxInFlight)
	if largest := l.ArchiveBytes + l.UnpackedBytes; l.InFlightBytes < largest {
		f.add("limits.in_flight_bytes", fmt.Sprintf("expects at least %s: archive_bytes and unpacked_bytes of one build", largest))
	}
}

func (f *faults) upTo(path string, n, most int) {
	if n < 1 || n > most {
		f.add(path, fmt.Sprintf("expects 1 to %d", most))
	}
}

func (f *faults) sizeUpTo(path string, n, most ByteSize) {
	if n < 1 || n > most {
		f.add(path, fmt.Sprintf("expects %s to %s", ByteSize(1), most))
	}
}

func (f *faults) positive(path string, d time.Duration) {
	if d <= 0 {
		f.add(path, "expects more than 0s")
	}
}

func (f *faults) oneOf(path, s string, words ...string) {
	for _, w := range words {
		if s == w {
			return
		}
	}
	f.add(path, "expects one of "+strings.Join(words, ", "))
}

// pair wants both settings or neither.
func (f *faults) pair(path1, value1, path2, value2 string) {
	switch {
	case value1 != "" && value2 == "":
		f.add(path1, "needs "+path2)
	case value1 == "" && value2 != "":
		f.add(path2, "needs "+path1)
	}
}

func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	return err == nil && isLoopbackHost(host)
}

func isLoopbackHost(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }
