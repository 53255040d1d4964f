package events

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

var (
	errNotYet   = pipeline.Wait(pipeline.ReasonGateWaiting, errors.New("test-result-missing"))
	errRefused  = pipeline.Reject(pipeline.ReasonGateUnsatisfied, errors.New("test-result-failed"))
	errBad      = pipeline.Reject(pipeline.ReasonBadArchive, errors.New("no zip"))
	errQuayDown = pipeline.Retry(pipeline.ReasonQuayUnavailable, errors.New("quay is down"))
)

// ends are all ways in which a run can end that the ledger hears of.
var ends = []struct {
	name    string
	outcome pipeline.Outcome
	err     error
	state   State
}{
	{"published", pipeline.OutcomePublished, nil, StatePublished},
	{"waits", pipeline.OutcomeWaiting, errNotYet, StateWaiting},
	{"refused by the gate", pipeline.OutcomeRejected, errRefused, StateRejected},
	{"rejected", pipeline.OutcomeRejected, errBad, StateRejected},
	{"failed", pipeline.OutcomeFailed, errQuayDown, StateFailed},
	{"waited too long", pipeline.OutcomeFailed, errNotYet, StateFailed},
	{"tried again", outcomeRetried, errQuayDown, StatePublishing},
}

// entryIn is an entry that was brought into a state by the build w.
func entryIn(t *testing.T, state State, w pipeline.Work) Entry {
	t.Helper()
	var e Entry
	switch state {
	case "":
	case StatePublishing:
		e.begin(w, time.Now())
	default:
		for _, end := range ends {
			if end.state == state {
				e.record(Answer{Result: resultOf(w, end.err), Outcome: end.outcome}, "", 1, time.Now())
				break
			}
		}
	}
	if e.State != state {
		t.Fatalf("is %s, not %s", e.State, state)
	}
	return e
}

// TestRecord goes through every state, every end of a run and everything that
// the run may have been for.
func TestRecord(t *testing.T) {
	t.Parallel()
	works := []struct {
		name   string
		change func(*pipeline.Work)
		same   bool // as what was published
	}{
		{"the same work", func(*pipeline.Work) {}, true},
		{"a run that did not come to the archive", func(w *pipeline.Work) { w.Checksum = pipeline.Checksum{} }, true},
		{"a recycled build", func(w *pipeline.Work) { w.Checksum.Hex = "0cc175b9c0f1b6a831c399e269772661" }, false},
		{"another configuration", func(w *pipeline.Work) { w.Configuration = "c2" }, false},
	}
	for _, state := range append([]State{""}, States()...) {
		for _, end := range ends {
			for _, tt := range works {
				t.Run(fmt.Sprintf("%s then %s with %s", state, end.name, tt.name), func(t *testing.T) {
					t.Parallel()
					before := work(t, "myorg", "1")
					e := entryIn(t, state, before)
					digests := slices.Clone(e.Digests)
					w := work(t, "myorg", "2")
					tt.change(&w)
					r := resultOf(w, end.err)
					e.record(Answer{Result: r, Outcome: end.outcome}, "", 7, time.Now())

					want, reason := end.state, pipeline.ReasonOf(end.err)
					kept := state == StatePublished && tt.same && end.outcome != pipeline.OutcomePublished
					if kept {
						want = StatePublished
					}
					if want == StatePublished {
						reason = ""
					}
					if e.State != want || e.Reason != reason || (e.Message != "") != (reason != "") {
						t.Errorf("is %s %q %q, want %s %q", e.State, e.Reason, e.Message, want, reason)
					}
					if end.outcome == pipeline.OutcomePublished {
						digests = []string{sampleDigest}
					}
					if !slices.Equal(e.Digests, digests) {
						t.Errorf("digests %v, want %v", e.Digests, digests)
					}
					last := w
					if kept {
						last = before
					}
					if e.Trigger.ID != last.Trigger.ID || (e.Tries == 7) == kept {
						t.Errorf("of event %s after %d tries, want %s", e.Trigger.ID, e.Tries, last.Trigger.ID)
					}
					if last.Checksum != (pipeline.Checksum{}) && !kept && (e.Checksum != last.Checksum.String() || e.Configuration != last.Configuration) {
						t.Errorf("of %s %s", e.Checksum, e.Configuration)
					}
					// Only what says published is done, and only for the work that it says.
					if e.done(w) || e.published(w) != (want == StatePublished && w.Checksum.String() == e.Checksum && w.Configuration == e.Configuration) {
						t.Errorf("done %t, published %t", e.done(w), e.published(w))
					}
				})
			}
		}
	}
}

func TestRecordTimesAndIDs(t *testing.T) {
	t.Parallel()
	var e Entry
	start := time.Date(2026, 9, 1, 12, 0, 0, 0, time.FixedZone("", 7200))
	w := work(t, "myorg", "1")
	e.begin(w, start)
	e.record(Answer{Result: resultOf(w, errQuayDown), Outcome: outcomeRetried}, "", 1, start.Add(time.Second))
	w.BuildID = 0 // the hub is down
	e.record(Answer{Result: resultOf(w, errNotYet), Outcome: pipeline.OutcomeWaiting}, "w", 2, start.Add(time.Minute))
	e.record(Answer{Result: resultOf(w, nil), Outcome: pipeline.OutcomePublished}, "p", 3, start.Add(time.Hour))
	e.record(Answer{Result: resultOf(w, nil), Outcome: pipeline.OutcomePublished}, "p", 4, start.Add(time.Hour))
	if !e.First.Equal(start) || !e.Last.Equal(start.Add(time.Hour)) || e.First.Location() != time.UTC || e.Last.Location() != time.UTC {
		t.Errorf("first %s, last %s", e.First, e.Last)
	}
	if e.BuildID != operatorID || e.ResultID != "p" || !slices.Equal(e.Told, []string{"w", "p"}) || e.Answered != nil {
		t.Errorf("%+v", e)
	}
	w.Trigger.Kind = pipeline.PushRequested
	for i := range 2 * maxTold {
		e.record(Answer{Result: resultOf(w, nil), Outcome: pipeline.OutcomePublished}, fmt.Sprint(i), 1, start)
	}
	if !e.told("p") || !e.told(fmt.Sprint(2*maxTold-1)) || e.told("0") {
		t.Errorf("however many ask, it forgets what the bus was told: %v %v", e.Told, e.Answered)
	}
}

func TestWaiters(t *testing.T) {
	t.Parallel()
	w := work(t, "myorg", "a1")
	announced := func(id string) pipeline.Work {
		w := w
		w.Trigger.ID = id
		return w
	}
	requested := func(id string) pipeline.Work {
		w := announced(id)
		w.Trigger.Kind, w.Trigger.Organization = pipeline.PushRequested, "myorg"
		w.Trigger.Repository, w.Trigger.Version, w.Trigger.Force, w.Trigger.Correlation = "r", "1.0.0", true, "c"
		return w
	}
	long := announced(strings.Repeat("x", maxCause))
	type step struct {
		work    pipeline.Work
		outcome pipeline.Outcome
		err     error
	}
	wait := func(w pipeline.Work) step { return step{w, pipeline.OutcomeWaiting, errNotYet} }
	refuse := func(w pipeline.Work) step { return step{w, pipeline.OutcomeRejected, errRefused} }
	publish := func(w pipeline.Work) step { return step{w, pipeline.OutcomePublished, nil} }
	retry := func(w pipeline.Work) step { return step{w, outcomeRetried, errQuayDown} }
	for _, tt := range []struct {
		name           string
		steps          []step
		want           string
		onYes, onOther bool // who waits is helped by a yes, by any other decision
	}{
		{"nobody", []step{publish(w)}, "", false, false},
		{"announcements are one", []step{wait(announced("a1")), wait(announced("a2")), wait(announced("a1"))}, "a1", true, true},
		{"requests are not", []step{wait(requested("r1")), wait(requested("r2")), wait(announced("a1")), wait(requested("r1"))}, "r1 r2 a1", true, true},
		{"what is too long is left out", []step{wait(long), wait(requested("r1"))}, "r1", true, true},
		{"refused by the gate", []step{refuse(w), refuse(requested("r1"))}, "a1 r1", true, false},
		{"waited too long", []step{wait(w), {w, pipeline.OutcomeFailed, errNotYet}}, "a1", true, false},
		{"kept over tries", []step{wait(w), retry(w)}, "a1", true, true},
		{"refused, waived, and quay is down", []step{refuse(w), retry(w)}, "a1", true, true},
		{"published", []step{wait(announced("a1")), publish(announced("a2"))}, "", false, false},
		{"rejected", []step{wait(w), {w, pipeline.OutcomeRejected, errBad}}, "", false, false},
		{"failed", []step{wait(w), {w, pipeline.OutcomeFailed, errQuayDown}}, "a1", true, false},
		{"refused, waived, and failed", []step{refuse(w), retry(w), {w, pipeline.OutcomeFailed, errQuayDown}}, "a1", true, false},
		{"failed, and never at the gate", []step{{w, pipeline.OutcomeFailed, errQuayDown}}, "", false, false},
		{"failed, redriven and published", []step{wait(w), {w, pipeline.OutcomeFailed, errQuayDown}, publish(w)}, "", false, false},
		{"published for somebody else", []step{wait(w), refuse(requested("r1")), publish(w)}, "r1", true, false},
		{"published, and a new gate", []step{publish(w), wait(requested("r1"))}, "r1", true, false},
		{"answered too", []step{wait(w), wait(requested("r1")), publish(w), publish(requested("r1"))}, "", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var e Entry
			for _, s := range tt.steps {
				e.record(Answer{Result: resultOf(s.work, s.err), Outcome: s.outcome}, "", 1, time.Now())
			}
			ids := func(causes []Cause) string {
				var list []string
				for _, c := range causes {
					list = append(list, c.ID)
				}
				return strings.Join(list, " ")
			}
			if got := ids(e.Waiters); got != tt.want {
				t.Errorf("waiters %q, want %q", got, tt.want)
			}
			for satisfied, helps := range map[bool]bool{true: tt.onYes, false: tt.onOther} {
				want := ""
				if helps {
					want = tt.want
				}
				if got := ids(e.helped(satisfied)); got != want {
					t.Errorf("satisfied %t helps %q, want %q", satisfied, got, want)
				}
			}
		})
	}
	var e Entry
	for i := range 2 * maxWaiters {
		e.record(Answer{Result: resultOf(requested(fmt.Sprint(i)), errNotYet), Outcome: pipeline.OutcomeWaiting}, "", 1, time.Now())
	}
	if len(e.Waiters) != maxWaiters || e.Waiters[0].ID != "0" {
		t.Errorf("%d wait", len(e.Waiters))
	}
}

// A cause is enough to run its event again.
func TestCauseIsTheTrigger(t *testing.T) {
	t.Parallel()
	nvr := mustNVR(t, operatorNVR)
	for _, want := range []pipeline.Trigger{
		{ID: "1", Source: "/koji", Type: TypeBuildCompleted, Correlation: "0", NVR: nvr},
		{
			ID: "2", Source: "/me", Type: TypePushRequested, Kind: pipeline.PushRequested, NVR: nvr,
			Organization: "myorg", Repository: "r", Version: "1.0.0", Force: true,
		},
	} {
		got, err := causeOf(want).trigger(Entry{Organization: "myorg", NVR: operatorNVR})
		if err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := (Cause{}).trigger(Entry{NVR: "x"}); err == nil {
		t.Error("no error for what is no NVR")
	}
}

func TestClaimed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	long := strings.Repeat("x", 10<<10)
	mine, other := work(t, "myorg", long+"1"), work(t, "myorg", "2")
	var e Entry
	check := func(what string, w pipeline.Work, at time.Time, want bool) {
		t.Helper()
		if got := e.claimed(causeOf(w.Trigger), at); got != want {
			t.Errorf("%s: claimed %t", what, got)
		}
	}
	check("nothing is known", other, now, false)
	e.begin(mine, now)
	check("another event", other, now, true)
	check("another event, within the minute", other, now.Add(claimTime-time.Second), true)
	check("another event, after it", other, now.Add(claimTime+time.Second), false)
	check("another event, by a clock that is behind", other, now.Add(time.Second-claimTime), true)
	check("another event, by a clock of another day", other, now.Add(-24*time.Hour), false)
	check("the same event", mine, now, false)
	same := other
	same.Trigger.ID = mine.Trigger.ID
	same.Trigger.Source = "/elsewhere"
	check("the same id of another source", same, now, true)

	tried := e
	tried.record(Answer{Result: resultOf(mine, errQuayDown), Outcome: outcomeRetried}, "", 1, now)
	if tried.claimed(causeOf(other.Trigger), now) {
		t.Error("claimed after its try has ended")
	}
	for _, end := range ends {
		ended := e
		ended.record(Answer{Result: resultOf(mine, end.err), Outcome: end.outcome}, "", 1, now)
		if ended.claimed(causeOf(other.Trigger), now) {
			t.Errorf("claimed although %s", end.name)
		}
	}
	// What is published already is nobody's.
	e.record(Answer{Result: resultOf(mine, nil), Outcome: pipeline.OutcomePublished}, "", 1, now)
	e.begin(mine, now)
	check("pushed once more", other, now, false)
	mine.Configuration = "c2"
	e.begin(mine, now)
	check("of a new configuration", other, now, true)
}
