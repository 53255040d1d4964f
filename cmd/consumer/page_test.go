package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// fetch asks for a page and returns the answer with its body.
func fetch(t *testing.T, method, url string, header map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// shows asks for a page until it holds all of the parts.
func shows(t *testing.T, url string, parts ...string) string {
	t.Helper()
	body := ""
	(&system{t: t}).await(fmt.Sprintf("a page at %s with %q", url, parts), func() bool {
		_, body = fetch(t, http.MethodGet, url, nil)
		for _, part := range parts {
			if !strings.Contains(body, part) {
				return false
			}
		}
		return true
	})
	return body
}

func row(nvr, organization, outcome string) pageRow {
	return pageRow{NVR: nvr, Organization: organization, Outcome: outcome, Time: time.Now()}
}

func TestPageHeaders(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	g.add(row("etcd-1-1", "myorg", "published"))
	_, url := givenPage(t, g)
	body := shows(t, url+"/", "etcd-1-1")
	for _, path := range []string{"/", "/builds/myorg/etcd-1-1", "/results/9", "/?before=x", "/static/none.css"} {
		resp, _ := fetch(t, http.MethodGet, url+path, nil)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		for _, path := range []string{"/", "/builds/myorg/etcd-1-1", "/results/1", "/events"} {
			if resp, _ := fetch(t, method, url+path, nil); resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s", method, path, resp.Status)
			}
		}
	}
	if resp, head := fetch(t, http.MethodHead, url+"/", nil); resp.StatusCode != http.StatusOK || head != "" || resp.ContentLength < 1000 {
		t.Errorf("HEAD: %s, %d bytes of %d", resp.Status, len(head), resp.ContentLength)
	}
	for _, asset := range []struct{ begin, mediaType string }{
		{`<link rel="stylesheet" href="`, "text/css; charset=utf-8"}, {`<script src="`, "text/javascript; charset=utf-8"}, {`<link rel="icon" href="`, "image/svg+xml"},
	} {
		_, rest, _ := strings.Cut(body, asset.begin)
		address, _, _ := strings.Cut(rest, `"`)
		resp, _ := fetch(t, http.MethodGet, url+address, nil)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != asset.mediaType || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %s, %v", address, resp.Status, resp.Header)
		}
	}
}

// A page that a browser has is not sent again while nothing has changed.
func TestPageIsSentOnce(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	g.add(pageRow{NVR: "etcd-1-1", Organization: "myorg", Outcome: "published", Time: time.Now().Add(-90 * 24 * time.Hour)})
	_, url := givenPage(t, g)
	shows(t, url+"/", "etcd-1-1")
	var tag string
	(&system{t: t}).await("an answer without a page", func() bool {
		resp, body := fetch(t, http.MethodGet, url+"/", map[string]string{"If-None-Match": tag})
		tag = resp.Header.Get("ETag")
		return resp.StatusCode == http.StatusNotModified && body == ""
	})
}

func TestPageQueries(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	g.add(row("etcd-1-1", "myorg", "waiting"), row("etcd-1-1", "community", "rejected"), row("Kafka-2-1", "myorg", "published"), row("etcd-1-1", "myorg", "published"))
	g.entries = []events.Entry{{NVR: "older-1-1", Organization: "myorg", State: events.StatePublished, Last: time.Now()}}
	_, url := givenPage(t, g)
	shows(t, url+"/", "Kafka-2-1", "1 in the ledger")
	for _, c := range []struct {
		query        string
		status, rows int
		says         string
	}{
		{"", 200, 3, ""}, // what a later result supersedes is left out
		{"?nvr=etcd", 200, 2, ""}, {"?nvr=kafka", 200, 1, ""}, {"?nvr=k*-1", 200, 1, ""}, {"?nvr=e*2", 200, 0, "No result is like that"}, {"?nvr=%3F%3F%3F%3F-1-1", 200, 2, ""},
		{"?organization=community", 200, 1, "Of all builds, whatever the filter"}, {"?organization=nobody", 200, 0, "No result is like that"},
		{"?outcome=published", 200, 2, ""}, {"?outcome=waiting", 200, 0, "No result is like that"}, {"?outcome=nonsense", 400, 0, "outcome is none of"},
		{"?nvr=older-1-1", 200, 1, "In the ledger"}, {"?before=3", 200, 1, "Newest"}, {"?before=0", 400, 0, "before is not"}, {"?before=-1", 400, 0, "before is not"},
		{"?span=week", 200, 3, "7 days"}, {"?span=day", 200, 3, "24 hours</h2>"}, {"?span=year", 400, 0, "span is none"}, {"?nvr=" + strings.Repeat("x", 513), 400, 0, "at most 512 bytes"}, {"?nvr=%ff", 400, 0, "not a text"},
		{"?unknown=1", 200, 3, ""},
	} {
		resp, body := fetch(t, http.MethodGet, url+"/"+c.query, nil)
		if rows := strings.Count(body, "data-row="); resp.StatusCode != c.status || rows != c.rows || !strings.Contains(body, c.says) {
			t.Errorf("%s: %s, %d rows, %q: %t", c.query, resp.Status, rows, c.says, strings.Contains(body, c.says))
		}
	}
	for _, path := range []string{"/builds/myorg/nodashes", "/builds/myorg/never-1-1", "/results/0", "/results/x", "/results/77"} {
		if resp, body := fetch(t, http.MethodGet, url+path, nil); resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "All builds") {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

// A result that is not the build's last one says so.
func TestPageOfAnEarlierResult(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	g.add(row("etcd-1-1", "myorg", "rejected"), row("etcd-1-1", "community", "rejected"), row("etcd-1-1", "myorg", "published"))
	_, url := givenPage(t, g)
	shows(t, url+"/", "etcd-1-1")
	for sequence, earlier := range map[int]bool{1: true, 2: false, 3: false} {
		_, body := fetch(t, http.MethodGet, fmt.Sprintf("%s/results/%d", url, sequence), nil)
		if !strings.Contains(body, "etcd-1-1") || strings.Contains(body, "an earlier result") != earlier {
			t.Errorf("result %d: %s", sequence, body)
		}
	}
}

// What is not at hand any more is read from the stream, page by page.
func TestPageGoesBack(t *testing.T) {
	t.Parallel()
	g := &given{first: 11}
	const count = pageWindow + 300
	for i := range count {
		g.add(row(fmt.Sprintf("b-%d-1", i), "myorg", "published"))
	}
	_, url := givenPage(t, g)
	shows(t, url+"/", fmt.Sprintf("b-%d-1", count-1))
	seen, address := 0, "/"
	for pages := 0; address != ""; pages++ {
		if pages > count/listedRows+5 {
			t.Fatal("no end of pages")
		}
		_, body := fetch(t, http.MethodGet, url+address, nil)
		seen += strings.Count(body, "data-row=")
		_, rest, more := strings.Cut(body, `<nav class="pages" aria-label="Pages">`)
		_, rest, older := strings.Cut(rest, `<a href="/?before=`)
		number, _, _ := strings.Cut(rest, `"`)
		if address = ""; more && older {
			address = "/?before=" + number
		}
	}
	if seen != count {
		t.Errorf("%d results of %d are on pages", seen, count)
	}
}

func TestPageWithoutNATS(t *testing.T) {
	t.Parallel()
	_, url := givenPage(t, nil)
	resp, body := fetch(t, http.MethodGet, url+"/", nil)
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, "There is no connection to NATS yet") || strings.Contains(body, "Nothing was published yet") {
		t.Errorf("before there is a connection: %s", body)
	}

	g := &given{first: 1}
	g.add(row("etcd-1-1", "myorg", "published"))
	_, url = givenPage(t, g)
	shows(t, url+"/", "etcd-1-1")
	g.change(func() { g.down, g.fault = true, errors.New("nats: connection closed") })
	shows(t, url+"/", "NATS does not answer. What is shown was read until", "etcd-1-1")
	g.add(row("kafka-1-1", "myorg", "published"))
	g.change(func() { g.down, g.fault = false, nil })
	if body := shows(t, url+"/", "kafka-1-1"); strings.Contains(body, "NATS does not answer") {
		t.Error("says that NATS does not answer, and it does")
	}
	g.change(func() { g.fault = errors.New("stream OMPS_RESULTS: <context deadline exceeded>") })
	shows(t, url+"/", "Results cannot be read: stream OMPS_RESULTS: &lt;context deadline exceeded&gt;", "names under Status page", "kafka-1-1")
}

// listen opens the stream of events and returns its lines.
func listen(t *testing.T, url string) (resp *http.Response, lines *bufio.Scanner) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp, bufio.NewScanner(resp.Body)
}

func TestPageEvents(t *testing.T) {
	t.Parallel()
	g := &given{first: 1}
	p, url := givenPage(t, g)
	resp, lines := listen(t, url)
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("%s, %s", resp.Status, got)
	}
	data := func() string {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return text
			}
		}
		t.Fatalf("the events ended: %v", lines.Err())
		return ""
	}
	first := data()
	g.add(row("etcd-1-1", "myorg", "published"))
	if next := data(); next == first {
		t.Errorf("version %s again", next)
	}

	// No more than so many listen at once; a place is free when one leaves.
	var ends []func()
	for p.hub.count() < maxListeners {
		versions, end := p.hub.listen()
		if versions == nil {
			t.Fatal("refused before the hub is full")
		}
		ends = append(ends, end)
	}
	if resp, _ := listen(t, url); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s", resp.Status)
	}
	ends[0]()
	if resp, _ := listen(t, url); resp.StatusCode != http.StatusOK {
		t.Errorf("in a place that is free: %s", resp.Status)
	}
}

// Open streams of events do not hold up the end of the service.
func TestPageEventsEndWithTheServer(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	p, err := newPage(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ops, err := startOps(t.Context(), "127.0.0.1:0", opsParts{metrics: prometheus.NewRegistry(), page: p, health: http.NotFoundHandler()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, lines := listen(t, ops.url())
	if !lines.Scan() {
		t.Fatal(lines.Err())
	}
	ops.stop()
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil { // cut off, and not ended
		t.Error(err)
	}
	if versions, _ := p.hub.listen(); versions != nil {
		t.Error("takes listeners after its end")
	}
}

// A listener that takes nothing holds up nobody, and is told the last version.
func TestHubWaitsForNobody(t *testing.T) {
	t.Parallel()
	h := newPageHub()
	slow, end := h.listen()
	defer end()
	for version := range 1000 {
		h.tell(strconv.Itoa(version))
	}
	if got := <-slow; got != "999" {
		t.Errorf("version %s", got)
	}
	select {
	case got := <-slow:
		t.Errorf("version %s too", got)
	default:
	}
}

// All that the page shows is in NATS: another replica and another process show
// the same.
func TestPageOfTheService(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	s.announce(sandbox.SampleNVR)
	r := s.next()
	s.announce(sandbox.RejectedNVR)
	rejected := s.next()
	s.publish("koji.build.completed", "this is not JSON", nil)
	s.deadLetters(1)
	parts := []string{
		sandbox.SampleNVR, sandbox.RejectedNVR, "gate-unsatisfied", `<rect class="stage-push"`, "2 in the ledger", "unreadable-event", "consumer deadletters show 1",
		fmt.Sprintf(`href="%s/koji/buildinfo?buildID=%d"`, strings.TrimSuffix(s.world.HubURL(), "/kojihub"), r.BuildID),
	}
	shows(t, s.ops+"/", parts...)
	detail := shows(t, s.ops+buildAddress("myorg", sandbox.SampleNVR, 0),
		r.Bundles[0].Reference, r.Archive.Checksum, r.Trigger.ID, "registry.example.com", "ledger",
		fmt.Sprintf(`href="%s/repository/%s/manifest/sha256:`, s.world.RegistryURL(), r.Bundles[0].Repository))
	if strings.Contains(detail, "Faults") {
		t.Error("a published build has faults")
	}
	shows(t, s.ops+buildAddress("myorg", sandbox.RejectedNVR, 0), "gate-unsatisfied", rejected.Decision.Unsatisfied[0].Type, "not satisfied")
	shows(t, s.ops+"/results/1", sandbox.SampleNVR)

	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.start()
	shows(t, s.ops+"/", parts...)
	s.nats.Stop()
	shows(t, s.ops+"/", append(parts, "NATS does not answer")...)
	s.nats.Restart()
	s.await("a page without complaints", func() bool {
		_, body := s.get("/")
		return strings.Contains(body, sandbox.SampleNVR) && !strings.Contains(body, `class="notice"`)
	})
}

// Where the service may not read what it writes, the page says so, and shows
// what it may read.
func TestPageWithoutPermission(t *testing.T) {
	t.Parallel()
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{
			{Username: "admin", Password: "x"},
			{Username: "omps", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{
				Deny: []string{"$JS.API.DIRECT.GET.OMPS_RESULTS", "$JS.API.DIRECT.GET.OMPS_DEAD_LETTERS"},
			}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	s := prepareSystem(t, sandbox.Options{}, "")
	s.nats = &eventstest.Server{URL: "nats://admin:x@" + ns.Addr().String()}
	s.config.NATS.URL = "nats://omps:x@" + ns.Addr().String()
	s.start()
	s.announce(sandbox.SampleNVR)
	s.publish("koji.build.completed", "this is not JSON", nil)
	s.deadLetters(1)
	body := shows(t, s.ops+"/", "Results cannot be read", "Dead letters cannot be read", "1 in the ledger")
	if strings.Contains(body, "Nothing was published yet") {
		t.Error("says that there is nothing")
	}
	shows(t, s.ops+buildAddress("myorg", sandbox.SampleNVR, 0), "Results cannot be read", "@sha256:")
}
