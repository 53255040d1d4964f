package events

import (
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
	Greenwave   string // greenwave.>, read; "": no gate is configured, and nothing there is of use
	Requests    string // omps.request.>, read
	Results     string // omps.result.>, written
	DeadLetters string // omps.dead-letter.>, written
	Durable     string // our consumer on each stream that is read

	Ledger string // bucket of the Ledger
	Leases string // bucket of the Leases
}

// DefaultNames are the names of the configuration's defaults.
func DefaultNames() Names {
	return Names{
		Koji: "KOJI", Greenwave: "GREENWAVE", Requests: "OMPS_REQUESTS", Results: "OMPS_RESULTS",
		DeadLetters: "OMPS_DEAD_LETTERS", Durable: "omps", Ledger: "omps-ledger", Leases: "omps-leases",
	}
}

// inputs are the streams that are read.
func (n Names) inputs() []string {
	var all []string
	for _, s := range n.streams() {
		if s.read != "" {
			all = append(all, s.name)
		}
	}
	return all
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
	bucket                string // of which it is the stream, "" for none
}

func (n Names) streams() []stream {
	var all []stream
	read := func(name, subjects, filter, about string) {
		all = append(all, stream{name: name, subjects: subjects, about: about, age: 14 * day, read: filter})
	}
	read(n.Koji, "koji.>", buildSubjects, "Announcements of the Koji hub")
	if n.Greenwave != "" {
		read(n.Greenwave, "greenwave.>", SubjectDecisionUpdated, "Decisions of Greenwave")
	}
	read(n.Requests, SubjectRequest+".>", SubjectRequest+".>", "Requests to push operator manifests")
	return append(all,
		stream{name: n.Results, subjects: SubjectResult + ".>", about: "What was done about builds and requests", age: 90 * day},
		stream{name: n.DeadLetters, subjects: subjectDeadLetter + ".>", about: "Messages that could not be served", age: 180 * day})
}

// String names s as its owner knows it.
func (s stream) String() string {
	if s.bucket != "" {
		return "bucket " + s.bucket
	}
	return "stream " + s.name
}

func (s stream) config(replicas int) jetstream.StreamConfig {
	if s.bucket != "" {
		return s.bucketConfig(replicas)
	}
	return jetstream.StreamConfig{
		Name: s.name, Description: s.about, Subjects: []string{s.subjects},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		MaxAge: s.age, Duplicates: duplicateWindow, Replicas: replicas, AllowDirect: true,
	}
}

// check compares what a stream is with what it must be.
func (o ProvisionOptions) check(s stream, cfg jetstream.StreamConfig) []error {
	if s.bucket != "" {
		return o.checkBucket(s, cfg)
	}
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
