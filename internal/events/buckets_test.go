package events_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// What Provision makes is a bucket to the client, and the one that the client
// itself would make.
func TestProvisionMakesBuckets(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
		t.Fatal(err)
	}
	for name, ttl := range map[string]time.Duration{"omps-ledger": 90 * 24 * time.Hour, "omps-leases": 10 * time.Second} {
		kv, err := b.js.KeyValue(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		revision, err := kv.Create(t.Context(), "a.b", []byte("1"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Create(t.Context(), "a.b", nil); !errors.Is(err, jetstream.ErrKeyExists) {
			t.Errorf("%s: created twice: %v", name, err)
		}
		if _, err := kv.Update(t.Context(), "a.b", []byte("2"), revision); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if value, err := kv.Get(t.Context(), "a.b"); err != nil || string(value.Value()) != "2" {
			t.Errorf("%s: %v, %v", name, value, err)
		}
		if err := kv.Purge(t.Context(), "a.b"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		status, err := kv.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if status.TTL() != ttl || status.History() != 1 {
			t.Errorf("%s: ttl %s, history %d", name, status.TTL(), status.History())
		}
		// Whoever makes it with the client finds the same one.
		if _, err := b.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
			Bucket: name, Description: status.Config().Description, TTL: ttl, Storage: jetstream.FileStorage,
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProvisionChecksBuckets(t *testing.T) {
	t.Parallel()
	bucket := func(name string, ttl time.Duration) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"}, MaxMsgsPerSubject: 1, MaxAge: ttl,
			AllowRollup: true, DenyDelete: true, AllowDirect: true, Discard: jetstream.DiscardNew,
		}
	}
	history := bucket("omps-ledger", 0)
	history.MaxMsgsPerSubject = 0
	tests := []struct {
		name string
		cfg  jetstream.StreamConfig
		want string // "": fine
	}{
		{"ledger for a week", bucket("omps-ledger", 7*24*time.Hour), ""},
		{"ledger for ever", bucket("omps-ledger", 0), ""},
		{"ledger for two runs", bucket("omps-ledger", 48*time.Hour), ""},
		{"ledger for less", bucket("omps-ledger", 47*time.Hour), "bucket omps-ledger: drops keys after 47h0m0s, and a build may take 24h0m0s"},
		{"no bucket", history, "bucket omps-ledger: is not a key-value bucket"},
		{"leases half as long", bucket("omps-leases", 5*time.Second), ""},
		{"leases for a minute", bucket("omps-leases", time.Minute), ""},
		{"leases too short", bucket("omps-leases", 4*time.Second), "bucket omps-leases: keys live for 4s, and a lease needs 10s"},
		{"leases too long", bucket("omps-leases", time.Hour), "bucket omps-leases: keys live for 1h0m0s"},
		{"leases for ever", bucket("omps-leases", 0), "bucket omps-leases: keys live for ever"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBus(t)
			if _, err := b.js.CreateStream(t.Context(), tt.cfg); err != nil {
				t.Fatal(err)
			}
			err := events.Provision(t.Context(), b.js, provisioned())
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("no %q in %v", tt.want, err)
			}
			s, err := b.js.Stream(t.Context(), tt.cfg.Name)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.CachedInfo().Config.MaxAge; got != tt.cfg.MaxAge {
				t.Errorf("the bucket was changed: %s", got)
			}
		})
	}
}
