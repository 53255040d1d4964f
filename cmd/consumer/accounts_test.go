package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// guardedSystem is a service with the permissions that deploy/nats gives it, and
// a configuration file for everybody who uses commands.
type guardedSystem struct {
	*system
	folder string
}

func newGuardedSystem(t *testing.T, laterAcks bool) *guardedSystem {
	t.Helper()
	accounts := eventstest.StartAccounts(t, eventstest.AccountsOptions{Folder: "../../deploy/nats", LaterAcks: laterAcks})
	world, err := sandbox.Start(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	s := &guardedSystem{system: &system{t: t, world: world, log: &lockedBuffer{}}, folder: t.TempDir()}
	s.write("password", eventstest.Secret)
	login := "nats: {url: %q, user: %s, password_file: password, inbox_prefix: %s, manage: %v, api_prefix: %s}\n"
	const own, imported = "$JS.API", "JS.OMPS.API"
	s.write("admin.yaml", fmt.Sprintf(login, accounts.Address(), "admin", "_INBOX_ADMIN", true, own))
	s.write("bridge.yaml", fmt.Sprintf(login, accounts.Address(), "bridge", "_INBOX_BRIDGE", false, own))
	s.write("operator.yaml", fmt.Sprintf(login, accounts.Address(), "operator", "_INBOX_CLI.operator", false, imported))
	s.write("myorg.yaml", fmt.Sprintf(login, accounts.Address(), "myorg", "_INBOX_CLI.myorg", false, imported))
	s.write("myorg-reader.yaml", fmt.Sprintf(login, accounts.Address(), "myorg-reader", "_INBOX_READER.myorg", false, imported))
	s.write("service.yaml", fmt.Sprintf(login, accounts.Address(), "service", "_INBOX_SERVICE", false, own)+fmt.Sprintf(`
intake: {ack_wait: 3s, recheck: 1s, grace: 10s}
koji: {hub_url: %q, root_url: %q, timeout: 5s}
greenwave: {url: %q, timeout: 5s}
quay: {registry: %q, url: %q, plain_http: true, timeout: 5s}
ops: {listen: "127.0.0.1:0"}
organizations:
  myorg: {match: ["sample-*"], accept_archives: true}
  other: {match: []}
`, world.HubURL(), world.FilesURL(), world.GreenwaveURL(), world.RegistryHost(), world.RegistryURL()))
	return s
}

func (s *guardedSystem) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *guardedSystem) load(name string) Config {
	s.t.Helper()
	c, err := LoadConfig(filepath.Join(s.folder, name), func(string) string { return "" })
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// jetStreamOf is that of a configuration, with its rights.
func (s *guardedSystem) jetStreamOf(name string) jetstream.JetStream {
	s.t.Helper()
	c := s.load(name)
	conn, err := connect(s.t.Context(), c.NATS, c.NATS.URL, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	js, err := jetstream.NewWithAPIPrefix(conn, c.NATS.APIPrefix)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

// provision makes everything with the rights of the administrator.
func (s *guardedSystem) provision() {
	s.t.Helper()
	js := s.jetStreamOf("admin.yaml")
	o := provisionOptions(s.load("service.yaml"))
	o.Manage = true
	if err := events.Provision(s.t.Context(), js, o); err != nil {
		s.t.Fatal(err)
	}
	if _, err := js.CreateObjectStore(s.t.Context(), jetstream.ObjectStoreConfig{Bucket: "omps-uploads-myorg"}); err != nil {
		s.t.Fatal(err)
	}
}

// as runs a command line with somebody's configuration.
func (s *guardedSystem) as(who, line string) (code int, said string) {
	s.t.Helper()
	code, out, errs := command(s.t, append(strings.Fields(line), "-c", filepath.Join(s.folder, who+".yaml"))...)
	return code, out + errs
}

// With both forms of acknowledgement subjects, the service runs with manage:
// false and the permissions that are shipped, and so do the commands of others.
func TestServiceAndCommandsRunWithShippedPermissions(t *testing.T) {
	t.Parallel()
	for _, later := range []bool{false, true} {
		t.Run(fmt.Sprintf("later acks %v", later), func(t *testing.T) {
			t.Parallel()
			s := newGuardedSystem(t, later)
			s.provision()
			if code, said := s.as("service", "check --online"); code != exitDone || !strings.Contains(said, "\nnats: ok\n") ||
				!strings.Contains(said, "\nnats: archives by hand lie in object stores") || strings.Contains(said, "nats: warning") {
				t.Errorf("check: exit %d: %s", code, said)
			}
			s.config = s.load("service.yaml")
			s.start()
			s.upload()
			s.commands()
			if log := s.log.String(); strings.Contains(log, "ermission") || strings.Contains(log, `"level":"ERROR"`) {
				t.Errorf("log has %s", log)
			}
		})
	}
}

// upload puts an archive where the service finds it.
func (s *guardedSystem) upload() {
	s.t.Helper()
	store, err := s.jetStreamOf("myorg.yaml").ObjectStore(s.t.Context(), "omps-uploads-myorg")
	if err != nil {
		s.t.Fatal(err)
	}
	meta := jetstream.ObjectMeta{Name: "sample.zip"}
	if _, err := store.Put(s.t.Context(), meta, bytes.NewReader(sandbox.SampleArchive())); err != nil {
		s.t.Fatal(err)
	}
}

func (s *guardedSystem) commands() {
	s.t.Helper()
	const nvr = sandbox.SampleNVR
	for _, c := range []struct {
		who, line string
		code      int
		says      string
	}{
		{"bridge", "event build --publish --nvr " + nvr, exitDone, "stream KOJI, sequence 1"},
		{"myorg", "watch --since 1h -n 1 --organization myorg", exitDone, "published myorg " + nvr},
		{"myorg", "event push --publish --wait --organization myorg --nvr " + nvr, exitDone, "published myorg " + nvr},
		{"myorg", "event push --publish --wait --organization myorg --object omps-uploads-myorg/sample.zip", exitDone, "published myorg omps-uploads-myorg/sample.zip"},
		{"myorg", "watch --since 1h -n 1 --organization myorg --outcome published,rejected", exitDone, "published myorg " + nvr},
		{"myorg", "status --organization myorg", exitDone, "1 in all: 1 published"},
		{"myorg", "status --organization myorg " + nvr, exitDone, nvr + " for myorg: published"},
		{"myorg-reader", "watch --since 1h -n 1 --organization myorg", exitDone, "published myorg " + nvr},
		{"operator", "event push --publish --wait --organization other --nvr " + nvr, exitDone, "published other " + nvr},
		{"operator", "event decision --publish --nvr " + nvr, exitDone, "stream GREENWAVE, sequence 1"},
		{"operator", "watch --since 1h -n 4", exitDone, "published other " + nvr},
		{"operator", "status", exitDone, "2 in all: 2 published"},

		{"bridge", "event push --publish --organization myorg --nvr " + nvr, exitFailed, `Permissions Violation for Publish to "omps.request.push.myorg"`},
		{"myorg", "event push --publish --organization other --nvr " + nvr, exitFailed, `Permissions Violation for Publish to "omps.request.push.other"`},
		{"myorg", "event build --publish --nvr " + nvr, exitFailed, "Permissions Violation"},
		{"myorg", "watch --since 1h -n 1", exitFailed, "this account may not ask for this"},
		{"myorg", "watch --since 1h -n 1 --organization other", exitFailed, "this account may not ask for this"},
		{"myorg", "status --organization other", exitFailed, "this account may not ask for this"},
		{"myorg", "deadletters ls", exitFailed, "this account may not ask for this"},
		{"myorg", "run", exitUsage, "the service has to be in the account that holds the streams"},
	} {
		if code, said := s.as(c.who, c.line); code != c.code || !strings.Contains(said, c.says) {
			s.t.Errorf("%s: consumer %s: exit %d: %s", c.who, c.line, code, said)
		}
		if strings.HasPrefix(c.line, "event build") && c.code == exitDone {
			s.awaitLog(`"nvr":"`+nvr+`"`, `"outcome":"published"`)
		}
	}
	s.deadLettersAsOperator()
}

// deadLettersAsOperator looks at two dead letters, sends one again and drops
// one.
func (s *guardedSystem) deadLettersAsOperator() {
	s.t.Helper()
	for i := range 2 {
		msg := &nats.Msg{Subject: "koji.build.completed", Data: fmt.Appendf(nil, "no event %d", i)}
		if _, err := s.jetStreamOf("bridge.yaml").PublishMsg(s.t.Context(), msg); err != nil {
			s.t.Fatal(err)
		}
		s.await("a dead letter", func() bool {
			_, said := s.as("operator", "deadletters ls")
			return strings.Count(said, "unreadable-event") == i+1
		})
	}
	for _, c := range [][2]string{
		{"deadletters show 1", "no event 0"}, {"deadletters redrive 1", "1 of 1 dead letters redriven"}, {"deadletters drop 2", "1 of 1 dead letters dropped"},
	} {
		if code, said := s.as("operator", c[0]); code != exitDone || !strings.Contains(said, c[1]) {
			s.t.Errorf("consumer %s: exit %d: %s", c[0], code, said)
		}
	}
}
