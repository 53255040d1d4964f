//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// benchLong lets the measurements of growth and memory run, which take much
// longer than the others and several GB of the temporary folder.
const benchLong = "BENCH_GROWTH"

// newLongBench skips the test unless it is asked for.
func newLongBench(t *testing.T) *bench {
	t.Helper()
	binary := os.Getenv("BENCH")
	if binary == "" || os.Getenv(benchLong) == "" {
		t.Skip("BENCH names the program to measure, and " + benchLong + " is set")
	}
	return newBench(t, binary)
}

// TestBenchMemory measures the memory of the program whose path is in BENCH.
//
//	BENCH=$PWD/bin/consumer BENCH_GROWTH=1 go test -run 'TestBenchMemory$' -timeout 30m -v ./cmd/consumer
//
// BENCH_ONLY and BENCH_QUICK are those of TestBench.
func TestBenchMemory(t *testing.T) {
	b := newLongBench(t)
	for _, scenario := range []struct {
		name string
		run  func()
	}{
		{"ignored", b.memoryOfIgnored},
		{"waiting", b.memoryOfWaiting},
		{"small", b.memoryOfSmall},
		{"large", b.memoryOfLarge},
	} {
		if b.only.MatchString(scenario.name) {
			began := time.Now()
			scenario.run()
			t.Logf("%s took %s", scenario.name, time.Since(began).Round(time.Second))
		}
	}
	t.Logf("figures without floor, of one run:\n%s", table(b.figures))
}

// footprint is what a process takes at a moment.
type footprint struct {
	rss, anon  float64 // MiB; anon is without what is mapped from files
	goroutines float64
}

// footprint asks the kernel, and the service itself.
func (p *process) footprint(t *testing.T, ops string) footprint {
	t.Helper()
	f := footprint{rss: p.memory(t, "VmRSS"), anon: p.memory(t, "RssAnon")}
	body, _ := get(t, ops+"/metrics")
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			var err error
			if f.goroutines, err = strconv.ParseFloat(strings.TrimSpace(rest), 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	if f.goroutines == 0 {
		t.Fatalf("%s does not tell its goroutines:\n%s", p.name, body)
	}
	return f
}

// memory is a line of /proc/PID/status in MiB, by proc_pid_status(5).
func (p *process) memory(t *testing.T, name string) float64 {
	t.Helper()
	p.mustLive(t)
	lines := bufio.NewScanner(strings.NewReader(p.proc(t, "status")))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	t.Fatalf("/proc tells no %s of %s", name, p.name)
	return 0
}

// opsURL waits for a service to be up, and reads in its log where its probes are.
func (p *process) opsURL(t *testing.T) string {
	t.Helper()
	select {
	case <-p.log.started:
	case <-p.ended:
		t.Fatalf("%s has ended:\n%s", p.name, p.log.tail())
	case <-time.After(patience):
		t.Fatalf("%s does not start:\n%s", p.name, p.log.tail())
	}
	for line := range strings.Lines(p.log.tail()) {
		var entry struct{ Msg, Ops string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "started" {
			return entry.Ops
		}
	}
	t.Fatalf("%s does not say where its probes are:\n%s", p.name, p.log.tail())
	return ""
}

// get reads an answer, and tells how long that took.
func get(t *testing.T, url string) ([]byte, time.Duration) {
	t.Helper()
	client := http.Client{Timeout: patience}
	began := time.Now()
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	took := time.Since(began)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %.500s", url, r.Status, err, body)
	}
	return body, took
}

// Events that are not ours, and how often the memory is looked at meanwhile.
const (
	manyEvents  = 1_000_000
	eventsALook = 100_000
)

// fewGoroutines are what comes and goes with connections, of all workers. What
// leaks with each event or build is thousands.
func fewGoroutines() float64 { return float64(2 * workers()) }

// memoryOfIgnored prints the memory over many events that are not ours. What it
// takes for the first part of them, it takes for all.
func (b *bench) memoryOfIgnored() {
	n, step := b.count(manyEvents), b.count(eventsALook)
	b.upstream.reset()
	b.bus.reset()
	b.bus.generate(n, inTurn(foreignEvents(b.t)))
	p := b.service(workers())()
	defer p.kill()
	ops := p.opsURL(b.t)
	curve := newCurve("events")
	var seen []footprint
	for left := n - step; left >= 0; left -= step {
		done := n - b.awaitFewer(p, left+1)
		seen = append(seen, p.footprint(b.t, ops))
		curve.add(done, seen[len(seen)-1])
	}
	b.t.Logf("events that are not ours\n%s", curve)
	first, last := seen[0], seen[len(seen)-1]
	b.add(figure{name: "ignored: rss grows", unit: "MiB", service: []float64{last.anon - first.anon}, target: below(4)})
	b.add(figure{name: "ignored: goroutines grow", unit: "each", service: []float64{last.goroutines - first.goroutines}, target: below(fewGoroutines())})
	b.add(figure{name: "ignored: peak rss", unit: "MiB", service: []float64{p.peakRSS(b.t)}, target: below(64)})
}

// curve is a table of footprints.
type curve struct {
	text bytes.Buffer
	out  *tabwriter.Writer
}

func newCurve(of string) *curve {
	c := &curve{}
	c.out = tabwriter.NewWriter(&c.text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(c.out, "%s\tRSS\tanonymous\tgoroutines\t\n", of)
	return c
}

func (c *curve) add(n int, f footprint) {
	fmt.Fprintf(c.out, "%d\t%.1f\t%.1f\t%.0f\t\n", n, f.rss, f.anon, f.goroutines)
}

func (c *curve) String() string {
	_ = c.out.Flush()
	return c.text.String()
}

// manyWaiting builds may wait at once unless a configuration says otherwise.
func manyWaiting() int { return DefaultConfig().Intake.MaxWaiting }

// memoryOfWaiting measures what builds take whose gate has not decided yet.
func (b *bench) memoryOfWaiting() {
	n := b.count(manyWaiting())
	gate := sandbox.NewGreenwave(sandbox.GateMissing)
	closed := httptest.NewServer(gate)
	defer closed.Close()
	archive := sandbox.SampleArchive() // never fetched
	all := make([]sandbox.Build, 2*n)
	for i := range all {
		all[i] = sandbox.Build{
			NVR: fmt.Sprintf("%s-waiting-%05d-container-1.0-1", benchOrganization, i), Archive: archive,
			Subtypes: []string{"operator_appregistry"},
		}
	}
	waiting := b.announced(all)
	b.upstream.reset()
	b.bus.reset()
	results, stop := b.bus.results()
	defer stop()
	config := bytes.ReplaceAll(benchConfig(b.upstream, b.bus.url, workers()),
		[]byte(b.upstream.urls()[greenwaveServer]), []byte(closed.URL))
	p := b.serviceWith(config)
	defer p.kill()
	ops := p.opsURL(b.t)

	curve := newCurve("waiting")
	look := func(done int) footprint {
		f := p.rested(b.t, ops)
		curve.add(done, f)
		return f
	}
	// As many builds that the gate refuses are the same work, so that what that
	// takes is there before, and nothing waits behind it.
	gate.SetDefault(sandbox.GateFailed)
	refused := make([]message, n)
	for i, s := range waiting.scripts[n:] {
		refused[i] = benchRequest(s.NVR)
	}
	b.bus.fill(n, refused...)
	for range n {
		b.next(p, results)
	}
	before := look(0)
	gate.SetDefault(sandbox.GateMissing)
	b.bus.fill(n, waiting.first(n).announcements()...)
	for range n {
		if a := b.next(p, results); !strings.HasPrefix(a.msg.Subject, "omps.result.waiting.") {
			b.t.Fatalf("%s: %s", a.msg.Subject, a.msg.Data)
		}
	}
	after := look(n)
	if left := b.bus.unsettled(b.bus.needs.Names.Koji); left != n {
		b.t.Errorf("%d builds wait, not %d", left, n)
	}
	b.t.Logf("builds whose gate is not open\n%s", curve)
	b.add(figure{name: "waiting: rss grows", unit: "MiB", service: []float64{after.anon - before.anon}, target: below(16)})
	b.add(figure{name: "waiting: goroutines grow", unit: "each", service: []float64{after.goroutines - before.goroutines}, target: below(fewGoroutines())})
}

// rested is a footprint once the process has given back what it no longer needs.
func (p *process) rested(t *testing.T, ops string) footprint {
	t.Helper()
	const looks, pause = 10, time.Second
	least := p.footprint(t, ops)
	for range looks {
		<-time.After(pause)
		if f := p.footprint(t, ops); f.anon < least.anon {
			least = f
		}
	}
	return least
}

// memoryOfSmall measures all workers on small archives.
func (b *bench) memoryOfSmall() {
	const builds = 400
	small := b.announced(benchBuilds(b.t, "memory", b.count(builds), smallArchive))
	load := b.publish(b.service(workers()), small, 0)
	b.add(figure{name: "small archives: peak rss", unit: "MiB", service: []float64{load.rss}, target: below(64)})
}

// memoryOfLarge measures as many archives at once as there are workers, all of
// them as large as the limits allow.
func (b *bench) memoryOfLarge() {
	for _, kind := range []struct {
		name  string
		files func(pkg string) []pipeline.File
	}{
		{"30 versions, 5 MiB", func(pkg string) []pipeline.File { return benchPackage(pkg, largeArchive) }},
		{"2 versions, 19 MiB", func(pkg string) []pipeline.File { return benchPackage(pkg, sizeOf{versions: 2, crd: 19 << 19}) }},
		{"19 MiB of spaces", func(pkg string) []pipeline.File { return bomb(pkg, " ") }},
		{"19 MiB of lists", func(pkg string) []pipeline.File { return bomb(pkg, "- []\n") }},
		{"19 MiB of small maps", func(pkg string) []pipeline.File { return bomb(pkg, "- {a: b}\n") }},
	} {
		b.largest(kind.name, kind.files)
	}
}

// bomb is a package with two more files that hold little in many bytes.
func bomb(pkg, text string) []pipeline.File {
	const size = 19 << 19 // two of them are nearly what may be unpacked
	files := sandbox.SampleOf(pkg, "1.0.0")
	for i := range 2 {
		data := []byte(strings.Repeat(text, size/len(text)))
		files = append(files, pipeline.File{Path: fmt.Sprintf("1.0.0/more-%d.yaml", i), Data: data})
	}
	return files
}

func (b *bench) largest(name string, files func(pkg string) []pipeline.File) {
	kind := strings.ReplaceAll(strings.ToLower(strings.ReplaceAll(name, ",", "")), " ", "-")
	all := make([]sandbox.Build, workers())
	for i := range all {
		pkg := fmt.Sprintf("%s-%s-%d", benchOrganization, kind, i)
		archive, err := sandbox.Zip(files(pkg))
		if err != nil {
			b.t.Fatal(err)
		}
		all[i] = sandbox.Build{NVR: pkg + "-container-1.0-1", Archive: archive, Subtypes: []string{"operator_appregistry"}}
	}
	large := b.announced(all)
	b.upstream.reset()
	b.bus.reset()
	b.bus.fill(len(all), large.announcements()...)
	results, stop := b.bus.results()
	defer stop()
	p := b.service(workers())()
	defer p.kill()
	outcomes := make(map[string]int)
	for range all {
		parts := strings.Split(b.next(p, results).msg.Subject, ".")
		outcomes[parts[2]]++
	}
	b.bus.settled(b.bus.needs.Names.Koji) // so none is lost, or told twice
	b.t.Logf("%d at once of %s (%d KiB each): %v, peak %.0f MiB", len(all), name, len(all[0].Archive)>>10, outcomes, p.peakRSS(b.t))
	b.add(figure{name: name + ": peak rss", unit: "MiB", service: []float64{p.peakRSS(b.t)}})
}
