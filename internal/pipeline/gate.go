package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Decider asks Greenwave whether a build may be published.
type Decider interface {
	Decide(ctx context.Context, n NVR) (Decision, error)
}

// Gate is the second stage. A nil Decider lets everything through: no gate is
// configured. So does any gate with an archive by hand, of which it knows
// nothing.
type Gate struct{ Decider Decider }

// Do asks for a decision. It returns an Approved only when the policies are
// satisfied; a failed requirement is Rejected, everything else that is not a
// clear yes is Waiting, with *Unsatisfied in the chain.
func (s Gate) Do(ctx context.Context, b Build) (Approved, error) {
	if s.Decider == nil || !b.Trigger.Given.IsZero() {
		return Approved{Build: b}, nil
	}
	d, err := s.Decider.Decide(ctx, b.NVR)
	if err != nil {
		return Approved{Build: b}, err
	}
	return Approved{Build: b, Decision: &d}, judgeDecision(d)
}

func judgeDecision(d Decision) error {
	if d.Satisfied && len(d.Unsatisfied) == 0 {
		return nil
	}
	if d.Satisfied {
		return Retry(ReasonGreenwaveUnavailable,
			errors.New("the decision is satisfied and lists unsatisfied requirements"))
	}
	for _, r := range d.Unsatisfied {
		if failed(r.Type) {
			return Reject(ReasonGateUnsatisfied, &Unsatisfied{Decision: d})
		}
	}
	return Wait(ReasonGateWaiting, fmt.Errorf("not yet: %w", &Unsatisfied{Decision: d}))
}

// failed tells whether only a waiver or another build can still satisfy a
// requirement of this type. Greenwave's docs/decision_requirements.rst lists
// the types and may grow; an unknown one is waited for, never passed.
func failed(requirementType string) bool {
	switch strings.ToLower(requirementType) {
	case "test-result-failed", "invalid-gating-yaml", "missing-gating-yaml":
		return true
	}
	return false
}
