package pipeline

import (
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"
)

func TestClassAndReasonSurviveWrapping(t *testing.T) {
	base := errors.New("x")
	cases := []struct {
		err    error
		class  Class
		reason Reason
	}{
		{base, Transient, ReasonInternal},
		{Retry(ReasonKojiUnavailable, base), Transient, ReasonKojiUnavailable},
		{RetryAfter(ReasonQuayUnavailable, time.Second, base), Transient, ReasonQuayUnavailable},
		{Doubtful(ReasonBadArchive, time.Minute, base), Transient, ReasonBadArchive},
		{Wait(ReasonGateWaiting, base), Waiting, ReasonGateWaiting},
		{Reject(ReasonBadArchive, base), Rejected, ReasonBadArchive},
		{Ignore(ReasonDraft, base), Ignored, ReasonDraft},
		{Malform(ReasonInvalidEvent, base), Malformed, ReasonInvalidEvent},
	}
	for _, c := range cases {
		for range 3 {
			if ClassOf(c.err) != c.class || ReasonOf(c.err) != c.reason {
				t.Errorf("%v: %s %s, want %s %s", c.err, ClassOf(c.err), ReasonOf(c.err), c.class, c.reason)
			}
			if !errors.Is(c.err, base) {
				t.Errorf("%v lost its cause", c.err)
			}
			c.err = &StageError{Stage: StageFetch, Err: fmt.Errorf("wrapped: %w", c.err)}
		}
	}
	wrapped := fmt.Errorf("w: %w", RetryAfter(ReasonQuayUnavailable, time.Minute, base))
	if AfterOf(wrapped) != time.Minute || AfterOf(base) != 0 {
		t.Error("AfterOf does not see through wrapping")
	}
	if d, ok := DoubtOf(fmt.Errorf("w: %w", Doubtful(ReasonBadArchive, time.Hour, base))); !ok || d != time.Hour {
		t.Error("DoubtOf does not see through wrapping")
	}
	if _, ok := DoubtOf(wrapped); ok {
		t.Error("an error without doubt has doubt")
	}
	if got := StageOf(fmt.Errorf("w: %w", &StageError{StageGate, base})); got != StageGate {
		t.Errorf("stage %q", got)
	}
}

func TestReasonsAreAClosedSetOfWords(t *testing.T) {
	word := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := make(map[Reason]bool)
	for _, r := range Reasons() {
		if !word.MatchString(string(r)) || seen[r] {
			t.Errorf("%q is not a word of its own", r)
		}
		seen[r] = true
	}
}

func TestFaultsOf(t *testing.T) {
	err := Reject(ReasonInvalidManifests, &Invalid{Faults: []Fault{{"a.yaml", "spec.version", "is missing"}, {"", "", "no CSV"}}})
	if err.Error() != "a.yaml: spec.version: is missing (and 1 more)" {
		t.Errorf("reads %q", err)
	}
	if got := fmt.Sprint(FaultsOf(err)); got != "[a.yaml: spec.version: is missing no CSV]" {
		t.Errorf("faults %s", got)
	}
	if FaultsOf(errors.New("x")) != nil {
		t.Error("faults out of nowhere")
	}
}
