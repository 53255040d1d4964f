package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// lostBuild makes the hub know a build that was completed so long ago, of a
// package of its own, and tells nobody.
func (s *system) lostBuild(name string, ago time.Duration) string {
	s.t.Helper()
	nvr := name + "-container-1.0.0-1"
	if _, err := s.world.Koji.AddBuild(sandbox.Build{
		NVR: nvr, Archive: sandbox.SampleArchiveOf(name, "1.0.0"), Completed: time.Now().Add(-ago),
	}); err != nil {
		s.t.Fatal(err)
	}
	return nvr
}

// file writes what the command reads of the system's configuration.
func (s *system) file(extra string) string {
	s.t.Helper()
	name := filepath.Join(s.t.TempDir(), "config.yaml")
	text := fmt.Sprintf(`
nats: {url: %q}
koji: {hub_url: %q, root_url: %q, timeout: 5s}
quay: {registry: %q, url: %q, plain_http: true, timeout: 5s}
organizations:
  myorg:
    match: ["lost-*"]
    replace_registry: [{old: quay.io, new: registry.example.com}]
%s`, s.nats.URL, s.world.HubURL(), s.world.FilesURL(), s.world.RegistryHost(), s.world.RegistryURL(), extra)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// newLossySystem is a service, and a bus that nobody feeds.
func newLossySystem(t *testing.T) *system {
	t.Helper()
	s := prepareSystem(t, sandbox.Options{}, "")
	org := s.config.Organizations["myorg"]
	org.Match = []string{"lost-*"}
	s.config.Organizations["myorg"] = org
	return s
}

func (s *system) messages(stream string) uint64 {
	s.t.Helper()
	found, err := s.jetStream().Stream(s.t.Context(), stream)
	if err != nil {
		s.t.Fatal(err)
	}
	return found.CachedInfo().State.Msgs
}

// reconciled runs the command and gives back its lines of JSON, as
// NVR:gap[:announced].
func (s *system) reconciled(file string, args ...string) []string {
	s.t.Helper()
	code, out, errs := command(s.t, append([]string{"reconcile", "-c", file, "--json"}, args...)...)
	if code != exitDone {
		s.t.Fatalf("%v: exit %d: %s%s", args, code, out, errs)
	}
	var all []string
	for line := range strings.Lines(out) {
		var found foundJSON
		if err := json.Unmarshal([]byte(line), &found); err != nil {
			s.t.Fatal(err)
		}
		for _, m := range found.Missing {
			text := found.NVR + ":" + string(m.Gap)
			if found.Announced != nil {
				text += fmt.Sprintf(":%t", !found.Announced.Repeated)
			}
			all = append(all, text)
		}
	}
	return all
}

func (s *system) wantReconciled(file string, args []string, want ...string) {
	s.t.Helper()
	if got := s.reconciled(file, args...); !slices.Equal(got, want) {
		s.t.Errorf("%v: %q, want %q", args, got, want)
	}
}

// A build that nobody announced is found, announced and published. One that was
// announced is not missing, and neither is what was completed just now.
func TestReconcile(t *testing.T) {
	t.Parallel()
	s := newLossySystem(t)
	s.start()
	s.watch()
	file := s.file("")
	newer, older := s.lostBuild("lost-newer", time.Hour), s.lostBuild("lost-older", 5*24*time.Hour)
	told, young := s.lostBuild("lost-not", 2*time.Hour), s.lostBuild("lost-perhaps", time.Minute)
	s.lostBuild("lost-long-ago", 8*24*time.Hour)
	s.announce(told)
	if r := s.next(); r.Outcome != "published" || r.NVR != told {
		t.Fatalf("%+v", r)
	}

	code, out, errs := command(t, "reconcile", "-c", file)
	lines := strings.Split(out, "\n")
	if code != exitDone || len(lines) != 5 || errs != "" ||
		!strings.HasPrefix(lines[0], "NVR ") || !strings.Contains(lines[1], older) || !strings.Contains(lines[1], "  never-seen  -") ||
		!strings.Contains(lines[2], newer) || !strings.HasSuffix(lines[3], ": 3 wanted by an organization, 2 missing; --publish announces 2") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	s.wantReconciled(file, []string{"--since", "2d"}, newer+":never-seen")
	s.wantReconciled(file, []string{"--until", "0s", "--since", "90m"}, newer+":never-seen", young+":never-seen")
	s.wantReconciled(file, []string{"--until", "1d"}, older+":never-seen")
	s.wantReconciled(file, []string{"--since", time.Now().Add(-2 * time.Hour).Format(time.RFC3339)}, newer+":never-seen")
	s.wantReconciled(file, []string{"--package", "lost-o*"}, older+":never-seen")
	s.wantReconciled(file, []string{"--organization", "myorg", "--registry=false"}, older+":not-in-ledger", newer+":not-in-ledger")
	if n := s.messages("KOJI"); n != 1 {
		t.Fatalf("%d messages: who only looks announces nothing", n)
	}

	s.wantReconciled(file, []string{"--publish"}, older+":never-seen:true", newer+":never-seen:true")
	got := []string{s.next().NVR, s.next().NVR}
	slices.Sort(got)
	if !slices.Equal(got, []string{newer, older}) {
		t.Errorf("published %v", got)
	}
	s.await("both in the ledger", func() bool { return len(s.reconciled(file)) == 0 })
	if code, out, _ := command(t, "reconcile", "-c", file, "--publish"); code != exitDone || !strings.HasSuffix(out, ", 0 missing, 0 announced\n") {
		t.Errorf("exit %d: %s", code, out)
	}
	if n := s.messages("KOJI"); n != 3 {
		t.Errorf("%d messages", n)
	}
}

// forget takes all out of the ledger.
func (s *system) forget() {
	s.t.Helper()
	stream, err := s.jetStream().Stream(s.t.Context(), "KV_omps-ledger")
	if err == nil {
		err = stream.Purge(s.t.Context())
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Where the ledger is lost, the registry tells what is published. Only the rest is
// announced, unless the ledger is to be filled again.
func TestReconcileWithoutALedger(t *testing.T) {
	t.Parallel()
	s := newLossySystem(t)
	s.start()
	s.watch()
	file := s.file("")
	there := s.lostBuild("lost-there", 2*time.Hour)
	s.announce(there)
	if r := s.next(); r.Outcome != "published" {
		t.Fatalf("%+v", r)
	}
	s.awaitLog(`"msg":"settled"`, there)
	missing := s.lostBuild("lost-missing", time.Hour)
	s.forget()

	s.wantReconciled(file, nil, there+":ledger-lost", missing+":never-seen")
	code, out, _ := command(t, "reconcile", "-c", file)
	if code != exitDone || !strings.HasSuffix(out, ", 2 missing; --publish announces 1\n1 build is at the registry and not in the ledger: --ledger-lost announces it too\n") {
		t.Errorf("exit %d: %s", code, out)
	}
	s.wantReconciled(file, []string{"--publish"}, there+":ledger-lost", missing+":never-seen:true")
	if r := s.next(); r.NVR != missing || r.Repeated {
		t.Errorf("%+v", r)
	}
	s.awaitLog(`"settled"`, `"nvr":"`+missing+`"`)
	if left := s.reconciled(file); len(left) != 1 {
		t.Errorf("it is not in the ledger: %v", left)
	}
	s.wantReconciled(file, []string{"--publish", "--ledger-lost"}, there+":ledger-lost:true")
	s.awaitLog(`"settled"`, `"nvr":"`+there+`"`, `"repeated":true`) // which is after the last word in the ledger
	if left := s.reconciled(file); len(left) > 0 {
		t.Errorf("the ledger is not whole again: %v", left)
	}

	// What was announced lately is not announced twice, and that is said.
	s.forget()
	code, out, _ = command(t, "reconcile", "-c", file, "--publish", "--ledger-lost")
	if code != exitDone || strings.Count(out, "announced lately, stream KOJI, sequence") != 2 || !strings.HasSuffix(out, ", 2 missing, 0 announced, 2 announced lately and not once more\n") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// A registry that does not answer leaves it open whether a build is there, and the
// build is announced: nothing comes of that which is there already.
func TestReconcileWithoutARegistry(t *testing.T) {
	t.Parallel()
	s := newLossySystem(t)
	s.start()
	nvr := s.lostBuild("lost-unknown", time.Hour)
	s.world.RegistryServer.Stop()
	code, out, errs := command(t, "reconcile", "-c", s.file(""))
	if code != exitDone || !strings.Contains(out, nvr) || !strings.Contains(out, "not-in-ledger  quay-unavailable: ") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestReconcileFailures(t *testing.T) {
	t.Parallel()
	s := newLossySystem(t)
	file := s.file("")
	first := s.lostBuild("lost-0", 2*time.Hour)
	if code, _, errs := command(t, "reconcile", "-c", file); code != exitFailed || !strings.Contains(errs, "the service makes it when it starts") {
		t.Errorf("before the service: exit %d: %s", code, errs)
	}
	s.start()
	for i := range 150 {
		s.lostBuild(fmt.Sprint("lost-", i+1), 90*time.Minute-time.Duration(i)*10*time.Second)
	}
	var lists atomic.Int32
	s.world.KojiServer.SetFault(func(r *http.Request) *sandbox.Answer {
		if lists.Add(1) < 2 {
			return nil
		}
		return &sandbox.Answer{Status: http.StatusForbidden}
	})
	// The first page was listed when the hub fails: it is shown, and not announced.
	code, out, errs := command(t, "reconcile", "-c", file, "--since", "3h", "--registry=false", "--publish")
	if code != exitFailed || !strings.Contains(out, first) || strings.Count(out, "\n") != 101 || !strings.Contains(errs, "nothing was announced: koji listBuilds: ") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if n := s.messages("KOJI"); n != 0 {
		t.Errorf("%d messages", n)
	}
	s.world.KojiServer.SetFault(nil)
	js := s.jetStream()
	koji, err := js.Stream(t.Context(), "KOJI")
	if err != nil {
		t.Fatal(err)
	}
	full := koji.CachedInfo().Config
	full.MaxMsgs, full.Discard = 3, jetstream.DiscardNew
	if _, err := js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	code, out, errs = command(t, "reconcile", "-c", file, "--registry=false", "--publish")
	if code != exitFailed || strings.Count(out, "stream KOJI, sequence") != 3 || !strings.Contains(errs, "3 of 151 builds were announced: announce lost-") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestReconcileUsage(t *testing.T) {
	t.Parallel()
	s := newLossySystem(t)
	file := s.file("    push_username: u\n    push_password_file: nowhere\n")
	for args, want := range map[string]string{
		"--since yesterday":     `invalid argument "yesterday"`,
		"--since -1h":           "expects how long ago",
		"--since 91d":           "--since is more than 2160h ago",
		"--since 10m":           "nothing lies between",
		"--until 8d":            "nothing lies between",
		"--package [":           "is no pattern",
		"--organization myorgg": "did you mean myorg?",
		"extra":                 "unknown command",
		"":                      "push_password_file: cannot read",
	} {
		flags := append([]string{"reconcile", "-c", file}, strings.Fields(args)...)
		if args != "" && args != "extra" {
			flags = append(flags, "--registry=false")
		}
		if code, out, errs := command(t, flags...); code != exitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d: %s%s, want %q", args, code, out, errs, want)
		}
	}
}

func TestTimeFlag(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"7d":                        now.AddDate(0, 0, -7),
		"1d12h":                     now.Add(-36 * time.Hour),
		"36h":                       now.Add(-36 * time.Hour),
		"90s":                       now.Add(-90 * time.Second),
		"0s":                        now,
		"0d":                        now,
		"2026-11-01":                time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		"2026-11-01T12:00:00+01:00": time.Date(2026, 11, 1, 11, 0, 0, 0, time.UTC),
	} {
		var f timeFlag
		if err := f.Set(text); err != nil || !f.before(now).Equal(want) || f.String() != text {
			t.Errorf("%s: %s %v, want %s", text, f.before(now), err, want)
		}
	}
	for _, text := range []string{"", "d", "7", "-7d", "-1h", "7d7d", "7d-200h", "1w", "2026-13-01", "99999d2000000h", "999999d", "7 d"} {
		var f timeFlag
		if err := f.Set(text); err == nil {
			t.Errorf("%q is %s", text, f.before(now))
		}
	}
}

// Nothing secret of the hub's address is in an event.
func TestHubSource(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://koji.example.com/kojihub":                 "https://koji.example.com/kojihub",
		"https://user:secret@koji.example.com/hub?key=x#y": "https://koji.example.com/hub",
		"http://127.0.0.1:8000/kojihub":                    "http://127.0.0.1:8000/kojihub",
	} {
		if got := hubSource(address); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

// The service itself finds what was lost, and of two replicas one announces it.
func TestServiceReconciles(t *testing.T) {
	t.Parallel()
	s := newLossySystem(t)
	s.config.Reconcile = ReconcileConfig{Every: 300 * time.Millisecond, Since: 24 * time.Hour, Grace: 10 * time.Minute}
	s.start()
	s.watch()
	first := s.ops
	s.start()
	var want []string
	for i := range 5 {
		want = append(want, s.lostBuild(fmt.Sprint("lost-", i), time.Hour-time.Duration(i)*time.Minute))
	}
	s.lostBuild("lost-young", time.Minute)
	var got []string
	for range want {
		got = append(got, s.next().NVR)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	metric := func(name string) (sum float64) {
		for _, ops := range []string{first, s.ops} {
			s.ops = ops
			_, text := s.get("/metrics")
			for line := range strings.Lines(text) {
				var value float64
				if _, err := fmt.Sscanf(line, name+" %g", &value); err == nil {
					sum += value
				}
			}
		}
		return sum
	}
	ok := metric(`omps_reconcile_runs_total{outcome="ok"}`)
	s.await("two more looks", func() bool { return metric(`omps_reconcile_runs_total{outcome="ok"}`) >= ok+2 })
	if n := s.messages("KOJI"); n != 5 {
		t.Errorf("%d announcements", n)
	}
	if n := metric("omps_reconcile_announced_total"); n != 5 {
		t.Errorf("%g announced by the metrics", n)
	}
	if at := metric("omps_reconcile_last_success_timestamp_seconds"); time.Since(time.Unix(int64(at), 0)).Abs() > time.Minute {
		t.Errorf("one replica, and one alone, has had success: %g", at)
	}
	s.awaitLog(`"msg":"reconcile: a build was missing and is announced"`, want[0], string(pipeline.GapUnseen))

	// A hub that fails is no reason to end, and what is lost meanwhile is found when
	// it is back.
	failed := metric(`omps_reconcile_runs_total{outcome="failed"}`)
	s.world.Koji.SetOffline("maintenance")
	s.await("a look that failed", func() bool { return metric(`omps_reconcile_runs_total{outcome="failed"}`) > failed })
	late := s.lostBuild("lost-late", 30*time.Minute)
	s.world.Koji.SetOffline("")
	if r := s.next(); r.NVR != late {
		t.Errorf("%+v", r)
	}
}

// A replica need not look where another one does; that NATS says nothing is
// another thing.
func TestLeadOfReplicas(t *testing.T) {
	t.Parallel()
	s := newLossySystem(t)
	s.start()
	ctx, js := t.Context(), s.jetStream()
	first := lead{leases: events.NewLeases(js, "omps-leases"), owner: "first"}
	defer first.leave()
	held, err := first.hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := first.hold(ctx); again != held || err != nil {
		t.Errorf("asked again: %v", err)
	}
	second := lead{leases: events.NewLeases(js, "omps-leases"), owner: "second"}
	if _, err := second.hold(ctx); !errors.Is(err, errElsewhere) {
		t.Errorf("taken: %v", err)
	}
	conn := js.Conn()
	if _, err := conn.SubscribeSync("SILENT.>"); err != nil {
		t.Fatal(err)
	}
	silent, err := jetstream.NewWithAPIPrefix(conn, "SILENT")
	if err != nil {
		t.Fatal(err)
	}
	third := lead{leases: events.NewLeases(silent, "omps-leases"), owner: "third"}
	if _, err := third.hold(ctx); err == nil || errors.Is(err, errElsewhere) {
		t.Errorf("without an answer: %v", err)
	}
}
