package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"
)

// cli is what the commands share: the outside of the process.
type cli struct {
	getenv         func(string) string
	stdout, stderr io.Writer

	// started tells that the command line was understood: from then on an
	// error is a failure and not wrong usage.
	started bool
}

// root is the command with all its subcommands.
func (c *cli) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "consumer",
		Short: "Publish operator manifests of Koji builds to Quay, driven by events",
		Long: `consumer subscribes to build-completed CloudEvents on NATS JetStream. Each build
goes through a pipeline (Koji lookup, Greenwave gate, archive, rewriting, Quay),
and what was done is published as result events.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			// cobra itself looks at these only behind this hook.
			if err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
				return err
			}
			c.started = true
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return usagef("no command given")
		},
	}
	cmd.SetOut(c.stdout)
	cmd.SetErr(c.stderr)
	cmd.AddCommand(c.runCommand(), c.bridgeCommand(), c.sandboxCommand(), c.checkCommand(), c.configCommand(), c.eventCommand(), c.publishCommand(), c.reconcileCommand(), c.statusCommand(), c.watchCommand(), c.deadLettersCommand(), c.versionCommand())
	return cmd
}

// configFlag adds -c to a command that needs a configuration.
func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "configuration file")
	_ = cmd.MarkFlagRequired("config")
}
