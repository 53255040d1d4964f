package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// reconcileFlags are those of the command.
type reconcileFlags struct {
	bus           busFlags
	since, until  timeFlag
	organizations []string
	pkg           string
	failed, lost  bool
	registry      bool
	publish       bool
	json          bool
}

// reconcileCommand needs, in NATS, with LEDGER for the bucket, KOJI for the stream
// and omps for the durable, the rights to publish to
//
//	$JS.API.STREAM.INFO.KV_LEDGER
//	$JS.API.DIRECT.GET.KV_LEDGER.>
//	$JS.API.CONSUMER.INFO.KOJI.omps  to say what the service has yet to read
//	koji.build.completed.*           with --publish
//
// and to subscribe to _INBOX.>.
func (c *cli) reconcileCommand() *cobra.Command {
	f := reconcileFlags{registry: true}
	cmd := &cobra.Command{
		Use:   "reconcile -c FILE [--since 7d] [--publish]",
		Short: "Find builds whose announcement was lost, and announce them",
		Long: `reconcile asks the Koji hub for the builds with operator manifests that were
completed, and the ledger what became of those that an organization wants. Of
what the ledger does not know it looks at the registry. It prints what is missing
and changes nothing, unless --publish announces it, in the order of completion.

Missing is a build that is
  never-seen     neither in the ledger nor at the registry
  not-in-ledger  not in the ledger, and the registry was not asked or cannot tell
  stalled        in hand by the ledger, and untouched for longer than max_age
  ledger-lost    at the registry but not in the ledger; announced with --ledger-lost
  failed         failed, with --retry-failed
What waits, is tried again, is published or was rejected is not. An announcement
too many does no harm. The exit code is 0 whether anything is missing or not.`,
		Example: `  consumer reconcile -c config.yaml --since 7d
  consumer reconcile -c config.yaml --since 2026-11-01 --until 2026-11-03 --package 'etcd-*' --publish`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.reconcile(cmd.Context(), f) },
	}
	f.bus.add(cmd)
	_ = cmd.MarkPersistentFlagRequired("config")
	cmd.Flags().Var(&f.since, "since", "completed so long ago at most, such as 7d or 36h, or since 2026-11-01[T12:00:00Z] (default: reconcile.since)")
	cmd.Flags().Var(&f.until, "until", "and so long ago at least, or before that time (default: reconcile.grace)")
	cmd.Flags().StringSliceVar(&f.organizations, "organization", nil, "only what is missing for these")
	cmd.Flags().StringVar(&f.pkg, "package", "", "only Koji packages like this; * and ? stand for anything")
	cmd.Flags().BoolVar(&f.failed, "retry-failed", false, "what has failed is missing too")
	cmd.Flags().BoolVar(&f.lost, "ledger-lost", false, "with --publish: announce also what only the ledger lacks, which records it again")
	cmd.Flags().BoolVar(&f.registry, "registry", true, "look at the registry; without, no secret of an organization is read")
	cmd.Flags().BoolVar(&f.publish, "publish", false, "announce what is missing")
	cmd.Flags().BoolVar(&f.json, "json", false, "one JSON object a build")
	return cmd
}

func (c *cli) reconcile(ctx context.Context, f reconcileFlags) error {
	if _, err := path.Match(f.pkg, ""); err != nil {
		return usagef("--package %q is no pattern: %w", f.pkg, err)
	}
	config, err := loadReconcileConfig(f, c.getenv)
	if err != nil {
		return err
	}
	window, err := f.window(config.Reconcile, time.Now())
	if err != nil {
		return err
	}
	b, err := c.connectBus(ctx, f.bus)
	if err != nil {
		return err
	}
	defer b.close()
	compare, err := f.comparison(config, b)
	if err != nil {
		return err
	}
	announcer := newAnnouncer(config, b.names, b.js)
	c.sayBacklog(ctx, announcer, b.names.Durable)

	// All is known before anything is announced: a hub that fails midway has
	// nothing announced, and what was found is shown.
	report := reconcileReport{flags: f, window: window}
	report.counts, err = compare.Run(ctx, window, func(one pipeline.Found) error {
		report.found = append(report.found, one)
		return nil
	})
	if err != nil {
		return errors.Join(report.printFound(c), fmt.Errorf("the comparison did not come to its end, nothing was announced: %w", explained(err)))
	}
	if f.publish {
		report.announce(ctx, announcer)
	}
	return errors.Join(report.print(c), report.failure())
}

// sayBacklog warns of what the service has not read yet: some of what is missing
// may be in there.
func (c *cli) sayBacklog(ctx context.Context, a events.Announcer, durable string) {
	if waiting, err := a.Backlog(ctx, durable); err == nil && waiting > 0 {
		fmt.Fprintf(c.stderr, "the service has yet to read %d messages about builds: what seems to be missing may be among them\n", waiting)
	}
}

// window is the time to look at. A build that was completed just now is left to
// the bus, unless --until says otherwise.
func (f reconcileFlags) window(c ReconcileConfig, now time.Time) (pipeline.Window, error) {
	w := pipeline.Window{From: now.Add(-c.Since), To: now.Add(-c.Grace)}
	if f.since != (timeFlag{}) {
		w.From = f.since.before(now)
	}
	if f.until != (timeFlag{}) {
		w.To = f.until.before(now)
	}
	switch {
	case !w.From.Before(w.To):
		return w, usagef("nothing lies between --since, which is %s, and --until, which is %s", shortTime(w.From), shortTime(w.To))
	case now.Sub(w.From) > maxSince:
		return w, usagef("--since is more than %s ago: the ledger forgets what is older, and all of it would seem to be missing", formatDuration(maxSince))
	}
	return w, nil
}

// loadReconcileConfig reads a configuration, and of the files that it names those
// that a comparison needs: the secrets of the organizations only where the registry
// is looked at.
func loadReconcileConfig(f reconcileFlags, getenv func(string) string) (Config, error) {
	config, faults, err := checkedConfig(f.bus.config)
	if err != nil {
		return Config{}, err
	}
	for name, org := range config.Organizations {
		if !f.registry {
			org.PushUsername, org.PushPassword, org.AppRegistryToken = "", SecretFile{}, SecretFile{}
		}
		org.Public, org.OAuthToken = false, SecretFile{} // nothing is made public
		config.Organizations[name] = org
	}
	config.Bridge, config.Tracing = BridgeConfig{}, TracingConfig{}
	config.readFiles(faults, getenv)
	if err := faults.err(); err != nil {
		return Config{}, err
	}
	for _, name := range f.organizations {
		if _, ok := config.Organizations[name]; !ok {
			return Config{}, usagef("--organization %s is not configured in %s: %s", name, f.bus.config, keyHint(name, config.names()))
		}
	}
	return config, nil
}

// comparison is that of the command's flags.
func (f reconcileFlags) comparison(c Config, b bus) (pipeline.Reconciliation, error) {
	registry := prometheus.NewRegistry() // nobody reads it
	out, err := newOutside(c, registry, slog.New(slog.DiscardHandler))
	if err != nil {
		return pipeline.Reconciliation{}, err
	}
	var targets map[string]target
	if f.registry {
		if targets, err = out.targets(c, nil); err != nil {
			return pipeline.Reconciliation{}, err
		}
	}
	compare := newReconciliation(c, out, out.pipeline(c, targets, nil, nil, registry), targets, events.NewLedger(b.js, b.names.Ledger))
	compare.Failed = f.failed
	if len(f.organizations) > 0 {
		compare.Lookup.Organizations = slices.DeleteFunc(compare.Lookup.Organizations, func(o pipeline.Organization) bool {
			return !slices.Contains(f.organizations, o.Name)
		})
	}
	if f.pkg != "" {
		compare.Takes = func(name string) bool { ok, _ := path.Match(f.pkg, name); return ok }
	}
	return compare, nil
}

// newReconciliation is the comparison of hub, ledger and, where there are targets,
// registries, with the stages of a line.
func newReconciliation(c Config, out outside, line *pipeline.Pipeline, targets map[string]target, ledger *events.Ledger) pipeline.Reconciliation {
	holders := make(map[string]pipeline.Holder, len(targets))
	for name, t := range targets {
		holders[name] = t
	}
	return pipeline.Reconciliation{
		Builds: out.koji, Lookup: line.Lookup, Ledger: ledger,
		Fetch: line.Fetch, Prepare: line.Prepare, Holders: holders,
		MaxAge: c.Intake.MaxAge, Now: time.Now,
	}
}

// newAnnouncer announces builds in the name of the configured hub.
func newAnnouncer(c Config, names events.Names, js jetstream.JetStream) events.Announcer {
	return events.NewAnnouncer(events.AnnouncerOptions{JetStream: js, Stream: names.Koji, Source: hubSource(c.Koji.HubURL)})
}

// hubSource is the source of an event that comes from a hub: its address without
// anything secret.
func hubSource(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "/kojihub" // a checked configuration has none such
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
