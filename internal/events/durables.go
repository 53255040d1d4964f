package events

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// roomForWork is how many messages a durable may have out beside those that
// wait: with as many waiting as may, the others must still get through, and two
// pulls' worth keeps several replicas busy.
const roomForWork = 2 * maxBatch

func (o ProvisionOptions) durableConfig(s stream) jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable: o.Names.Durable, Description: "The work of omps-consumer",
		FilterSubject: s.read, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: o.AckWait,
		MaxDeliver: -1, MaxAckPending: o.MaxWaiting + roomForWork,
	}
	if o.Since > 0 {
		start := time.Now().Add(-o.Since).UTC()
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	return cfg
}

// checkDurable lists what would lose, repeat or hold up messages.
func (o ProvisionOptions) checkDurable(s stream, cfg jetstream.ConsumerConfig, maxPayload int64) []error {
	var faults []error
	fault := func(wrong bool, format string, v ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, v...))
		}
	}
	fault(cfg.AckPolicy != jetstream.AckExplicitPolicy, "ack policy is %s, not explicit", cfg.AckPolicy)
	fault(cfg.MaxDeliver > 0, "max deliver is %d, not -1: a message is lost after so many tries", cfg.MaxDeliver)
	fault(cfg.MaxAckPending > 0 && cfg.MaxAckPending < o.MaxWaiting,
		"max ack pending is %d, and %d builds may wait", cfg.MaxAckPending, o.MaxWaiting)
	fault(len(cfg.BackOff) > 0, "a backoff overrides the ack wait")
	fault(len(cfg.BackOff) == 0 && cfg.AckWait < o.AckWait, "ack wait is %s, less than %s", cfg.AckWait, o.AckWait)
	fault(cfg.HeadersOnly, "delivers headers only")
	fault(cfg.InactiveThreshold > 0, "is deleted after %s without us", cfg.InactiveThreshold)
	fault(cfg.MaxRequestBatch > 0 && cfg.MaxRequestBatch < maxBatch, "max batch is %d, less than %d", cfg.MaxRequestBatch, maxBatch)
	fault(cfg.MaxRequestExpires > 0 && cfg.MaxRequestExpires < pullWait, "max expires is %s, less than %s", cfg.MaxRequestExpires, pullWait)
	size := pullSize(maxPayload)
	fault(cfg.MaxRequestMaxBytes > 0 && int64(cfg.MaxRequestMaxBytes) < size, "max bytes is %d, less than %d", cfg.MaxRequestMaxBytes, size)
	fault(len(cfg.PriorityGroups) > 0, "has priority groups")
	filters := cfg.FilterSubjects
	if cfg.FilterSubject != "" {
		filters = []string{cfg.FilterSubject}
	}
	fault(len(filters) > 0 && !s.holds(filters), "is given %s and not %s", strings.Join(filters, ", "), s.read)
	return faults
}
