package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

func (c *cli) eventPushCommand() *cobra.Command {
	var flags eventFlags
	var p events.PushEvent
	var archive string
	cmd := &cobra.Command{
		Use:   "push --organization ORG {--nvr NVR | --build-id ID | --object BUCKET/NAME | --archive FILE}",
		Short: "Ask for a build, or an archive, to be published for one organization",
		Long: `Ask for a build, or an archive by hand, to be published for one organization.

An archive skips the gate, and is taken only where the organization says
accept_archives: true. A small one goes inside the event (--archive); others lie
in a JetStream object store that the service can read (--object).`,
		Example: `  nats pub omps.request.push.myorg "$(consumer event push --organization myorg --nvr etcd-container-1.0-1)"
  consumer event push --organization myorg --nvr etcd-container-1.0-1 --publish -c config.yaml
  consumer event push --organization myorg --archive manifests.zip --publish -c config.yaml
  nats object put uploads manifests.zip --name etcd-1.zip
  consumer event push --organization myorg --object uploads/etcd-1.zip --publish -c config.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.ID, p.Source, p.Time = flags.eventID(), flags.source, time.Now()
			if bucket, name, _ := strings.Cut(p.Object, "/"); p.Object != "" && (bucket == "" || name == "") {
				return usagef("--object is BUCKET/NAME, not %q", p.Object)
			}
			if archive != "" {
				var err error
				if p.Inline, err = readArchive(archive); err != nil {
					return err
				}
			}
			e, subject, err := events.NewPushEvent(p)
			if err != nil {
				return &usageError{err}
			}
			return c.emit(cmd.Context(), flags, e, subject)
		},
	}
	flags.add(cmd)
	flags.wait.add(cmd)
	buildFlags(cmd, &p.NVR, &p.BuildID)
	cmd.Flags().StringVar(&p.Object, "object", "", "an archive by hand, in an object store, as BUCKET/NAME")
	cmd.Flags().StringVar(&archive, "archive", "", "an archive by hand, in a file, that goes inside the event")
	oneOf(cmd, "nvr", "build-id", "object", "archive")
	cmd.Flags().StringVar(&p.Organization, "organization", "", "Quay organization to publish for")
	cmd.Flags().StringVar(&p.Repository, "repository", "", "repository (default: as the organization's configuration says)")
	cmd.Flags().StringVar(&p.Version, "version", "", "version of the release as int.int.int, for target app-registry (default: the one after the latest)")
	cmd.Flags().BoolVar(&p.Force, "force", false, "publish although it is published already")
	_ = cmd.MarkFlagRequired("organization")
	return cmd
}

// useObject is what to do about an archive that is too large for an event.
const useObject = "put the archive into an object store (nats object put BUCKET FILE --name NAME) and use --object BUCKET/NAME"

// readArchive reads a file that is to go inside an event.
func readArchive(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, usagef("--archive %s: %w", name, unnamed(err))
	}
	if info.Size() > events.MaxEvent {
		return nil, usagef("--archive %s has %d bytes, more than any event: %s", name, info.Size(), useObject)
	}
	data, err := readCapped(name, events.MaxEvent)
	switch {
	case err != nil:
		return nil, usagef("--archive %s: %w", name, err)
	case len(data) == 0:
		return nil, usagef("--archive %s is empty", name)
	}
	return data, nil
}
