package events

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"go.opentelemetry.io/otel/trace"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// The extensions of a result event, by the CloudEvents documents on
// correlation and on distributed tracing.
const (
	extCorrelation = "correlationid" // the id of the first trigger
	extCausation   = "causationid"   // the id of this trigger
	extTraceParent = "traceparent"
	extTraceState  = "tracestate"
)

// ResultInput is what a result event is made of.
type ResultInput struct {
	Result  pipeline.Result
	Outcome pipeline.Outcome
	Tries   uint64            // how often the trigger was delivered
	Cause   event.Event       // what led to this run: the trigger, or a decision on its build
	Span    trace.SpanContext // of this run; sampled, it takes the place of the trace of Cause
	Source  string            // of results, from the configuration
	Time    time.Time
}

// newResultEvent makes the event that tells of a result, and its subject. Its
// id depends on what it tells and not on when: the same build announced twice
// has one result, whoever asks has an answer of their own.
func newResultEvent(in ResultInput) (e event.Event, subject string, err error) {
	eventType, err := resultType(in.Outcome)
	if err != nil {
		return event.Event{}, "", err
	}
	done := in.Outcome == pipeline.OutcomePublished || in.Outcome == pipeline.OutcomeDeleted
	if done != (in.Result.Err == nil) || done && in.Outcome != doneOutcome(in.Result) {
		return event.Event{}, "", fmt.Errorf("outcome %s contradicts the result", in.Outcome)
	}
	e, err = newEvent(head{
		eventType: eventType, source: in.Source, id: resultID(in),
		subject: in.Result.NVR.String(), time: in.Time,
	}, newResultData(in))
	if err != nil {
		return event.Event{}, "", err
	}
	for name, value := range passedOn(in) {
		if value != "" {
			e.SetExtension(name, value)
		}
	}
	return e, ResultSubject(in.Outcome, in.Result.Organization, packageOf(in.Result)), e.Validate()
}

// packageOf is what stands for the package in a result's subject: of a deletion,
// which knows of none, the last part of the repository.
func packageOf(res pipeline.Result) string {
	if res.Package == "" && res.Repository != "" {
		return path.Base(res.Repository)
	}
	return res.Package
}

func resultType(outcome pipeline.Outcome) (string, error) {
	switch outcome {
	case pipeline.OutcomePublished:
		return TypePublished, nil
	case pipeline.OutcomeRejected:
		return TypeRejected, nil
	case pipeline.OutcomeFailed:
		return TypeFailed, nil
	case pipeline.OutcomeWaiting:
		return TypeWaiting, nil
	case pipeline.OutcomeDeleted:
		return TypeDeleted, nil
	}
	return "", fmt.Errorf("outcome %q has no event", outcome)
}

func passedOn(in ResultInput) map[string]string {
	first := in.Result.Trigger
	parent, state := traceOf(in)
	return map[string]string{
		extCausation: cmp.Or(in.Cause.ID(), first.ID), extCorrelation: cmp.Or(first.Correlation, first.ID),
		extTraceParent: parent, extTraceState: state,
	}
}

// extension is the text of an extension attribute, "" where there is none.
func extension(e event.Event, name string) string {
	if e.Context == nil {
		return ""
	}
	text, err := types.Format(e.Extensions()[name])
	if err != nil {
		return ""
	}
	return text
}

// resultID is what repeats of one result have in common.
func resultID(in ResultInput) string {
	res := in.Result
	if res.Trigger.Requested() {
		return digest("request", res.Trigger.Source, res.Trigger.ID, res.Organization, string(in.Outcome))
	}
	build, checksum := res.NVR.String(), res.Archive.Checksum.String()
	if build == "" {
		build = strconv.FormatInt(res.BuildID, 10)
	}
	if in.Outcome == pipeline.OutcomePublished {
		return publishedID(res.Organization, build, checksum, digestsOf(res.Publication))
	}
	return digest("build", res.Organization, build, checksum, string(in.Outcome))
}

// publishedID is the id of the result of an announced build. The digests are in
// it: other content, of another configuration, is to be told of.
func publishedID(organization, build, checksum string, digests []string) string {
	return digest(append([]string{"build", organization, build, checksum, string(pipeline.OutcomePublished)}, digests...)...)
}

// digest is 128 bits of a SHA-256 in hexadecimal. Each part goes in behind its
// length, so that no two lists of parts read alike.
func digest(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
