package events

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

var errTest = errors.New("test")

// foreignError has a class and a reason of its own making.
type foreignError struct {
	class  pipeline.Class
	reason pipeline.Reason
}

func (e foreignError) Error() string           { return "foreign" }
func (e foreignError) Class() pipeline.Class   { return e.class }
func (e foreignError) Reason() pipeline.Reason { return e.reason }

// Every class, young and old, tried seldom and often.
func TestJudgeEveryClass(t *testing.T) {
	t.Parallel()
	p := DefaultPolicy()
	const (
		young = time.Minute
		old   = 25 * time.Hour
	)
	tests := []struct {
		class   pipeline.Class
		tries   uint64
		age     time.Duration
		action  Action
		outcome pipeline.Outcome
		told    bool // by a result event
	}{
		{pipeline.Transient, 1, young, ActionNak, outcomeRetried, false},
		{pipeline.Transient, 499, young, ActionNak, outcomeRetried, false},
		{pipeline.Transient, 500, young, ActionTerm, pipeline.OutcomeFailed, true},
		{pipeline.Transient, 2, old, ActionNak, outcomeRetried, false},
		{pipeline.Transient, 3, old, ActionTerm, pipeline.OutcomeFailed, true},
		{pipeline.Waiting, 1, young, ActionNak, pipeline.OutcomeWaiting, true},
		{pipeline.Waiting, 2, young, ActionNak, pipeline.OutcomeWaiting, true}, // the ledger knows that it was told
		{pipeline.Waiting, 2, 2 * time.Hour, ActionNak, pipeline.OutcomeWaiting, true},
		{pipeline.Waiting, 500, 23 * time.Hour, ActionNak, pipeline.OutcomeWaiting, true}, // rechecks are no tries
		{pipeline.Transient, 600, 23 * time.Hour, ActionNak, outcomeRetried, false},
		{pipeline.Waiting, 1, 2 * time.Hour, ActionNak, pipeline.OutcomeWaiting, true},
		{pipeline.Waiting, 1, old, ActionNak, pipeline.OutcomeWaiting, true},
		{pipeline.Waiting, 3, old, ActionTerm, pipeline.OutcomeFailed, true},
		{pipeline.Waiting, 500, young, ActionTerm, pipeline.OutcomeFailed, true},
		{pipeline.Rejected, 1, young, ActionDoubleAck, pipeline.OutcomeRejected, true},
		{pipeline.Rejected, 501, old, ActionDoubleAck, pipeline.OutcomeRejected, true},
		{pipeline.Ignored, 1, young, ActionAck, pipeline.OutcomeIgnored, false},
		{pipeline.Ignored, 501, old, ActionAck, pipeline.OutcomeIgnored, false},
		{pipeline.Malformed, 1, young, ActionTerm, outcomeMalformed, false},
		{pipeline.Malformed, 501, old, ActionTerm, outcomeMalformed, false},
		{pipeline.Class(200), 1, young, ActionNak, outcomeRetried, false}, // unknown: nothing is lost
	}
	for _, class := range pipeline.Classes() {
		found := false
		for _, tt := range tests {
			found = found || tt.class == class
		}
		if !found {
			t.Errorf("class %s is not in the table", class)
		}
	}
	for _, tt := range tests {
		for _, reason := range pipeline.Reasons() {
			if tt.outcome == pipeline.OutcomeFailed && tt.class == pipeline.Transient && reason == pipeline.ReasonInProgress {
				continue // see TestJudgeLeavesFailingToOthers
			}
			if tt.outcome == pipeline.OutcomeFailed && tt.class == pipeline.Transient && reason == pipeline.ReasonNothingWaits {
				continue // see TestJudgeLetsADecisionGo
			}
			t.Run(fmt.Sprint(tt.class, uint8(tt.class), tt.tries, tt.age, reason), func(t *testing.T) {
				err := fmt.Errorf("wrapped: %w", foreignError{tt.class, reason})
				v := Judge([]pipeline.Result{{Err: err}}, tt.tries, tt.age, p, 0)
				if v.Action != tt.action || v.Outcome != tt.outcome || v.Reason != reason {
					t.Errorf("%s %s %s, want %s %s %s", v.Action, v.Outcome, v.Reason, tt.action, tt.outcome, reason)
				}
				if told := len(v.Answers) == 1; told != tt.told {
					t.Errorf("answers are %v", v.Answers)
				} else if told && v.Answers[0].Outcome != tt.outcome {
					t.Errorf("answered %s", v.Answers[0].Outcome)
				}
				if kept := len(v.Retried) == 1; kept != (tt.outcome == outcomeRetried) {
					t.Errorf("to be kept are %v", v.Retried)
				}
				if v.DeadLetter != (tt.action == ActionTerm) {
					t.Errorf("dead letter: %v", v.DeadLetter)
				}
				if (v.Delay > 0) != (tt.action == ActionNak) {
					t.Errorf("%s with a delay of %s", v.Action, v.Delay)
				}
			})
		}
	}
}

// An event that finds its build in another one's hands comes to no end of its
// own, however old it is and however often it was tried.
func TestJudgeLeavesFailingToOthers(t *testing.T) {
	t.Parallel()
	p := DefaultPolicy()
	for _, tries := range []uint64{1, fairTries, p.MaxTries, 100 * p.MaxTries} {
		for _, age := range []time.Duration{0, p.MaxAge, 100 * p.MaxAge} {
			v := Judge([]pipeline.Result{{Err: inProgress(Entry{})}}, tries, age, p, 0)
			if v.Action != ActionNak || v.Outcome != outcomeRetried || v.Delay != retryInProgress || len(v.Answers) != 0 || v.DeadLetter {
				t.Errorf("try %d at %s: %+v", tries, age, v)
			}
		}
	}
}

// A decision that helps nobody has failed nobody, however often it was tried.
func TestJudgeLetsADecisionGo(t *testing.T) {
	t.Parallel()
	err := pipeline.RetryAfter(pipeline.ReasonNothingWaits, time.Second, errTest)
	if v := Judge([]pipeline.Result{{Err: err}}, 1, time.Second, DefaultPolicy(), 0); v.Action != ActionNak || v.Delay != time.Second {
		t.Errorf("at first: %+v", v)
	}
	for _, spent := range []struct {
		tries uint64
		age   time.Duration
	}{{500, time.Minute}, {3, 25 * time.Hour}} {
		v := Judge([]pipeline.Result{{Err: err}}, spent.tries, spent.age, DefaultPolicy(), 0)
		if v.Action != ActionAck || v.Outcome != pipeline.OutcomeIgnored || len(v.Answers) != 0 || v.DeadLetter {
			t.Errorf("try %d at %s: %+v", spent.tries, spent.age, v)
		}
	}
}

func TestJudgePublished(t *testing.T) {
	t.Parallel()
	for _, tries := range []uint64{1, 3, 1000} {
		v := Judge([]pipeline.Result{{Organization: "a"}}, tries, 100*time.Hour, DefaultPolicy(), 0)
		if v.Action != ActionDoubleAck || v.Outcome != pipeline.OutcomePublished || v.Reason != "" || v.Err != nil ||
			v.DeadLetter || len(v.Answers) != 1 || v.Answers[0].Result.Organization != "a" {
			t.Errorf("after %d tries: %+v", tries, v)
		}
	}
}

func TestJudgeDeleted(t *testing.T) {
	t.Parallel()
	deletion := pipeline.Trigger{Kind: pipeline.DeleteRequested}
	for _, tries := range []uint64{1, 3, 1000} {
		v := Judge([]pipeline.Result{{Trigger: deletion, Organization: "a"}}, tries, 100*time.Hour, DefaultPolicy(), 0)
		if v.Action != ActionDoubleAck || v.Outcome != pipeline.OutcomeDeleted || v.Reason != "" || v.Err != nil ||
			v.DeadLetter || len(v.Answers) != 1 || v.Answers[0].Outcome != pipeline.OutcomeDeleted {
			t.Errorf("after %d tries: %+v", tries, v)
		}
	}
	for err, want := range map[error]pipeline.Outcome{
		pipeline.Reject(pipeline.ReasonPackageNotFound, errTest):  pipeline.OutcomeRejected,
		pipeline.Retry(pipeline.ReasonQuayUnavailable, errTest):   outcomeRetried,
		pipeline.Malform(pipeline.ReasonInvalidEvent, errTest):    outcomeMalformed,
		pipeline.Retry(pipeline.ReasonUnauthorized, errTest):      outcomeRetried,
		pipeline.Ignore(pipeline.ReasonNoOrganization, errTest):   pipeline.OutcomeIgnored,
		pipeline.Wait(pipeline.ReasonGateWaiting, errors.New("")): pipeline.OutcomeWaiting,
	} {
		if v := Judge([]pipeline.Result{{Trigger: deletion, Err: err}}, 1, 0, DefaultPolicy(), 0); v.Outcome != want {
			t.Errorf("%v: %s, want %s", err, v.Outcome, want)
		}
	}
}

// Every outcome has an answer or none, a rank of its own kind, and a way to be
// settled.
func TestEveryOutcomeIsSettled(t *testing.T) {
	t.Parallel()
	want := map[pipeline.Outcome]struct {
		answered bool
		action   Action
		weight   int
	}{
		pipeline.OutcomePublished: {true, ActionDoubleAck, 1},
		pipeline.OutcomeDeleted:   {true, ActionDoubleAck, 1},
		pipeline.OutcomeRejected:  {true, ActionDoubleAck, 2},
		pipeline.OutcomeFailed:    {true, ActionTerm, 4},
		pipeline.OutcomeWaiting:   {true, ActionNak, 5},
		pipeline.OutcomeIgnored:   {false, ActionAck, 0},
		outcomeMalformed:          {false, ActionTerm, 3},
		outcomeRetried:            {false, ActionNak, 6},
	}
	for _, o := range append(pipeline.Outcomes(), outcomeMalformed, outcomeRetried) {
		w, ok := want[o]
		if !ok || answered(o) != w.answered || settles(o) != w.action || weight(o) != w.weight {
			t.Errorf("%s: answered %t, %s, weighs %d; want %+v", o, answered(o), settles(o), weight(o), w)
		}
		if _, err := resultType(o); (err == nil) != w.answered {
			t.Errorf("%s: its event: %v", o, err)
		}
	}
}

// What an earlier run published and told of is settled without a word.
func TestJudgeKnown(t *testing.T) {
	t.Parallel()
	v := Judge([]pipeline.Result{{Organization: "a", Known: true}}, 1, 0, DefaultPolicy(), 0)
	if v.Action != ActionDoubleAck || v.Outcome != pipeline.OutcomePublished || len(v.Answers) != 0 || len(v.Retried) != 0 {
		t.Errorf("%+v", v)
	}
}

func TestJudgeSeveralOrganizations(t *testing.T) {
	t.Parallel()
	var (
		published error
		rejected  = pipeline.Reject(pipeline.ReasonBadArchive, errTest)
		ignored   = pipeline.Ignore(pipeline.ReasonDraft, errTest)
		malformed = pipeline.Malform(pipeline.ReasonInvalidEvent, errTest)
		transient = pipeline.Retry(pipeline.ReasonQuayUnavailable, errTest)
		waiting   = pipeline.Wait(pipeline.ReasonGateWaiting, errTest)
	)
	tests := []struct {
		name    string
		errs    []error
		tries   uint64
		action  Action
		outcome pipeline.Outcome
		told    []pipeline.Outcome
	}{
		{"one still to be tried", []error{published, transient, rejected}, 2, ActionNak, outcomeRetried,
			[]pipeline.Outcome{pipeline.OutcomePublished, pipeline.OutcomeRejected}},
		{"one waits, one is tried", []error{waiting, transient}, 2, ActionNak, outcomeRetried,
			[]pipeline.Outcome{pipeline.OutcomeWaiting}},
		{"one malformed, one tried", []error{malformed, transient}, 2, ActionNak, outcomeRetried, nil},
		{"all final", []error{published, rejected, ignored}, 2, ActionDoubleAck, pipeline.OutcomeRejected,
			[]pipeline.Outcome{pipeline.OutcomePublished, pipeline.OutcomeRejected}},
		{"nothing but ignored", []error{ignored, ignored}, 2, ActionAck, pipeline.OutcomeIgnored, nil},
		{"one published", []error{ignored, published}, 2, ActionDoubleAck, pipeline.OutcomePublished,
			[]pipeline.Outcome{pipeline.OutcomePublished}},
		{"one too often", []error{published, transient}, 500, ActionTerm, pipeline.OutcomeFailed,
			[]pipeline.Outcome{pipeline.OutcomePublished, pipeline.OutcomeFailed}},
		{"one malformed", []error{published, malformed}, 1, ActionTerm, outcomeMalformed,
			[]pipeline.Outcome{pipeline.OutcomePublished}},
		{"none at all", nil, 1, ActionNak, outcomeRetried, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var results []pipeline.Result
			for _, err := range tt.errs {
				results = append(results, pipeline.Result{Err: err})
			}
			v := Judge(results, tt.tries, time.Minute, DefaultPolicy(), 0)
			var told []pipeline.Outcome
			for _, a := range v.Answers {
				told = append(told, a.Outcome)
			}
			if v.Action != tt.action || v.Outcome != tt.outcome {
				t.Errorf("%s %s", v.Action, v.Outcome)
			}
			if diff := cmp.Diff(tt.told, told); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJudgeTakesTheShortestDelay(t *testing.T) {
	t.Parallel()
	results := []pipeline.Result{
		{Err: pipeline.Wait(pipeline.ReasonGateWaiting, errTest)},
		{Err: pipeline.Retry(pipeline.ReasonQuayUnavailable, errTest)},
	}
	if v := Judge(results, 1, 0, DefaultPolicy(), 0); v.Delay != time.Second {
		t.Errorf("delay is %s", v.Delay)
	}
}

func TestJudgeDelays(t *testing.T) {
	t.Parallel()
	transient := pipeline.Retry(pipeline.ReasonKojiUnavailable, errTest)
	waiting := pipeline.Wait(pipeline.ReasonGateWaiting, errTest)
	after := func(d time.Duration) error { return pipeline.RetryAfter(pipeline.ReasonQuayUnavailable, d, errTest) }
	const day = 24 * time.Hour
	tests := []struct {
		name   string
		err    error
		tries  uint64
		age    time.Duration
		jitter float64
		want   time.Duration
	}{
		{"first try", transient, 1, 0, 0, time.Second},
		{"no try counted", transient, 0, 0, 0, time.Second},
		{"second", transient, 2, 0, 0, 5 * time.Second},
		{"third", transient, 3, 0, 0, 15 * time.Second},
		{"fourth", transient, 4, 0, 0, 30 * time.Second},
		{"fifth", transient, 5, 0, 0, time.Minute},
		{"sixth", transient, 6, 0, 0, 2 * time.Minute},
		{"seventh", transient, 7, 0, 0, 5 * time.Minute},
		{"hundredth", transient, 100, 0, 0, 5 * time.Minute},
		{"shorter", transient, 3, 0, -1, 12 * time.Second},
		{"longer", transient, 3, 0, 1, 18 * time.Second},
		{"begins to wait", waiting, 1, 0, 0, 10 * time.Second},
		{"begins to wait after one other failure", waiting, 2, 0, 0, 10 * time.Second},
		{"begins to wait after two", waiting, 3, 0, 0, 10 * time.Second},
		{"waiting", waiting, 4, 0, 0, 5 * time.Minute},
		{"waiting longer", waiting, 9, 0, 1, 6 * time.Minute},
		{"waiting shorter", waiting, 9, 0, -1, 4 * time.Minute},
		{"asked for", after(40 * time.Second), 1, 0, 0, 40 * time.Second},
		{"never before what was asked for", after(40 * time.Second), 1, 0, -1, 48 * time.Second},
		{"asked for too much", after(day), 1, 0, 0, 15 * time.Minute},
		{"asked for too little", after(time.Nanosecond), 1, 0, 0, time.Second},
		{"last look at the maximum age", waiting, 9, day - time.Minute, 0, time.Minute},
		{"last look, not at once", waiting, 9, day - time.Millisecond, 0, time.Second},
		{"older, but not seen often", waiting, 2, day + time.Hour, 0, 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := Judge([]pipeline.Result{{Err: tt.err}}, tt.tries, tt.age, DefaultPolicy(), tt.jitter)
			if v.Action != ActionNak || v.Delay != tt.want {
				t.Errorf("%s after %s, want %s", v.Action, v.Delay, tt.want)
			}
		})
	}
}

func TestJudgeDoubt(t *testing.T) {
	t.Parallel()
	err := pipeline.Doubtful(pipeline.ReasonBuildNotFound, time.Minute, errTest)
	tests := []struct {
		tries uint64
		age   time.Duration
		want  pipeline.Outcome
	}{
		{1, 0, outcomeRetried},
		{3, 59 * time.Second, outcomeRetried},
		{2, time.Hour, outcomeRetried},
		{3, time.Minute, pipeline.OutcomeRejected},
		{501, 48 * time.Hour, pipeline.OutcomeRejected}, // an answer, not a failure of ours
		{500, 30 * time.Second, pipeline.OutcomeFailed},
	}
	for _, tt := range tests {
		v := Judge([]pipeline.Result{{Err: err}}, tt.tries, tt.age, DefaultPolicy(), 0)
		if v.Outcome != tt.want || v.Reason != pipeline.ReasonBuildNotFound {
			t.Errorf("try %d at %s: %s %s, want %s", tt.tries, tt.age, v.Outcome, v.Reason, tt.want)
		}
	}
}

func TestJudgeKeepsToTheKnownReasons(t *testing.T) {
	t.Parallel()
	v := Judge([]pipeline.Result{{Err: foreignError{pipeline.Malformed, "etcd.1.*"}}}, 1, 0, DefaultPolicy(), 0)
	if v.Reason != pipeline.ReasonInternal {
		t.Errorf("reason is %q", v.Reason)
	}
}

func TestExhausted(t *testing.T) {
	t.Parallel()
	p := DefaultPolicy()
	tests := []struct {
		tries  uint64
		age    time.Duration
		reason pipeline.Reason // "": is worked on
	}{
		{1, 0, ""},
		{1, 1000 * time.Hour, ""}, // an outage of ours: nobody has seen it
		{3, 1000 * time.Hour, ""},
		{4, 1000 * time.Hour, pipeline.ReasonDeadline},
		{4, p.MaxAge, ""}, // the last look
		{500, 0, ""},
		{501, 0, pipeline.ReasonInternal},
		{501, 20 * time.Minute, ""}, // it may have waited
		{1101, 20 * time.Hour, pipeline.ReasonInternal},
	}
	for _, tt := range tests {
		err := p.exhausted(tt.tries, tt.age)
		if (err != nil) != (tt.reason != "") || err != nil && pipeline.ReasonOf(err) != tt.reason {
			t.Errorf("try %d at %s: %v", tt.tries, tt.age, err)
		}
		if err == nil {
			continue
		}
		if v := Judge([]pipeline.Result{{Err: err}}, tt.tries, tt.age, p, 0); v.Outcome != pipeline.OutcomeFailed {
			t.Errorf("try %d at %s is exhausted and %s", tt.tries, tt.age, v.Outcome)
		}
	}
}

func TestActionsHaveNames(t *testing.T) {
	t.Parallel()
	for a, want := range map[Action]string{
		ActionNak: "nak", ActionAck: "ack", ActionDoubleAck: "double-ack", ActionTerm: "term",
	} {
		if a.String() != want {
			t.Errorf("%d is %q", a, a)
		}
	}
}
