package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

func (c *cli) eventDecisionCommand() *cobra.Command {
	var flags eventFlags
	var d events.DecisionEvent
	cmd := &cobra.Command{
		Use:   "decision --nvr NVR [--satisfied=false]",
		Short: "Say that Greenwave's decision on a build has changed",
		Long: `Say that Greenwave's decision on a build has changed, as Greenwave itself does.

The service looks at once at a build that waits for its gate or, when the
decision is satisfied, was refused by it. It publishes nothing on the word of
this event: it asks Greenwave again.`,
		Example: `  nats pub greenwave.decision.updated "$(consumer event decision --nvr etcd-container-1.0-1)"
  consumer event decision --nvr etcd-container-1.0-1 --publish -c config.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.ID, d.Source, d.Time = flags.eventID(), flags.source, time.Now()
			e, subject, err := events.NewDecisionEvent(d)
			if err != nil {
				return &usageError{err}
			}
			return c.emit(cmd.Context(), flags, e, subject)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&d.NVR, "nvr", "", "the build as name-version-release")
	cmd.Flags().BoolVar(&d.Satisfied, "satisfied", true, "whether the policies are satisfied now")
	_ = cmd.MarkFlagRequired("nvr")
	return cmd
}
