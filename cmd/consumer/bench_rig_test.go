//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// rig is everything around the processes that are measured.
type rig struct {
	t        *testing.T
	binary   string // the service
	upstream *upstream
	bus      *benchBus
	tap      *tap // on the way to bus, for who goes through it
	dir      string
}

func newRig(t *testing.T, binary string) *rig {
	t.Helper()
	r := &rig{t: t, binary: binary, upstream: startUpstream(t), bus: startBus(t), dir: t.TempDir()}
	r.tap = startTap(t, strings.TrimPrefix(r.bus.url, "nats://"))
	return r
}

// starter starts one of the two sides of a comparison.
type starter func() *process

// service starts the service with so many workers.
func (r *rig) service(workers int) starter {
	return func() *process {
		r.t.Helper()
		return r.serviceAt(r.bus.url, workers)
	}
}

// serviceAt starts it with another address of NATS.
func (r *rig) serviceAt(natsURL string, workers int) *process {
	r.t.Helper()
	return startProcess(r.t, "service", exec.Command(r.binary, "run", "-c", r.configure(natsURL, workers)))
}

// listen calls hear with each message that goes through the tap to NATS.
func (r *rig) listen(hear func(subject string, data []byte)) {
	r.tap.set(&moment{matches: func(subject string, data []byte) bool {
		hear(subject, data)
		return false
	}})
}

// configure writes the service's configuration to a file.
func (r *rig) configure(natsURL string, workers int) string {
	r.t.Helper()
	file := filepath.Join(r.dir, "config.yaml")
	if err := os.WriteFile(file, benchConfig(r.upstream, natsURL, workers), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return file
}

func benchConfig(u *upstream, natsURL string, workers int) []byte {
	at := u.urls()
	return fmt.Appendf(nil, `
nats: {url: %q}
intake: {workers: %d}
koji: {hub_url: "%s/kojihub", root_url: "%s/kojifiles/"}
greenwave: {url: %q}
quay: {registry: %q, url: %q, plain_http: true}
ops: {listen: "127.0.0.1:0"}
organizations:
  %s:
    match: ["%[8]s-*"]
    replace_registry:
    - {old: quay.io, new: registry.example.com}
    - {old: sample-org, new: mirrored}
`, natsURL, workers, at[kojiServer], at[kojiServer], at[greenwaveServer], u.registryHost(), at[registryServer], benchOrganization)
}

// floor starts the floor that does what scripts say, or that acknowledges
// everything where there are none.
func (r *rig) floor(workers int, scripts string) starter {
	return func() *process {
		r.t.Helper()
		task, err := json.Marshal(floorTask{
			NATS: r.bus.url, Stream: r.bus.needs.Names.Koji, Durable: r.bus.needs.Names.Durable,
			Workers: workers, Scripts: scripts, URLs: r.upstream.urls(),
		})
		if err != nil {
			r.t.Fatal(err)
		}
		return startSelf(r.t, "TestBenchFloor", benchFloor, string(task))
	}
}

// pace is how long each answer takes while builds are recorded: long enough
// that requests which the service makes at once are seen to be so.
const pace = 500 * time.Microsecond

// builds are what a scenario publishes, and what the floor does for them.
type builds struct {
	scripts []script
	file    string // of the scripts
}

// first is the first of them, at most n.
func (b builds) first(n int) builds {
	b.scripts = b.scripts[:min(n, len(b.scripts))]
	return b
}

// record lets the service publish builds one after the other and notes what it
// asks and says. A build that is not published is left out.
func (r *rig) record(name string, all []sandbox.Build) builds {
	r.t.Helper()
	r.upstream.reset()
	r.bus.reset()
	r.upstream.latency.Store(int64(pace))
	defer r.upstream.latency.Store(0)
	results, stop := r.bus.results()
	defer stop()
	p := r.service(1)()
	defer p.kill()
	var scripts []script
	for _, build := range all {
		if _, err := r.upstream.koji.AddBuild(build); err != nil {
			r.t.Fatal(err)
		}
		s := script{NVR: build.NVR, ID: "announce-" + build.NVR}
		r.upstream.record()
		r.bus.publish(announcement(s.NVR, s.ID))
		msg := r.next(p, results).msg
		s.Exchanges = r.upstream.recorded()
		s.Result = nats.Msg{Subject: msg.Subject, Header: msg.Header, Data: msg.Data}
		if isPublished(msg) {
			scripts = append(scripts, s)
		}
	}
	if left := len(all) - len(scripts); left > 0 {
		r.t.Logf("%s: %d of %d builds are not published, and left out", name, left, len(all))
	}
	file, err := saveScripts(r.dir, name, scripts)
	if err != nil {
		r.t.Fatal(err)
	}
	return builds{scripts: scripts, file: file}
}

func isPublished(msg *nats.Msg) bool { return strings.HasPrefix(msg.Subject, "omps.result.published.") }

// next waits for the next result of a process.
func (r *rig) next(p *process, results <-chan arrival) arrival {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case a := <-results:
		return a
	case <-p.ended:
		r.t.Fatalf("%s has ended:\n%s", p.name, p.log.tail())
	case <-limit.C:
		r.t.Fatalf("no result of %s within %s:\n%s", p.name, patience, p.log.tail())
	}
	return arrival{}
}
