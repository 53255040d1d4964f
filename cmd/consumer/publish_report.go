package main

import (
	"slices"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Outcomes of the command, beside those of pipeline.
const (
	outcomeWouldPublish = "would-publish"
	outcomeWritten      = "written"
)

// publishReport is what publish --json prints, as one JSON object on a line. It
// has the fields of a result event where these fit:
//
//   - dry_run; outcome: published, would-publish (--dry-run), written (--to, in
//     the folder to), rejected or failed; organization, target, package
//   - archive: name as given, checksum, bytes of the zip file, also of one that
//     was made of a folder
//   - bundles, for target oci: csv, version, repository, reference by digest, tags,
//     channels, default_channel; those of a dry run if no tag is taken there
//   - release, for target app-registry: version, repository, digest of the content;
//     version is empty where it would be the one after the latest
//   - repeated: everything was there; visibility: of a public organization
//   - files: each that differs from the archive (edited) or is not in it (made):
//     path, change, and of a dry run diff, a unified one with the exact bytes, or
//     binary: true
//   - replacements: of each rule old, new and count, and of rules for image
//     references their changes and leftovers; pinned: image references that got a
//     digest; would_resolve: references by tag whose
//     digests a dry run did not ask for
//   - warnings; error: reason, message, stage and faults, of what is not published
//
// Fields that do not apply are left out. The exit code is 0 for the first three
// outcomes and 1 for the others. Wrong usage or configuration is exit code 2,
// and nothing on stdout.
type publishReport struct {
	DryRun       bool                    `json:"dry_run"`
	Outcome      string                  `json:"outcome"`
	Organization string                  `json:"organization"`
	Target       pipeline.TargetKind     `json:"target,omitempty"`
	Package      string                  `json:"package,omitempty"`
	Archive      events.ArchiveData      `json:"archive"`
	Bundles      []pipeline.PushedBundle `json:"bundles,omitempty"`
	Release      *pipeline.PushedRelease `json:"release,omitempty"`
	To           string                  `json:"to,omitempty"`
	Repeated     bool                    `json:"repeated,omitempty"`
	Visibility   pipeline.Visibility     `json:"visibility,omitempty"`
	Files        []fileReport            `json:"files,omitempty"`
	Replacements []pipeline.Replacement  `json:"replacements,omitempty"`
	Pinned       []pipeline.Change       `json:"pinned,omitempty"`
	WouldResolve []string                `json:"would_resolve,omitempty"`
	Warnings     []string                `json:"warnings,omitempty"`
	Error        *events.ErrorData       `json:"error,omitempty"`
}

func newPublishReport(result pipeline.Result, f publishFlags) publishReport {
	r := publishReport{
		DryRun: f.dryRun, Outcome: outcomeOf(result.Err, f), Organization: result.Organization, Target: result.Target,
		Package: result.Package, Replacements: result.Replacements, Pinned: result.Pinned, Files: fileReports(result.Edited, f.dryRun),
		Archive: events.ArchiveData{
			Name: result.Archive.Name, Checksum: result.Archive.Checksum.String(), Bytes: result.ArchiveBytes,
		},
		Bundles: result.Publication.Bundles, Release: result.Publication.Release,
		Repeated: result.Publication.Repeated, Visibility: result.Publication.Visibility,
		Warnings: slices.Concat(result.Warnings, result.Publication.Warnings),
	}
	if err := result.Err; err != nil {
		r.Error = &events.ErrorData{
			Reason: pipeline.ReasonOf(err), Message: err.Error(), Stage: pipeline.StageOf(err), Faults: pipeline.FaultsOf(err),
		}
	} else if f.to != "" {
		r.To = f.to
	}
	return r
}

func outcomeOf(err error, f publishFlags) string {
	switch {
	case err != nil && pipeline.ClassOf(err) == pipeline.Rejected:
		return string(pipeline.OutcomeRejected)
	case err != nil:
		return string(pipeline.OutcomeFailed)
	case f.dryRun:
		return outcomeWouldPublish
	case f.to != "":
		return outcomeWritten
	}
	return string(pipeline.OutcomePublished)
}
