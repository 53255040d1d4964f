package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	// listedBuilds is how many builds status shows unless told otherwise.
	listedBuilds = 50
	// countedBuilds is how large a ledger is that status reads to its end, if
	// nobody asks for more than its newest entries.
	countedBuilds = 1000
	// statusTimeout bounds reading the ledger: a million builds take half a
	// minute.
	statusTimeout = 5 * time.Minute
)

// statusFlags are those of the command.
type statusFlags struct {
	bus           busFlags
	organizations []string
	states        []string
	reasons       []string
	limit         int
	json          bool
}

// statusCommand reads the ledger and nothing else. In NATS, with LEDGER for the
// bucket, that takes the rights to publish to
//
//	$JS.API.STREAM.INFO.KV_LEDGER
//	$JS.API.DIRECT.GET.KV_LEDGER
//	$JS.API.CONSUMER.CREATE.KV_LEDGER.>
//	$JS.API.CONSUMER.DELETE.KV_LEDGER.>
//	$JS.FC.KV_LEDGER.>
//
// and to subscribe to _INBOX.>: it reads through a consumer of its own, and
// deletes that behind it.
func (c *cli) statusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [NVR]",
		Short: "Show what became of each build",
		Long: `status shows what the ledger holds: for each build and organization how far it
has come, the newest change first. Of more than a thousand builds it reads only
those that it shows, unless a filter or --limit 0 makes it read all, and then
counts those in each state too. With an NVR it shows everything about that build.`,
		Example: `  consumer status -c config.yaml --state waiting,failed
  consumer status -c config.yaml etcd-container-1.0-1`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if len(args) == 0 {
				return c.status(cmd.Context(), f, c.listBuilds)
			}
			if _, err := pipeline.ParseNVR(args[0]); err != nil {
				return &usageError{err}
			}
			return c.status(cmd.Context(), f, func(ctx context.Context, l *events.Ledger, f statusFlags) error {
				return c.showBuild(ctx, l, f, args[0])
			})
		},
	}
	f.bus.add(cmd)
	cmd.Flags().StringSliceVar(&f.organizations, "organization", nil, "only these")
	cmd.Flags().StringSliceVar(&f.states, "state", nil, "only these: "+stateNames())
	cmd.Flags().StringSliceVar(&f.reasons, "reason", nil, "only these, such as quay-unavailable")
	cmd.Flags().IntVar(&f.limit, "limit", listedBuilds, "without an NVR: at most so many; 0: all")
	cmd.Flags().BoolVar(&f.json, "json", false, "one JSON object a line")
	return cmd
}

func stateNames() string {
	var names []string
	for _, s := range events.States() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

func (f statusFlags) check() error {
	for _, state := range f.states {
		if !slices.Contains(events.States(), events.State(state)) {
			return usagef("--state %q is none of %s", state, stateNames())
		}
	}
	for _, reason := range f.reasons {
		if !slices.Contains(pipeline.Reasons(), pipeline.Reason(reason)) {
			return usagef("--reason %q is no reason", reason)
		}
	}
	if f.limit < 0 {
		return usagef("--limit is below 0")
	}
	return nil
}

// takes tells whether an entry is asked for.
func (f statusFlags) takes(e events.Entry) bool {
	among := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
	return among(f.organizations, e.Organization) && among(f.states, string(e.State)) && among(f.reasons, string(e.Reason))
}

// status connects for what show does.
func (c *cli) status(ctx context.Context, f statusFlags, show func(context.Context, *events.Ledger, statusFlags) error) error {
	b, err := c.connectBus(ctx, f.bus)
	if err != nil {
		return err
	}
	defer b.close()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return explained(show(ctx, events.NewLedger(b.js, b.names.Ledger), f))
}

// filtered tells whether only some entries are asked for.
func (f statusFlags) filtered() bool {
	return f.organizations != nil || f.states != nil || f.reasons != nil
}

// entries reads what is asked for, of one build or, with an empty NVR, of all.
func (f statusFlags) entries(ctx context.Context, l *events.Ledger, nvr string, each func(events.Entry)) error {
	organization := ""
	if len(f.organizations) == 1 {
		organization = f.organizations[0]
	}
	return l.List(ctx, organization, nvr, func(e events.Entry) bool {
		if f.takes(e) {
			each(e)
		}
		return true
	})
}

// listBuilds shows the newest entries. It counts states only where it has to
// read them all.
func (c *cli) listBuilds(ctx context.Context, l *events.Ledger, f statusFlags) error {
	all, err := l.Count(ctx)
	if err != nil {
		return err
	}
	list := newestEntries{limit: f.limit}
	if all > countedBuilds && f.limit > 0 && f.limit <= countedBuilds && !f.filtered() {
		if list.list, err = l.Newest(ctx, f.limit); err != nil {
			return err
		}
		if len(list.list) == f.limit {
			return c.printList(list.sorted(), int(all), fmt.Sprintf("%d in all", all), f.json)
		}
		list.list = nil // the last writes were of fewer builds
	}
	totals := make(map[events.State]int)
	err = f.entries(ctx, l, "", func(e events.Entry) {
		totals[e.State]++
		list.add(e)
	})
	if err != nil {
		return err
	}
	return c.printList(list.sorted(), list.seen, totalsLine(totals), f.json)
}

// printList prints entries out of so many, and the sum of these.
func (c *cli) printList(shown []events.Entry, all int, sum string, asJSON bool) (err error) {
	if asJSON {
		err = c.printEntries(shown)
	} else {
		err = printStatus(c.stdout, shown, sum)
	}
	if err != nil {
		return err
	}
	if more := all - len(shown); more > 0 {
		fmt.Fprintf(c.stderr, "there are %d more: --limit 0 shows all\n", more)
	}
	return nil
}

func (c *cli) showBuild(ctx context.Context, l *events.Ledger, f statusFlags, nvr string) error {
	var all newestEntries
	if err := f.entries(ctx, l, nvr, all.add); err != nil {
		return err
	}
	shown := all.sorted()
	switch {
	case len(shown) == 0 && f.filtered():
		return fmt.Errorf("the ledger knows nothing like this of %s", nvr)
	case len(shown) == 0:
		return fmt.Errorf("the ledger knows nothing of %s: it was not announced, no organization wants it, or that is long ago", nvr)
	case f.json:
		return c.printEntries(shown)
	}
	for i, e := range shown {
		if i > 0 {
			fmt.Fprintln(c.stdout)
		}
		if err := printEntry(c.stdout, e); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) printEntries(entries []events.Entry) error {
	for _, e := range entries {
		if err := writeJSON(c.stdout, e); err != nil {
			return err
		}
	}
	return nil
}

// newestEntries keeps the entries that changed last.
type newestEntries struct {
	limit int // 0: all
	seen  int
	list  []events.Entry
}

// add takes e in. Of a large ledger few entries are kept at a time.
func (n *newestEntries) add(e events.Entry) {
	n.seen++
	n.list = append(n.list, e)
	if n.limit > 0 && len(n.list) >= 2*n.limit+1000 {
		n.list = n.sorted()
	}
}

func (n *newestEntries) sorted() []events.Entry {
	slices.SortFunc(n.list, func(a, b events.Entry) int {
		if c := b.Last.Compare(a.Last); c != 0 {
			return c
		}
		return strings.Compare(a.NVR+" "+a.Organization, b.NVR+" "+b.Organization)
	})
	if n.limit > 0 && len(n.list) > n.limit {
		clear(n.list[n.limit:])
		return n.list[:n.limit]
	}
	return n.list
}
