package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestSandboxOnce(t *testing.T) {
	t.Parallel()
	once := func(args ...string) (int, events.ResultData, string) {
		var stdout, stderr lockedBuffer
		code := run(t.Context(), append([]string{"sandbox", "--once"}, args...), func(string) string { return "" }, &stdout, &stderr)
		var e struct {
			Type string
			Data events.ResultData
		}
		out := stdout.String()
		if strings.Count(out, "\n") != 1 || json.Unmarshal([]byte(out), &e) != nil {
			t.Fatalf("stdout is not one line of JSON: %q\n%s", out, stderr.String())
		}
		return code, e.Data, e.Type
	}
	code, first, eventType := once()
	if code != exitDone || eventType != events.TypePublished {
		t.Errorf("exit %d, %s", code, eventType)
	}
	_, second, _ := once()
	digest := func(r events.ResultData) string {
		_, digest, _ := strings.Cut(r.Bundles[0].Reference, "@")
		return digest
	}
	if digest(first) != digest(second) || !strings.HasPrefix(digest(first), "sha256:") {
		t.Errorf("digests %s and %s", digest(first), digest(second))
	}
	code, refused, eventType := once("--gate", "failed")
	if code != exitFailed || eventType != events.TypeRejected || refused.Error.Reason != "gate-unsatisfied" ||
		len(refused.Decision.Unsatisfied) != 1 || refused.Decision.Unsatisfied[0].Type != "test-result-failed" {
		t.Errorf("exit %d, %s: %+v", code, eventType, refused)
	}
}

// The sample becomes a release of the app registry, the same bytes each time.
func TestSandboxOnceToAppRegistry(t *testing.T) {
	t.Parallel()
	var releases []pipeline.PushedRelease
	for range 2 {
		var stdout, stderr lockedBuffer
		code := run(t.Context(), []string{"sandbox", "--once", "--target", "app-registry"}, func(string) string { return "" }, &stdout, &stderr)
		var e struct {
			Type string
			Data events.ResultData
		}
		if err := json.Unmarshal([]byte(stdout.String()), &e); err != nil {
			t.Fatalf("stdout is not one line of JSON: %q: %v\n%s", stdout.String(), err, stderr.String())
		}
		if code != exitDone || e.Type != events.TypePublished || e.Data.Release == nil || len(e.Data.Bundles) != 0 {
			t.Fatalf("exit %d, %s: %s", code, e.Type, stdout.String())
		}
		releases = append(releases, *e.Data.Release)
	}
	if releases[0] != releases[1] || releases[0].Version != "1.0.0" || !strings.HasPrefix(releases[0].Digest, "sha256:") {
		t.Errorf("releases are %+v", releases)
	}
}

func TestSandboxUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"sandbox", "--gate", "ajar"}, {"sandbox", "--target", "quay"}, {"sandbox", "--archive", "no-such-file.zip"}, {"sandbox", "extra"},
		{"sandbox", "--nats-listen", "nonsense"}, {},
		{"run"}, {"run", "-c", "no-such-file.yaml"}, {"nonsense"}, {"check", "-c"}, {"event"}, {"event", "build"},
		{"event", "build", "--nvr", "nodashes"}, {"event", "push", "--organization", "", "--nvr", "a-1-1"},
		{"event", "push", "--organization", "myorg", "--nvr", "a-1-1", "--repository", "../x"}, {"event", "push", "--nvr", "a-1-1"},
	} {
		var stdout, stderr lockedBuffer
		if code := run(t.Context(), args, func(string) string { return "" }, &stdout, &stderr); code != exitUsage {
			t.Errorf("consumer %s: exit %d: %s", strings.Join(args, " "), code, stderr.String())
		}
		if !strings.Contains(stderr.String(), "consumer: ") {
			t.Errorf("consumer %s says nothing: %q", strings.Join(args, " "), stderr.String())
		}
	}
}
