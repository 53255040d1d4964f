package events_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
)

// needed is all that the service may do where nothing is missing, as an
// administrator would write it.
func needed() server.Permissions {
	publish := []string{
		"omps.result.>", "omps.dead-letter.>",
		"$JS.API.STREAM.INFO.OMPS_RESULTS", "$JS.API.STREAM.INFO.OMPS_DEAD_LETTERS",
		"$JS.API.DIRECT.GET.OMPS_RESULTS", "$JS.API.DIRECT.GET.OMPS_DEAD_LETTERS",
	}
	for _, s := range []string{"KOJI", "GREENWAVE", "OMPS_REQUESTS"} {
		publish = append(publish,
			"$JS.API.STREAM.INFO."+s, "$JS.API.CONSUMER.INFO."+s+".omps", "$JS.API.CONSUMER.MSG.NEXT."+s+".omps",
			"$JS.ACK."+s+".omps.>", "$JS.ACK.*.*."+s+".omps.>", "$JS.API.DIRECT.GET."+s)
	}
	for _, b := range []string{"omps-ledger", "omps-leases"} {
		publish = append(publish, "$JS.API.STREAM.INFO.KV_"+b, "$KV."+b+".>", "$JS.API.DIRECT.GET.KV_"+b+".>")
	}
	return server.Permissions{
		Publish:   &server.SubjectPermission{Allow: append(publish, "$JS.API.DIRECT.GET.KV_omps-ledger")},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}
}

// creation is what it needs besides to make all that is missing.
func creation() []string {
	var publish []string
	for _, s := range []string{"KOJI", "GREENWAVE", "OMPS_REQUESTS", "OMPS_RESULTS", "OMPS_DEAD_LETTERS", "KV_omps-ledger", "KV_omps-leases"} {
		publish = append(publish, "$JS.API.STREAM.CREATE."+s)
	}
	for _, s := range []string{"KOJI", "GREENWAVE", "OMPS_REQUESTS"} {
		publish = append(publish, "$JS.API.CONSUMER.CREATE."+s+".omps.>")
	}
	return publish
}

// shows tells whether a right is only for what people look at.
func shows(right string) bool {
	return strings.HasPrefix(right, "$JS.API.DIRECT.GET.") && !strings.Contains(right, "KV_")
}

func without(all []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == one })
}

// guardedBus is a bus whose client may do anything, and whose URL is that of a
// user with permissions.
func guardedBus(t *testing.T, p server.Permissions) *bus {
	t.Helper()
	s := guarded(t, func(o *server.Options) {
		o.JetStream, o.StoreDir = true, t.TempDir()
		o.Users = []*server.User{{Username: "admin", Password: secret}, {Username: "omps", Password: secret, Permissions: &p}}
	})
	as := func(user string) string { return fmt.Sprintf("nats://%s:%s@%s", user, secret, s.Addr()) }
	b := &bus{Server: newServer(as("omps")), tb: t, nc: connect(t, as("admin"))}
	var err error
	if b.js, err = jetstream.New(b.nc); err != nil {
		t.Fatal(err)
	}
	return b
}

// newServer is one that is known by its URL alone.
func newServer(url string) *eventstest.Server { return &eventstest.Server{URL: url} }

func (b *bus) provision() {
	b.tb.Helper()
	if err := events.Provision(b.tb.Context(), b.js, provisioned()); err != nil {
		b.tb.Fatal(err)
	}
}

// preflight is one with a connection of its own, which is not kept waiting, and what
// the connection logged.
func (b *bus) preflight(o events.PreflightOptions) (events.Report, *logBuffer, error) {
	b.tb.Helper()
	log := &logBuffer{}
	nc, err := events.Connect(b.tb.Context(), events.ConnOptions{URL: b.URL, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		b.tb.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(b.tb.Context(), patience)
	defer cancel()
	report, err := events.Preflight(ctx, nc, o)
	if ctx.Err() != nil {
		b.tb.Errorf("the preflight took too long")
	}
	return report, log, err
}

func faultsOf(err error) events.Faults {
	var report *events.PreflightError
	if errors.As(err, &report) {
		return report.Faults
	}
	return nil
}

func unmanaged() events.PreflightOptions {
	o := events.PreflightOptions{Provision: provisioned()}
	o.Provision.Manage = false
	return o
}

func TestPreflightNamesEachMissingPermission(t *testing.T) {
	t.Parallel()
	all := needed()
	type missing struct {
		p           server.Permissions
		want, right string
	}
	tests := []missing{{
		server.Permissions{Publish: all.Publish, Subscribe: &server.SubjectPermission{Allow: []string{"other"}}},
		"no permission to subscribe to _INBOX.> (", "_INBOX.>",
	}}
	for _, one := range all.Publish.Allow {
		p := server.Permissions{Publish: &server.SubjectPermission{Allow: without(all.Publish.Allow, one)}, Subscribe: all.Subscribe}
		tests = append(tests, missing{p, "no permission to publish to " + one + " (", one})
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			b := guardedBus(t, tt.p)
			b.provision()
			report, log, err := b.preflight(unmanaged())
			if strings.Contains(tt.want, "$JS.ACK.*") || shows(tt.right) { // not needed
				if err != nil || len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], tt.want) {
					t.Errorf("report %q, %v", report, err)
				}
				return
			}
			if faults := faultsOf(err); len(faults) != 1 || !strings.Contains(faults[0].Error(), tt.want) {
				t.Errorf("no %q alone in %v", tt.want, err)
			}
			if lines := log.lines("ermission"); len(lines) > 0 {
				t.Errorf("logged beside the report: %q", lines)
			}
		})
	}
}

func TestPreflightNamesAllMissingPermissionsAtOnce(t *testing.T) {
	t.Parallel()
	b := guardedBus(t, server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"other"}}, Subscribe: needed().Subscribe})
	b.provision()
	_, _, err := b.preflight(unmanaged())
	var report *events.PreflightError
	if !errors.As(err, &report) {
		t.Fatal(err)
	}
	// Without a subject for their traces, two cannot be tried; and how a stream can
	// be read from is known of one that could be looked at.
	all := slices.DeleteFunc(needed().Publish.Allow, func(s string) bool {
		return strings.HasPrefix(s, "omps.") || shows(s)
	})
	for _, one := range all {
		if !strings.Contains(err.Error(), "\n  no permission to publish to "+one+" (") &&
			!strings.Contains(err.Error(), "\n  warning: no permission to publish to "+one+" (") {
			t.Errorf("no %s in %v", one, err)
		}
	}
	if len(report.Faults) != len(all)-3 || len(report.Warnings) != 3 {
		t.Errorf("%d faults and %d warnings: %v", len(report.Faults), len(report.Warnings), err)
	}
}

func TestServiceRunsWithNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	b := guardedBus(t, needed())
	b.provision()
	heard, err := b.nc.SubscribeSync("omps.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, manage := range []bool{true, false} {
		o := unmanaged()
		o.Provision.Manage = manage
		report, _, err := b.preflight(o)
		if err != nil || len(report.Warnings) > 0 {
			t.Fatalf("manage %v: report %q, %v", manage, report, err)
		}
	}
	if n := b.traces(); n != 0 {
		t.Errorf("the preflight left %d messages", n)
	}
	if err := b.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := heard.Pending(); n != 0 || err != nil {
		t.Errorf("others heard %d messages: %v", n, err)
	}
	js, err := jetstream.New(connect(t, b.URL))
	if err != nil {
		t.Fatal(err)
	}
	o := b.options(publishes)
	var log logBuffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	o.Ledger = events.NewLedger(js, o.Provision.Names.Ledger)
	s := b.run(o)
	b.announce(nvr(1))
	eventually(t, "published", func() bool { return s.metric("omps_deliveries_total", "outcome=published") == 1 })
	eventually(t, "settled", func() bool { return b.settled("KOJI") })
	s.finish()
	if got := b.results(); len(got) != 1 {
		t.Errorf("%d results", len(got))
	}
	if entries, err := o.Ledger.Find(t.Context(), nvr(1)); err != nil || len(entries) != 1 {
		t.Errorf("ledger has %v, %v", entries, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	leases := events.NewLeases(js, o.Provision.Names.Leases)
	for range 2 {
		_, unlock, err := leases.Lock(ctx, "a tag", "us")
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
	if lines := log.lines("ermission"); len(lines) > 0 {
		t.Errorf("log has %q", lines)
	}
}

// traces is how many messages there are in all streams.
func (b *bus) traces() (messages uint64) {
	b.tb.Helper()
	for info := range b.js.ListStreams(b.tb.Context()).Info() {
		messages += info.State.Msgs
	}
	return messages
}

func TestPreflightMakesWhatItMay(t *testing.T) {
	t.Parallel()
	managed := events.PreflightOptions{Provision: provisioned()}
	all := needed()
	all.Publish.Allow = append(all.Publish.Allow, creation()...)
	b := guardedBus(t, all)
	look := managed
	look.Look = true
	if report, _, err := b.preflight(look); err != nil || len(report.Warnings) > 0 {
		t.Fatalf("report %q, %v", report, err)
	}
	if names := streamNames(t, b); len(names) > 0 {
		t.Fatalf("a look made %q", names)
	}
	if report, _, err := b.preflight(managed); err != nil || len(report.Warnings) > 0 {
		t.Fatalf("report %q, %v", report, err)
	}
	if names := streamNames(t, b); len(names) != 7 {
		t.Errorf("streams are %q", names)
	}
	if n := b.traces(); n != 0 {
		t.Errorf("the preflight left %d messages", n)
	}
}

func TestPreflightNamesWhatItMayNotMake(t *testing.T) {
	t.Parallel()
	for _, look := range []bool{true, false} {
		b := guardedBus(t, needed())
		_, _, err := b.preflight(events.PreflightOptions{Provision: provisioned(), Look: look})
		if len(faultsOf(err)) != len(creation()) {
			t.Fatalf("look %v: %v", look, err)
		}
		for _, one := range creation() {
			if !strings.Contains(err.Error(), one) {
				t.Errorf("look %v: no %s in %v", look, one, err)
			}
		}
	}
	b := guardedBus(t, needed())
	b.provision()
	if err := b.js.DeleteConsumer(t.Context(), "KOJI", "omps"); err != nil {
		t.Fatal(err)
	}
	_, _, err := b.preflight(events.PreflightOptions{Provision: provisioned()})
	if len(faultsOf(err)) != 1 || !strings.Contains(err.Error(), "$JS.API.CONSUMER.CREATE.KOJI.omps.> (") {
		t.Errorf("the durable alone is missing: %v", err)
	}
}

// A bucket that was made without direct reads is read through its stream.
func TestPreflightAsksForTheReadsThatTheBucketHas(t *testing.T) {
	t.Parallel()
	all := needed()
	b := guardedBus(t, all)
	b.provision()
	s, err := b.js.Stream(t.Context(), "KV_omps-leases")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.AllowDirect = false
	if _, err := b.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.preflight(unmanaged()); err == nil || !strings.Contains(err.Error(), "$JS.API.STREAM.MSG.GET.KV_omps-leases (") {
		t.Errorf("error is %v", err)
	}
}

// The handler that a connection has is back after a preflight, and hears of
// everything else meanwhile.
func TestPreflightGivesTheErrorHandlerBack(t *testing.T) {
	t.Parallel()
	b := guardedBus(t, needed())
	heard := make(chan error, 10)
	nc, err := nats.Connect(b.URL, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { heard <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	denied := func() {
		t.Helper()
		if err := nc.Publish("not.allowed", nil); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, "violation", heard); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("error is %v", err)
		}
	}
	denied() // before, which is no business of the preflight
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := events.Preflight(ctx, nc, unmanaged()); !errors.Is(err, events.ErrMissing) {
		t.Errorf("error is %v", err)
	}
	if len(heard) > 0 {
		t.Errorf("heard of %v", <-heard)
	}
	denied()
}
