package events_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// BenchmarkIgnored measures what a bus full of other builds costs: events that
// the service ignores, against a loop that only pulls 500 at a time and
// acknowledges them unread, on the same server in the same run.
func BenchmarkIgnored(b *testing.B) {
	bus := newBus(b)
	o := bus.options(publishes)
	o.Logger = nil
	o.Provision.MaxWaiting = 20000
	if err := events.Provision(b.Context(), bus.js, o.Provision); err != nil {
		b.Fatal(err)
	}
	bare, err := bus.js.CreateConsumer(b.Context(), "KOJI", jetstream.ConsumerConfig{
		Durable: "bare", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 20000, FilterSubject: "koji.build.>",
	})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, bus, b.N)

	start := time.Now()
	for got := 0; got < b.N; {
		batch, err := bare.Fetch(min(500, b.N-got), jetstream.FetchMaxWait(time.Second))
		if err != nil {
			b.Fatal(err)
		}
		for msg := range batch.Messages() {
			if err := msg.Ack(); err != nil {
				b.Fatal(err)
			}
			got++
		}
	}
	if err := bus.nc.Flush(); err != nil {
		b.Fatal(err)
	}
	bareTook := time.Since(start)

	b.ResetTimer()
	start = time.Now()
	s := bus.run(o)
	// A scrape of all series costs as much as dozens of events.
	for poll := time.Tick(50 * time.Millisecond); s.metric("omps_deliveries_total", "outcome=ignored") < float64(b.N); {
		<-poll
	}
	took := time.Since(start)
	b.StopTimer()
	s.finish()
	b.ReportMetric(float64(b.N)/took.Seconds(), "events/s")
	b.ReportMetric(float64(b.N)/bareTook.Seconds(), "bare/s")
	b.ReportMetric(bareTook.Seconds()/took.Seconds(), "of-bare")
}

// fill publishes n announcements of 1.5 KiB that concern nobody.
func fill(b *testing.B, bus *bus, n int) {
	b.Helper()
	e, subject, err := events.NewBuildEvent(events.BuildEvent{
		NVR: "kernel-6.12.0-55.el10", BuildID: 1873402, Source: "https://koji.example.com/kojihub", ID: "1",
	})
	if err != nil {
		b.Fatal(err)
	}
	header, data, err := events.EncodeStructured(e)
	if err != nil {
		b.Fatal(err)
	}
	const size = 1536
	if pad := size - len(data); pad > 0 {
		data = fmt.Appendf(data[:len(data)-1], `,"padding":"%0*d"}`, pad-len(`,"padding":""`), 0)
	}
	for i := range n {
		if _, err := bus.js.PublishMsgAsync(&nats.Msg{Subject: subject, Header: header, Data: data}); err != nil {
			b.Fatalf("event %d: %v", i, err)
		}
		if i%4000 == 3999 {
			<-bus.js.PublishAsyncComplete()
		}
	}
	<-bus.js.PublishAsyncComplete()
}
