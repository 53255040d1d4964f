//go:build linux

package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// A floor does to the outside what the service did, and notices when it does
// something else.
func TestFloorDoesWhatTheServiceDid(t *testing.T) {
	t.Parallel()
	u, bus := startUpstream(t), newBus(t, eventstest.Start(t).URL)
	build := benchBuilds(t, "small", 1, tinyArchive)[0]
	if _, err := u.koji.AddBuild(build); err != nil {
		t.Fatal(err)
	}
	s, asked := recordOne(t, u, bus, build.NVR), u.counted()
	there := contents(u)
	if len(there) != 1 || asked != len(s.Exchanges) || !isPublished(&s.Result) {
		t.Fatalf("%d repositories by %d requests, %d recorded, %s", len(there), asked, len(s.Exchanges), s.Result.Subject)
	}
	dir, err := saveScripts(t.TempDir(), "one", []script{s})
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := loadScripts(dir)
	if err != nil {
		t.Fatal(err)
	}
	floor := newReplayer(u.urls())
	u.reset()
	if err := floor.run(t.Context(), scripts[s.ID].Exchanges); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(there, contents(u)); diff != "" || u.counted() != asked {
		t.Errorf("%d requests instead of %d, and the registry differs: %s", u.counted(), asked, diff)
	}
	if floor.run(t.Context(), scripts[s.ID].Exchanges) == nil {
		t.Error("a registry that has the image already answers the same")
	}
}

// recordOne records what the service, in this process, does for one build.
func recordOne(t *testing.T, u *upstream, bus *benchBus, nvr string) script {
	t.Helper()
	config, err := ParseConfig("bench.yaml", benchConfig(u, bus.url, 1), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	bus.reset()
	results, unsubscribe := bus.results()
	defer unsubscribe()
	u.record()
	go func() { ended <- serve(ctx, config, slog.New(slog.DiscardHandler), func(endpoints) {}) }()
	s := script{NVR: nvr, ID: "announce-" + nvr}
	bus.publish(announcement(nvr, s.ID))
	select {
	case a := <-results:
		s.Exchanges, s.Result = u.recorded(), nats.Msg{Subject: a.msg.Subject, Header: a.msg.Header, Data: a.msg.Data}
	case err := <-ended:
		t.Fatalf("the service ended: %v", err)
	case <-time.After(patience):
		t.Fatal("no result")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return s
}

// contents is what the registry holds, by repository.
func contents(u *upstream) map[string]sandbox.Contents {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make(map[string]sandbox.Contents)
	for _, repository := range u.registry.Repositories() {
		all[repository] = u.registry.Contents(repository)
	}
	return all
}
