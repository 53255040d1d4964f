package events

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// leaseTime is how long a lease lives that nobody renews. The server counts
// it, so the clocks of replicas do not matter.
const leaseTime = 10 * time.Second

const (
	bucketStream  = "KV_"  // before the name of a bucket: its stream
	bucketSubject = "$KV." // before the name of a bucket: the subjects of its keys
)

// buckets are the key-value buckets that the service needs.
func (n Names) buckets() []stream {
	of := func(name, about string, age time.Duration) stream {
		return stream{name: bucketStream + name, bucket: name, subjects: bucketSubject + name + ".>", about: about, age: age}
	}
	return []stream{
		of(n.Ledger, "What became of each build for each organization", 90*day),
		of(n.Leases, "Which replica is setting a tag at the moment", leaseTime),
	}
}

// bucketConfig is what makes a stream a bucket, by ADR-8 of
// nats-io/nats-architecture-and-design. The client's own way to make one needs
// the right to see the whole account, and updates a bucket that is there.
func (s stream) bucketConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.name, Description: s.about, Subjects: []string{s.subjects},
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1,
		MaxAge: s.age, Duplicates: min(s.age, 2*time.Minute), Replicas: replicas,
		AllowDirect: true, AllowRollup: true, DenyDelete: true,
	}
}

// checkBucket compares what a bucket is with what it must be: a lease may not
// outlive its holder by much, and the ledger not forget a build that is still
// waiting.
func (o ProvisionOptions) checkBucket(s stream, cfg jetstream.StreamConfig) []error {
	ttl := cfg.MaxAge
	switch isLease := s.age == leaseTime; {
	case cfg.MaxMsgsPerSubject < 1:
		return []error{errors.New("is not a key-value bucket: it keeps every value of a key")}
	case isLease && (ttl < leaseTime/2 || ttl > 6*leaseTime):
		return []error{fmt.Errorf("keys live for %s, and a lease needs %s", ttlText(ttl), leaseTime)}
	case !isLease && ttl > 0 && ttl < 2*o.Since:
		return []error{fmt.Errorf("drops keys after %s, and a build may take %s; twice that is the least", ttl, o.Since)}
	}
	return nil
}

func ttlText(ttl time.Duration) string {
	if ttl == 0 {
		return "ever"
	}
	return ttl.String()
}
