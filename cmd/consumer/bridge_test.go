package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rabbitmq/amqp091-go"

	"github.com/omps-consumer/omps-consumer/internal/clients/amqp"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// Where the messages of these tests are sent.
const (
	kojiTopic   = "VirtualTopic.eng.brew.build."
	fedoraTopic = "org.fedoraproject.prod.buildsys.build.state.change"
	gateTopic   = "org.fedoraproject.prod.greenwave.decision.update"
)

// bridgeConfig is a configuration of both protocols, as a user would write it.
// host is where the broker is reached without TLS.
func bridgeConfig(t *testing.T, natsURL, host string, secure tlsBroker) string {
	t.Helper()
	password := filepath.Join(t.TempDir(), "guest")
	if err := os.WriteFile(password, []byte("guest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
nats: {url: %[1]q}
ops: {listen: "127.0.0.1:0"}
bridge:
  sources:
    - name: koji
      protocol: amqp-1.0
      urls: ["amqp://127.0.0.1:1", "amqp://%[2]s"]
      username: guest
      password_file: %[3]q
      addresses: [/amq/queue/koji]
      event_source: https://koji.example.com/kojihub
    - name: fedora
      protocol: amqp-0.9.1
      urls: ["amqp://%[2]s/%%2F"]
      username: guest
      password_file: %[3]q
      queue: fedora
      routing_keys: [%[4]s, %[5]s]
    - name: dead
      protocol: amqp-0.9.1
      urls: ["amqp://%[2]s"]
      username: guest
      password_file: %[3]q
      queue: with-a-dead-letter-exchange
      declare: false
    - name: certified-1-0
      protocol: amqp-1.0
      urls: ["amqps://%[6]s"]
      tls: {ca_file: %[7]q, cert_file: %[8]q, key_file: %[9]q}
      addresses: [/amq/queue/certified]
    - name: certified-0-9-1
      protocol: amqp-0.9.1
      urls: ["amqps://%[6]s"]
      tls: {ca_file: %[7]q, cert_file: %[8]q, key_file: %[9]q}
      queue: certified-0.9.1
      durable: false
      routing_keys: [certified.buildsys.build.state.change]
`, natsURL, host, password, fedoraTopic, gateTopic, secure.host, secure.ca, secure.cert, secure.key)
}

// runningBridge is a bridge in this process.
type runningBridge struct {
	*system
	ops string
}

func startBridge(s *system, broker *rabbit) runningBridge {
	s.t.Helper()
	config, err := ParseConfig("bridge.yaml", []byte(bridgeConfig(s.t, s.nats.URL, broker.host, broker.tls)), func(string) string { return "" })
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	up, ended := make(chan endpoints, 1), make(chan error, 1)
	go func() { ended <- serveBridge(ctx, config, newLogger(config.Log, s.log), func(e endpoints) { up <- e }) }()
	s.t.Cleanup(sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the bridge ended with %v", err)
		}
	}))
	b := runningBridge{system: s, ops: (<-up).Ops}
	b.awaitReady()
	return b
}

func (b runningBridge) awaitReady() {
	b.t.Helper()
	b.await("a bridge that is ready", func() bool {
		resp, err := http.Get(b.ops + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// awaitMetric waits until one of the bridge's metrics has a value.
func (b runningBridge) awaitMetric(series string, is float64) {
	b.t.Helper()
	b.await(fmt.Sprint(series, " ", is), func() bool { return b.metric(series) == is })
}

// awaitCount waits until one of the bridge's metrics has a value, or a higher
// one: a broker may send a message twice.
func (b runningBridge) awaitCount(series string, least float64) {
	b.t.Helper()
	b.await(fmt.Sprint(series, " ", least), func() bool { return b.metric(series) >= least })
}

func (b runningBridge) metric(series string) float64 {
	b.t.Helper()
	_, text := (&system{t: b.t, ops: b.ops}).get("/metrics")
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				b.t.Fatal(err)
			}
			return n
		}
	}
	b.t.Fatalf("there is no metric %s", series)
	return 0
}

// build makes one that the service publishes.
func (b runningBridge) build(name string) (nvr [3]string, id int64) {
	b.t.Helper()
	nvr = [3]string{"sample-" + name + "-container", "1.0.0", "1"}
	id, err := b.world.Koji.AddBuild(sandbox.Build{NVR: strings.Join(nvr[:], "-"), Archive: sandbox.SampleArchive()})
	if err != nil {
		b.t.Fatal(err)
	}
	return nvr, id
}

// published waits for the result of a build.
func (b runningBridge) published(nvr [3]string) {
	b.t.Helper()
	if r := b.next(); r.Outcome != "published" || r.NVR != strings.Join(nvr[:], "-") {
		b.t.Fatalf("result %+v, want %v published", r, nvr)
	}
}

func (b runningBridge) stored(stream string) uint64 {
	b.t.Helper()
	s, err := b.jetStream().Stream(b.t.Context(), stream)
	if err != nil {
		b.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// TestBridge takes messages of both protocols from a real broker to published
// results, through outages of either side. Its parts follow each other on one
// broker, which takes long to start.
func TestBridge(t *testing.T) {
	t.Parallel()
	broker := startRabbit(t)
	broker.queue("koji", nil, kojiTopic+"complete", kojiTopic+"building")
	broker.queue("certified", nil, kojiTopic+"promote")
	broker.queue("graves", nil)
	broker.queue("with-a-dead-letter-exchange", amqp091.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "graves"}, "to-be-buried.#")
	b := startBridge(newSystem(t, sandbox.Options{}, ""), broker)

	// Each protocol, with a second message that is none of ours.
	nvr, id := b.build("hub")
	body, properties := stateChange(nvr, id, 1, "COMPLETE")
	broker.send10(kojiTopic+"complete", body, properties)
	b.published(nvr)
	buildingBody, buildingProperties := stateChange(nvr, id, 0, "BUILDING")
	broker.send10(kojiTopic+"building", buildingBody, buildingProperties)
	b.awaitCount(`omps_bridge_messages_total{outcome="ignored",source="koji"}`, 1)

	nvr, id = b.build("fedora")
	fromFedora := fedoraBody(nvr, id, 1)
	broker.send091(fedoraTopic, "fedora-1", fromFedora)
	b.published(nvr)
	broker.send091(fedoraTopic, "fedora-2", fedoraBody(nvr, id, 3))
	b.awaitCount(`omps_bridge_messages_total{outcome="ignored",source="fedora"}`, 1)

	// The same by TLS, where the certificate is the login.
	nvr, id = b.build("certified")
	broker.send091("certified.buildsys.build.state.change", "certified-1", fedoraBody(nvr, id, 1))
	b.published(nvr)
	nvr, id = b.build("promoted")
	broker.send10(kojiTopic+"promote", promotion(nvr, id), map[string]any{"type": "BuildPromote"})
	b.published(nvr)
	b.awaitCount(`omps_bridge_messages_total{outcome="published",source="certified-1-0"}`, 1)

	// What comes twice is one event, with an id and without.
	broker.send091(fedoraTopic, "fedora-1", fromFedora)
	broker.send10(kojiTopic+"complete", body, properties)
	b.awaitCount(`omps_bridge_messages_total{outcome="repeated",source="fedora"}`, 1)
	b.awaitCount(`omps_bridge_messages_total{outcome="repeated",source="koji"}`, 1)
	if n := b.stored("KOJI"); n != 4 {
		t.Errorf("%d events of four builds", n)
	}

	broker.send091(gateTopic, "gate-1", fmt.Sprintf(`{"policies_satisfied": true, "subject_type": "koji_build", "subject_identifier": "%s"}`, strings.Join(nvr[:], "-")))
	b.awaitCount(`omps_bridge_messages_total{outcome="published",source="fedora"}`, 2)
	if n := b.stored("GREENWAVE"); n != 1 {
		t.Errorf("%d decisions", n)
	}

	// What cannot be read goes where the broker buries such.
	broker.send091("to-be-buried.buildsys.build.state.change", "bad-1", "not JSON")
	b.await("a buried message", func() bool { return broker.waiting("graves") == 1 })

	// NATS is away: the message is held, and nothing is lost.
	b.nats.Stop()
	nvr, id = b.build("outage")
	broker.send091(fedoraTopic, "fedora-3", fedoraBody(nvr, id, 1))
	b.awaitCount(`omps_bridge_held{source="fedora"}`, 1)
	b.nats.Restart()
	b.published(nvr)
	b.awaitReady()

	// The broker is away.
	broker.stop()
	b.awaitMetric(`omps_bridge_connected{source="koji"}`, 0)
	broker.start()
	nvr, id = b.build("restart")
	body, properties = stateChange(nvr, id, 1, "COMPLETE")
	broker.send10(kojiTopic+"complete", body, properties)
	b.published(nvr)
	b.awaitReady()
	for _, queue := range []string{"koji", "fedora", "with-a-dead-letter-exchange"} {
		if n := broker.waiting(queue); n != 0 {
			t.Errorf("%d messages are left in queue %s", n, queue)
		}
	}

	t.Run("asked whether it can be worked with", func(t *testing.T) { pinged(t, b, broker) })
	t.Run("killed before it could answer the bus", func(t *testing.T) { killedBetween(t, b, broker) })
}

// pinged: what `check --online` says of each bus.
func pinged(t *testing.T, b runningBridge, broker *rabbit) {
	config, err := ParseConfig("bridge.yaml", []byte(bridgeConfig(t, b.nats.URL, broker.host, broker.tls)), none)
	if err != nil {
		t.Fatal(err)
	}
	buses := config.Bridge.Sources
	missing := buses[2] // of which the queue is not made by the bridge
	missing.Name, missing.Queue = "missing", "not-there"
	for _, bus := range append(buses, missing) {
		source, err := amqp.New(bus.options(nil))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"koji": "amqp://127.0.0.1:1: connect: dial", "missing": "queue not-there: "}[bus.Name]
		if err := source.Ping(t.Context()); err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("bus %s: %v, want %q", bus.Name, err, want)
		}
	}
}

// killedBetween kills a bridge when the event is stored, and the bus not
// answered yet. The next one brings the same event, and there is one result.
func killedBetween(t *testing.T, b runningBridge, broker *rabbit) {
	line := newMutableLine(t, broker.host)
	config := strings.NewReplacer("queue: fedora", "queue: killed", fedoraTopic, "to-be-killed.buildsys.build.state.change", gateTopic, "x").
		Replace(bridgeConfig(t, b.nats.URL, line.host, broker.tls))
	file := filepath.Join(t.TempDir(), "bridge.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	events := b.stored("KOJI")
	first := startCommand(t, "first bridge", "bridge", "-c", file)
	b.await("a first bridge that listens", func() bool { return listened(first.log.tail()) == 5 })
	line.mute()
	nvr, id := b.build("killed")
	broker.send091("to-be-killed.buildsys.build.state.change", "killed-1", fedoraBody(nvr, id, 1))
	b.published(nvr)
	first.kill()
	line.unmute()
	if !first.killed() {
		t.Errorf("the bridge ended by itself: %v", first.err)
	}
	second := startCommand(t, "second bridge", "bridge", "-c", file)
	b.await("the message, again", func() bool { return strings.Contains(second.log.tail(), `"passed on before"`) })
	b.await("an empty queue", func() bool { return broker.waiting("killed") == 0 })
	second.terminate(t)
	<-second.ended
	if second.err != nil || !strings.Contains(second.log.tail(), `"msg":"ended"`) {
		t.Errorf("told to stop, it ended with %v:\n%s", second.err, second.log.tail())
	}
	if n := b.stored("KOJI"); n != events+1 {
		t.Errorf("%d events of one message", n-events)
	}
}

// listened tells how many buses a bridge has been connected to.
func listened(log string) int {
	buses := make(map[string]bool)
	for line := range strings.Lines(log) {
		var said struct{ Msg, Bus string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "listening to bus" {
			buses[said.Bus] = true
		}
	}
	return len(buses)
}

// TestBridgeWithoutNATS: it tells what it waits for, with each of its buses from
// the start, and ends when it is told to.
func TestBridgeWithoutNATS(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	config, log := DefaultConfig(), &lockedBuffer{}
	config.NATS.URL, config.Ops.Listen = "nats://127.0.0.1:1", "127.0.0.1:"+freePorts(t, 1)[0]
	bus := defaultBus()
	bus.Name, bus.Protocol, bus.URLs, bus.Addresses = "koji", "amqp-1.0", []string{"amqp://127.0.0.1:1"}, []string{"a"}
	config.Bridge.Sources = []BusConfig{bus}
	ended := make(chan error, 1)
	go func() { ended <- serveBridge(ctx, config, newLogger(config.Log, log), func(endpoints) {}) }()
	s := &system{t: t, log: log}
	s.awaitLog("nats does not answer")
	s.ops = "http://" + config.Ops.Listen
	if code, text := s.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "not connected to nats yet") {
		t.Errorf("ready: %d %s", code, text)
	}
	_, text := s.get("/metrics")
	for _, line := range []string{`omps_bridge_connected{source="koji"} 0`, `omps_bridge_messages_total{outcome="published",source="koji"} 0`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("metrics without %s", line)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("told to stop: %v", err)
	}
}
