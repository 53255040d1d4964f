package events_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// logBuffer collects log lines of several goroutines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) lines(containing string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
	for line := range strings.Lines(b.buf.String()) {
		if strings.Contains(line, containing) {
			found = append(found, line)
		}
	}
	return found
}

func TestBuildIsPublishedAndSettled(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	handler := count(publishes)
	o := b.options(handler)
	var log logBuffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := b.run(o)
	b.announce(nvr(1))

	eventually(t, "settled", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	s.finish()
	if !b.settled("KOJI") {
		t.Errorf("left to do: %+v", b.info("KOJI"))
	}
	if builds, runs := handler.distinct(); builds != 1 || runs != 1 {
		t.Errorf("%d runs of %d builds", runs, builds)
	}
	results := b.results()
	if len(results) != 1 {
		t.Fatalf("%d results", len(results))
	}
	e := results[0]
	if e.Type() != events.TypePublished || e.Source() != "/omps-consumer" || e.Subject() != nvr(1) {
		t.Errorf("result is %s", e)
	}
	if subject := b.stored("OMPS_RESULTS")[0].Subject; subject != "omps.result.published.myorg.etcd" {
		t.Errorf("result on %s", subject)
	}
	lines := log.lines("msg=settled")
	if len(lines) != 1 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for _, field := range []string{
		"level=INFO", "event_id=event-" + nvr(1), "nvr=" + nvr(1), "build_id=7", "organization=myorg",
		"tries=1", "age=", "outcome=published", "digest=sha256:e3b0",
	} {
		if !strings.Contains(lines[0], field) {
			t.Errorf("no %s in %s", field, lines[0])
		}
	}
	if got := s.metric("omps_settle_age_seconds", "outcome=published"); got != 1 {
		t.Errorf("age observed %v times", got)
	}
	if got := s.metric("omps_in_flight"); got != 0 {
		t.Errorf("%v in flight", got)
	}
}

func TestOthersBuildsAreAcknowledgedWithoutWork(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	handler := count(publishes)
	s := b.run(b.options(handler))
	const others = 300
	for i := range others {
		b.announce("kernel-6." + string(rune('0'+i%10)) + "-1")
	}
	b.publish(nats.NewMsg("koji.build.tagged"))
	b.publish(nats.NewMsg("koji.task.state"))
	b.announce(nvr(1))

	eventually(t, "ours", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	eventually(t, "settled", func() bool { return b.settled("KOJI") })
	if builds, runs := handler.distinct(); builds != 1 || runs != 1 {
		t.Errorf("%d runs of %d builds", runs, builds)
	}
	if got := s.metric("omps_deliveries_total", "outcome=ignored", "reason=no-organization"); got != others {
		t.Errorf("%v ignored for no organization", got)
	}
	if got := s.metric("omps_deliveries_total", "outcome=ignored", "reason=unknown-type"); got != 1 {
		t.Errorf("%v ignored for their type; tasks are not to be delivered at all", got)
	}
	s.finish()
}

func TestTwoServicesShareTheWork(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	both := make(chan struct{}) // closed when each has a build in work
	var seen sync.WaitGroup
	seen.Add(2)
	go func() { seen.Wait(); close(both) }()
	sharing := func() *counted {
		var once sync.Once
		return count(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
			once.Do(seen.Done)
			<-both
			return result(tr, nil)
		}))
	}
	first, second := sharing(), sharing()
	s1, s2 := b.run(b.options(first)), b.run(b.options(second))
	const builds = 60
	for i := range builds {
		b.announce(nvr(i))
	}
	eventually(t, "all done", func() bool {
		return s1.metric("omps_deliveries_total", "outcome=published")+s2.metric("omps_deliveries_total", "outcome=published") == builds
	})
	s1.finish()
	s2.finish()
	_, runs1 := first.distinct()
	_, runs2 := second.distinct()
	if runs1+runs2 != builds {
		t.Errorf("%d and %d runs of %d builds", runs1, runs2, builds)
	}
	if got := len(b.results()); got != builds {
		t.Errorf("%d results", got)
	}
}

func TestRequestsAreRead(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	var org string
	s := b.run(b.options(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		org = tr.Organization
		return result(tr, pipeline.Reject(pipeline.ReasonBadArchive, errors.New("not a zip")))
	})))
	e, subject, err := events.NewPushEvent(events.PushEvent{Organization: "myorg", NVR: nvr(1), Source: "/me", ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	header, data, err := events.EncodeStructured(e)
	if err != nil {
		t.Fatal(err)
	}
	b.publish(&nats.Msg{Subject: subject, Header: header, Data: data})
	eventually(t, "settled", func() bool { return s.metric("omps_deliveries_total", "outcome=rejected", "reason=bad-archive") == 1 })
	s.finish()
	if org != "myorg" || !b.settled("OMPS_REQUESTS") {
		t.Errorf("request for %q left %+v", org, b.info("OMPS_REQUESTS"))
	}
}

func TestNewWantsAllItsParts(t *testing.T) {
	t.Parallel()
	_, err := events.New(events.Options{Provision: events.ProvisionOptions{AckWait: time.Millisecond}, Grace: -1, BuildTimeout: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, text := range []string{"part is missing", "no name", "source", "workers", "build timeout", "grace", "ack wait", "policy"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("no %q in %q", text, err)
		}
	}
}

// Pulls are bounded in bytes too, and what does not fit into one comes in the
// next.
func TestLargeMessagesComeThrough(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	const messages, size = 40, 900 << 10
	if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
		t.Fatal(err)
	}
	for range messages {
		b.publish(&nats.Msg{Subject: "koji.build.tagged", Data: make([]byte, size)})
	}
	b.announce(nvr(1))
	s := b.run(b.options(publishes))
	eventually(t, "settled", func() bool { return b.settled("KOJI") })
	if got := s.metric("omps_deliveries_total", "outcome=ignored"); got != messages {
		t.Errorf("%v ignored", got)
	}
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	s.finish()
}

func TestGaugesTellWhatTheServerHolds(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	started, release := make(chan string, 10), make(chan struct{})
	waits := handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
		return result(tr, pipeline.Wait(pipeline.ReasonGateWaiting, errors.New("no results yet")))
	})
	o := b.options(waits)
	o.Policy.Recheck = time.Hour
	first := b.run(o)
	b.announce(nvr(0))
	eventually(t, "waiting", func() bool { return first.metric("omps_deliveries_total", "outcome=waiting") == 1 })
	first.finish()
	for i := range 9 {
		b.announce(nvr(i + 1))
	}

	o.Handler, o.Workers = blocked(started, release), 1
	second := b.run(o)
	// The server is asked at the start and then each 15 s.
	eventually(t, "the gauges", func() bool {
		return second.metric("omps_consumer_pending") == 7 && second.metric("omps_waiting") == 1
	})
	close(release)
	second.finish()
}

// A message without a payload and with a Status header is no word of the
// server's: it is a dead letter, and holds up nothing.
func TestMessageThatPosesAsAStatus(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	o := b.options(publishes)
	o.Provision.AckWait = time.Hour // nothing comes again by itself
	if err := events.Provision(t.Context(), b.js, o.Provision); err != nil {
		t.Fatal(err)
	}
	poses := nats.Header{"Status": {"409"}, "Description": {"Consumer Deleted"}}
	b.publish(&nats.Msg{Subject: "koji.build.completed", Header: poses})
	for i := range 10 {
		b.announce(nvr(i))
	}
	s := b.run(o)
	eventually(t, "all is settled", func() bool {
		return s.metric("omps_deliveries_total", "outcome=published") == 10 && b.settled("KOJI")
	})
	s.finish()
	letters := b.stored("OMPS_DEAD_LETTERS")
	if len(letters) != 1 || letters[0].Header.Get("Omps-Status") != "409" || letters[0].Header.Get("Status") != "" {
		t.Errorf("dead letters: %+v", letters)
	}
}
