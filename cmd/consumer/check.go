package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// probeTimeout bounds each look at a service. Greenwave's own upstreams can
// keep it busy, but not when it is only asked for its version.
const probeTimeout = 15 * time.Second

func (c *cli) checkCommand() *cobra.Command {
	var path string
	var online bool
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Check the configuration, and with --online everything that it names",
		Long: `check reads the configuration, reports everything that is wrong with it at once
and prints it as it is in effect, defaults included and secrets hidden. With
--online it also asks Koji, Greenwave, the registry and NATS, each with the
credentials of the configuration, and changes nothing there.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := LoadConfig(path, c.getenv)
			if err != nil {
				return err
			}
			effective, err := config.Effective()
			if err != nil {
				return err
			}
			if _, err := c.stdout.Write(effective); err != nil {
				return err
			}
			for _, w := range config.Warnings {
				fmt.Fprintln(c.stderr, "warning:", w)
			}
			if !online {
				return nil
			}
			return c.checkOnline(cmd.Context(), config)
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&online, "online", false, "also ask Koji, Greenwave, the registry and NATS")
	return cmd
}

// probe asks one service whether it can be worked with.
type probe struct {
	name string
	ask  func(context.Context) error
}

// checkOnline asks everything at once and prints a line for each.
func (c *cli) checkOnline(ctx context.Context, config Config) error {
	log := slog.New(slog.DiscardHandler)
	out, err := newOutside(config, prometheus.NewRegistry(), log)
	if err != nil {
		return err
	}
	probes := []probe{{"koji " + config.Koji.HubURL, out.koji.Ping}}
	if out.greenwave != nil {
		probes = append(probes, probe{"greenwave " + config.Greenwave.URL, out.greenwave.Ping})
	}
	for _, name := range config.names() {
		probes = append(probes, probe{"registry " + config.Quay.Registry + " for " + name, out.quay[name].Ping})
	}
	probes = append(probes, natsProbe(config, log))

	errs := make([]error, len(probes))
	var running sync.WaitGroup
	for i, p := range probes {
		running.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, probeTimeout)
			defer cancel()
			errs[i] = p.ask(ctx)
		})
	}
	running.Wait()
	for i, p := range probes {
		answer := "ok"
		if errors.Is(errs[i], errNotAsked) {
			answer, errs[i] = errNotAsked.Error(), nil
		} else if errs[i] != nil {
			answer = errs[i].Error()
		}
		fmt.Fprintf(c.stderr, "%s: %s\n", p.name, answer)
	}
	if errors.Join(errs...) != nil {
		return errors.New("check: not everything can be worked with")
	}
	return nil
}

// errNotAsked is the answer of what there is not yet to ask.
var errNotAsked = errors.New("not checked, the service starts it")

// natsProbe connects and looks at streams and durables without making any.
func natsProbe(c Config, log *slog.Logger) probe {
	if c.NATS.URL == "" {
		return probe{"nats, embedded on " + c.NATS.Embedded.Listen, func(context.Context) error { return errNotAsked }}
	}
	return probe{"nats", func(ctx context.Context) error {
		conn, err := connect(ctx, c.NATS, c.NATS.URL, log)
		if err != nil {
			return err
		}
		defer conn.Close()
		options := provisionOptions(c)
		options.Manage = false
		err = provision(ctx, conn, options)
		if c.NATS.Manage {
			return withoutMissing(err)
		}
		return err
	}}
}

// withoutMissing leaves out of what is wrong with a server what the service
// puts right itself when it starts.
func withoutMissing(err error) error {
	var faults events.Faults
	if !errors.As(err, &faults) {
		return err
	}
	faults = slices.DeleteFunc(slices.Clone(faults), func(fault error) bool { return errors.Is(fault, events.ErrMissing) })
	if len(faults) == 0 {
		return nil
	}
	return faults
}
