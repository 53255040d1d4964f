package events_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

func TestProvisionCreatesWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	for range 2 { // the second time finds everything
		if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
			t.Fatal(err)
		}
	}
	const day = 24 * time.Hour
	for _, want := range []struct {
		name, subjects string
		age            time.Duration
	}{
		{"KOJI", "koji.>", 14 * day}, {"GREENWAVE", "greenwave.>", 14 * day}, {"OMPS_REQUESTS", "omps.request.>", 14 * day},
		{"OMPS_RESULTS", "omps.result.>", 90 * day}, {"OMPS_DEAD_LETTERS", "omps.dead-letter.>", 180 * day},
	} {
		s, err := b.js.Stream(t.Context(), want.name)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		if cfg.Subjects[0] != want.subjects || cfg.MaxAge != want.age || cfg.Storage != jetstream.FileStorage ||
			cfg.Retention != jetstream.LimitsPolicy || cfg.Duplicates != time.Hour {
			t.Errorf("%s is %+v", want.name, cfg)
		}
	}
	for stream, filter := range map[string]string{
		"KOJI": "koji.build.>", "GREENWAVE": "greenwave.decision.updated", "OMPS_REQUESTS": "omps.request.>",
	} {
		cfg := b.info(stream).Config
		if cfg.AckPolicy != jetstream.AckExplicitPolicy || cfg.MaxDeliver != -1 || cfg.MaxAckPending != 6000 ||
			cfg.AckWait != 30*time.Second || cfg.FilterSubject != filter {
			t.Errorf("durable on %s is %+v", stream, cfg)
		}
	}
}

func TestProvisionWithoutGate(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	o := provisioned()
	o.Names.Greenwave = ""
	if err := events.Provision(t.Context(), b.js, o); err != nil {
		t.Fatal(err)
	}
	if names := streamNames(t, b); len(names) != 6 || slices.Contains(names, "GREENWAVE") {
		t.Errorf("streams are %q", names)
	}
}

func TestReplicasProvisionTogether(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestNewDurableStartsAtWhatIsYoungEnough(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KOJI", Subjects: []string{"koji.>"}}); err != nil {
		t.Fatal(err)
	}
	b.announce(nvr(1))
	stored := b.stored("KOJI")[0].Time
	// The next message is younger by the server's own clock.
	eventually(t, "time to pass", func() bool { return time.Since(stored) > 20*time.Millisecond })
	between := stored.Add(10 * time.Millisecond)
	b.announce(nvr(2))

	o := provisioned()
	o.Since = time.Since(between)
	if err := events.Provision(t.Context(), b.js, o); err != nil {
		t.Fatal(err)
	}
	if got := b.info("KOJI").NumPending; got != 1 {
		t.Errorf("%d messages to come", got)
	}
}

func TestProvisionOnlyBindsWhatItMayNotManage(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	o := provisioned()
	o.Manage = false
	err := events.Provision(t.Context(), b.js, o)
	var faults events.Faults
	if !errors.As(err, &faults) || len(faults) != 7 {
		t.Fatalf("error is %v", err)
	}
	for i, name := range []string{
		"stream KOJI", "stream GREENWAVE", "stream OMPS_REQUESTS", "stream OMPS_RESULTS", "stream OMPS_DEAD_LETTERS",
		"bucket omps-ledger", "bucket omps-leases",
	} {
		if got := faults[i].Error(); got != name+": is missing" || !errors.Is(faults[i], events.ErrMissing) {
			t.Errorf("fault %d is %q, not about %s", i, got, name)
		}
	}
	if n := len(streamNames(t, b)); n != 0 {
		t.Errorf("%d streams were created", n)
	}
	if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
		t.Fatal(err)
	}
	if err := events.Provision(t.Context(), b.js, o); err != nil {
		t.Errorf("everything is there: %v", err)
	}
	if err := b.js.DeleteConsumer(t.Context(), "KOJI", "omps"); err != nil {
		t.Fatal(err)
	}
	if err := events.Provision(t.Context(), b.js, o); err == nil || !strings.Contains(err.Error(), "KOJI: durable omps: is missing") {
		t.Errorf("error is %v", err)
	}
}

func streamNames(t *testing.T, b *bus) []string {
	t.Helper()
	var names []string
	for name := range b.js.StreamNames(t.Context()).Name() {
		names = append(names, name)
	}
	return names
}

func TestProvisionNamesTheStreamThatHoldsTheBus(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BUS", Subjects: []string{"koji.build.>"}}); err != nil {
		t.Fatal(err)
	}
	for _, manage := range []bool{true, false} {
		o := provisioned()
		o.Manage = manage
		err := events.Provision(t.Context(), b.js, o)
		if err == nil || !strings.Contains(err.Error(), "stream KOJI: is missing, but stream BUS holds koji.>") {
			t.Errorf("managed %v: %v", manage, err)
		}
	}
	o := provisioned()
	o.Names.Koji = "BUS"
	if err := events.Provision(t.Context(), b.js, o); err != nil {
		t.Errorf("with its name: %v", err)
	}
}

func TestProvisionReportsAllThatIsUnsafe(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	streams := []jetstream.StreamConfig{
		{Name: "KOJI", Subjects: []string{"koji.tag.>"}},
		{Name: "OMPS_REQUESTS", Subjects: []string{"omps.request.>"}, MaxAge: time.Hour},
		{Name: "OMPS_RESULTS", Subjects: []string{"omps.result.published.>"}},
		{Name: "OMPS_DEAD_LETTERS", Subjects: []string{"omps.dead-letter.>"}, NoAck: true, Retention: jetstream.InterestPolicy},
	}
	for _, cfg := range streams {
		if _, err := b.js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.js.CreateConsumer(t.Context(), "OMPS_REQUESTS", jetstream.ConsumerConfig{
		Durable: "omps", AckPolicy: jetstream.AckAllPolicy, MaxDeliver: 5, MaxAckPending: 100, AckWait: time.Second,
		FilterSubject: "omps.request.push.other.x", MaxRequestBatch: 10, MaxRequestExpires: time.Second,
		HeadersOnly: true, InactiveThreshold: time.Hour, MaxRequestMaxBytes: 1 << 20,
	}); err != nil {
		t.Fatal(err)
	}
	before := b.info("OMPS_REQUESTS").Config
	err := events.Provision(t.Context(), b.js, provisioned())
	if err == nil {
		t.Fatal("no error")
	}
	for _, text := range []string{
		"KOJI: holds koji.tag.> and not koji.>", "OMPS_RESULTS: holds omps.result.published.> and not omps.result.>",
		"OMPS_DEAD_LETTERS: has Interest retention", "OMPS_DEAD_LETTERS: does not acknowledge",
		"OMPS_REQUESTS: drops messages after 1h0m0s, and a build may take 24h0m0s",
		"ack policy is AckAll", "max deliver is 5", "max ack pending is 100, and 5000", "ack wait is 1s, less than 30s",
		"headers only", "deleted after 1h", "max batch is 10", "max expires is 1s", "max bytes is 1048576",
	} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("no %q in %q", text, err)
		}
	}
	if after := b.info("OMPS_REQUESTS").Config; after.MaxDeliver != before.MaxDeliver || after.AckWait != before.AckWait {
		t.Errorf("the durable was changed: %+v", after)
	}
}

func TestProvisionReportsOtherUnsafeDurables(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		cfg  jetstream.ConsumerConfig
		want string
	}{
		{"backoff", jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1, MaxDeliver: 2, BackOff: []time.Duration{time.Second}}, "a backoff overrides"},
		{"other subjects", jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "koji.tag.>"}, "is given koji.tag.> and not koji.build.>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBus(t)
			if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KOJI", Subjects: []string{"koji.>"}}); err != nil {
				t.Fatal(err)
			}
			tt.cfg.Durable = "omps"
			if _, err := b.js.CreateConsumer(t.Context(), "KOJI", tt.cfg); err != nil {
				t.Fatal(err)
			}
			if err := events.Provision(t.Context(), b.js, provisioned()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("no %q in %v", tt.want, err)
			}
		})
	}
	t.Run("push", func(t *testing.T) {
		t.Parallel()
		b := newBus(t)
		if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KOJI", Subjects: []string{"koji.>"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.js.CreatePushConsumer(t.Context(), "KOJI", jetstream.ConsumerConfig{Durable: "omps", DeliverSubject: "x"}); err != nil {
			t.Fatal(err)
		}
		if err := events.Provision(t.Context(), b.js, provisioned()); err == nil || !strings.Contains(err.Error(), "push consumer") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestProvisionTakesASaferOrWiderDurableAsItIs(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KOJI", Subjects: []string{"koji.>", "brew.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.CreateConsumer(t.Context(), "KOJI", jetstream.ConsumerConfig{
		Durable: "omps", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour, MaxAckPending: -1,
		FilterSubjects: []string{"koji.build.completed", "brew.build.completed"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := events.Provision(t.Context(), b.js, provisioned()); err != nil {
		t.Error(err)
	}
}

func TestProvisionWithoutAServer(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.Stop()
	var faults events.Faults
	if err := events.Provision(t.Context(), b.js, provisioned()); err == nil || errors.As(err, &faults) {
		t.Errorf("error is %v", err)
	}
}
