//go:build linux

package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

// requestBuilds are counted; before them, some open connections.
const requestBuilds = 20

// requests lists what the service asks and says for one build: each HTTP
// request, each message to NATS, each connection that it opens.
func (b *bench) requests() {
	b.t.Helper()
	small := b.small().first(warmUp + requestBuilds)
	b.upstream.reset()
	b.bus.reset()
	results, stop := b.bus.results()
	defer stop()
	counts := &tally{counts: make(map[string]int)}
	b.listen(func(subject string, data []byte) { counts.add(messageShape(subject, data)) })
	p := b.serviceAt(b.tap.url(), workers())
	defer p.kill()

	first := min(warmUp, len(small.scripts)/2)
	var conns int64
	for i, m := range small.announcements() {
		if i == first {
			counts.clear()
			conns = b.upstream.conns.Load()
		}
		b.upstream.record()
		b.bus.publish(m)
		b.publication(p, results)
		b.bus.settled(b.bus.needs.Names.Koji)
		for _, e := range b.upstream.recorded() {
			counts.add(fmt.Sprintf("%-9s %-5s %s", e.Server, e.Method, pathShape(e)))
		}
	}
	n := len(small.scripts) - first
	for range b.upstream.conns.Load() - conns {
		counts.add("new TCP connection to a stand-in")
	}
	b.t.Logf("for one build, on average of %d, one after the other:\n%s", n, counts.table(n))
}

// tally counts things by what they are.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (t *tally) add(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what]++
}

func (t *tally) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.counts)
}

func (t *tally) table(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, what := range slices.Sorted(maps.Keys(t.counts)) {
		fmt.Fprintf(w, "%.2f\t%s\n", float64(t.counts[what])/float64(n), what)
	}
	_ = w.Flush()
	return text.String()
}

// What differs from build to build in paths and subjects.
var (
	digestInPath = regexp.MustCompile(`sha256(:|%3A)[0-9a-f]{64}`)
	filePath     = regexp.MustCompile(`^/kojifiles/.*$`)
	repository   = regexp.MustCompile(`^/v2/` + benchOrganization + `/[^/]+`)
	tagInPath    = regexp.MustCompile(`/manifests/[^:]+$`)
	ledgerKey    = regexp.MustCompile(`(KV\S*\.omps-ledger)\..*$`)
	leaseKey     = regexp.MustCompile(`(KV\S*\.omps-leases)\..*$`)
)

// pathShape is the path of a request without what is one build's own.
func pathShape(e exchange) string {
	shape := e.URI
	if e.Upload >= 0 {
		shape = "/v2/REPOSITORY/blobs/uploads/ID" + shape
	}
	if e.Server == kojiServer && strings.Contains(string(e.body), "<methodName>") {
		_, name, _ := strings.Cut(string(e.body), "<methodName>")
		name, _, _ = strings.Cut(name, "<")
		shape += " " + name
	}
	shape = filePath.ReplaceAllString(shape, "/kojifiles/ARCHIVE")
	shape = repository.ReplaceAllString(shape, "/v2/REPOSITORY")
	shape = digestInPath.ReplaceAllString(shape, "sha256:DIGEST")
	return tagInPath.ReplaceAllString(shape, "/manifests/TAG") + fmt.Sprintf(" -> %d", e.Status)
}

// messageShape is a message to NATS without what is one build's own.
func messageShape(subject string, data []byte) string {
	switch {
	case strings.HasPrefix(subject, "omps.result."):
		return "nats " + strings.Join(strings.Split(subject, ".")[:3], ".") + ".>"
	case strings.HasPrefix(subject, "$JS.ACK."):
		return "nats $JS.ACK.> " + string(data)
	}
	subject = ledgerKey.ReplaceAllString(subject, "$1.KEY")
	return "nats " + leaseKey.ReplaceAllString(subject, "$1.KEY")
}
