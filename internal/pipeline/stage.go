package pipeline

// StageName names a step of the pipeline.
type StageName string

// The stages, in order.
const (
	StageLookup  StageName = "lookup"
	StageGate    StageName = "gate"
	StageFetch   StageName = "fetch"
	StagePrepare StageName = "prepare"
	StagePush    StageName = "push"

	// StageDelete is the only stage of a request to delete.
	StageDelete StageName = "delete"
)

// StageNames lists the stages in order.
func StageNames() []StageName {
	return []StageName{StageLookup, StageGate, StageFetch, StagePrepare, StagePush, StageDelete}
}
