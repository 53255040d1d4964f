package events

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// beating is a message that counts its heartbeats.
type beating struct {
	jetstream.Msg
	beats int
	err   error
}

func (m *beating) InProgress() error { m.beats++; return m.err }

func TestHeldKeepsOneDeliveryOfAMessage(t *testing.T) {
	t.Parallel()
	h := newHeld()
	first := &delivery{stream: "KOJI", sequence: 1, tries: 1}
	again := &delivery{stream: "KOJI", sequence: 1, tries: 2}
	other := &delivery{stream: "OMPS_REQUESTS", sequence: 1}
	if !h.hold(first) || h.hold(again) || !h.hold(other) {
		t.Error("holds the wrong ones")
	}
	if h.release(again) {
		t.Error("released what it does not hold")
	}
	if !h.release(first) || h.release(first) {
		t.Error("released not just once")
	}
	if !h.hold(again) || h.count() != 2 || len(h.list()) != 2 {
		t.Errorf("%d held", h.count())
	}
}

// A stream made anew begins with sequence 1 again: its message is not the one
// that is held, and what becomes of that one does not settle it.
func TestHeldTellsStreamsMadeAnewApart(t *testing.T) {
	t.Parallel()
	h := newHeld()
	old := &delivery{stream: "KOJI", sequence: 1, stored: time.Unix(1, 0)}
	fresh := &delivery{stream: "KOJI", sequence: 1, stored: time.Unix(2, 0)}
	if !h.hold(old) || !h.hold(fresh) {
		t.Error("a message of another stream is taken for the held one")
	}
	if h.release(old) || !h.release(fresh) {
		t.Error("the old delivery settles the new message")
	}
}

func TestHeartbeatsEndWithRelease(t *testing.T) {
	t.Parallel()
	h := newHeld()
	kept, gone := &beating{err: errors.New("no connection")}, &beating{}
	d1, d2 := &delivery{msg: kept, sequence: 1}, &delivery{msg: gone, sequence: 2}
	h.hold(d1)
	h.hold(d2)
	var failed []*delivery
	note := func(d *delivery, _ error) { failed = append(failed, d) }
	h.beatOnce(note)
	h.release(d2)
	h.beatOnce(note)
	if kept.beats != 2 || gone.beats != 1 {
		t.Errorf("%d and %d heartbeats", kept.beats, gone.beats)
	}
	if len(failed) != 2 || failed[0] != d1 {
		t.Errorf("failed are %v", failed)
	}
}

func TestAgeIsNeverNegative(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := &delivery{stored: now.Add(time.Hour)}
	if got := d.age(now); got != 0 {
		t.Errorf("age is %s", got)
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                 "plain",
		"two\r\nlines\tand\x00": "two  lines and ",
		"next\u0085line":        "next line",
		"not \xff text":         "not   text",
		strings.Repeat("ä", 50): strings.Repeat("ä", 10), // 20 bytes, and no half of one
	} {
		if got := oneLine(errors.New(in), 21); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
	if got := oneLine(nil, 10); got != "" {
		t.Errorf("nil became %q", got)
	}
}

func TestMergedHeaders(t *testing.T) {
	t.Parallel()
	original := nats.Header{
		"ce-Type": {"a"}, "NATS-Rollup": {"all"}, "Nats-TTL": {"1s"}, "OMPS-Reason": {"forged"}, "Nat": {"short"},
	}
	got := merged(original, nats.Header{HeaderReason: {"bad-archive"}})
	want := map[string]string{
		"ce-Type": "a", "Omps-NATS-Rollup": "all", "Omps-Nats-TTL": "1s", "Nat": "short", HeaderReason: "bad-archive",
	}
	if len(got) != len(want) {
		t.Errorf("headers are %v", got)
	}
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s is %q", name, got.Get(name))
		}
	}
	if len(original) != 5 {
		t.Errorf("the original is changed: %v", original)
	}
}

func TestBackoffIsBounded(t *testing.T) {
	t.Parallel()
	const last = 5 * time.Second
	for attempt := -1; attempt < 100; attempt++ {
		full := last
		if n := max(attempt, 1) - 1; n < 6 {
			full = min(firstWait<<n, last)
		}
		if got := backoff(attempt, last); got < full/2 || got > full {
			t.Errorf("attempt %d waits %s, not %s to %s", attempt, got, full/2, full)
		}
	}
}

// Every series is there before anything happens, so that a rate starts at 0.
func TestMetricsArePresentFromTheStart(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	newMetrics(registry, []string{"a", "b"}, []string{"KOJI", "OMPS_REQUESTS"})
	NewLedger(nil, "ledger").Register(registry)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	reasons := len(pipeline.Reasons())
	want := map[string]int{
		"omps_deliveries_total": 2 + 6*reasons, "omps_settle_age_seconds": 6, "omps_settle_errors_total": 8,
		"omps_dead_letters_total": reasons, "omps_redeliveries_total": 2, "omps_ledger_changes_total": 5 * 5,
		"omps_results_total": 3 * 5, "omps_last_success_timestamp_seconds": 2,
	}
	for _, family := range families {
		if got := len(family.GetMetric()); got != want[family.GetName()] {
			t.Errorf("%s has %d series", family.GetName(), got)
		}
		delete(want, family.GetName())
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}
