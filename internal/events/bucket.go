package events

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// bucket is a key-value bucket, looked up when it is first used and then known
// by its name, also to a server that has made it anew.
type bucket struct {
	js   jetstream.JetStream
	name string

	mu     sync.Mutex
	kv     jetstream.KeyValue // nil until first used
	stream jetstream.Stream   // beneath it
}

// open is the bucket and the stream beneath it.
func (b *bucket) open(ctx context.Context) (jetstream.KeyValue, jetstream.Stream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kv != nil {
		return b.kv, b.stream, nil
	}
	kv, err := b.js.KeyValue(ctx, b.name)
	if err != nil {
		return nil, nil, fmt.Errorf("bucket %s: %w", b.name, err)
	}
	stream, err := b.js.Stream(ctx, bucketStream+b.name)
	if err != nil {
		return nil, nil, fmt.Errorf("bucket %s: %w", b.name, err)
	}
	b.kv, b.stream = kv, stream
	return kv, stream, nil
}
