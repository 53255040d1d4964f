package events

import (
	"slices"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// State is how far a build has come for an organization.
type State string

// The states. A build that is tried again is StatePublishing with the reason
// of its last try.
const (
	StateWaiting    State = "waiting" // for the gate, or for an image
	StatePublishing State = "publishing"
	StatePublished  State = "published"
	StateRejected   State = "rejected"
	StateFailed     State = "failed"
)

// States lists every state.
func States() []State {
	return []State{StateWaiting, StatePublishing, StatePublished, StateRejected, StateFailed}
}

// Entry is what the ledger holds of one build for one organization.
type Entry struct {
	Organization string `json:"organization"`
	NVR          string `json:"nvr"`
	BuildID      int64  `json:"build_id,omitempty"`
	Package      string `json:"package,omitempty"`

	State   State              `json:"state"`
	Reason  pipeline.Reason    `json:"reason,omitempty"` // why it is not published, by the last try
	Message string             `json:"message,omitempty"`
	Stage   pipeline.StageName `json:"stage,omitempty"`

	Checksum      string   `json:"checksum,omitempty"`      // of the archive
	Configuration string   `json:"configuration,omitempty"` // see pipeline.Work
	Digests       []string `json:"digests,omitempty"`       // of what is published; see digestsOf

	Tries    uint64    `json:"tries"` // of the last event
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	ResultID string    `json:"result_id,omitempty"` // of the last result event
	// Told are the ids of the result events that are stored, the newest last:
	// of the build as announced, and, in Answered, of requests for it.
	Told     []string `json:"told,omitempty"`
	Answered []string `json:"answered,omitempty"`

	Trigger Cause `json:"trigger"` // of the last try
	// Waiters are the events whose builds a new decision of the gate may let through.
	Waiters []Cause `json:"waiters,omitempty"`
}

// Cause is an event that asked for a build, with all that is needed to run it again.
type Cause struct {
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Correlation string `json:"correlation,omitempty"`

	// Of a request.
	Request    bool   `json:"request,omitempty"`
	Repository string `json:"repository,omitempty"`
	Version    string `json:"version,omitempty"`
	Force      bool   `json:"force,omitempty"`

	// Settled tells of a waiter that its message is: nothing but a decision
	// looks at it again.
	Settled bool `json:"settled,omitempty"`
}

func causeOf(t pipeline.Trigger) Cause {
	return Cause{
		ID: t.ID, Source: t.Source, Type: t.Type, Correlation: t.Correlation,
		Request: t.Kind == pipeline.PushRequested, Repository: t.Repository, Version: t.Version, Force: t.Force,
	}
}

// trigger is the cause as it first came, for the build of e.
func (c Cause) trigger(e Entry) (pipeline.Trigger, error) {
	nvr, err := pipeline.ParseNVR(e.NVR)
	t := pipeline.Trigger{
		ID: c.ID, Source: c.Source, Type: c.Type, Correlation: c.Correlation,
		Kind: pipeline.BuildAnnounced, NVR: nvr,
		Repository: c.Repository, Version: c.Version, Force: c.Force,
	}
	if c.Request {
		t.Kind, t.Organization = pipeline.PushRequested, e.Organization
	}
	return t, err
}

// size is about how many bytes it takes.
func (c Cause) size() int {
	return len(c.ID) + len(c.Source) + len(c.Type) + len(c.Correlation) + len(c.Repository) + len(c.Version)
}

// shown is c with texts of a bounded length, for people to look at.
func (c Cause) shown() Cause {
	for _, text := range []*string{&c.ID, &c.Source, &c.Type, &c.Correlation, &c.Repository, &c.Version} {
		*text = bounded(*text, maxText)
	}
	return c
}

// same tells whether two causes are one event.
func (c Cause) same(other Cause) bool { return c.ID == other.ID && c.Source == other.Source }

const (
	// maxTold bounds the ids that an entry remembers, in each list.
	maxTold = 32
	// maxWaiters bounds the events that wait for one build. Announcements of a
	// build count as one; of more requests than this, no decision runs the last
	// ones: they are looked at again in their own time, while they wait.
	maxWaiters = 16
	// maxCause bounds one of them in bytes; a longer one is as one too many.
	maxCause = 4 << 10
	// maxDigests bounds the digests of an entry: with all of its texts at their
	// longest it takes half of what a message may have.
	maxDigests = 300
	// claimTime is how long other events of the same build leave it to the one
	// whose run is about to push it. A run that lives longer, or has died, only
	// costs repeated work.
	claimTime = time.Minute
)

func (e *Entry) told(id string) bool {
	return slices.Contains(e.Told, id) || slices.Contains(e.Answered, id)
}

func (e *Entry) remember(id string, request bool) {
	list := &e.Told
	if request {
		list = &e.Answered
	}
	e.ResultID = id
	if !slices.Contains(*list, id) {
		*list = append(*list, id)
		*list = (*list)[max(0, len(*list)-maxTold):]
	}
}

func (e *Entry) forget(id string) {
	e.Told = slices.DeleteFunc(e.Told, func(told string) bool { return told == id })
}

// claimed tells whether another event's run has e in its hands.
func (e *Entry) claimed(c Cause, now time.Time) bool {
	age := now.Sub(e.Last) // by two clocks
	return e.State == StatePublishing && e.Reason == "" && !e.Trigger.same(c.shown()) && -claimTime < age && age < claimTime
}

// published tells whether e says that w is published.
func (e *Entry) published(w pipeline.Work) bool {
	return e.State == StatePublished && e.Checksum == w.Checksum.String() && e.Configuration == w.Configuration
}

// done tells whether e says that w is published and that its announcement was
// told so.
func (e *Entry) done(w pipeline.Work) bool {
	return e.published(w) && e.told(e.publishedID())
}

// publishedID is the id of the event that tells of what e says is published.
func (e *Entry) publishedID() string {
	return publishedID(e.Organization, e.NVR, e.Checksum, e.Digests)
}

// aside tells whether t asks for another repository or version than those of
// the publication that e tells of: whatever becomes of that, e keeps to its own.
func (e *Entry) aside(t pipeline.Trigger) bool {
	own := e.Trigger.Repository == "" && e.Trigger.Version == ""
	return e.State == StatePublished && own && (t.Repository != "" || t.Version != "")
}

// begin notes that w is about to be pushed, unless it is published already:
// then it stays so whatever becomes of this push.
func (e *Entry) begin(w pipeline.Work, now time.Time) {
	if e.published(w) || e.aside(w.Trigger) {
		return
	}
	e.touch(w.Organization, w.NVR, w.BuildID, now)
	e.State, e.Trigger = StatePublishing, causeOf(w.Trigger).shown()
	e.Reason, e.Message, e.Stage = "", "", ""
}

// record notes how a run for e's organization ended. id is that of the result
// event that tells of it, empty when none does.
func (e *Entry) record(a Answer, id string, tries uint64, now time.Time) {
	r := a.Result
	e.touch(r.Organization, r.NVR, r.BuildID, now)
	e.wait(a)
	if id != "" {
		e.remember(id, r.Trigger.Kind == pipeline.PushRequested)
	}
	if e.stays(a) {
		return
	}
	before := e.publishedID()
	e.Trigger, e.Tries, e.State = causeOf(r.Trigger).shown(), tries, stateOf(a.Outcome)
	e.Reason, e.Message, e.Stage = "", "", ""
	if r.Package != "" {
		e.Package = bounded(r.Package, maxWord)
	}
	if checksum := r.Archive.Checksum.String(); checksum != "" {
		e.Checksum, e.Configuration = checksum, r.Configuration
	}
	if r.Err == nil {
		e.Digests = digestsOf(r.Publication)
	}
	// Whoever is told of other images, or of none, is to be told again of these.
	other := e.publishedID() != before
	if r.Err == nil && other || a.Outcome == pipeline.OutcomeRejected || a.Outcome == pipeline.OutcomeFailed {
		e.forget(before)
	}
	if r.Err == nil {
		return
	}
	e.Reason, e.Message, e.Stage = knownReason(r.Err), oneLine(r.Err, maxText), pipeline.StageOf(r.Err)
}

// stays tells whether what e says of a publication outlives a. What is
// published stays so, whatever becomes of a later try of the same thing.
func (e *Entry) stays(a Answer) bool {
	if e.aside(a.Result.Trigger) {
		return true
	}
	checksum := a.Result.Archive.Checksum.String()
	return e.State == StatePublished && a.Outcome != pipeline.OutcomePublished &&
		(checksum == "" || checksum == e.Checksum && a.Result.Configuration == e.Configuration)
}

// late tells whether a is a no to an announcement that was told meanwhile, by
// another run, that its build is published.
func (e *Entry) late(a Answer) bool {
	return a.Result.Trigger.Kind == pipeline.BuildAnnounced && e.stays(a) &&
		e.told(e.publishedID())
}

// wait keeps the list of those that a new decision may help: who waits, or was
// refused by the gate, stays there until told something else. Who waits for an
// image stays too: a decision may be what runs it again. So does whose try is to
// be repeated, or failed for another reason: the next one may be that of a
// decision.
func (e *Entry) wait(a Answer) {
	reason := pipeline.ReasonOf(a.Result.Err)
	gated := a.Outcome == pipeline.OutcomeWaiting || reason == pipeline.ReasonGateUnsatisfied
	c := causeOf(a.Result.Trigger)
	c.Settled = a.Outcome != pipeline.OutcomeWaiting
	same := func(w Cause) bool { return w.same(c) || !w.Request && !c.Request }
	at := slices.IndexFunc(e.Waiters, same)
	switch {
	case a.Outcome == outcomeRetried:
	case at >= 0 && (gated && !e.late(a) || a.Outcome == pipeline.OutcomeFailed):
		e.Waiters[at].Settled = c.Settled
	case !gated, e.late(a):
		e.Waiters = slices.DeleteFunc(e.Waiters, same)
	case len(e.Waiters) < maxWaiters && c.size() < maxCause:
		e.Waiters = append(e.Waiters, c)
	}
}

// helped lists the events whose runs a new decision may let through, satisfied
// by its own words or not. What is at its end only a yes can help; once the
// build is published, that is requests without an answer.
func (e *Entry) helped(satisfied bool) []Cause {
	final := e.State == StatePublished || e.State == StateRejected || e.State == StateFailed
	if final && !satisfied {
		return nil
	}
	return e.Waiters
}

func (e *Entry) touch(org string, nvr pipeline.NVR, buildID int64, now time.Time) {
	e.Organization, e.NVR = org, nvr.String()
	if buildID != 0 {
		e.BuildID = buildID
	}
	if e.First.IsZero() {
		e.First = now.UTC()
	}
	e.Last = now.UTC()
}

func stateOf(o pipeline.Outcome) State {
	switch o {
	case pipeline.OutcomePublished:
		return StatePublished
	case pipeline.OutcomeRejected:
		return StateRejected
	case pipeline.OutcomeFailed:
		return StateFailed
	case pipeline.OutcomeWaiting:
		return StateWaiting
	}
	return StatePublishing
}

// digestsOf lists the images of p as repository@digest, or its release as
// repository:version@digest.
func digestsOf(p pipeline.Publication) []string {
	var digests []string
	for _, b := range p.Bundles[:min(len(p.Bundles), maxDigests)] {
		digests = append(digests, b.Reference)
	}
	if r := p.Release; r != nil {
		digests = append(digests, r.Repository+":"+r.Version+"@"+r.Digest)
	}
	return digests
}
