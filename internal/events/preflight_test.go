package events_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

func TestPreflightOfTheEmbeddedServerIsSilent(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	report, log, err := b.preflight(events.PreflightOptions{Provision: provisioned(), Embedded: true})
	if err != nil || len(report.Warnings)+len(report.Notes) > 0 {
		t.Errorf("report %q, %v", report, err)
	}
	if lines := log.lines("level=ERROR"); len(lines) > 0 {
		t.Errorf("log has %q", lines)
	}
	if names := streamNames(t, b); len(names) != 7 {
		t.Errorf("streams are %q", names)
	}
}

// Where nobody may ask, what cannot be known is said once, and is no warning.
func TestPreflightSaysWhatItCannotKnow(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	report, _, err := b.preflight(events.PreflightOptions{Provision: provisioned()})
	if err != nil || len(report.Warnings) > 0 || len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "sync_interval cannot be read") {
		t.Errorf("report %q, %v", report, err)
	}
}

// varzAccounts are a system account that lets another one ask for varz.
const varzAccounts = `
accounts {
  SYS { users: [{user: sys, password: s}], exports: [{service: "$SYS.REQ.SERVER.PING.VARZ", accounts: [OMPS]}] }
  OMPS {
    jetstream: enabled, users: [{user: omps, password: s}]
    imports: [{service: {account: SYS, subject: "$SYS.REQ.SERVER.PING.VARZ"}}]
  }
}
system_account: SYS
`

func TestPreflightAsksForTheSyncInterval(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sync string
		want string // "": no warning
	}{
		"default": {"", "sync_interval is 2m0s"},
		"set":     {"sync_interval: 10s", "sync_interval is 10s"},
		"always":  {"sync_interval: always", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, "nats.conf", "server_name: one\njetstream { store_dir: '"+t.TempDir()+"', "+tt.sync+" }\n"+varzAccounts)
			o, err := server.ProcessConfigFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := guarded(t, func(options *server.Options) {
				o.Host, o.Port, o.NoSigs, o.NoLog = options.Host, options.Port, true, true
				*options = *o
			})
			b := &bus{Server: newServer("nats://omps:s@" + s.Addr().String()), tb: t}
			report, _, err := b.preflight(events.PreflightOptions{Provision: provisioned()})
			if err != nil || len(report.Notes) > 0 {
				t.Errorf("report %q, %v", report, err)
			}
			if tt.want == "" && len(report.Warnings) > 0 {
				t.Errorf("warnings %q", report.Warnings)
			}
			if tt.want != "" && (len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], "server one: "+tt.want)) {
				t.Errorf("warnings %q", report.Warnings)
			}
		})
	}
}

func TestPreflightReportsFaultsAndWarningsTogether(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "KOJI", Subjects: []string{"koji.>"}, Storage: jetstream.MemoryStorage},
		{Name: "OMPS_RESULTS", Subjects: []string{"omps.result.>"}},
	} {
		if _, err := b.js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	until := time.Now().Add(time.Hour)
	if _, err := b.js.CreateConsumer(t.Context(), "KOJI", jetstream.ConsumerConfig{
		Durable: "omps", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 5000, MaxDeliver: 5, PauseUntil: &until,
	}); err != nil {
		t.Fatal(err)
	}
	report, _, err := b.preflight(events.PreflightOptions{Provision: provisioned()})
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{
		"  stream KOJI: durable omps: max deliver is 5",
		"  warning: stream KOJI: is kept in memory",
		"  warning: stream KOJI: durable omps: max ack pending is 5000",
		"  warning: stream KOJI: durable omps: is paused until",
		"  warning: stream OMPS_RESULTS: forgets ids of messages after 2m0s",
	} {
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("no line %q in %q", want, lines)
		}
	}
	if len(lines) != 6 || len(report.Warnings) != 4 {
		t.Errorf("error is %q", lines)
	}
}

// A request for more replicas than there are servers is refused, for each
// stream anew.
func TestPreflightReportsWhatTheServerRefusesToMake(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	o := provisioned()
	o.Replicas = 3
	_, _, err := b.preflight(events.PreflightOptions{Provision: o})
	if faults := faultsOf(err); len(faults) != 7 || !strings.Contains(err.Error(), "stream KOJI: nats: API error") {
		t.Errorf("error is %v", err)
	}
}

func TestPreflightNamesTheStreamThatHoldsTheBus(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BUS", Subjects: []string{"koji.build.>"}}); err != nil {
		t.Fatal(err)
	}
	for _, look := range []bool{true, false} {
		_, _, err := b.preflight(events.PreflightOptions{Provision: provisioned(), Look: look})
		if faults := faultsOf(err); len(faults) != 1 || !strings.Contains(err.Error(), "stream KOJI: is missing, but stream BUS holds koji.>") {
			t.Errorf("look %v: %v", look, err)
		}
	}
}

func TestPreflightWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	t.Run("no server", func(t *testing.T) {
		t.Parallel()
		b := newBus(t)
		b.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := events.Preflight(ctx, b.nc, unmanaged()); err == nil || faultsOf(err) != nil {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("no jetstream", func(t *testing.T) {
		t.Parallel()
		s := guarded(t, func(*server.Options) {})
		b := &bus{Server: newServer(s.ClientURL()), tb: t}
		if _, _, err := b.preflight(unmanaged()); !errors.Is(err, nats.ErrNoResponders) || faultsOf(err) != nil {
			t.Errorf("error is %v", err)
		}
	})
}
