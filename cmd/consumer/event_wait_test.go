package main

import (
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

func TestEventWaitsForItsAnswer(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"event push --organization myorg --nvr " + sandbox.SampleNVR, exitDone, " published myorg " + sandbox.SampleNVR},
		{"event push --organization myorg --nvr no-such-container-1-1", exitFailed, " rejected  myorg no-such-container-1-1"},
		{"event push --organization myorg --wait=300ms --nvr " + sandbox.WaitingNVR, exitFailed, "no answer within 300ms"},
		{"event delete --organization myorg --repository sample-operator --version 1.0.0", exitDone, " deleted   myorg - - myorg/sample-operator 1.0.0"},
		{"event delete --organization myorg --repository sample-operator --version 1.0.0", exitFailed, "package-not-found"},
	} {
		args := append(strings.Fields(c.args), "--publish", "-s", s.nats.URL)
		if !strings.Contains(c.args, "--wait") {
			args = append(args, "--wait")
		}
		code, out, errs := command(t, args...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: exit %d: %s%s", c.args, code, out, errs)
		}
	}
	for _, args := range []string{"--wait", "--wait=0s --publish", "--wait=soon --publish"} {
		if code, out, errs := command(t, append(strings.Fields("event push --organization myorg --nvr a-1-1"), strings.Fields(args)...)...); code != exitUsage {
			t.Errorf("%s: exit %d: %s%s", args, code, out, errs)
		}
	}
}
