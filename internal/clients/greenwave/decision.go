package greenwave

import (
	"errors"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Bounds of what is kept of a decision: it goes into an event.
const (
	maxName     = 200 // bytes of the name of a policy, a test case or a type
	maxText     = 500 // bytes of a summary or details
	maxPolicies = 100
	maxKept     = 100 // requirements, and as many again of types not seen before
)

// typeUnreadable stands for a requirement whose type is not a string. Like any
// unknown type it is waited for.
const typeUnreadable = "unreadable-requirement"

// readDecision takes from a decision what the pipeline needs, by Greenwave's
// docs/decision_requirements.rst. Only the keys that decide must be as they
// should: anything else of another type counts as absent.
func readDecision(answer map[string]any) (pipeline.Decision, error) {
	satisfied, ok := answer["policies_satisfied"].(bool)
	if !ok {
		return pipeline.Decision{}, errors.New("answer does not say whether policies are satisfied")
	}
	unsatisfied, ok := answer["unsatisfied_requirements"].([]any)
	if !ok {
		return pipeline.Decision{}, errors.New("answer does not list unsatisfied requirements")
	}
	d := pipeline.Decision{
		Satisfied:   satisfied,
		Summary:     text(answer, "summary", maxText),
		Policies:    policies(answer["applicable_policies"]),
		Unsatisfied: requirements(unsatisfied),
	}
	// Where no policy applies Greenwave answers 404, so a pass names at least one.
	if satisfied && len(d.Policies) == 0 {
		return pipeline.Decision{}, errors.New("answer is satisfied without any policy")
	}
	return d, nil
}

func policies(value any) []string {
	entries, _ := value.([]any)
	var names []string
	for _, entry := range entries {
		if name, ok := entry.(string); ok && len(names) < maxPolicies {
			names = append(names, clients.OneLine(name, maxName))
		}
	}
	return names
}

// requirements keeps the first, and of the others as many as show every type:
// the types decide.
func requirements(entries []any) []pipeline.Requirement {
	var kept []pipeline.Requirement
	seen := make(map[string]bool)
	for _, entry := range entries {
		r := requirement(entry)
		if len(kept) < maxKept || !seen[r.Type] && len(kept) < 2*maxKept {
			kept = append(kept, r)
			seen[r.Type] = true
		}
	}
	return kept
}

func requirement(entry any) pipeline.Requirement {
	fields, _ := entry.(map[string]any)
	r := pipeline.Requirement{
		Type:     text(fields, "type", maxName),
		Testcase: text(fields, "testcase", maxName),
		ResultID: resultID(fields["result_id"]),
	}
	if r.Type == "" {
		r.Type = typeUnreadable
	}
	for _, key := range []string{"details", "error", "error_reason"} {
		if r.Details == "" {
			r.Details = text(fields, key, maxText)
		}
	}
	return r
}

// resultID reads ResultsDB's id of a result, a whole number, else 0.
func resultID(value any) int64 {
	const exact = 1 << 53 // beyond it not every whole number is a float64
	f, ok := value.(float64)
	if !ok || f < 0 || f > exact || f != float64(int64(f)) {
		return 0
	}
	return int64(f)
}

func text(fields map[string]any, key string, limit int) string {
	s, _ := fields[key].(string)
	return clients.OneLine(s, limit)
}
