package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

const (
	// onceTimeout bounds how long sandbox --once waits for its result.
	onceTimeout = time.Minute
	// maxSandboxArchive is above the default limit, so that going over it can
	// be tried out.
	maxSandboxArchive = 64 << 20

	sandboxOrganization = "myorg"
)

// sandboxOptions are the flags of the command.
type sandboxOptions struct {
	once       bool
	archive    string
	gate       string
	target     string
	natsListen string
}

func (c *cli) sandboxCommand() *cobra.Command {
	var o sandboxOptions
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run everything on this machine and publish a sample build",
		Long: `sandbox starts a NATS server, stand-ins for the Koji hub, its files and
Greenwave, and a real OCI registry that is an app registry too, all on this
machine and gone when it ends. It runs the service on them and announces one
sample build. Result events go to stdout, one JSON a line, logs to stderr. It
stays up for more events unless --once is given; then it exits with 0 only when
the build was published.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.sandbox(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.once, "once", false, "end with the first result")
	cmd.Flags().StringVar(&o.archive, "archive", "", "zip file to use as the sample build's operator manifests")
	cmd.Flags().StringVar(&o.gate, "gate", string(sandbox.GatePassed), "what Greenwave says: passed, missing or failed")
	cmd.Flags().StringVar(&o.target, "target", string(pipeline.TargetOCI), "what is published: oci, bundle images, or app-registry, releases")
	cmd.Flags().StringVar(&o.natsListen, "nats-listen", "127.0.0.1:0", "address of the NATS server; port 0 takes a free one")
	return cmd
}

func (c *cli) sandbox(ctx context.Context, o sandboxOptions) error {
	options := sandbox.Options{Gate: sandbox.Gate(o.gate)}
	switch options.Gate {
	case sandbox.GatePassed, sandbox.GateMissing, sandbox.GateFailed:
	default:
		return usagef("--gate is passed, missing or failed, not %q", o.gate)
	}
	if _, err := targetOf(o.target); err != nil {
		return err
	}
	if o.archive != "" {
		var err error
		if options.Archive, err = readArchiveFile(o.archive); err != nil {
			return &usageError{err}
		}
	}
	world, err := sandbox.Start(options)
	if err != nil {
		return err
	}
	defer world.Close()
	store, err := os.MkdirTemp("", "omps-consumer-sandbox-")
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	defer os.RemoveAll(store)
	config, err := sandboxConfig(world, o, store)
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	up := make(chan endpoints, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return serve(ctx, config, newLogger(config.Log, c.stderr), func(e endpoints) { up <- e })
	})
	group.Go(func() error {
		defer stop()
		select {
		case at := <-up:
			if !o.once {
				c.explainSandbox(world, pipeline.TargetKind(o.target), at)
			}
			return c.showResults(ctx, at.NATS, o.once)
		case <-ctx.Done():
			return nil
		}
	})
	return group.Wait()
}

func readArchiveFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSandboxArchive+1))
	if err == nil && len(data) > maxSandboxArchive {
		err = fmt.Errorf("%s has more than %d bytes", name, maxSandboxArchive)
	}
	return data, err
}

// sandboxConfig is a configuration as a user would write it for the stand-ins.
func sandboxConfig(w *sandbox.World, o sandboxOptions, store string) (Config, error) {
	yaml := fmt.Sprintf(`
nats: {embedded: {listen: %q, store_dir: %q}}
intake: {recheck: 5s, grace: 5s}
koji: {hub_url: %q, root_url: %q}
greenwave: {url: %q, context: omps_push, product_version: cvp}
quay: {registry: %q, url: %q, plain_http: true}
ops: {listen: "127.0.0.1:0"}
log: {format: text}
results: {source: /omps-consumer/sandbox}
organizations:
  %s:
    match: ["*"]
    target: %s
    replace_registry: [{old: quay.io, new: registry.example.com}]
`, o.natsListen, store, w.HubURL(), w.FilesURL(), w.GreenwaveURL(), w.RegistryHost(), w.RegistryURL(), sandboxOrganization, o.target)
	return ParseConfig("sandbox.yaml", []byte(yaml), func(string) string { return "" })
}

// explainSandbox tells on stderr what there is and how to go on.
func (c *cli) explainSandbox(w *sandbox.World, target pipeline.TargetKind, at endpoints) {
	fmt.Fprintf(c.stderr, `
The sandbox is up. Result events are on stdout; Ctrl-C ends it.

  NATS       %[1]s
  Koji hub   %[2]s, files at %[12]s
  Greenwave  %[3]s, for context omps_push and product version cvp
  registry   %[4]s
  status     %[5]s/, metrics at %[5]s/metrics

Announce another build (it updates the sample operator to 1.1.0):

  nats --server %[1]s pub %[6]s '{"specversion":"1.0","id":"by-hand-1","source":"/me","type":"%[7]s","data":{"nvr":"%[8]s"}}'

Other builds there: %[9]s (the gate refuses it), %[10]s (the gate waits for a
test), %[11]s (no operator in it). Watch the results elsewhere:

  nats --server %[1]s sub 'omps.result.>'

`, at.NATS, w.HubURL(), w.GreenwaveURL(), explainTarget(w, target), at.Ops,
		events.SubjectBuildCompleted, events.TypeBuildCompleted, sandbox.UpdateNVR,
		sandbox.RejectedNVR, sandbox.WaitingNVR, sandbox.PlainNVR, w.FilesURL())
}

// explainTarget tells where the published is to be seen.
func explainTarget(w *sandbox.World, target pipeline.TargetKind) string {
	if target == pipeline.TargetAppRegistry {
		return fmt.Sprintf(`%[1]s, an app registry as Quay had it up to 3.8; see the releases with
             curl -s %[1]s/cnr/api/v1/packages/%[2]s/%[3]s
             curl -s %[1]s/cnr/api/v1/packages/%[2]s/%[3]s/1.0.0/helm/pull | tar tz`,
			w.RegistryURL(), sandboxOrganization, sandbox.SampleOperator)
	}
	return fmt.Sprintf("%[1]s, plain HTTP; images lie in %[1]s/%[2]s/…", w.RegistryHost(), sandboxOrganization)
}

// showResults announces the sample build and prints result events until ctx
// ends, or with once until the first. Then an outcome other than published is
// an error.
func (c *cli) showResults(ctx context.Context, url string, once bool) error {
	conn, err := nats.Connect(url)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	results, err := js.OrderedConsumer(ctx, events.DefaultNames().Results, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if err := announceSample(ctx, conn); err != nil {
		return fmt.Errorf("sandbox: announce the sample build: %w", err)
	}
	if once {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, onceTimeout)
		defer cancel()
	}
	for {
		msg, err := results.Next(jetstream.FetchContext(ctx))
		switch {
		case ctx.Err() != nil && once:
			return fmt.Errorf("sandbox: no result: %w", ctx.Err())
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nats.ErrTimeout): // nothing came for a while
			continue
		case err != nil:
			return fmt.Errorf("sandbox: read results: %w", err)
		}
		eventType, err := c.printResult(msg)
		if err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
		if once && eventType != events.TypePublished {
			return fmt.Errorf("sandbox: the sample build was not published: %s", msg.Subject())
		}
		if once {
			return nil
		}
	}
}

func announceSample(ctx context.Context, conn *nats.Conn) error {
	e, subject, err := events.NewBuildEvent(events.BuildEvent{
		NVR: sandbox.SampleNVR, Source: "/omps-consumer/sandbox", ID: rand.Text(), Time: time.Now(),
	})
	if err != nil {
		return err
	}
	header, data, err := events.EncodeStructured(e)
	if err != nil {
		return err
	}
	_, err = send(ctx, conn, &nats.Msg{Subject: subject, Header: header, Data: data}, e.ID())
	return err
}

// printResult prints a result event as one line of JSON and returns its type.
func (c *cli) printResult(msg jetstream.Msg) (string, error) {
	e, err := events.Decode(msg.Subject(), msg.Headers(), msg.Data())
	if err != nil {
		return "", err
	}
	line, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	_, err = c.stdout.Write(append(line, '\n'))
	return e.Type(), err
}
