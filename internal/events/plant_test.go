package events_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

var (
	missing = pipeline.Decision{Unsatisfied: []pipeline.Requirement{{Type: "test-result-missing", Testcase: "t"}}}
	refused = pipeline.Decision{Unsatisfied: []pipeline.Requirement{{Type: "test-result-failed", Testcase: "t"}}}
	passed  = pipeline.Decision{Satisfied: true}
)

// push is what a registry was asked for.
type push struct {
	organization, nvr, event string // the event is the id of the one it was pushed for
	force                    bool
}

// plant is the world of a real pipeline in memory: a hub that has every build,
// each with the same archive, a gate, and a registry for each organization. It
// outlives the services that use it.
type plant struct {
	archive []byte
	orgs    []pipeline.Organization

	mu      sync.Mutex
	gate    map[string]pipeline.Decision // by NVR; passed where there is none
	asked   map[string]int               // decisions, by NVR
	pushed  []push
	content map[string]string // digest, by organization/NVR

	// onPush, when set, is called before a push is done, and may refuse it.
	onPush func(ctx context.Context, p push) error
}

func newPlant(tb testing.TB, orgs ...string) *plant {
	tb.Helper()
	p := &plant{gate: map[string]pipeline.Decision{}, asked: map[string]int{}, content: map[string]string{}}
	for _, org := range orgs {
		p.orgs = append(p.orgs, pipeline.Organization{
			Name: org, Match: []string{"etcd-*"}, Target: pipeline.TargetOCI,
			Repository: "{package}", Tags: []string{"{nvr}"}, Fingerprint: "f1",
		})
	}
	root := filepath.Join("..", "pipeline", "testdata", "prepare", "bundle", "in")
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, name := range []string{"manifests/crd.yaml", "manifests/csv.yaml", "metadata/annotations.yaml"} {
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			tb.Fatal(err)
		}
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	p.archive = buf.Bytes()
	return p
}

func (p *plant) FindBuild(_ context.Context, _ int64, nvr pipeline.NVR) (pipeline.HubBuild, error) {
	h := fnv.New32()
	_, _ = io.WriteString(h, nvr.String())
	return pipeline.HubBuild{ID: int64(h.Sum32()) + 1, NVR: nvr, State: pipeline.StateComplete, ManifestsArchive: "m.zip"}, nil
}

func (p *plant) FindArchive(_ context.Context, _ pipeline.HubBuild) (pipeline.Archive, error) {
	sum := sha256.Sum256(p.archive)
	return pipeline.Archive{
		Name: "m.zip", Size: int64(len(p.archive)), Checksum: pipeline.Checksum{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])},
	}, nil
}

func (p *plant) OpenArchive(context.Context, pipeline.Archive) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(p.archive)), nil
}

func (p *plant) Decide(_ context.Context, n pipeline.NVR) (pipeline.Decision, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[n.String()]++
	if d, ok := p.gate[n.String()]; ok {
		return d, nil
	}
	return passed, nil
}

// says sets what the gate says of a build from now on.
func (p *plant) says(nvr string, d pipeline.Decision) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate[nvr] = d
}

func (p *plant) askedFor(nvr string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[nvr]
}

// pushes are those to an organization, oldest first; "" for all.
func (p *plant) pushes(organization string) []push {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.pushed), func(done push) bool {
		return organization != "" && done.organization != organization
	})
}

// Push keeps count of what is asked for, done or not.
func (p *plant) Push(ctx context.Context, r pipeline.Release) (pipeline.Publication, error) {
	t := r.Build.Trigger
	asked := push{organization: r.Organization.Name, nvr: r.Build.NVR.String(), event: t.ID, force: t.Force}
	p.mu.Lock()
	p.pushed = append(p.pushed, asked)
	hook := p.onPush
	p.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, asked); err != nil {
			return pipeline.Publication{}, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	name := asked.organization + "/" + asked.nvr
	sum := sha256.Sum256([]byte(name + r.Organization.Fingerprint))
	digest := hex.EncodeToString(sum[:])
	there := p.content[name] == digest
	p.content[name] = digest
	b := r.Bundles[0]
	return pipeline.Publication{
		Repeated: there && !asked.force,
		Bundles: []pipeline.PushedBundle{{
			Version: b.Version, CSV: b.CSV, Repository: b.Repository, Tags: b.Tags, Channels: b.Channels,
			Reference: "quay.io/" + b.Repository + "@sha256:" + digest,
		}},
	}, nil
}

// hook sets onPush.
func (p *plant) hook(onPush func(context.Context, push) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onPush = onPush
}

// service is the options of a service at the plant, with a pipeline and a
// ledger of its own. Rechecks are far away.
func (p *plant) service(b *bus) events.Options {
	b.tb.Helper()
	pushers := map[string]pipeline.Pusher{}
	var names []string
	for _, org := range p.orgs {
		pushers[org.Name] = p
		names = append(names, org.Name)
	}
	ledger := events.NewLedger(b.js, events.DefaultNames().Ledger)
	line := &pipeline.Pipeline{
		Lookup: pipeline.Lookup{Finder: p, Organizations: p.orgs}, Gate: pipeline.Gate{Decider: p},
		Fetch: pipeline.Fetch{Opener: p, Limits: pipeline.DefaultLimits()}, Push: pipeline.Push{Pushers: pushers},
		Ledger: ledger, Now: time.Now,
	}
	o := b.options(line)
	o.Reader.Organizations, o.Lookup, o.Ledger = names, line.Lookup, ledger
	o.Policy.Recheck = time.Hour
	return o
}

// told are the data of the stored result events, in order.
func (b *bus) told() []events.ResultData {
	b.tb.Helper()
	var all []events.ResultData
	for _, e := range b.results() {
		d, err := events.DataOf(e)
		if err != nil {
			b.tb.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// outcomes are those of the stored result events, as organization:outcome.
func (b *bus) outcomes() []string {
	b.tb.Helper()
	var all []string
	for _, d := range b.told() {
		all = append(all, d.Organization+":"+string(d.Outcome))
	}
	return all
}

// announceAs publishes a build event with an id and a source.
func (b *bus) announceAs(nvr, id, source string) {
	b.tb.Helper()
	b.send(events.NewBuildEvent(events.BuildEvent{NVR: nvr, Source: source, ID: id}))
}

// ask publishes a request.
func (b *bus) ask(p events.PushEvent) {
	b.tb.Helper()
	if p.Source == "" {
		p.Source = "/release-engineer"
	}
	b.send(events.NewPushEvent(p))
}

// send publishes an event that was made without error.
func (b *bus) send(e event.Event, subject string, err error) {
	b.tb.Helper()
	if err != nil {
		b.tb.Fatal(err)
	}
	header, data, err := events.EncodeStructured(e)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.publish(&nats.Msg{Subject: subject, Header: header, Data: data})
}

// done waits until nothing is left to do on the streams of builds and requests.
func (b *bus) done() {
	b.tb.Helper()
	eventually(b.tb, "all is settled", func() bool {
		return b.caughtUp("KOJI") && b.caughtUp("OMPS_REQUESTS") && b.settled("KOJI") && b.settled("OMPS_REQUESTS")
	})
}

// entry is what the ledger holds of a build for an organization.
func (b *bus) entry(organization, nvr string) events.Entry {
	b.tb.Helper()
	entries, err := events.NewLedger(b.js, events.DefaultNames().Ledger).Find(b.tb.Context(), nvr)
	if err != nil {
		b.tb.Fatal(err)
	}
	for _, e := range entries {
		if e.Organization == organization {
			return e
		}
	}
	return events.Entry{}
}

// takes bounds what a stream takes: 1 byte is nothing, so that it can only be
// read, and -1 no bound.
func (b *bus) takes(stream string, size int32) {
	b.tb.Helper()
	s, err := b.js.Stream(b.tb.Context(), stream)
	if err != nil {
		b.tb.Error(err)
		return
	}
	cfg := s.CachedInfo().Config
	cfg.MaxMsgSize = size
	if _, err := b.js.UpdateStream(b.tb.Context(), cfg); err != nil {
		b.tb.Error(err)
	}
}

// forgetful makes the stream of results drop repeats for no longer than the
// server allows.
func (b *bus) forgetful() {
	b.tb.Helper()
	_, err := b.js.CreateStream(b.tb.Context(), jetstream.StreamConfig{
		Name: events.DefaultNames().Results, Subjects: []string{events.SubjectResult + ".>"}, Duplicates: forgets,
	})
	if err != nil {
		b.tb.Fatal(err)
	}
}

// forgets is the least duplicate window of a server.
const forgets = 100 * time.Millisecond

var errQuay = pipeline.Retry(pipeline.ReasonQuayUnavailable, errors.New("quay is down"))

// decide publishes that the gate's decision on a build has changed, as a bridge
// from Greenwave's bus sends it.
func (b *bus) decide(nvr string, satisfied bool) {
	b.tb.Helper()
	b.decision("decision-on-"+nvr, fmt.Sprintf(`{"msg":{"subject_type":"koji_build","subject_identifier":%q,`+
		`"decision_context":"omps_push","product_version":"cvp","policies_satisfied":%t}}`, nvr, satisfied))
}

func (b *bus) decision(id, data string) {
	b.tb.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource("https://greenwave.example.com")
	e.SetType(events.TypeDecisionUpdated)
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(data)
	b.send(e, events.SubjectDecisionUpdated, nil)
}

// gated is the options of a service at the plant that reads its gate's decisions.
func (p *plant) gated(b *bus) events.Options {
	b.tb.Helper()
	o := p.service(b)
	o.Reader.Gate = events.GateScope{Context: "omps_push", ProductVersion: "cvp"}
	return o
}

// decided waits until every decision is settled.
func (b *bus) decided() {
	b.tb.Helper()
	eventually(b.tb, "decisions are settled", func() bool { return b.caughtUp("GREENWAVE") && b.settled("GREENWAVE") })
}

// becomes waits until the results are as given, and returns how long it took.
func (b *bus) becomes(outcomes ...string) time.Duration {
	b.tb.Helper()
	start := time.Now()
	eventually(b.tb, strings.Join(outcomes, " "), func() bool { return len(b.outcomes()) >= len(outcomes) })
	took := time.Since(start)
	if diff := cmp.Diff(outcomes, b.outcomes()); diff != "" {
		b.tb.Error(diff)
	}
	return took
}
