package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Class says what to do about an error.
type Class uint8

// The classes. The zero value retries, so that forgetting to classify an
// error loses nothing.
const (
	Transient Class = iota // unknown, network, overload, our own credentials: try again
	Waiting                // the gate says not yet, or an image to be pinned is not there yet
	Rejected               // this build as it is will never be published
	Ignored                // not ours
	Malformed              // no readable trigger
)

func (c Class) String() string {
	return [...]string{"transient", "waiting", "rejected", "ignored", "malformed"}[c]
}

// Classes lists every class, for metrics that pre-create their series.
func Classes() []Class { return []Class{Transient, Waiting, Rejected, Ignored, Malformed} }

// Reason is the cause of an error, a word of a closed set that events, logs,
// metrics and the status page share.
type Reason string

// The reasons.
const (
	ReasonBuildNotFound        Reason = "build-not-found"
	ReasonNotAnOperatorBuild   Reason = "not-an-operator-build"
	ReasonNotComplete          Reason = "build-not-complete"
	ReasonDraft                Reason = "draft-build"
	ReasonNoOrganization       Reason = "no-organization"      // no organization matches
	ReasonUnknownOrganization  Reason = "unknown-organization" // a request for one that is not configured
	ReasonNotSupported         Reason = "not-supported"
	ReasonArchiveNotFound      Reason = "archive-not-found"
	ReasonArchiveNotAccepted   Reason = "archive-not-accepted" // by hand, where none are
	ReasonArchiveUnavailable   Reason = "archive-unavailable"  // the object store does not answer
	ReasonKojiUnavailable      Reason = "koji-unavailable"
	ReasonGreenwaveUnavailable Reason = "greenwave-unavailable"
	ReasonGateWaiting          Reason = "gate-waiting"
	ReasonGateUnsatisfied      Reason = "gate-unsatisfied"
	ReasonBadArchive           Reason = "bad-archive"
	ReasonInvalidManifests     Reason = "invalid-manifests"
	ReasonNoPackage            Reason = "no-package"
	ReasonInvalidVersion       Reason = "invalid-version"
	ReasonVersionExists        Reason = "version-exists" // with other content
	ReasonForbiddenRegistry    Reason = "forbidden-registry"
	ReasonImageUnavailable     Reason = "image-unavailable" // an image to be pinned cannot be asked for
	ReasonUnauthorized         Reason = "unauthorized"
	ReasonQuayUnavailable      Reason = "quay-unavailable"
	ReasonQuayRefused          Reason = "quay-refused"
	ReasonPackageNotFound      Reason = "package-not-found"
	ReasonInProgress           Reason = "in-progress"        // another event of the same build is in work
	ReasonLedgerUnavailable    Reason = "ledger-unavailable" // JetStream does not answer
	ReasonNothingWaits         Reason = "nothing-waits"      // a decision on a build that does not wait for one
	ReasonUnreadableEvent      Reason = "unreadable-event"
	ReasonInvalidEvent         Reason = "invalid-event"
	ReasonUnknownType          Reason = "unknown-type"
	ReasonDeadline             Reason = "deadline"
	ReasonPanic                Reason = "panic"
	ReasonInternal             Reason = "internal" // no error said why
)

// Reasons lists the closed set, for metrics and for the tests of the schemas.
func Reasons() []Reason {
	return []Reason{
		ReasonBuildNotFound, ReasonNotAnOperatorBuild, ReasonNotComplete, ReasonDraft, ReasonNoOrganization,
		ReasonUnknownOrganization, ReasonNotSupported, ReasonArchiveNotFound,
		ReasonArchiveNotAccepted, ReasonArchiveUnavailable, ReasonKojiUnavailable,
		ReasonGreenwaveUnavailable, ReasonGateWaiting, ReasonGateUnsatisfied, ReasonBadArchive,
		ReasonInvalidManifests, ReasonNoPackage, ReasonInvalidVersion, ReasonVersionExists, ReasonForbiddenRegistry,
		ReasonImageUnavailable, ReasonUnauthorized, ReasonQuayUnavailable, ReasonQuayRefused, ReasonPackageNotFound,
		ReasonInProgress, ReasonLedgerUnavailable, ReasonNothingWaits,
		ReasonUnreadableEvent, ReasonInvalidEvent, ReasonUnknownType, ReasonDeadline, ReasonPanic, ReasonInternal,
	}
}

// Error is an error with a class and a reason. Any error type may take part
// by having the methods Class and Reason; see ClassOf and ReasonOf.
type Error struct {
	class  Class
	reason Reason
	err    error

	// After is how long to wait before the next try; 0: the schedule decides.
	After time.Duration
	// Doubt is how long a Transient error may be a passing one. Older and
	// tried more than twice, it counts as Rejected. 0: it stays Transient.
	Doubt time.Duration
}

func (e *Error) Error() string { return e.err.Error() }
func (e *Error) Unwrap() error { return e.err }

// Class is what to do about it.
func (e *Error) Class() Class { return e.class }

// Reason is its cause.
func (e *Error) Reason() Reason { return e.reason }

// Retry marks err as Transient with a reason.
func Retry(r Reason, err error) error { return &Error{class: Transient, reason: r, err: err} }

// RetryAfter marks err as Transient with a known time to wait.
func RetryAfter(r Reason, after time.Duration, err error) error {
	return &Error{class: Transient, reason: r, err: err, After: after}
}

// Doubtful marks err as Transient for as long as it may be a passing one, and
// Rejected if it is still so when the delivery is older than patience.
func Doubtful(r Reason, patience time.Duration, err error) error {
	return &Error{class: Transient, reason: r, err: err, Doubt: patience}
}

// Wait marks err as a not yet, of the gate or of a registry.
func Wait(r Reason, err error) error { return &Error{class: Waiting, reason: r, err: err} }

// Reject marks err as final for this build.
func Reject(r Reason, err error) error { return &Error{class: Rejected, reason: r, err: err} }

// Ignore marks err as a build that is not ours.
func Ignore(r Reason, err error) error { return &Error{class: Ignored, reason: r, err: err} }

// Malform marks err as an event that holds no readable trigger.
func Malform(r Reason, err error) error { return &Error{class: Malformed, reason: r, err: err} }

// ClassOf finds the class of err by behaviour, however deeply it is wrapped.
// What has none is Transient.
func ClassOf(err error) Class {
	type classed interface {
		error
		Class() Class
	}
	if e, ok := errors.AsType[classed](err); ok {
		return e.Class()
	}
	return Transient
}

// ReasonOf finds the reason of err by behaviour. What has none is
// ReasonInternal.
func ReasonOf(err error) Reason {
	type reasoned interface {
		error
		Reason() Reason
	}
	if e, ok := errors.AsType[reasoned](err); ok && e.Reason() != "" {
		return e.Reason()
	}
	return ReasonInternal
}

// AfterOf is how long err asks to wait before the next try, 0 if it does not.
func AfterOf(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.After
	}
	return 0
}

// DoubtOf is how long err may be a passing one, and whether it is doubtful at all.
func DoubtOf(err error) (time.Duration, bool) {
	if e, ok := errors.AsType[*Error](err); ok && e.Doubt > 0 {
		return e.Doubt, true
	}
	return 0, false
}

// StageError names the stage at which a run ended.
type StageError struct {
	Stage StageName
	Err   error
}

func (e *StageError) Error() string { return string(e.Stage) + ": " + e.Err.Error() }
func (e *StageError) Unwrap() error { return e.Err }

// StageOf is the stage at which err ended a run, "" when it ended before.
func StageOf(err error) StageName {
	if e, ok := errors.AsType[*StageError](err); ok {
		return e.Stage
	}
	return ""
}

// Unsatisfied is the gate's no, or not yet, with the decision it comes from.
type Unsatisfied struct{ Decision Decision }

func (e *Unsatisfied) Error() string {
	parts := make([]string, 0, len(e.Decision.Unsatisfied))
	for _, r := range e.Decision.Unsatisfied {
		part := r.Type
		if r.Testcase != "" && r.Testcase != r.Type {
			part += " " + r.Testcase
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return "policies not satisfied"
	}
	return "policies not satisfied: " + strings.Join(parts, ", ")
}

// Invalid lists everything that is wrong with a build's manifests.
type Invalid struct{ Faults []Fault }

// Fault is one thing wrong with the manifests.
type Fault struct {
	File string // "" when it concerns the whole archive
	Path string // of the YAML node, such as spec.version; "" for the whole file
	Text string
}

func (f Fault) String() string {
	var where []string
	for _, w := range []string{f.File, f.Path} {
		if w != "" {
			where = append(where, w)
		}
	}
	return strings.Join(append(where, f.Text), ": ")
}

func (e *Invalid) Error() string {
	switch len(e.Faults) {
	case 0:
		return "invalid manifests"
	case 1:
		return e.Faults[0].String()
	}
	return fmt.Sprintf("%s (and %d more)", e.Faults[0], len(e.Faults)-1)
}

// FaultsOf lists the faults that err carries, as text.
func FaultsOf(err error) []string {
	e, ok := errors.AsType[*Invalid](err)
	if !ok {
		return nil
	}
	texts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		texts[i] = f.String()
	}
	return texts
}
