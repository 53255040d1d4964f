package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/clients/koji"
	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// The organizations of a fleet, in the order in which the service serves them.
const (
	alpha = "alpha"
	beta  = "beta"
)

// fleet is services as processes of their own that share everything around
// them, which lives in the test's process.
type fleet struct {
	t     *testing.T
	world *sandbox.World
	nats  *eventstest.Server
	tap   *tap // nil: services connect to nats directly
	js    jetstream.JetStream

	config   Config
	file     string
	calm     *koji.Client // what the test itself asks
	children int
}

// newFleet makes everything but the services. intake is that part of their
// configuration.
func newFleet(t *testing.T, intake string, tapped bool) *fleet {
	t.Helper()
	world, err := sandbox.Start(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	f := &fleet{t: t, world: world, nats: eventstest.Start(t)}
	conn, err := nats.Connect(f.nats.URL, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if f.js, err = jetstream.New(conn); err != nil {
		t.Fatal(err)
	}
	through := f.nats.URL
	if tapped {
		server, err := url.Parse(f.nats.URL)
		if err != nil {
			t.Fatal(err)
		}
		f.tap = startTap(t, server.Host)
		through = f.tap.url()
	}
	f.configure(through, intake)
	return f
}

// configure writes the services' configuration: two organizations whose images
// differ, each with two tags.
func (f *fleet) configure(natsURL, intake string) {
	f.t.Helper()
	w := f.world
	text := fmt.Appendf(nil, `
nats: {url: %q}
intake: {%s}
koji: {hub_url: %q, root_url: %q, timeout: 30s}
greenwave: {url: %q, timeout: 5s}
quay: {registry: %q, url: %q, plain_http: true, timeout: 5s}
ops: {listen: "127.0.0.1:0"}
organizations:
  %s:
    match: ["*"]
    tags: ["{version}", "{nvr}"]
  %s:
    match: ["*"]
    tags: ["{version}", "{nvr}"]
    replace_registry: [{old: quay.io, new: registry.example.com}]
`, natsURL, intake, w.HubURL(), w.FilesURL(), w.GreenwaveURL(), w.RegistryHost(), w.RegistryURL(), alpha, beta)
	f.file = filepath.Join(f.t.TempDir(), "config.yaml")
	if err := os.WriteFile(f.file, text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	var err error
	if f.config, err = ParseConfig(f.file, text, func(string) string { return "" }); err != nil {
		f.t.Fatal(err)
	}
	client := clients.New(clients.Options{Name: "calm", Timeout: patience, Hosts: []string{"127.0.0.1"}})
	f.calm, err = koji.New(koji.Options{HubURL: w.HubURL(), RootURL: w.FilesURL(), Hub: client, Files: client})
	if err != nil {
		f.t.Fatal(err)
	}
}

// launch starts a service, which may not be up yet.
func (f *fleet) launch() *child {
	f.t.Helper()
	f.children++
	return startChild(f.t, fmt.Sprintf("service %d", f.children), f.file)
}

// start starts a service and waits until it takes messages.
func (f *fleet) start() *child {
	f.t.Helper()
	c := f.launch()
	c.awaitStart(f.t)
	return c
}

// sampleBuild is a build of a package, whose Koji name is PACKAGE-container.
func sampleBuild(pkg, version string, release int) sandbox.Build {
	return sandbox.Build{
		NVR:     fmt.Sprintf("%s-container-%s-%d", pkg, version, release),
		Archive: sandbox.SampleArchiveOf(pkg, version), Subtypes: []string{"operator_appregistry"},
	}
}

// addBuild makes the hub know a build and returns its id.
func (f *fleet) addBuild(b sandbox.Build) int64 {
	f.t.Helper()
	id, err := f.world.Koji.AddBuild(b)
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// announce tells of a build's completion. Announcements of other ids are other
// events about the same build.
func (f *fleet) announce(nvr, id string) {
	f.t.Helper()
	f.publish(announcement(nvr, id))
}

// decide tells that the gate has decided about a build, and that it may pass.
func (f *fleet) decide(nvr, id string) {
	f.t.Helper()
	f.publish(decision(nvr, id))
}

// message is one to be published. Its id is for the stream, which stores it
// once however often it is sent.
type message struct {
	subject, id, data string
	header            nats.Header
}

func announcement(nvr, id string) message {
	return message{subject: events.SubjectBuildCompleted, id: id, data: fmt.Sprintf(
		`{"specversion":"1.0","id":%q,"source":"https://koji.example.com/","type":%q,"data":{"nvr":%q}}`,
		id, events.TypeBuildCompleted, nvr)}
}

func decision(nvr, id string) message {
	return message{subject: events.SubjectDecisionUpdated, id: id, data: fmt.Sprintf(
		`{"specversion":"1.0","id":%q,"source":"https://greenwave.example.com/","type":%q,"data":{`+
			`"subject_type":"koji_build","subject_identifier":%q,"decision_context":%q,"product_version":%q,`+
			`"policies_satisfied":true,"summary":"All required tests have passed"}}`,
		id, events.TypeDecisionUpdated, nvr, sandbox.DecisionContext, sandbox.ProductVersion)}
}

// publish returns when the server has stored the message, however long it is
// away meanwhile.
func (f *fleet) publish(m message) {
	f.t.Helper()
	f.eventually("storing of "+m.id+" on "+m.subject, func(ctx context.Context) bool { return f.tryPublish(ctx, m) == nil })
}

func (f *fleet) tryPublish(ctx context.Context, m message) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	msg := &nats.Msg{Subject: m.subject, Header: maps.Clone(m.header), Data: []byte(m.data)}
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	_, err := f.js.PublishMsg(ctx, msg, jetstream.WithMsgID(m.id))
	return err
}

// eventually waits until something is true that may fail on the way there.
func (f *fleet) eventually(what string, isTrue func(context.Context) bool) {
	f.t.Helper()
	f.within(patience, what, isTrue)
}

func (f *fleet) within(limit time.Duration, what string, isTrue func(context.Context) bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !isTrue(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.t.Fatalf("there is not, within %s: %s", limit, what)
		}
	}
}

// inputs are the streams that services read.
func inputs() []string {
	names := events.DefaultNames()
	return []string{names.Koji, names.Greenwave, names.Requests}
}

// unsettled is how many messages of the streams have yet to be settled for good.
func (f *fleet) unsettled(ctx context.Context, streams ...string) (int, error) {
	n := 0
	for _, stream := range streams {
		durable, err := f.js.Consumer(ctx, stream, events.DefaultNames().Durable)
		if err != nil {
			return 0, fmt.Errorf("stream %s: %w", stream, err)
		}
		info := durable.CachedInfo()
		n += int(info.NumPending) + info.NumAckPending
	}
	return n, nil
}

// settle waits until nothing is left to be done.
func (f *fleet) settle(limit time.Duration) {
	f.t.Helper()
	f.within(limit, "an end of all work", func(ctx context.Context) bool {
		n, err := f.unsettled(ctx, inputs()...)
		return err == nil && n == 0
	})
}

// stored is a message of a stream.
type stored struct {
	subject string
	header  nats.Header
	data    []byte
}

// read lists all messages of a stream.
func (f *fleet) read(stream string) []stored {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	s, err := f.js.Stream(ctx, stream)
	if err != nil {
		f.t.Fatalf("stream %s: %v", stream, err)
	}
	var all []stored
	for seq := max(s.CachedInfo().State.FirstSeq, 1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		msg, err := s.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) { // a value that a newer one replaced
			continue
		}
		if err != nil {
			f.t.Fatalf("stream %s, message %d: %v", stream, seq, err)
		}
		all = append(all, stored{subject: msg.Subject, header: msg.Header, data: msg.Data})
	}
	return all
}

// told is one result event that is stored.
type told struct {
	id   string
	data events.ResultData
}

// results lists the result events.
func (f *fleet) results() []told {
	f.t.Helper()
	var all []told
	for _, msg := range f.read(events.DefaultNames().Results) {
		e, err := events.Decode(msg.subject, msg.header, msg.data)
		if err != nil {
			f.t.Fatalf("a result that cannot be read: %v", err)
		}
		data, err := events.DataOf(e)
		if err != nil {
			f.t.Fatalf("a result without data: %v", err)
		}
		all = append(all, told{id: e.ID(), data: data})
	}
	return all
}

// entry is what matters here of an entry of the ledger.
type entry struct {
	Organization string `json:"organization"`
	NVR          string `json:"nvr"`
	State        string `json:"state"`
	ResultID     string `json:"result_id"`
}

// ledger lists the ledger's entries.
func (f *fleet) ledger() []entry {
	f.t.Helper()
	var all []entry
	for _, msg := range f.read("KV_" + events.DefaultNames().Ledger) {
		var e entry
		if err := json.Unmarshal(msg.data, &e); err != nil {
			f.t.Fatalf("entry %s of the ledger: %v", msg.subject, err)
		}
		all = append(all, e)
	}
	return all
}
