package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// publishFlags are those of the command.
type publishFlags struct {
	config       string
	organization string
	repository   string
	version      string
	to           string
	dryRun       bool
	json         bool
}

// publishing tells whether anything is to reach a registry.
func (f publishFlags) publishing() bool { return !f.dryRun && f.to == "" }

func (c *cli) publishCommand() *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "publish ARCHIVE --organization ORG -c FILE [--dry-run | --to DIR]",
		Short: "Publish an archive on this machine, or try what would be published",
		Long: `publish takes operator manifests on this machine, a zip file or a folder, through
the pipeline of the service: the same limits, edits, checks and bytes.

With --dry-run it asks nobody and changes nothing. It prints what would be
edited, as a diff that patch -p1 applies to the unpacked archive, what is wrong
or doubtful, and what would be pushed. With --to it writes the images into a
new folder instead, as an OCI image layout, or for target app-registry the
content of the release. Neither reads a secret.

Without either it pushes, with the organization's credentials, where that says
accept_archives: true. No gate is asked. Such a push takes no part in the
service's ledger and leases, as a request does (consumer event push --archive):
the service does not know of it, and keeps no tag from moving at that moment.`,
		Example: `  consumer publish manifests.zip --organization myorg -c config.yaml --dry-run
  consumer publish manifests/ --organization myorg -c config.yaml --to layout
  consumer publish manifests.zip --organization myorg -c config.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.publish(cmd.Context(), args[0], f) },
	}
	configFlag(cmd, &f.config)
	cmd.Flags().StringVar(&f.organization, "organization", "", "Quay organization to publish for")
	cmd.Flags().StringVar(&f.repository, "repository", "", "repository (default: as the organization's configuration says)")
	cmd.Flags().StringVar(&f.version, "version", "", "version of the release as int.int.int, for target app-registry (default: the one after the latest)")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print what would be published, without any network")
	cmd.Flags().StringVar(&f.to, "to", "", "folder to write an OCI image layout to; it must not be there yet, or be empty")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object instead of text")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "to")
	_ = cmd.MarkFlagRequired("organization")
	return cmd
}

// publishError says how a command ended whose report says why.
type publishError struct {
	outcome string
	err     error
}

func (e *publishError) Error() string {
	return fmt.Sprintf("%s, %s: %s", e.outcome, pipeline.ReasonOf(e.err), cell(e.err.Error(), maxResultText))
}
func (e *publishError) Unwrap() error { return e.err }

func (c *cli) publish(ctx context.Context, archive string, f publishFlags) error {
	config, err := loadPublishConfig(f, c.getenv)
	if err != nil {
		return err
	}
	source, err := newLocalArchive(archive, config.PipelineLimits())
	if err != nil {
		return usagef("%s: %w", archive, err)
	}
	if f.to != "" {
		if err := checkNewFolder(f.to); err != nil {
			return usagef("--to %s: %w", f.to, err)
		}
	}
	plan := &planner{registry: config.Quay.Registry}
	line, err := c.publishLine(config, f, source, plan)
	if err != nil {
		return err
	}
	line.Prepare.Edits = true
	ctx, cancel := context.WithTimeout(ctx, config.Intake.BuildTimeout)
	defer cancel()
	result := line.Run(ctx, pipeline.Trigger{
		Kind: pipeline.PushRequested, Organization: f.organization, Repository: f.repository, Version: f.version,
		Given: pipeline.Given{Object: archive},
	})[0] // a request has one
	if reason := pipeline.ReasonOf(result.Err); reason == pipeline.ReasonInvalidEvent || pipeline.StageOf(result.Err) == pipeline.StageLookup {
		return &usageError{errors.Unwrap(result.Err)} // what --repository or --version say
	}
	report := newPublishReport(result, f)
	if f.dryRun && config.Organizations[f.organization].PinDigests {
		report.Warnings = append(report.Warnings, "pin_digests: no registry was asked, so image references by tag stay as they are here; published, they are digests, and the image's own digest is another")
		report.WouldResolve = plan.unpinned
	}
	if err := c.printReport(report, f); err != nil {
		return err
	}
	if result.Err != nil {
		return &publishError{outcome: report.Outcome, err: result.Err}
	}
	return nil
}
