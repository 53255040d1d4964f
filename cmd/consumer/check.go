package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/clients/amqp"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
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
--online it also asks Koji and its files, Greenwave, the registries, NATS and
the buses of the bridge, each with the credentials of the configuration, and
changes nothing there.`,
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
	cmd.Flags().BoolVar(&online, "online", false, "also ask Koji, Greenwave, the registry, NATS and the buses")
	return cmd
}

// probe asks one service whether it can be worked with. What it remarks is worth
// a line, and no reason not to.
type probe struct {
	name string
	ask  func(context.Context) (remarks []string, err error)
}

// pings is the question of a probe that remarks nothing.
func pings(ask func(context.Context) error) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) { return nil, ask(ctx) }
}

// newProbes are those of everything that is configured. Without organizations
// nothing is looked up or pushed, as with the configuration of a bridge.
func newProbes(config Config, out outside, log *slog.Logger) ([]probe, error) {
	targets, err := out.targets(config, nil)
	if err != nil {
		return nil, err
	}
	var probes []probe
	if len(targets) > 0 {
		probes = append(probes, probe{"koji " + config.Koji.HubURL, pings(out.koji.Ping)}, probe{"koji files " + config.Koji.RootURL, pings(out.koji.PingFiles)})
		if out.greenwave != nil {
			probes = append(probes, probe{"greenwave " + config.Greenwave.URL, pings(out.greenwave.Ping)})
		}
	}
	for _, name := range config.names() {
		at := "registry " + config.Quay.Registry
		if config.Organizations[name].isFor(pipeline.TargetAppRegistry) {
			at = "app registry " + config.Quay.URL
		}
		probes = append(probes, probe{at + " for " + name, pings(targets[name].Ping)})
	}
	probes = append(probes, natsProbe(config, log))
	for _, b := range config.Bridge.Sources {
		source, err := amqp.New(b.options(out.roots))
		if err != nil {
			return nil, fmt.Errorf("bus %s: %w", b.Name, err)
		}
		probes = append(probes, probe{"bus " + b.Name, pings(source.Ping)})
	}
	return probes, nil
}

// checkOnline asks everything at once and prints a line for each.
func (c *cli) checkOnline(ctx context.Context, config Config) error {
	log := slog.New(slog.DiscardHandler)
	out, err := newOutside(config, prometheus.NewRegistry(), log)
	if err != nil {
		return err
	}
	probes, err := newProbes(config, out, log)
	if err != nil {
		return err
	}
	remarks, errs := make([][]string, len(probes)), make([]error, len(probes))
	var running sync.WaitGroup
	for i, p := range probes {
		running.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, probeTimeout)
			defer cancel()
			remarks[i], errs[i] = p.ask(ctx)
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
		for _, remark := range remarks[i] {
			fmt.Fprintf(c.stderr, "%s: %s\n", p.name, remark)
		}
	}
	if errors.Join(errs...) != nil {
		return errors.New("check: not everything can be worked with")
	}
	return nil
}

// errNotAsked is the answer of what there is not yet to ask.
var errNotAsked = errors.New("not checked, the service starts it")

// natsProbe connects and tries what the service will do, without effect.
func natsProbe(c Config, log *slog.Logger) probe {
	if c.NATS.URL == "" {
		return probe{"nats, embedded on " + c.NATS.Embedded.Listen, pings(func(context.Context) error { return errNotAsked })}
	}
	bridgeAlone := len(c.Bridge.Sources) > 0 && len(c.Organizations) == 0
	return probe{"nats", func(ctx context.Context) ([]string, error) {
		if err := c.NATS.checkAccount(); err != nil && !bridgeAlone {
			return nil, err
		}
		conn, err := connect(ctx, c.NATS, c.NATS.URL, log)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if bridgeAlone {
			return nil, nil // it may only publish
		}
		options := preflightOptions(c)
		options.Look = true
		report, err := lookAtNATS(ctx, conn, options)
		if err != nil {
			return nil, err // which holds the warnings
		}
		remarks := report.Notes
		for _, w := range report.Warnings {
			remarks = append(remarks, "warning: "+w)
		}
		return remarks, nil
	}}
}
