//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// benchNATS tells a test binary to be the NATS server of the measurements, with
// its store in the folder that is the value.
const benchNATS = "BENCH_NATS_STORE"

// TestBenchNATS is that server. It writes its address to the file that it was
// started with. It stores as a NATS server does that nobody has configured: what
// it acknowledges is with the operating system, and on the disk some time later.
func TestBenchNATS(t *testing.T) {
	store := os.Getenv(benchNATS)
	if store == "" {
		t.Skip("a process that TestBench starts")
	}
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: store, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(patience) {
		t.Fatal("the server takes no connections")
	}
	address := os.NewFile(3, "address")
	fmt.Fprintln(address, ns.ClientURL())
	_ = address.Close()
	ns.WaitForShutdown() // never: the harness kills it
}

// benchBus is the NATS server of the measurements, and what is on it.
type benchBus struct {
	t     *testing.T
	url   string
	conn  *nats.Conn
	js    jetstream.JetStream
	needs events.ProvisionOptions
}

// startBus starts a server as a process of its own that ends with the test.
func startBus(t *testing.T) *benchBus {
	t.Helper()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := startSelf(t, "TestBenchNATS", benchNATS, t.TempDir(), out)
	_ = out.Close()
	url, err := bufio.NewReader(in).ReadString('\n')
	_ = in.Close()
	if err != nil {
		t.Fatalf("no NATS server: %v\n%s", err, p.log.tail())
	}
	return newBus(t, strings.TrimSpace(url))
}

func newBus(t *testing.T, url string) *benchBus {
	t.Helper()
	b := &benchBus{t: t, url: url, needs: provisionOptions(DefaultConfig())}
	b.needs.Names = events.DefaultNames()
	var err error
	if b.conn, err = nats.Connect(url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.conn.Close)
	if b.js, err = jetstream.New(b.conn, jetstream.WithPublishAsyncMaxPending(4000)); err != nil {
		t.Fatal(err)
	}
	return b
}

// reset makes every stream, durable and bucket anew, but for the messages of
// the streams that are kept: their durables begin with the first again.
func (b *benchBus) reset(kept ...string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	n := b.needs.Names
	for _, name := range []string{n.Koji, n.Greenwave, n.Requests, n.Results, n.DeadLetters, "KV_" + n.Ledger, "KV_" + n.Leases} {
		var err error
		if slices.Contains(kept, name) {
			err = b.js.DeleteConsumer(ctx, name, n.Durable)
		} else {
			err = b.js.DeleteStream(ctx, name)
		}
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			b.t.Fatal(err)
		}
	}
	if err := events.Provision(ctx, b.js, b.needs); err != nil {
		b.t.Fatal(err)
	}
}

// fill stores n messages, taking the given ones in turn.
func (b *benchBus) fill(n int, messages ...message) {
	b.t.Helper()
	var last jetstream.PubAckFuture
	for i := range n {
		m := messages[i%len(messages)]
		var err error
		if last, err = b.js.PublishMsgAsync(m.msg()); err != nil {
			b.t.Fatalf("message %d: %v", i, err)
		}
	}
	select {
	case <-last.Ok():
	case err := <-last.Err():
		b.t.Fatal(err)
	}
	<-b.js.PublishAsyncComplete()
}

// publish stores one message.
func (b *benchBus) publish(m message) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	if _, err := b.js.PublishMsg(ctx, m.msg()); err != nil {
		b.t.Fatal(err)
	}
}

// msg is the message as it is sent. Without an id of its own it is stored as
// often as it is sent.
func (m message) msg() *nats.Msg {
	header := maps.Clone(m.header)
	if header == nil {
		header = nats.Header{}
	}
	if m.id != "" {
		header.Set(jetstream.MsgIDHeader, m.id)
	}
	return &nats.Msg{Subject: m.subject, Header: header, Data: []byte(m.data)}
}

// unsettled is how many messages of a stream have yet to be settled.
func (b *benchBus) unsettled(stream string) int {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	durable, err := b.js.Consumer(ctx, stream, b.needs.Names.Durable)
	if err != nil {
		b.t.Fatal(err)
	}
	info := durable.CachedInfo()
	return int(info.NumPending) + info.NumAckPending
}

// settled waits until all messages of a stream are settled.
func (b *benchBus) settled(stream string) {
	b.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for b.unsettled(stream) > 0 {
		select {
		case <-tick.C:
		case <-deadline.C:
			b.t.Fatalf("%d messages of %s are not settled", b.unsettled(stream), stream)
		}
	}
}

// arrival is a result event, as it came.
type arrival struct {
	at  time.Time
	msg *nats.Msg
}

// results gives each result event that is published from now on. stop ends that.
func (b *benchBus) results() (in <-chan arrival, stop func()) {
	b.t.Helper()
	c := make(chan arrival, 10_000)
	sub, err := b.conn.Subscribe("omps.result.>", func(m *nats.Msg) { c <- arrival{time.Now(), m} })
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.conn.Flush(); err != nil {
		b.t.Fatal(err)
	}
	return c, func() { _ = sub.Unsubscribe() }
}
