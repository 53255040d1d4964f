package events

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func checked() ProvisionOptions {
	return ProvisionOptions{Names: DefaultNames(), Manage: true, Replicas: 1, AckWait: 30 * time.Second, MaxWaiting: 5000, Since: day}
}

func TestVersionRisks(t *testing.T) {
	t.Parallel()
	for version, safe := range map[string]bool{
		"2.9.25": false, "2.11.9": false, "2.12.0": false, "2.12.8": false, "2.12.9": true, "2.12.10": true, "2.12.9-RC.1": false,
		"2.13.0": false, "2.13.7": false, "2.14.0": false, "2.14.1-RC.2": false, "2.14.1": true, "2.14.5": true,
		"2.15.0-beta.1": true, "2.15.2": true, "3.0.0": true, "1.4.1": false, "": false, "v2.15.2": false, "2.15": false, "main": false,
	} {
		risks := versionRisks(version)
		if safe != (len(risks) == 0) {
			t.Errorf("%q: %q", version, risks)
		}
		if !safe && (!strings.Contains(risks[0], version) || !strings.Contains(risks[0], "2.12.9, 2.14.1 or newer")) {
			t.Errorf("%q: %q", version, risks)
		}
	}
}

func TestStreamRisks(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	var koji, results, letters, ledger stream
	for _, s := range append(DefaultNames().streams(), DefaultNames().buckets()...) {
		switch s.String() {
		case "stream KOJI":
			koji = s
		case "stream OMPS_RESULTS":
			results = s
		case "stream OMPS_DEAD_LETTERS":
			letters = s
		case "bucket omps-ledger":
			ledger = s
		}
	}
	type info = jetstream.StreamInfo
	tests := []struct {
		name      string
		of        stream
		replicas  int // configured
		clustered bool
		change    func(i *info)
		want      []string
	}{
		{"ours", koji, 1, false, func(*info) {}, nil},
		{"results of ours", results, 1, false, func(*info) {}, nil},
		{"dead letters of ours", letters, 1, false, func(*info) {}, nil},
		{"ledger of ours", ledger, 1, false, func(*info) {}, nil},
		{"in memory", koji, 1, false, func(i *info) { i.Config.Storage = jetstream.MemoryStorage }, []string{"in memory"}},
		{"ledger in memory", ledger, 1, false, func(i *info) { i.Config.Storage = jetstream.MemoryStorage }, []string{"in memory"}},
		{"one replica of three", koji, 3, true, func(*info) {}, []string{"has 1 of the 3 replicas that are configured"}},
		{"one replica on a cluster", ledger, 1, true, func(*info) {}, []string{"has one replica, and stands still"}},
		{"more replicas", koji, 1, true, func(i *info) { i.Config.Replicas = 3 }, nil},
		{"short window of results", results, 1, false, func(i *info) { i.Config.Duplicates = 2 * time.Minute }, []string{"after 2m0s"}},
		{"no window of results", results, 1, false, func(i *info) { i.Config.Duplicates = 0 }, []string{"after 0s"}},
		{"half a window of results", results, 1, false, func(i *info) { i.Config.Duplicates = 30 * time.Minute }, nil},
		{"short window of what is read", koji, 1, false, func(i *info) { i.Config.Duplicates = 0 }, nil},
		{"short-lived dead letters", letters, 1, false, func(i *info) { i.Config.MaxAge = day }, []string{"drops dead letters after 24h0m0s"}},
		{"short-lived results", results, 1, false, func(i *info) { i.Config.MaxAge = day }, nil},
		{"one message a subject", koji, 1, false, func(i *info) { i.Config.MaxMsgsPerSubject = 1 }, []string{"keeps only the last 1 messages of each subject"}},
		{"refuses a second one", results, 1, false, func(i *info) {
			i.Config.MaxMsgsPerSubject, i.Config.Discard, i.Config.DiscardNewPerSubject = 1, jetstream.DiscardNew, true
		}, []string{"refuses more than 1 messages"}},
		{"refuses, and has room", results, 1, false, func(i *info) {
			i.Config.Discard, i.Config.MaxMsgs, i.State.Msgs = jetstream.DiscardNew, 100, 89
		}, nil},
		{"refuses, and is nearly full", results, 1, false, func(i *info) {
			i.Config.Discard, i.Config.MaxMsgs, i.State.Msgs = jetstream.DiscardNew, 100, 90
		}, []string{"is at 90 % of its max_msgs of 100"}},
		{"ledger nearly full", ledger, 1, false, func(i *info) {
			i.Config.MaxBytes, i.State.Bytes = 1000, 950
		}, []string{"is at 95 % of its max_bytes of 1000"}},
		{"drops what may not be done", koji, 1, false, func(i *info) {
			i.Config.MaxBytes, i.State.Bytes, i.State.FirstTime = 1000, 999, now.Add(-time.Hour)
		}, []string{"drops messages after 1h0m0s, and a build may take 24h0m0s"}},
		{"drops what is old", koji, 1, false, func(i *info) {
			i.Config.MaxMsgs, i.State.Msgs, i.State.FirstTime = 1000, 1000, now.Add(-2*day)
		}, nil},
		{"drops old results", results, 1, false, func(i *info) {
			i.Config.MaxMsgs, i.State.Msgs, i.State.FirstTime = 1000, 1000, now.Add(-time.Hour)
		}, nil},
		{"all at once", results, 3, true, func(i *info) {
			i.Config.Storage, i.Config.Duplicates = jetstream.MemoryStorage, time.Second
		}, []string{"in memory", "has 1 of the 3 replicas", "after 1s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := checked()
			o.Replicas = tt.replicas
			i := &info{Config: tt.of.config(1)}
			tt.change(i)
			compare(t, o.streamRisks(tt.of, i, tt.clustered, now), tt.want)
		})
	}
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("risks are %q", got)
	}
	for i, text := range want {
		if !strings.Contains(got[i], text) {
			t.Errorf("no %q in %q", text, got[i])
		}
	}
}

func TestDurableRisks(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time { then := now.Add(d); return &then }
	type config = jetstream.ConsumerConfig
	tests := []struct {
		name   string
		change func(c *config)
		want   []string
	}{
		{"ours", func(*config) {}, nil},
		{"no room for work", func(c *config) { c.MaxAckPending = 5000 }, []string{"max ack pending is 5000, and 5000 builds may wait, which leaves too little room for others; it should be 6000"}},
		{"little room", func(c *config) { c.MaxAckPending = 5499 }, []string{"5499"}},
		{"room", func(c *config) { c.MaxAckPending = 5500 }, nil},
		{"no limit", func(c *config) { c.MaxAckPending = -1 }, nil},
		{"in memory", func(c *config) { c.MemoryStorage = true }, []string{"in memory"}},
		{"replicas of its stream", func(c *config) { c.Replicas = 3 }, nil},
		{"fewer replicas", func(c *config) { c.Replicas = 1 }, []string{"has 1 of the 3 replicas of its stream"}},
		{"paused", func(c *config) { c.PauseUntil = at(time.Hour) }, []string{"is paused until 2026-11-01T13:00:00Z"}},
		{"was paused", func(c *config) { c.PauseUntil = at(-time.Hour) }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := checked()
			s := DefaultNames().streams()[0]
			cfg := o.durableConfig(s)
			tt.change(&cfg)
			compare(t, o.durableRisks(&jetstream.ConsumerInfo{Config: cfg}, &jetstream.StreamInfo{Config: s.config(3)}, now), tt.want)
		})
	}
}
