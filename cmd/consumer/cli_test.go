package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// command runs one command line to its end.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs lockedBuffer
	code = run(t.Context(), args, func(string) string { return "" }, &out, &errs)
	return code, out.String(), errs.String()
}

func TestVersion(t *testing.T) {
	t.Parallel()
	code, out, _ := command(t, "version")
	if code != exitDone || !strings.HasPrefix(out, "consumer ") || !strings.Contains(out, "\nrevision ") || !strings.Contains(out, "\ngo1.") {
		t.Errorf("exit %d: %q", code, out)
	}
}

// What the event command prints is what the service reads.
func TestEventIsPrinted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args          []string
		subject, want string
	}{
		{[]string{"build", "--nvr", "etcd-container-1.0-1", "--id", "i1"}, "koji.build.completed", `"nvr":"etcd-container-1.0-1"`},
		{[]string{"build", "--build-id", "17"}, "koji.build.completed", `"build_id":17`},
		{[]string{"push", "--organization", "myorg", "--nvr", "etcd-container-1.0-1", "--repository", "r", "--force"}, "omps.request.push.myorg", `"force":true`},
	} {
		code, out, errs := command(t, append([]string{"event"}, c.args...)...)
		if code != exitDone || strings.Count(out, "\n") != 1 || !strings.Contains(out, c.want) {
			t.Errorf("event %v: exit %d: %q %s", c.args, code, out, errs)
			continue
		}
		if _, err := events.Decode(c.subject, nats.Header{}, []byte(out)); err != nil {
			t.Errorf("event %v cannot be read: %v", c.args, err)
		}
	}
}

func TestEventIsSent(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	code, out, errs := command(t, "event", "build", "--nvr", sandbox.SampleNVR, "--publish", "-s", s.nats.URL)
	if code != exitDone || !strings.Contains(out, "stream KOJI, sequence 1") {
		t.Fatalf("exit %d: %q %s", code, out, errs)
	}
	if r := s.next(); r.Outcome != "published" || r.NVR != sandbox.SampleNVR {
		t.Errorf("%+v", r)
	}
	code, out, errs = command(t, "event", "push", "--organization", "myorg", "--nvr", sandbox.SampleNVR, "--publish", "-s", s.nats.URL)
	if code != exitDone || !strings.Contains(out, "to omps.request.push.myorg: stream OMPS_REQUESTS") {
		t.Fatalf("exit %d: %q %s", code, out, errs)
	}
	if r := s.next(); !r.Repeated {
		t.Errorf("%+v", r)
	}
}

// checkFile writes a configuration for the parts of a system.
func checkFile(t *testing.T, s *system) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config.yaml")
	text := "nats: {url: " + s.nats.URL + "}\nintake: {ack_wait: 3s}\nkoji: {hub_url: " + s.world.HubURL() + ", root_url: " + s.world.FilesURL() +
		"}\ngreenwave: {url: " + s.world.GreenwaveURL() + "}\nquay: {registry: " + s.world.RegistryHost() + ", url: " + s.world.RegistryURL() +
		", plain_http: true}\norganizations:\n  myorg: {push_username: myorg+robot, push_password_file: password}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{Organizations: []sandbox.Organization{{Name: "myorg", Username: "myorg+robot", Password: "s3cret"}}},
		"    push_username: myorg+robot\n    push_password_file: "+writeSecret(t, "s3cret")+"\n")
	path := checkFile(t, s)
	code, out, errs := command(t, "check", "-c", path)
	if code != exitDone || !strings.Contains(out, "workers: 8") || !strings.Contains(out, "[redacted]") || strings.Contains(out+errs, "s3cret") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	code, _, errs = command(t, "check", "-c", path, "--online")
	if code != exitDone || strings.Count(errs, ": ok\n") != 5 {
		t.Errorf("exit %d: %s", code, errs)
	}

	s.world.GreenwaveServer.Stop()
	code, _, errs = command(t, "check", "-c", path, "--online")
	if code != exitFailed || strings.Count(errs, ": ok\n") != 4 || !strings.Contains(errs, "connection refused") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func writeSecret(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// With nats.manage what is missing on a fresh server is no fault: it is made
// at the start.
func TestCheckOnFreshServer(t *testing.T) {
	t.Parallel()
	world, err := sandbox.Start(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	s := &system{t: t, world: world, nats: eventstest.Start(t)}
	path := checkFile(t, s)
	if code, _, errs := command(t, "check", "-c", path, "--online"); code != exitDone {
		t.Errorf("exit %d: %s", code, errs)
	}
	managed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(managed), "nats: {", "nats: {manage: false, ", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := command(t, "check", "-c", path, "--online"); code != exitFailed || !strings.Contains(errs, "stream KOJI: is missing") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// The configuration of a bridge has nobody to publish for, and its machine may
// reach neither hub nor gate.
func TestCheckWithoutOrganizations(t *testing.T) {
	t.Parallel()
	folder := writeFiles(t, map[string]string{"config.yaml": "nats: {url: " + eventstest.Start(t).URL + "}\n" +
		"koji: {hub_url: http://hub.invalid/kojihub}\ngreenwave: {url: http://greenwave.invalid}\n"})
	code, _, errs := command(t, "check", "--online", "-c", filepath.Join(folder, "config.yaml"))
	if code != exitDone || !strings.Contains(errs, "nats: ok\n") || strings.Contains(errs, ".invalid") {
		t.Errorf("exit %d: %s", code, errs)
	}

	// By the rights of a bridge: the bus here is not there.
	s := eventstest.StartAccounts(t, eventstest.AccountsOptions{Folder: "../../deploy/nats"})
	folder = writeFiles(t, map[string]string{"password": eventstest.Secret, "config.yaml": "nats: {url: " + s.Address() +
		", user: bridge, password_file: password, inbox_prefix: _INBOX_BRIDGE}\nbridge: {sources: [{name: koji, protocol: amqp-1.0, urls: [amqp://127.0.0.1:1], addresses: [x]}]}\n"})
	code, _, errs = command(t, "check", "--online", "-c", filepath.Join(folder, "config.yaml"))
	if code != exitFailed || !strings.Contains(errs, "nats: ok\n") || strings.Contains(errs, "permission") || !strings.Contains(errs, "bus koji: ") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
