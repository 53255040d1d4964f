package events

import (
	"errors"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Action is how a delivery is settled.
type Action uint8

// The actions. The zero value gives the delivery back, so that a forgotten
// one loses nothing.
const (
	ActionNak Action = iota // again, after Verdict.Delay
	ActionAck
	ActionDoubleAck // ack, and wait for the server to confirm it
	ActionTerm      // never again: a dead letter holds it
)

func (a Action) String() string {
	return [...]string{"nak", "ack", "double-ack", "term"}[a]
}

// Two more words beside the pipeline's outcomes, for what has no result event.
const (
	outcomeRetried   pipeline.Outcome = "retried"
	outcomeMalformed pipeline.Outcome = "malformed"
)

// Policy is how long a delivery may go on, and when it is looked at again.
type Policy struct {
	MaxAge   time.Duration   // since the message was stored; older ones fail
	MaxTries uint64          // deliveries of one message beside its rechecks; against crash loops
	Recheck  time.Duration   // until a waiting build is looked at again
	Delays   []time.Duration // after the first, second, … failed try; the last one repeats
}

// DefaultPolicy is that of the configuration's defaults.
func DefaultPolicy() Policy {
	return Policy{
		MaxAge: 24 * time.Hour, MaxTries: 500, Recheck: 5 * time.Minute,
		Delays: []time.Duration{
			time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second,
			time.Minute, 2 * time.Minute, 5 * time.Minute,
		},
	}
}

const (
	// fairTries is how often a delivery is looked at before its age alone can
	// end it, so that an outage of the service does not fail what nobody saw.
	fairTries = 3
	// maxAfter caps the wait that an error asks for: a Retry-After comes from
	// outside.
	maxAfter = 15 * time.Minute
	// spread is the part of a delay that jitter moves it by, either way.
	spread = 0.2
	// firstRecheck is when a build that has just begun to wait, as far as tries
	// tell, is looked at again: a decision that came between the gate's answer
	// and the ledger's note of it found nobody waiting.
	firstRecheck = 10 * time.Second
	maxPutOff    = 5 * time.Minute
)

var errNoResult = errors.New("the run gave no result")

// Answer is one result and the outcome that its event has.
type Answer struct {
	Result  pipeline.Result
	Outcome pipeline.Outcome
}

// Verdict is what to do about one delivery: publish the answers, then the dead
// letter, then settle.
type Verdict struct {
	Action     Action
	Delay      time.Duration // of a nak
	Answers    []Answer      // to be told by result events
	Retried    []Answer      // only for the ledger: to be tried again
	DeadLetter bool

	// Outcome and Reason name the verdict in metrics and logs; Err is the error
	// behind them, nil when published or deleted.
	Outcome pipeline.Outcome
	Reason  pipeline.Reason
	Err     error
}

// Judge decides about a delivery from what its run did for each organization.
// tries counts this delivery, age is that of the message; jitter lies in
// [-1, 1]. It is pure.
//
// What is final is answered at once. While anything is still to be tried again
// the delivery is given back; what was told before is not told again.
func Judge(results []pipeline.Result, tries uint64, age time.Duration, p Policy, jitter float64) Verdict {
	if len(results) == 0 {
		results = []pipeline.Result{{Err: errNoResult}}
	}
	var v Verdict
	for _, r := range results {
		outcome := p.outcome(r, tries, age)
		switch a := (Answer{Result: r, Outcome: outcome}); {
		case outcome == outcomeRetried:
			v.Retried = append(v.Retried, a)
		case answered(outcome) && !r.Known:
			v.Answers = append(v.Answers, a)
		}
		if again(outcome) {
			delay := p.delay(r.Err, tries, age, jitter)
			if v.Delay == 0 || delay < v.Delay {
				v.Delay = delay
			}
		}
		if v.Outcome == "" || weight(outcome) > weight(v.Outcome) {
			v.Outcome, v.Err = outcome, r.Err
		}
	}
	if v.Err != nil {
		v.Reason = knownReason(v.Err)
	}
	v.Action = settles(v.Outcome)
	v.DeadLetter = v.Action == ActionTerm
	return v
}

// exhausted tells why a delivery is not even worked on, or nil. Judge ends
// what runs to its end within the budget, so this meets only what never did:
// a message that takes the process down with it.
func (p Policy) exhausted(tries uint64, age time.Duration) error {
	switch {
	case tries > p.maxTries(age):
		return pipeline.Retry(pipeline.ReasonInternal, errors.New("delivered too often without an end"))
	case age > p.MaxAge+p.Recheck && tries > fairTries:
		return pipeline.Retry(pipeline.ReasonDeadline, errors.New("too old, and no try came to an end"))
	}
	return nil
}

// maxTries is how often a message of that age may have been delivered: waiting
// for the gate is not held against it.
func (p Policy) maxTries(age time.Duration) uint64 {
	rechecks := float64(age) / (float64(p.putOff()) * (1 - spread))
	return p.MaxTries + uint64(max(rechecks, 0))
}

// putOff is for how long a later try is given back when there are too many of
// them.
func (p Policy) putOff() time.Duration { return max(min(p.Recheck/2, maxPutOff), 1) }

// doneOutcome is the outcome of a result without an error.
func doneOutcome(r pipeline.Result) pipeline.Outcome {
	if r.Trigger.Kind == pipeline.DeleteRequested {
		return pipeline.OutcomeDeleted
	}
	return pipeline.OutcomePublished
}

func (p Policy) outcome(r pipeline.Result, tries uint64, age time.Duration) pipeline.Outcome {
	err := r.Err
	if err == nil {
		return doneOutcome(r)
	}
	spent := tries >= p.maxTries(age) || age >= p.MaxAge && tries >= fairTries
	switch pipeline.ClassOf(err) {
	case pipeline.Rejected:
		return pipeline.OutcomeRejected
	case pipeline.Ignored:
		return pipeline.OutcomeIgnored
	case pipeline.Malformed:
		return outcomeMalformed
	case pipeline.Waiting:
		if spent {
			return pipeline.OutcomeFailed
		}
		return pipeline.OutcomeWaiting
	}
	if pipeline.ReasonOf(err) == pipeline.ReasonInProgress && pipeline.ClassOf(err) == pipeline.Transient {
		return outcomeRetried // it is the other event's to fail, and its claim ends by itself
	}
	if doubt, ok := pipeline.DoubtOf(err); ok && age >= doubt && tries >= fairTries {
		return pipeline.OutcomeRejected
	}
	switch {
	case spent && pipeline.ReasonOf(err) == pipeline.ReasonNothingWaits:
		return pipeline.OutcomeIgnored // nothing that was asked for has failed
	case spent:
		return pipeline.OutcomeFailed
	}
	return outcomeRetried
}

// answered tells whether the outcome has a result event.
func answered(o pipeline.Outcome) bool {
	switch o {
	case pipeline.OutcomePublished, pipeline.OutcomeDeleted, pipeline.OutcomeRejected, pipeline.OutcomeFailed, pipeline.OutcomeWaiting:
		return true
	}
	return false
}

func again(o pipeline.Outcome) bool { return o == outcomeRetried || o == pipeline.OutcomeWaiting }

// weight ranks outcomes: the heaviest of a delivery's results settles it.
func weight(o pipeline.Outcome) int {
	switch o {
	case outcomeRetried:
		return 6
	case pipeline.OutcomeWaiting:
		return 5
	case pipeline.OutcomeFailed:
		return 4
	case outcomeMalformed:
		return 3
	case pipeline.OutcomeRejected:
		return 2
	case pipeline.OutcomePublished, pipeline.OutcomeDeleted:
		return 1
	}
	return 0
}

func settles(o pipeline.Outcome) Action {
	switch o {
	case pipeline.OutcomePublished, pipeline.OutcomeDeleted, pipeline.OutcomeRejected:
		return ActionDoubleAck
	case pipeline.OutcomeIgnored:
		return ActionAck
	case pipeline.OutcomeFailed, outcomeMalformed:
		return ActionTerm
	}
	return ActionNak
}

// delay is how long until the next try. It does not go past the delivery's
// last moment: what is too old is then told so without another full wait.
func (p Policy) delay(err error, tries uint64, age time.Duration, jitter float64) time.Duration {
	var d time.Duration
	switch after := pipeline.AfterOf(err); {
	case after > 0:
		// Never earlier than asked for.
		d = max(min(after, maxAfter), p.Delays[0])
		jitter = max(jitter, -jitter)
	case pipeline.ClassOf(err) == pipeline.Waiting && tries <= fairTries:
		d = min(p.Recheck, firstRecheck)
	case pipeline.ClassOf(err) == pipeline.Waiting:
		d = p.Recheck
	default:
		// tries count looks at a closed gate too, and one failure after many of
		// these is not to keep a build from its gate.
		d = min(p.Delays[min(max(tries, 1), uint64(len(p.Delays)))-1], max(p.Recheck, leastCap))
	}
	d += time.Duration(float64(d) * spread * jitter)
	if left := p.MaxAge - age; left > 0 && d > left {
		d = max(left, p.Delays[0])
	}
	return d
}

// leastCap is how long a try that failed may be put off, however often waiting
// builds are looked at.
const leastCap = 30 * time.Second

// knownReason is the reason of err out of the closed set.
func knownReason(err error) pipeline.Reason {
	reason := pipeline.ReasonOf(err)
	for _, known := range pipeline.Reasons() {
		if reason == known {
			return reason
		}
	}
	return pipeline.ReasonInternal
}
