package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// ledger is a bucket with entries in it, without a service.
func ledger(t *testing.T, bucket string, entries ...events.Entry) *system {
	t.Helper()
	s := &system{t: t, nats: eventstest.Start(t)}
	fill(t, s.jetStream(), bucket, entries...)
	return s
}

func fill(t *testing.T, js jetstream.JetStream, bucket string, entries ...events.Entry) {
	t.Helper()
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: bucket, History: 1, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.PublishMsgAsync(&nats.Msg{Subject: "$KV." + bucket + "." + e.Organization + "." + e.NVR, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
}

const imageDigest = "quay.io/myorg/etcd@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// sampleEntries are one in each state, each a minute younger than the next.
func sampleEntries() []events.Entry {
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	entries := []events.Entry{
		{Organization: "myorg", NVR: "a-container-1.0-1", State: events.StatePublished, Package: "etcd", BuildID: 7, Digests: []string{imageDigest}, Checksum: "md5:00"},
		{Organization: "other", NVR: "a-container-1.0-1", State: events.StateRejected, Reason: pipeline.ReasonGateUnsatisfied, Message: "policies not satisfied", Stage: pipeline.StageGate},
		{Organization: "myorg", NVR: "b-container-1.0-1", State: events.StateWaiting, Reason: pipeline.ReasonGateWaiting, Stage: pipeline.StageGate, Waiters: []events.Cause{
			{ID: "w1", Source: "/koji"}, {ID: "w2", Source: "/me", Request: true, Repository: "r", Version: "1.2.3", Force: true, Correlation: "c1"},
		}},
		{Organization: "myorg", NVR: "c-container-1.0-1", State: events.StatePublishing, Reason: pipeline.ReasonQuayUnavailable},
		{Organization: "myorg", NVR: "d-container-1.0-1", State: events.StateFailed, Reason: pipeline.ReasonKojiUnavailable},
	}
	for i := range entries {
		entries[i].Tries, entries[i].First = uint64(i+1), now.Add(-time.Hour)
		entries[i].Last = now.Add(-time.Duration(i) * time.Minute)
		entries[i].Trigger = events.Cause{ID: fmt.Sprint("e", i), Source: "https://koji.example.com/", Type: events.TypeBuildCompleted}
	}
	return entries
}

func TestStatusIsATable(t *testing.T) {
	t.Parallel()
	s := ledger(t, "omps-ledger", sampleEntries()...)
	code, out, errs := command(t, "status", "-s", s.nats.URL)
	want := strings.TrimPrefix(`
NVR                ORGANIZATION  STATE       REASON            PACKAGE  TRIES  SINCE                 LAST
a-container-1.0-1  myorg         published   -                 etcd     1      2026-09-01T11:00:00Z  2026-09-01T12:00:00Z
a-container-1.0-1  other         rejected    gate-unsatisfied  -        2      2026-09-01T11:00:00Z  2026-09-01T11:59:00Z
b-container-1.0-1  myorg         waiting     gate-waiting      -        3      2026-09-01T11:00:00Z  2026-09-01T11:58:00Z
c-container-1.0-1  myorg         publishing  quay-unavailable  -        4      2026-09-01T11:00:00Z  2026-09-01T11:57:00Z
d-container-1.0-1  myorg         failed      koji-unavailable  -        5      2026-09-01T11:00:00Z  2026-09-01T11:56:00Z
5 in all: 1 waiting, 1 publishing, 1 published, 1 rejected, 1 failed
`, "\n")
	if diff := cmp.Diff(want, out); diff != "" || code != exitDone || errs != "" {
		t.Errorf("exit %d: %s%s", code, diff, errs)
	}
	code, out, errs = command(t, "status", "--limit", "2", "-s", s.nats.URL)
	if code != exitDone || strings.Count(out, "\n") != 4 || !strings.Contains(out, "\n5 in all: ") || errs != "there are 3 more: --limit 0 shows all\n" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestStatusFilters(t *testing.T) {
	t.Parallel()
	s := ledger(t, "omps-ledger", sampleEntries()...)
	for _, tt := range []struct {
		args string
		want string // the last line
	}{
		{"--organization other", "1 in all: 1 rejected"},
		{"--organization other,myorg --limit 0", "5 in all: 1 waiting, 1 publishing, 1 published, 1 rejected, 1 failed"},
		{"--organization nobody", "no builds"},
		{"--state waiting,failed", "2 in all: 1 waiting, 1 failed"},
		{"--state waiting --state published", "2 in all: 1 waiting, 1 published"},
		{"--reason gate-waiting,koji-unavailable", "2 in all: 1 waiting, 1 failed"},
		{"--reason gate-waiting --state failed", "no builds"},
	} {
		code, out, errs := command(t, append(strings.Fields("status -s "+s.nats.URL), strings.Fields(tt.args)...)...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if code != exitDone || errs != "" || lines[len(lines)-1] != tt.want {
			t.Errorf("%s: exit %d: %s%s", tt.args, code, out, errs)
		}
	}
}

func TestStatusAsJSON(t *testing.T) {
	t.Parallel()
	entries := sampleEntries()
	s := ledger(t, "omps-ledger", entries...)
	for _, tt := range []struct {
		args []string
		want []events.Entry
	}{
		{nil, entries}, {[]string{"--limit", "1"}, entries[:1]}, {[]string{"a-container-1.0-1"}, entries[:2]},
		{[]string{"a-container-1.0-1", "--organization", "other"}, entries[1:2]},
	} {
		code, out, _ := command(t, append([]string{"status", "--json", "-s", s.nats.URL}, tt.args...)...)
		var got []events.Entry
		for line := range strings.Lines(out) {
			var e events.Entry
			decoder := json.NewDecoder(strings.NewReader(line))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || code != exitDone {
			t.Errorf("%v: exit %d: %s", tt.args, code, diff)
		}
	}
}

func TestStatusOfABuild(t *testing.T) {
	t.Parallel()
	s := ledger(t, "omps-ledger", sampleEntries()...)
	code, out, errs := command(t, "status", "a-container-1.0-1", "-s", s.nats.URL)
	want := strings.TrimPrefix(`
a-container-1.0-1 for myorg: published
  package        etcd
  image          `+imageDigest+`
  build id       7
  checksum       md5:00
  tries          1
  first          2026-09-01T11:00:00Z
  last           2026-09-01T12:00:00Z
  asked by       event e0 of https://koji.example.com/

a-container-1.0-1 for other: rejected
  reason         gate-unsatisfied
  message        policies not satisfied
  stage          gate
  tries          2
  first          2026-09-01T11:00:00Z
  last           2026-09-01T11:59:00Z
  asked by       event e1 of https://koji.example.com/
`, "\n")
	if diff := cmp.Diff(want, out); diff != "" || code != exitDone || errs != "" {
		t.Errorf("exit %d: %s%s", code, diff, errs)
	}
	_, out, _ = command(t, "status", "b-container-1.0-1", "-s", s.nats.URL)
	for _, line := range []string{
		"\n  waits          event w1 of /koji\n", "\n  waits          request w2 of /me, correlation c1, repository r, version 1.2.3, forced\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in %s", line, out)
		}
	}
}

func TestStatusFails(t *testing.T) {
	t.Parallel()
	s := ledger(t, "omps-ledger", sampleEntries()...)
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"z-container-1.0-1", exitFailed, "the ledger knows nothing of z-container-1.0-1"},
		{"a-container-1.0-1 --organization nobody", exitFailed, "the ledger knows nothing like this of a-container-1.0-1"},
		{"nodashes", exitUsage, "nodashes"},
		{"a-1-1 b-1-1", exitUsage, "accepts at most 1 arg"},
		{"--state done", exitUsage, `--state "done" is none of waiting, publishing, published, rejected, failed`},
		{"--reason bad-luck", exitUsage, `--reason "bad-luck" is no reason`},
		{"--limit -1", exitUsage, "--limit is below 0"},
		{"-c nowhere.yaml", exitUsage, "nowhere.yaml"},
	} {
		code, out, errs := command(t, append(strings.Fields("status -s "+s.nats.URL), strings.Fields(tt.args)...)...)
		if code != tt.code || out != "" || !strings.Contains(errs, tt.says) {
			t.Errorf("%s: exit %d: %s%s", tt.args, code, out, errs)
		}
	}
	code, out, errs := command(t, "status", "-s", eventstest.Start(t).URL)
	if code != exitFailed || out != "" || !strings.Contains(errs, "bucket omps-ledger: ") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestStatusOfAnEmptyLedger(t *testing.T) {
	t.Parallel()
	s := ledger(t, "my-ledger")
	path := writeConfig(t, s.nats.URL, ", buckets: {ledger: my-ledger}")
	code, out, errs := command(t, "status", "-c", path)
	if code != exitDone || out != "no builds\n" || errs != "" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

// No text of the ledger, which comes from outside, orders the terminal about.
func TestStatusTexts(t *testing.T) {
	t.Parallel()
	bad := "\x1b]0;title\x07\u202e\u009b31m\r\n\tx"
	e := sampleEntries()[0]
	e.NVR = "a-container-1.0-1"
	e.Reason, e.Message, e.Stage, e.Package = pipeline.Reason(bad), bad, pipeline.StageName(bad), bad
	e.Checksum, e.Configuration, e.ResultID, e.Digests = bad, bad, bad, []string{bad}
	e.Trigger = events.Cause{ID: bad, Source: bad, Type: bad, Correlation: bad, Repository: bad, Version: bad}
	e.Waiters = []events.Cause{e.Trigger}
	s := ledger(t, "omps-ledger", e)
	for _, args := range [][]string{nil, {"--json"}, {"a-container-1.0-1"}, {"a-container-1.0-1", "--json"}} {
		code, out, errs := command(t, append([]string{"status", "-s", s.nats.URL}, args...)...)
		if code != exitDone || !strings.Contains(out, "title") || !printable([]byte(out)) || strings.Contains(out, "\t") {
			t.Errorf("%v: exit %d: %q%s", args, code, out, errs)
		}
	}
}

func TestStatusOfARunningService(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	s.announce(sandbox.SampleNVR)
	result := s.next()
	var out string
	s.await("the ledger knows", func() bool {
		_, out, _ = command(t, "status", sandbox.SampleNVR, "-s", s.nats.URL)
		return strings.Contains(out, " for myorg: published\n")
	})
	for _, text := range []string{result.Bundles[0].Reference, result.Package, result.Archive.Checksum, "event announce-" + sandbox.SampleNVR} {
		if !strings.Contains(out, text) {
			t.Errorf("no %s in %s", text, out)
		}
	}
}

// Whoever may only read the ledger can: these are the rights that statusCommand names.
func TestStatusRights(t *testing.T) {
	t.Parallel()
	const bucket = "omps-ledger"
	publish := []string{
		"$JS.API.STREAM.INFO.KV_" + bucket, "$JS.API.DIRECT.GET.KV_" + bucket, "$JS.API.CONSUMER.CREATE.KV_" + bucket + ".>",
		"$JS.API.CONSUMER.DELETE.KV_" + bucket + ".>", "$JS.FC.KV_" + bucket + ".>",
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{
			{Username: "admin", Password: "x"},
			{Username: "reader", Password: "x", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: publish},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	as := func(user string) string { return "nats://" + user + ":x@" + s.Addr().String() }
	conn, err := nats.Connect(as("admin"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, js, bucket, append(manyEntriesOf(countedBuilds), sampleEntries()...)...)
	for _, args := range [][]string{nil, {"--limit", "0"}, {"--organization", "myorg"}, {"a-container-1.0-1"}} {
		code, out, errs := command(t, append([]string{"status", "-s", as("reader")}, args...)...)
		if code != exitDone || !strings.Contains(out, "-container-1.") {
			t.Errorf("%v: exit %d: %s%s", args, code, out, errs)
		}
	}
}

// manyEntriesOf are so many entries of published builds, each written a second
// behind the one before.
func manyEntriesOf(n int) []events.Entry {
	entries := make([]events.Entry, n)
	for i := range entries {
		e := sampleEntries()[0]
		e.NVR, e.Last = fmt.Sprintf("etcd-operator-container-1.%d-1", i), e.Last.Add(time.Duration(i)*time.Second)
		e.Told = []string{strings.Repeat("0", 32), strings.Repeat("1", 32)}
		entries[i] = e
	}
	return entries
}

// Of a large ledger only what is shown is read, unless all of it is asked for.
func TestStatusOfALargeLedger(t *testing.T) {
	t.Parallel()
	const builds = 5_000
	entries := manyEntriesOf(builds)
	s := ledger(t, "omps-ledger", entries...)
	for _, tt := range []struct {
		args  string
		shown int
		sum   string
	}{
		{"", listedBuilds, "5000 in all"},
		{"--limit 1000", 1000, "5000 in all"},
		{"--limit 1001", 1001, "5000 in all: 5000 published"},
		{"--limit 0", builds, "5000 in all: 5000 published"},
		{"--state published,failed --limit 7", 7, "5000 in all: 5000 published"},
	} {
		start := time.Now()
		code, out, errs := command(t, append(strings.Fields("status -s "+s.nats.URL), strings.Fields(tt.args)...)...)
		t.Logf("%s takes %s", tt.args, time.Since(start).Round(time.Millisecond))
		lines := strings.Split(out, "\n")
		more := ""
		if tt.shown < builds {
			more = fmt.Sprintf("there are %d more: --limit 0 shows all\n", builds-tt.shown)
		}
		if code != exitDone || len(lines) != 1+tt.shown+1+1 || !strings.HasPrefix(lines[1], entries[builds-1].NVR+" ") ||
			!strings.HasPrefix(lines[tt.shown], entries[builds-tt.shown].NVR+" ") ||
			lines[tt.shown+1] != tt.sum || errs != more {
			t.Errorf("%s: exit %d: %d lines: %s%s", tt.args, code, len(lines), errs, lines[:2])
		}
	}
}

// Where the last writes were all of a few builds, all is read for the others.
func TestStatusOfAnAgileBuild(t *testing.T) {
	t.Parallel()
	const builds = 1200
	entries := manyEntriesOf(builds)
	last := entries[builds-1]
	for i := range 1000 {
		last.Tries = uint64(i)
		entries = append(entries, last)
	}
	s := ledger(t, "omps-ledger", entries...)
	code, out, errs := command(t, "status", "-s", s.nats.URL)
	lines := strings.Split(out, "\n")
	if code != exitDone || len(lines) != 1+listedBuilds+1+1 || !strings.HasPrefix(lines[listedBuilds], entries[builds-listedBuilds].NVR+" ") ||
		lines[listedBuilds+1] != "1200 in all: 1200 published" || errs != "there are 1150 more: --limit 0 shows all\n" {
		t.Errorf("exit %d: %d lines: %s%s", code, len(lines), errs, lines[:2])
	}
}
