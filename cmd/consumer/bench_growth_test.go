//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// How large a system grows.
const (
	manyEntries       = 1_000_000
	manyLetters       = 100_000
	manyOrganizations = 1000
	manyRules         = 50 // of each of them
)

// grown is a system that has grown in one way.
type grown struct {
	name   string
	fill   func(*rig)
	config string // added to the configuration
}

// TestBenchGrowth measures the program whose path is in BENCH on systems that
// have grown, each in turn with an empty one: builds, memory, and how long people
// and probes wait for an answer.
//
//	BENCH=$PWD/bin/consumer BENCH_GROWTH=1 go test -run 'TestBenchGrowth$' -timeout 60m -v ./cmd/consumer
//
// BENCH_RUNS, BENCH_ONLY and BENCH_QUICK are those of TestBench.
func TestBenchGrowth(t *testing.T) {
	b := newLongBench(t)
	all := b.announced(benchBuilds(t, "growth", b.runs*b.count(growthBuilds), tinyArchive))
	for _, g := range []grown{
		{name: "ledger", fill: func(r *rig) { r.bus.generate(b.count(manyEntries), oldEntry) }},
		{name: "dead letters", fill: func(r *rig) { r.bus.generate(b.count(manyLetters), oldLetter) }},
		{name: "stream", fill: func(r *rig) { r.settleMany(b.count(manyEvents)) }},
		{name: "organizations", fill: func(*rig) {}, config: organizations(b.count(manyOrganizations), manyRules)},
	} {
		if b.only.MatchString(g.name) {
			t.Run(strings.ReplaceAll(g.name, " ", "_"), func(t *testing.T) { b.growth(t, g, all) })
		}
	}
}

// growthBuilds are the builds of a run: for both sides, one after the other and
// at once.
const growthBuilds = 800

// growth compares a system that has grown with an empty one. Each has a NATS
// server of its own. The builds come in turn to one and the other, which are
// disturbed alike so.
func (b *bench) growth(t *testing.T, g grown, all builds) {
	began := time.Now()
	empty, full := *b.rig, *b.rig
	for _, r := range []*rig{&empty, &full} {
		r.t, r.bus = t, startBus(t)
		r.bus.reset()
	}
	g.fill(&full)
	t.Logf("%s: filled in %s", g.name, time.Since(began).Round(time.Second))
	var ours, bare []growthLoad
	for part := range slices.Chunk(all.scripts, len(all.scripts)/b.runs) {
		half := len(part) / 2
		b.upstream.reset()
		e, f := empty.site("", part[:half]), full.site(g.config, part[half:])
		inTurns(e, f)
		for _, s := range []*site{e, f} {
			s.atOnce()
			s.load["rss at rest"] = s.p.rested(t, s.ops).rss
			s.ask()
			s.end()
		}
		bare, ours = append(bare, e.load), append(ours, f.load)
	}
	t.Logf("%s: medians of %d runs, with the least and the most of them\n%s", g.name, b.runs, growthTable(ours, bare))
}

// growthLoad is what was measured in one run, by name.
type growthLoad map[string]float64

// growthFigures are the names and units, and what they are to be: of those with
// a ratio, beside an empty system.
func growthFigures() []figure {
	level, soon := atMost(1.25), below(100)
	return []figure{
		{name: "build, one after the other: p50", unit: "ms", target: level},
		{name: "builds at once", unit: "/s", target: atLeast(0.8)},
		{name: "rss at rest", unit: "MiB"},
		{name: "start", unit: "ms"},
		{name: "status", unit: "ms", target: soon},
		{name: "status NVR", unit: "ms", target: soon},
		{name: "status NVR unknown", unit: "ms", target: soon},
		{name: "deadletters ls", unit: "ms", target: soon},
		{name: "/metrics", unit: "ms", target: soon},
		{name: "/readyz", unit: "ms", target: soon},
	}
}

func growthTable(ours, bare []growthLoad) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "figure\tunit\tgrown\t\tempty\t\tratio\ttarget\t")
	for _, f := range growthFigures() {
		for i := range ours {
			f.service, f.floor = append(f.service, ours[i][f.name]), append(f.floor, bare[i][f.name])
		}
		verdict := ""
		if f.target.bound > 0 {
			if verdict = "ok"; !f.ok() {
				verdict = "MISSED"
			}
		}
		target := strings.ReplaceAll(f.target.String(), "floor", "empty")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.2f\t%s\t%s\n", f.name, f.unit, spread(f.service), spread(f.floor), f.ratio(), target, verdict)
	}
	_ = w.Flush()
	return text.String()
}

// serviceWith starts the service with a configuration of its own.
func (r *rig) serviceWith(config []byte) *process {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return startProcess(r.t, "service", exec.Command(r.binary, "run", "-c", file))
}

// announced adds builds to Koji, for a scenario without a floor.
func (r *rig) announced(all []sandbox.Build) builds {
	r.t.Helper()
	var b builds
	for _, build := range all {
		if _, err := r.upstream.koji.AddBuild(build); err != nil {
			r.t.Fatal(err)
		}
		b.scripts = append(b.scripts, script{NVR: build.NVR, ID: "announce-" + build.NVR})
	}
	return b
}

// site is a running service, with builds that it has not seen: half of them for
// one after the other, half for all at once.
type site struct {
	*rig
	p               *process
	ops             string
	results         <-chan arrival
	end             func()
	slow, quick     []message
	load            growthLoad
	known           string // one of the builds
	oneAfterAnother []time.Duration
}

func (r *rig) site(config string, scripts []script) *site {
	r.t.Helper()
	half := len(scripts) / 2
	messages := builds{scripts: scripts}.announcements()
	s := &site{rig: r, slow: messages[:half], quick: messages[half:], load: make(growthLoad), known: scripts[0].NVR}
	results, stop := r.bus.results()
	s.p = r.serviceWith(append(benchConfig(r.upstream, r.bus.url, workers()), config...))
	s.ops = s.p.opsURL(r.t)
	s.load["start"] = milliseconds(time.Since(s.p.began))
	s.results, s.end = results, func() { stop(); s.p.kill() }
	return s
}

// inTurns lets each of them publish one build, then the next.
func inTurns(sites ...*site) {
	for i := range sites[0].slow {
		for _, s := range sites {
			began := time.Now()
			s.bus.publish(s.slow[i])
			s.oneAfterAnother = append(s.oneAfterAnother, s.publication(s.p, s.results).at.Sub(began))
			<-time.After(idlePause)
		}
	}
	for _, s := range sites {
		slices.Sort(s.oneAfterAnother)
		s.load["build, one after the other: p50"] = percentile(s.oneAfterAnother, 0.5)
	}
}

// atOnce lets it publish many builds.
func (s *site) atOnce() {
	s.t.Helper()
	began := time.Now()
	s.bus.fill(len(s.quick), s.quick...)
	var last arrival
	for range s.quick {
		last = s.publication(s.p, s.results)
	}
	s.load["builds at once"] = float64(len(s.quick)) / last.at.Sub(began).Seconds()
}

// ask measures answers. Of a command it is the time beyond that of one which asks
// nobody.
func (s *site) ask() {
	s.t.Helper()
	const times = 7
	middle := func(do func() time.Duration) float64 {
		var took []float64
		for range times {
			took = append(took, milliseconds(do()))
		}
		return median(took)
	}
	for _, path := range []string{"/metrics", "/readyz"} {
		s.load[path] = middle(func() time.Duration { _, took := get(s.t, s.ops+path); return took })
	}
	for name, command := range map[string]struct {
		code int
		args []string
	}{
		"status":             {exitDone, []string{"status"}},
		"status NVR":         {exitDone, []string{"status", s.known}},
		"status NVR unknown": {exitFailed, []string{"status", "bench-unknown-container-1.0-1"}},
		"deadletters ls":     {exitDone, []string{"deadletters", "ls"}},
	} {
		args := slices.Concat(command.args, []string{"-s", s.bus.url})
		s.load[name] = middle(func() time.Duration { return -s.command(exitDone, "version") + s.command(command.code, args...) })
	}
}

// command is how long the program takes for a command.
func (r *rig) command(code int, args ...string) time.Duration {
	r.t.Helper()
	cmd := exec.Command(r.binary, args...)
	began := time.Now()
	out, _ := cmd.CombinedOutput() // its exit code tells
	took := time.Since(began)
	if got := cmd.ProcessState.ExitCode(); got != code {
		r.t.Fatalf("consumer %v: exit %d: %.2000s", args, got, out)
	}
	return took
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// inTurn gives messages again and again.
func inTurn(list []message) func(int) *nats.Msg {
	return func(i int) *nats.Msg { return list[i%len(list)].msg() }
}

// generate stores n messages, more than one may want to hold at once.
func (b *benchBus) generate(n int, of func(i int) *nats.Msg) {
	b.t.Helper()
	var last jetstream.PubAckFuture
	for i := range n {
		var err error
		if last, err = b.js.PublishMsgAsync(of(i), jetstream.WithStallWait(patience)); err != nil {
			b.t.Fatalf("message %d: %v", i, err)
		}
	}
	<-b.js.PublishAsyncComplete()
	select {
	case <-last.Ok():
	case err := <-last.Err():
		b.t.Fatal(err)
	}
}

// oldEntry is the entry of a build that was published long ago, or, one in a
// hundred, rejected.
func oldEntry(i int) *nats.Msg {
	const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	pkg := fmt.Sprintf("%s-old-%06d", benchOrganization, i)
	at := time.Now().Add(-time.Duration(manyEntries-i) * time.Second).UTC()
	e := events.Entry{
		Organization: fmt.Sprintf("org-%d", i%10), NVR: pkg + "-container-1.0-1", BuildID: int64(1_000_000 + i), Package: pkg,
		State: events.StatePublished, Checksum: "sha256:" + sum, Configuration: sum[:32],
		Digests: []string{"registry.example.com/" + benchOrganization + "/" + pkg + "@sha256:" + sum},
		Tries:   3, First: at.Add(-time.Hour), Last: at, ResultID: sum[:32], Told: []string{sum[:32], sum[32:]},
		Trigger: events.Cause{ID: "announce-" + pkg, Source: "https://koji.example.com/kojihub", Type: events.TypeBuildCompleted},
	}
	if i%100 == 0 {
		e.State, e.Reason, e.Stage = events.StateRejected, pipeline.ReasonGateUnsatisfied, pipeline.StageGate
		e.Message, e.Digests = "policies of omps_push are not satisfied: 1 of 3 required tests failed", nil
	}
	data, err := json.Marshal(e)
	if err != nil {
		panic(err) // it cannot
	}
	return &nats.Msg{Subject: "$KV." + events.DefaultNames().Ledger + "." + e.Organization + "." + e.NVR, Data: data}
}

// oldLetter is one of an announcement that could not be served.
func oldLetter(i int) *nats.Msg {
	reason := []pipeline.Reason{pipeline.ReasonKojiUnavailable, pipeline.ReasonInternal, pipeline.ReasonQuayUnavailable}[i%3]
	return &nats.Msg{
		Subject: "omps.dead-letter." + string(reason),
		Data: fmt.Appendf(nil, `{"specversion":"1.0","id":"dead-%d","source":"/koji","type":%q,"data":{"nvr":"dead-%d-container-1.0-1","help":"%s"}}`,
			i, events.TypeBuildCompleted, i, strings.Repeat("h", 1000)),
		Header: nats.Header{
			"Omps-Error": {"lookup: koji: no answer"}, "Omps-Stage": {"lookup"}, "Omps-Tries": {"500"}, "Omps-Stream": {"KOJI"},
			"Omps-Sequence": {fmt.Sprint(i + 1)}, "Omps-Subject": {events.SubjectBuildCompleted},
		},
	}
}

// settleMany fills the Koji stream with events that are not ours, and lets the
// service settle them.
func (r *rig) settleMany(n int) {
	r.t.Helper()
	r.bus.generate(n, inTurn(foreignEvents(r.t)))
	p := r.service(workers())()
	defer p.kill()
	for left := n; left > 0; left-- {
		left = r.awaitFewer(p, left)
	}
	p.end(r.t)
}

// organizations is a part of a configuration: so many that want none of the
// builds, each with rules of its own.
func organizations(n, rules int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  grown-%04d:\n    match: [\"team-%04d-*\", \"squad-%04d-*\"]\n    replace_registry:\n", i, i, i)
		for j := range rules {
			fmt.Fprintf(&b, "    - {old: registry-%02d.example.com/team-%04d, new: mirror.example.com/team-%04d}\n", j, i, i)
		}
	}
	return b.String()
}
