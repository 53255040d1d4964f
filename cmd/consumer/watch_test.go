package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// watching is a watch command in progress.
type watching struct {
	out, errs lockedBuffer
	stop      context.CancelFunc
	code      chan int
}

func startWatch(t *testing.T, args ...string) *watching {
	t.Helper()
	w := &watching{code: make(chan int, 1)}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(t.Context())
	t.Cleanup(w.stop)
	go func() {
		w.code <- run(ctx, append([]string{"watch"}, args...), func(string) string { return "" }, &w.out, &w.errs)
	}()
	return w
}

// follows waits until someone watches.
func (s *system) follows() {
	s.t.Helper()
	js := s.jetStream()
	s.await("somebody who watches", func() bool {
		stream, err := js.Stream(s.t.Context(), "OMPS_RESULTS")
		return err == nil && stream.CachedInfo().State.Consumers > 1 // one is the test's own
	})
}

func TestWatch(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	w := startWatch(t, "-s", s.nats.URL)
	s.follows()
	s.announce(sandbox.SampleNVR)
	r := s.next()
	s.await("a line", func() bool { return strings.Contains(w.out.String(), "\n") })
	want := " published myorg " + sandbox.SampleNVR + " sample-operator " + r.Bundles[0].Reference + "\n"
	if got := w.out.String(); !strings.HasSuffix(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("%q, not %q", got, want)
	}

	// What comes right after an outage is seen too.
	s.nats.Stop()
	s.nats.Restart()
	s.publish("omps.request.push.myorg", `{"specversion":"1.0","id":"r1","source":"/me","type":"org.koji.operator-manifests.push-requested.v1","data":{"nvr":"no-such-container-1-1"}}`, nil)
	s.await("a second line", func() bool { return strings.Count(w.out.String(), "\n") == 2 })
	if got := w.out.String(); !strings.Contains(got, " rejected  myorg no-such-container-1-1 - build-not-found: ") {
		t.Errorf("%q", got)
	}
	w.stop()
	if code := <-w.code; code != exitDone {
		t.Errorf("exit %d: %s", code, w.errs.String())
	}

	code, out, errs := command(t, "watch", "-s", s.nats.URL, "--since", "1h", "-n", "1", "--json", "--outcome", "rejected,failed", "--organization", "myorg")
	var e struct {
		Type string `json:"type"`
		Data struct {
			NVR string `json:"nvr"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(out), &e); err != nil || code != exitDone || e.Data.NVR != "no-such-container-1-1" || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d, %v: %s%s", code, err, out, errs)
	}
	code, out, errs = command(t, "watch", "-s", s.nats.URL, "--since", "1h", "-n", "1", "--nvr", "no-*")
	if code != exitDone || !strings.Contains(out, "no-such-container-1-1") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestWatchPrintsNoControlCharacters(t *testing.T) {
	t.Parallel()
	s := letterBox(t)
	s.publish("omps.result.rejected.myorg._", "garbage\x1b", nil)
	s.publish("omps.result.rejected.myorg._", `{"specversion":"1.0","id":"i","source":"/s","type":"org.koji.operator-manifests.rejected.v1",
		"data":{"nvr":"a-1-1\u001b[31m","outcome":"rejected","organization":"my\norg","error":{"reason":"bad-archive","message":"`+"\u009b"+`\u202e"}}}`, nil)
	for _, args := range [][]string{nil, {"--json"}} {
		code, out, errs := command(t, append([]string{"watch", "-s", s.nats.URL, "--since", "1h", "-n", "1"}, args...)...)
		if code != exitDone || !printable([]byte(out)) || strings.Count(out, "\n") != 1 || !printable([]byte(errs)) ||
			!strings.Contains(errs, "sequence 1 on omps.result.rejected.myorg._ is no result: ") {
			t.Errorf("%v: exit %d: %q %q", args, code, out, errs)
		}
	}
}

func TestWatchIsChecked(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"x"}, {"--outcome", "done"}, {"--since", "-1h"}, {"-n", "-1"}, {"--nvr", "["}, {"--since", "yesterday"},
	} {
		if code, _, errs := command(t, append([]string{"watch"}, args...)...); code != exitUsage {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
}
