package sandbox

import "maps"

const (
	sanityTest   = "sandbox.default.sanity"
	metadataTest = "sandbox.default.operator-metadata"
	rulesSource  = "https://git.example.com/containers/sample-operator"

	resultID = 38_000_001
)

// entry is a JSON object of a decision.
type entry = map[string]any

// decisionOf is Greenwave's answer about a build. A gate that is no decision
// has none.
func decisionOf(gate Gate, nvr string) (decision entry, ok bool) {
	yes := func(summary string, satisfied ...any) (entry, bool) {
		return outcome(true, summary, satisfied, nil), true
	}
	no := func(summary string, unsatisfied ...any) (entry, bool) {
		return outcome(false, summary, nil, unsatisfied), true
	}
	const passed = "All required tests (1 total) have passed or been waived"

	switch gate {
	case GatePassed:
		return yes(passed, tested(nvr, "test-result-passed"))
	case GateWaived:
		return yes(passed, with(tested(nvr, "test-result-failed-waived"), entry{"waiver_id": 256}))
	case GateExcluded:
		return yes("No tests are required", entry{
			"policy": policyName, "source": nil, "subject_identifier": nvr, "type": "excluded",
		})
	case GateMissing:
		return no("Of 1 required test, 1 result missing", missing(nvr, sanityTest))
	case GateIncomplete:
		return no("Of 1 required test, 1 test incomplete", with(tested(nvr, "test-result-missing"), itemOf(nvr)))
	case GateFailed:
		return no("Of 1 required test, 1 test failed", with(tested(nvr, "test-result-failed"), itemOf(nvr)))
	case GateErrored:
		return no("Of 1 required test, 1 test errored", with(tested(nvr, "test-result-errored"), itemOf(nvr),
			entry{"error_reason": "CI system out of memory"}))
	case GateMixed:
		return no("Of 2 required tests, 1 result missing, 1 test failed",
			with(tested(nvr, "test-result-failed"), itemOf(nvr)), missing(nvr, metadataTest))
	case GateFetchFailed:
		return no("1 error while trying to fetch remote rule file", with(rules(nvr, "failed-fetch-gating-yaml"), entry{
			"error": "Koji build not found for subject_type 'koji_build', subject_identifier '" + nvr + "'", "sources": []any{},
		}))
	case GateMissingRules:
		return no("1 error due to missing remote rule file",
			with(rules(nvr, "missing-gating-yaml"), entry{"sources": []any{rulesSource}}))
	case GateInvalidRules:
		fetched := rules(nvr, "fetched-gating-yaml")
		delete(fetched, "scenario")
		fetched["source"] = rulesSource
		return outcome(false, "1 error due to invalid remote rule file", []any{fetched}, []any{
			with(rules(nvr, "invalid-gating-yaml"), entry{
				"details": "Policy 'untitled': Attribute 'rules': expected a sequence node, but found scalar", "source": rulesSource,
			}),
		}), true
	case GateUnknownType:
		return no("Of 1 required test, 1 test quarantined", with(tested(nvr, "test-result-quarantined"), itemOf(nvr)))
	}
	return nil, false
}

func outcome(satisfied bool, summary string, met, unmet []any) entry {
	return entry{
		"applicable_policies": []any{policyName}, "policies_satisfied": satisfied, "summary": summary,
		"satisfied_requirements": append([]any{}, met...), "unsatisfied_requirements": append([]any{}, unmet...),
	}
}

// tested is a requirement that a result was found for.
func tested(nvr, kind string) entry {
	return with(rules(nvr, kind), entry{
		"result_id": resultID, "source": nil, "system_architecture": nil, "system_variant": nil, "testcase": sanityTest,
	})
}

// missing is a requirement without a result.
func missing(nvr, testcase string) entry {
	return with(rules(nvr, "test-result-missing"), itemOf(nvr), entry{"source": nil, "testcase": testcase})
}

// rules is a requirement about the build's own rules; its type is its test case.
func rules(nvr, kind string) entry {
	return entry{
		"scenario": nil, "subject_identifier": nvr, "subject_type": subjectType, "testcase": kind, "type": kind,
	}
}

// itemOf is the old way of naming a subject, which only unsatisfied test
// requirements still hold.
func itemOf(nvr string) entry { return entry{"item": entry{"item": nvr, "type": subjectType}} }

// with is a copy of e with more in it.
func with(e entry, more ...entry) entry {
	e = maps.Clone(e)
	for _, m := range more {
		maps.Copy(e, m)
	}
	return e
}
