package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

func (c *cli) eventDeleteCommand() *cobra.Command {
	var flags eventFlags
	var d events.DeleteEvent
	var all bool
	cmd := &cobra.Command{
		Use:   "delete --organization ORG --repository REPO {--version V | --all}",
		Short: "Ask for a version that one organization has published, or all of them, to be deleted",
		Example: `  consumer event delete --organization myorg --repository etcd --version 3.0.0 --publish -c config.yaml
  consumer event delete --organization myorg --repository etcd --all --publish -c config.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all == (d.Version != "") { // such as the empty value of a variable
				return usagef("either --version and which, or --all")
			}
			if strings.HasPrefix(d.Repository, d.Organization+"/") {
				return usagef("--repository is without the organization: %s", strings.TrimPrefix(d.Repository, d.Organization+"/"))
			}
			d.ID, d.Source, d.Time = flags.eventID(), flags.source, time.Now()
			e, subject, err := events.NewDeleteEvent(d)
			if err != nil {
				return &usageError{err}
			}
			return c.emit(cmd.Context(), flags, e, subject)
		},
	}
	flags.add(cmd)
	flags.wait.add(cmd)
	cmd.Flags().StringVar(&d.Organization, "organization", "", "Quay organization to delete from")
	cmd.Flags().StringVar(&d.Repository, "repository", "", "repository, without the organization")
	cmd.Flags().StringVar(&d.Version, "version", "", "version to delete: a release, or for bundle images a tag")
	cmd.Flags().BoolVar(&all, "all", false, "delete every version of the repository")
	_ = cmd.MarkFlagRequired("organization")
	_ = cmd.MarkFlagRequired("repository")
	oneOf(cmd, "version", "all")
	return cmd
}
