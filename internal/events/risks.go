package events

import (
	"fmt"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/nats-io/nats.go/jetstream"
)

// A stream that refuses messages when it is full is worth a warning when it is
// this full, and one that drops them is at its limit there, in percent.
const fullPercent = 90

// minDuplicates is how short a window of duplicates may be before it is too far
// from duplicateWindow.
const minDuplicates = duplicateWindow / 2

// minLetterAge is how long dead letters should at least be there for somebody
// to look at.
const minLetterAge = 7 * day

// risks collects texts.
type risks []string

func (r *risks) add(is bool, format string, v ...any) {
	if is {
		*r = append(*r, fmt.Sprintf(format, v...))
	}
}

// versionRisks tells whether a server is one of those that lose track of
// messages that were delivered many times: fixed in 2.12.9 and 2.14.1.
func versionRisks(version string) []string {
	const wanted = "should be 2.12.9, 2.14.1 or newer"
	v, err := semver.StrictNewVersion(version)
	if err != nil {
		return []string{fmt.Sprintf("version is %q, which cannot be read; it %s", version, wanted)}
	}
	fixed := semver.New(2, 14, 1, "", "")
	if v.Major() == 2 && v.Minor() == 12 {
		fixed = semver.New(2, 12, 9, "", "")
	}
	if v.LessThan(fixed) {
		return []string{fmt.Sprintf("version is %s; it %s", version, wanted)}
	}
	return nil
}

// streamRisks lists what of a stream or bucket can lose or hold up work,
// without keeping it from being done.
func (o ProvisionOptions) streamRisks(s stream, info *jetstream.StreamInfo, clustered bool, now time.Time) []string {
	cfg, state := info.Config, info.State
	var r risks
	r.add(cfg.Storage == jetstream.MemoryStorage, "is kept in memory, and lost when its servers restart; it should be on file storage")
	switch {
	case cfg.Replicas < o.Replicas:
		r.add(true, "has %d of the %d replicas that are configured", cfg.Replicas, o.Replicas)
	case clustered && cfg.Replicas == 1:
		r.add(true, "has one replica, and stands still without that server of the cluster; it should have 3")
	}
	r.add(s.bucket == "" && s.read == "" && cfg.Duplicates < minDuplicates,
		"forgets ids of messages after %s, and keeps what is told again later twice; its duplicate window should be %s", cfg.Duplicates, duplicateWindow)
	r.add(s.name == o.Names.DeadLetters && cfg.MaxAge > 0 && cfg.MaxAge < minLetterAge,
		"drops dead letters after %s; they should stay for %s at least", cfg.MaxAge, minLetterAge)
	r.add(s.bucket == "" && cfg.MaxMsgsPerSubject > 0 && cfg.DiscardNewPerSubject && cfg.Discard == jetstream.DiscardNew,
		"refuses more than %d messages of one subject; it should have no such limit", cfg.MaxMsgsPerSubject)
	r.add(s.bucket == "" && cfg.MaxMsgsPerSubject > 0 && !cfg.DiscardNewPerSubject,
		"keeps only the last %d messages of each subject, done or not; it should have no such limit", cfg.MaxMsgsPerSubject)

	limit, at := fullest(cfg, state)
	switch {
	case at < fullPercent:
	case cfg.Discard == jetstream.DiscardNew:
		r.add(true, "is at %d %% of its %s, where it refuses what is new; it should have more room or drop what is old", at, limit)
	case s.read != "" && now.Sub(state.FirstTime) < o.Since:
		r.add(true, "is at its %s and drops messages after %s, and a build may take %s; it should have more room",
			limit, now.Sub(state.FirstTime).Round(time.Second), o.Since)
	}
	return r
}

// fullest names the limit of a stream that it is nearest to, and how near in
// percent.
func fullest(cfg jetstream.StreamConfig, state jetstream.StreamState) (limit string, percent int64) {
	if cfg.MaxMsgs > 0 {
		limit, percent = fmt.Sprintf("max_msgs of %d", cfg.MaxMsgs), int64(state.Msgs)*100/cfg.MaxMsgs
	}
	if cfg.MaxBytes > 0 {
		if p := int64(float64(state.Bytes) / float64(cfg.MaxBytes) * 100); p > percent {
			limit, percent = fmt.Sprintf("max_bytes of %d", cfg.MaxBytes), p
		}
	}
	return limit, percent
}

// durableRisks lists what of our durable can lose or hold up work, without
// keeping it from being done.
func (o ProvisionOptions) durableRisks(info *jetstream.ConsumerInfo, of *jetstream.StreamInfo, now time.Time) []string {
	cfg := info.Config
	var r risks
	most := cfg.MaxAckPending
	r.add(most >= o.MaxWaiting && most < o.MaxWaiting+maxBatch,
		"max ack pending is %d, and %d builds may wait, which leaves too little room for others; it should be %d", most, o.MaxWaiting, o.MaxWaiting+roomForWork)
	r.add(cfg.MemoryStorage && of.Config.Storage == jetstream.FileStorage,
		"is kept in memory, and forgets what was done when its servers restart; it should be on file storage")
	r.add(cfg.Replicas > 0 && cfg.Replicas < of.Config.Replicas, "has %d of the %d replicas of its stream", cfg.Replicas, of.Config.Replicas)
	if until := cfg.PauseUntil; until != nil && until.After(now) {
		r.add(true, "is paused until %s; nothing is delivered before", until.UTC().Format(time.RFC3339))
	}
	return r
}
