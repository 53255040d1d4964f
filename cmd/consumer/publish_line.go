package main

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients/quay"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// publishLine is the pipeline of a service with the one organization, whose
// archives are files here. It ends in the registry, a folder or, for a dry run,
// nowhere.
func (c *cli) publishLine(config Config, f publishFlags, source pipeline.ObjectOpener, plan *planner) (*pipeline.Pipeline, error) {
	line := &pipeline.Pipeline{
		Lookup: pipeline.Lookup{Organizations: config.PipelineOrganizations()},
		Fetch:  pipeline.Fetch{Objects: source, Limits: config.PipelineLimits()},
		Push:   pipeline.Push{Pushers: map[string]pipeline.Pusher{f.organization: plan}},
		Now:    time.Now,
	}
	if !f.dryRun {
		var err error
		if line, err = c.outsideLine(config, f, source, plan); err != nil {
			return nil, err
		}
	}
	for i := range line.Lookup.Organizations {
		org := &line.Lookup.Organizations[i]
		org.AcceptArchives = true // of a push that is checked already
		if f.dryRun {
			org.PinDigests = false // registries would have to be asked
		}
	}
	return line, nil
}

// outsideLine is the pipeline of the service, without its ledger and leases.
func (c *cli) outsideLine(config Config, f publishFlags, source pipeline.ObjectOpener, plan *planner) (*pipeline.Pipeline, error) {
	registry := newRegistry()
	out, err := newOutside(config, registry, slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return nil, err
	}
	if f.to != "" {
		line := out.pipeline(config, nil, source, nil, registry)
		line.Push.Pushers[f.organization] = folderPusher{planner: plan, dir: f.to}
		return line, nil
	}
	targets, err := out.targets(config, nil)
	if err != nil {
		return nil, err
	}
	return out.pipeline(config, targets, source, nil, registry), nil
}

// loadPublishConfig checks a whole configuration, and keeps of it what the
// command needs: one organization, whose secrets are read only for a push. NATS
// is not used.
func loadPublishConfig(f publishFlags, getenv func(string) string) (Config, error) {
	config, faults, err := checkedConfig(f.config)
	if err != nil {
		return Config{}, err
	}
	if err := faults.err(); err != nil {
		return Config{}, err
	}
	org, ok := config.Organizations[f.organization]
	if !ok {
		return Config{}, usagef("--organization %s is not configured in %s: %s", f.organization, f.config,
			keyHint(f.organization, slices.Sorted(maps.Keys(config.Organizations))))
	}
	if f.publishing() && !org.AcceptArchives {
		return Config{}, usagef("organization %s takes no archives by hand, which no gate has seen: set accept_archives: true for it in %s, or use --dry-run or --to DIR",
			f.organization, f.config)
	}
	if !f.publishing() {
		org.OAuthToken, org.AppRegistryToken = SecretFile{}, SecretFile{}
		org.PushUsername, org.PushPassword = "", SecretFile{}
	}
	if f.dryRun {
		config.TLS.CAFiles = nil
	}
	config.Organizations = map[string]OrganizationConfig{f.organization: org}
	config.NATS, config.Bridge, config.Tracing = DefaultConfig().NATS, BridgeConfig{}, TracingConfig{}
	config.readFiles(faults, getenv)
	return config, faults.err()
}

// planner stands where a registry would, and says what that would say.
type planner struct {
	registry string
	unpinned []string // images without a digest, once there was a push
}

var _ pipeline.Pusher = (*planner)(nil)

// Push is what a push of r would come to if nothing were there yet.
func (p *planner) Push(_ context.Context, r pipeline.Release) (pipeline.Publication, error) {
	p.unpinned = r.Unpinned()
	if app := r.Application; app != nil {
		content, err := quay.ContentOf(app)
		if err != nil {
			return pipeline.Publication{}, err
		}
		return pipeline.Publication{Release: &pipeline.PushedRelease{
			Version: app.Version, Repository: app.Repository, Digest: content.Digest,
		}}, nil
	}
	bundles, err := quay.Plan(p.registry, r)
	return pipeline.Publication{Bundles: bundles}, err
}

// folderPusher stands where a registry would, and puts into a new folder what
// would go there: an image layout, or the content of a release as
// REPOSITORY-VERSION.tar.gz, or REPOSITORY.tar.gz where no version was asked for.
type folderPusher struct {
	*planner
	dir string
}

// Push writes all of r or, on an error, nothing.
func (p folderPusher) Push(ctx context.Context, r pipeline.Release) (pipeline.Publication, error) {
	done, err := p.planner.Push(ctx, r)
	if err != nil {
		return pipeline.Publication{}, err
	}
	err = writeNewFolder(p.dir, func(dir string) error {
		if r.Application != nil {
			return writeContent(dir, r.Application)
		}
		return quay.WriteLayout(ctx, dir, r)
	})
	if err != nil {
		return pipeline.Publication{}, err
	}
	return done, nil
}

func writeContent(dir string, app *pipeline.Application) error {
	content, err := quay.ContentOf(app)
	if err != nil {
		return err
	}
	name := path.Base(app.Repository)
	if app.Version != "" {
		name += "-" + app.Version
	}
	if err := os.Mkdir(dir, 0o777); err != nil { //nolint:gosec // as every folder that somebody makes: the umask decides
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".tar.gz"), content.Archive, 0o666) //nolint:gosec // as above
}
