package events

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// ResultData is the data of a result event, as schemas/result.v1.json has it.
type ResultData struct {
	NVR          string              `json:"nvr,omitempty"`
	BuildID      int64               `json:"build_id,omitempty"`
	Organization string              `json:"organization,omitempty"`
	Package      string              `json:"package,omitempty"`
	Outcome      pipeline.Outcome    `json:"outcome"`
	Target       pipeline.TargetKind `json:"target,omitempty"`

	Bundles []pipeline.PushedBundle `json:"bundles,omitempty"` // target oci
	Release *pipeline.PushedRelease `json:"release,omitempty"` // target app-registry

	Repository string   `json:"repository,omitempty"` // of a request to delete: organization/name
	Deleted    []string `json:"deleted,omitzero"`     // versions; never nil when outcome is deleted

	Files        []string               `json:"files,omitempty"`
	Replacements []pipeline.Replacement `json:"replacements,omitempty"`
	Pinned       []pipeline.Change      `json:"pinned,omitempty"` // images that got a digest
	Archive      *ArchiveData           `json:"archive,omitempty"`
	Decision     *pipeline.Decision     `json:"decision,omitempty"` // nil: no gate was asked
	Error        *ErrorData             `json:"error,omitempty"`    // nil: published or deleted

	Repeated   bool                `json:"repeated"`
	Visibility pipeline.Visibility `json:"visibility,omitempty"`
	Warnings   []string            `json:"warnings,omitempty"`

	Tries       uint64                       `json:"tries"`
	DurationsMS map[pipeline.StageName]int64 `json:"durations_ms"`
	Trigger     TriggerData                  `json:"trigger"`
}

// ArchiveData is the archive that a result comes from.
type ArchiveData struct {
	Name     string `json:"name"`
	Checksum string `json:"checksum,omitempty"` // md5:…, sha1:… or sha256:…
	Bytes    int64  `json:"bytes,omitempty"`
}

// ErrorData says why what was asked for is not done.
type ErrorData struct {
	Reason  pipeline.Reason    `json:"reason"`
	Message string             `json:"message"`
	Stage   pipeline.StageName `json:"stage,omitempty"`
	Faults  []string           `json:"faults,omitempty"`
}

// TriggerData is the identity of the event that asked.
type TriggerData struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Type   string `json:"type"`
}

// DataOf reads the data of a result event. Any other event is an error.
func DataOf(e event.Event) (ResultData, error) {
	switch e.Type() {
	case TypePublished, TypeRejected, TypeFailed, TypeWaiting, TypeDeleted:
	default:
		return ResultData{}, fmt.Errorf("event type %q is no result", cut(e.Type(), 200))
	}
	var d ResultData
	if err := json.Unmarshal(e.DataEncoded, &d); err != nil {
		return ResultData{}, fmt.Errorf("data of result %s: %w", e.ID(), err)
	}
	return d, nil
}

// Bounds of what a result repeats from outside, in bytes or entries. Together,
// and as JSON, which at most doubles a text, they stay below the 1 MiB that a
// server takes: a result that cannot be told leaves images that nobody hears of.
const (
	maxMessage      = 4 << 10
	maxText         = 1 << 10
	maxWord         = 256
	maxTexts        = 64
	maxFiles        = 128 << 10 // all names as JSON
	maxReplacements = 64 << 10  // all of them as JSON
	maxPinned       = 32 << 10  // all of them as JSON
	maxBundles      = 256 << 10 // all of them as JSON
	maxDeleted      = 32 << 10  // all versions as JSON
)

// newResultData puts together what is known of a result.
func newResultData(in ResultInput) ResultData {
	res := in.Result
	d := ResultData{
		NVR: res.NVR.String(), BuildID: res.BuildID,
		Organization: bounded(res.Organization, maxText), Package: bounded(res.Package, maxText),
		Outcome: in.Outcome, Target: res.Target, Release: releaseOf(res.Publication.Release),
		Repository: bounded(res.Repository, maxText), Archive: archiveOf(res), Decision: decisionOf(res.Decision),
		Repeated: res.Publication.Repeated, Visibility: res.Publication.Visibility,
		Tries: in.Tries, DurationsMS: make(map[pipeline.StageName]int64, len(res.Durations)),
		Trigger: TriggerData{ID: res.Trigger.ID, Source: res.Trigger.Source, Type: res.Trigger.Type},
	}
	for stage, took := range res.Durations {
		d.DurationsMS[stage] = max(0, took.Milliseconds())
	}
	d.Warnings = boundedTexts(slices.Concat(d.setLists(res), res.Warnings, res.Publication.Warnings), maxText)
	if res.Err != nil {
		d.Error = &ErrorData{
			Reason: pipeline.ReasonOf(res.Err), Message: bounded(res.Err.Error(), maxMessage),
			Stage: pipeline.StageOf(res.Err), Faults: boundedTexts(pipeline.FaultsOf(res.Err), maxText),
		}
	}
	return d
}

// setLists sets what fits of the long lists, and tells what it left out.
func (d *ResultData) setLists(res pipeline.Result) (warnings []string) {
	var bundles bundleList
	bundles.add(res.Publication.Bundles)
	d.Bundles = bundles.fit
	files := fitting(res.Files, maxFiles)
	d.Files = res.Files[:files]
	var changesLeft int
	d.Replacements, changesLeft = fittingReplacements(res.Replacements)
	pinned := fitting(res.Pinned, maxPinned)
	d.Pinned = res.Pinned[:pinned]
	deleted := d.setDeleted(res.Deleted)
	for _, left := range []struct {
		count int
		what  string
	}{
		{bundles.left, "bundles"}, {bundles.tagsLeft, "tags of bundles"}, {bundles.channelsLeft, "channels of bundles"},
		{len(res.Files) - files, "files"}, {len(res.Replacements) - len(d.Replacements), "replacements"},
		{changesLeft, "changes and leftovers of replacements"}, {len(res.Pinned) - pinned, "pinned images"},
		{len(res.Deleted) - deleted, "deleted versions"},
	} {
		if left.count > 0 {
			warnings = append(warnings, fmt.Sprintf("%d more %s are left out", left.count, left.what))
		}
	}
	return warnings
}

// fittingReplacements is what fits of the replacements: first how often each rule
// matched, then what one by one. It returns how many changes and leftovers do not.
func fittingReplacements(all []pipeline.Replacement) (fit []pipeline.Replacement, left int) {
	counts := make([]pipeline.Replacement, len(all))
	for i, r := range all {
		counts[i] = pipeline.Replacement{Old: r.Old, New: r.New, Count: r.Count}
	}
	fit = counts[:fitting(counts, maxReplacements/2)]
	budget := maxReplacements / 2
	for i := range fit {
		changes := fitting(all[i].Changes, budget)
		fit[i].Changes = all[i].Changes[:changes]
		budget -= sizeOf(fit[i].Changes)
		leftovers := fitting(all[i].Leftovers, budget)
		fit[i].Leftovers = all[i].Leftovers[:leftovers]
		budget -= sizeOf(fit[i].Leftovers)
		left += len(all[i].Changes) - changes + len(all[i].Leftovers) - leftovers
	}
	return fit, left
}

// setDeleted sets what fits of the versions that were deleted, and returns how
// many that is.
func (d *ResultData) setDeleted(versions []string) int {
	short := make([]string, len(versions))
	for i, version := range versions {
		short[i] = bounded(version, maxWord)
	}
	fit := fitting(short, maxDeleted)
	if fit > 0 || d.Outcome == pipeline.OutcomeDeleted {
		d.Deleted = short[:fit]
	}
	return fit
}

func releaseOf(r *pipeline.PushedRelease) *pipeline.PushedRelease {
	if r == nil {
		return nil
	}
	return &pipeline.PushedRelease{
		Version: bounded(r.Version, maxWord), Repository: bounded(r.Repository, maxText), Digest: bounded(r.Digest, maxWord),
	}
}

func archiveOf(res pipeline.Result) *ArchiveData {
	if res.Archive.Name == "" {
		return nil
	}
	size := res.ArchiveBytes
	if size == 0 {
		size = max(0, res.Archive.Size)
	}
	return &ArchiveData{Name: bounded(res.Archive.Name, maxText), Checksum: res.Archive.Checksum.String(), Bytes: size}
}

func decisionOf(d *pipeline.Decision) *pipeline.Decision {
	if d == nil {
		return nil
	}
	own := pipeline.Decision{
		Satisfied: d.Satisfied, Summary: bounded(d.Summary, maxText), Policies: boundedTexts(d.Policies, maxWord),
	}
	for _, r := range d.Unsatisfied[:min(len(d.Unsatisfied), maxTexts)] {
		own.Unsatisfied = append(own.Unsatisfied, pipeline.Requirement{
			Type: bounded(r.Type, maxWord), Testcase: bounded(r.Testcase, maxWord),
			ResultID: r.ResultID, Details: bounded(r.Details, maxText),
		})
	}
	return &own
}

// bounded is s as valid UTF-8 of at most n bytes, and "…" where it was longer.
// Control characters but line breaks become blanks: JSON makes six of each.
func bounded(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) <= n {
		return s
	}
	return cut(s, n) + "…"
}

// boundedTexts are the first maxTexts of texts, each of at most n bytes.
func boundedTexts(texts []string, n int) []string {
	var out []string
	for i, text := range texts {
		if i == maxTexts {
			return append(out, fmt.Sprintf("and %d more", len(texts)-maxTexts))
		}
		out = append(out, bounded(text, n))
	}
	return out
}

// fitting is how many of the first values fit into a number of bytes as JSON.
func fitting[T any](values []T, budget int) int {
	for i, value := range values {
		if budget -= sizeOf(value); budget < 0 {
			return i
		}
	}
	return len(values)
}

// sizeOf is what a value takes in a list as JSON. What cannot be encoded takes
// more than there is.
func sizeOf(value any) int {
	encoded, err := encodeJSON(value)
	if err != nil {
		return math.MaxInt
	}
	return len(encoded) + len(",")
}
