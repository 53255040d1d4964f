package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// Names are those of the JetStream objects. An existing stream may already
// hold the bus under a name of its own.
type Names struct {
	Koji        string // koji.>, read
	Requests    string // omps.request.>, read
	Results     string // omps.result.>, written
	DeadLetters string // omps.dead-letter.>, written
	Durable     string // our consumer on each stream that is read
}

// DefaultNames are the names of the configuration's defaults.
func DefaultNames() Names {
	return Names{
		Koji: "KOJI", Requests: "OMPS_REQUESTS", Results: "OMPS_RESULTS",
		DeadLetters: "OMPS_DEAD_LETTERS", Durable: "omps",
	}
}

// inputs are the streams that are read.
func (n Names) inputs() []string { return []string{n.Koji, n.Requests} }

// ProvisionOptions say what must be there.
type ProvisionOptions struct {
	Names  Names
	Manage bool // create what is missing; what exists is never changed

	Replicas   int           // of what is created
	AckWait    time.Duration // of the durables, at least
	MaxWaiting int           // unsettled messages of a durable, at least

	// Since is how far back a new durable starts: normally Policy.MaxAge.
	// What is older would fail for its age, so a durable on a bus that has
	// gone on for weeks does not publish weeks of builds; and one that is made
	// again after it was lost misses nothing that could still be served.
	// 0 starts with the oldest message.
	Since time.Duration
}

const day = 24 * time.Hour

// duplicateWindow is how long the streams that are written drop a message with
// the id of an earlier one.
const duplicateWindow = time.Hour

// buildSubjects is what the durable on the Koji stream is given: a bus holds
// far more tasks, tags and repositories than builds.
const buildSubjects = "koji.build.>"

// stream is one that the service needs.
type stream struct {
	name, subjects, about string
	age                   time.Duration
	read                  string // what our durable is given; "" for a stream that is written
}

func (n Names) streams() []stream {
	return []stream{
		{name: n.Koji, subjects: "koji.>", about: "Announcements of the Koji hub", age: 14 * day, read: buildSubjects},
		{name: n.Requests, subjects: SubjectRequest + ".>", about: "Requests to push operator manifests", age: 14 * day, read: SubjectRequest + ".>"},
		{name: n.Results, subjects: SubjectResult + ".>", about: "What was done about builds and requests", age: 90 * day},
		{name: n.DeadLetters, subjects: subjectDeadLetter + ".>", about: "Messages that could not be served", age: 180 * day},
	}
}

// ErrMissing is the fault of a stream or durable that is not there, and that
// Provision would make if it may.
var ErrMissing = errors.New("is missing")

// Faults is everything that keeps the service from running on a server.
type Faults []error

func (f Faults) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives errors.Is and errors.As each fault.
func (f Faults) Unwrap() []error { return f }

// Provision makes sure that every stream and durable is there and safe to work
// on. What exists is used as it is and never changed. What is missing and may
// not be created, and what is unsafe, comes back together as Faults; any other
// error means that the server did not answer.
func Provision(ctx context.Context, js jetstream.JetStream, o ProvisionOptions) error {
	var faults Faults
	for _, s := range o.Names.streams() {
		found, err := o.stream(ctx, js, s)
		if err != nil {
			return fmt.Errorf("provision stream %s: %w", s.name, err)
		}
		for _, fault := range found {
			faults = append(faults, fmt.Errorf("stream %s: %w", s.name, fault))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("provision: %w", faults)
	}
	return nil
}

// stream finds or creates s, and our durable if it is read, and returns what is
// wrong with them.
func (o ProvisionOptions) stream(ctx context.Context, js jetstream.JetStream, s stream) ([]error, error) {
	there, err := js.Stream(ctx, s.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if !o.Manage {
			return []error{missing(ctx, js, s)}, nil
		}
		there, err = js.CreateStream(ctx, s.config(o.Replicas))
		switch {
		case isOverlap(err):
			return []error{missing(ctx, js, s)}, nil
		case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse): // by a replica, just now
			there, err = js.Stream(ctx, s.name)
		}
	}
	if err != nil {
		return nil, err
	}
	faults := o.check(s, there.CachedInfo().Config)
	if s.read == "" {
		return faults, nil
	}
	more, err := o.durable(ctx, js, s)
	return append(faults, more...), err
}

func (s stream) config(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.name, Description: s.about, Subjects: []string{s.subjects},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		MaxAge: s.age, Duplicates: duplicateWindow, Replicas: replicas, AllowDirect: true,
	}
}

// check compares what a stream is with what it must be.
func (o ProvisionOptions) check(s stream, cfg jetstream.StreamConfig) []error {
	var faults []error
	if s.read != "" && cfg.MaxAge > 0 && cfg.MaxAge < o.Since {
		faults = append(faults, fmt.Errorf("drops messages after %s, and a build may take %s", cfg.MaxAge, o.Since))
	}
	if s.read != "" && cfg.Retention == jetstream.WorkQueuePolicy {
		faults = append(faults, errors.New("has workqueue retention, where a durable cannot start at a time"))
	}
	if s.read == "" && cfg.Retention != jetstream.LimitsPolicy {
		faults = append(faults, fmt.Errorf("has %s retention, which drops what nobody reads at the time", cfg.Retention))
	}
	if cfg.NoAck {
		faults = append(faults, errors.New("does not acknowledge what is published (no_ack)"))
	}
	if cfg.Sealed {
		faults = append(faults, errors.New("is sealed"))
	}
	if fed := cfg.Mirror != nil || len(cfg.Sources) > 0; !fed && !s.holds(cfg.Subjects) {
		faults = append(faults, fmt.Errorf("holds %s and not %s", strings.Join(cfg.Subjects, ", "), s.subjects))
	}
	return faults
}

// holds tells whether a stream of these subjects does: one that is read may
// hold a part of the bus, one that is written must take everything.
func (s stream) holds(subjects []string) bool {
	for _, held := range subjects {
		if s.read != "" && server.SubjectsCollide(held, s.read) || server.SubjectMatchesFilter(s.subjects, held) {
			return true
		}
	}
	return false
}

// overlapCode is the server's answer to a stream on subjects that another one
// holds: JSStreamSubjectOverlapErr in its errors.json.
const overlapCode jetstream.ErrorCode = 10065

func isOverlap(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == overlapCode
}

// missing says that s is not there, and which stream may be meant.
func missing(ctx context.Context, js jetstream.JetStream, s stream) error {
	holder, err := js.StreamNameBySubject(ctx, s.subjects)
	if err != nil {
		return ErrMissing
	}
	return fmt.Errorf("is missing, but stream %s holds %s: configure that name", holder, s.subjects)
}

// durable finds or creates our consumer on s and returns what is wrong with it.
func (o ProvisionOptions) durable(ctx context.Context, js jetstream.JetStream, s stream) ([]error, error) {
	there, err := js.Consumer(ctx, s.name, o.Names.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if !o.Manage {
			return []error{fmt.Errorf("durable %s %w", o.Names.Durable, ErrMissing)}, nil
		}
		// Never an update: a refused one can cost the state of a consumer.
		there, err = js.CreateConsumer(ctx, s.name, o.durableConfig(s))
		if errors.Is(err, jetstream.ErrConsumerExists) { // by a replica, just now
			there, err = js.Consumer(ctx, s.name, o.Names.Durable)
		}
	}
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		return []error{fmt.Errorf("durable %s is a push consumer", o.Names.Durable)}, nil
	}
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, text := range o.checkDurable(s, there.CachedInfo().Config) {
		faults = append(faults, fmt.Errorf("durable %s: %s", o.Names.Durable, text))
	}
	return faults, nil
}

func (o ProvisionOptions) durableConfig(s stream) jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable: o.Names.Durable, Description: "The work of omps-consumer",
		FilterSubject: s.read, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: o.AckWait,
		MaxDeliver: -1, MaxAckPending: o.MaxWaiting,
	}
	if o.Since > 0 {
		start := time.Now().Add(-o.Since).UTC()
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	return cfg
}

// checkDurable lists what would lose, repeat or hold up messages.
func (o ProvisionOptions) checkDurable(s stream, cfg jetstream.ConsumerConfig) []string {
	var faults []string
	fault := func(wrong bool, format string, v ...any) {
		if wrong {
			faults = append(faults, fmt.Sprintf(format, v...))
		}
	}
	fault(cfg.AckPolicy != jetstream.AckExplicitPolicy, "ack policy is %s, not explicit", cfg.AckPolicy)
	fault(cfg.MaxDeliver > 0, "max deliver is %d: a message is lost after so many tries", cfg.MaxDeliver)
	fault(cfg.MaxAckPending > 0 && cfg.MaxAckPending < o.MaxWaiting,
		"max ack pending is %d, and %d builds may wait", cfg.MaxAckPending, o.MaxWaiting)
	fault(len(cfg.BackOff) > 0, "a backoff overrides the ack wait")
	fault(len(cfg.BackOff) == 0 && cfg.AckWait < o.AckWait, "ack wait is %s, less than %s", cfg.AckWait, o.AckWait)
	fault(cfg.HeadersOnly, "delivers headers only")
	fault(cfg.InactiveThreshold > 0, "is deleted after %s without us", cfg.InactiveThreshold)
	fault(cfg.MaxRequestBatch > 0 && cfg.MaxRequestBatch < maxBatch, "max batch is %d, less than %d", cfg.MaxRequestBatch, maxBatch)
	fault(cfg.MaxRequestExpires > 0 && cfg.MaxRequestExpires < pullWait, "max expires is %s, less than %s", cfg.MaxRequestExpires, pullWait)
	fault(cfg.MaxRequestMaxBytes > 0 && cfg.MaxRequestMaxBytes < pullBytes, "max bytes is %d, less than %d", cfg.MaxRequestMaxBytes, pullBytes)
	fault(len(cfg.PriorityGroups) > 0, "has priority groups")
	filters := cfg.FilterSubjects
	if cfg.FilterSubject != "" {
		filters = []string{cfg.FilterSubject}
	}
	fault(len(filters) > 0 && !s.holds(filters), "is given %s and not %s", strings.Join(filters, ", "), s.read)
	return faults
}
