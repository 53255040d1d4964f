package koji

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Options describe one Koji.
type Options struct {
	HubURL  string // of the XML-RPC hub, such as https://koji.fedoraproject.org/kojihub
	RootURL string // of Koji's topdir, such as https://kojipkgs.fedoraproject.org/

	Hub, Files *clients.Client
}

// Client asks one Koji. It is safe for concurrent use.
type Client struct {
	hubURL, rootURL *url.URL
	hub, files      *clients.Client
	pause           time.Duration // between the pages of a list
}

// Client serves the pipeline's first and third stage.
var (
	_ pipeline.BuildFinder   = (*Client)(nil)
	_ pipeline.ArchiveOpener = (*Client)(nil)
)

// New makes a Client. Its errors are about o alone: nothing is asked yet.
func New(o Options) (*Client, error) {
	if o.Hub == nil || o.Files == nil {
		return nil, errors.New("koji client needs an HTTP client for the hub and one for the files")
	}
	hubURL, err := clients.ParseURL(o.HubURL)
	if err != nil {
		return nil, fmt.Errorf("koji hub: %w", err)
	}
	rootURL, err := clients.ParseURL(o.RootURL)
	if err != nil {
		return nil, fmt.Errorf("koji files: %w", err)
	}
	return &Client{hubURL: hubURL, rootURL: rootURL, hub: o.Hub, files: o.Files, pause: pagePause}, nil
}

// Ping asks the hub for the version of its API, which every hub tells anyone.
func (c *Client) Ping(ctx context.Context) error {
	answer, err := c.call(ctx, "getAPIVersion")
	if err != nil {
		return err
	}
	if _, ok := answer.(int64); !ok {
		return unusable("getAPIVersion", errors.New("answer is not a number"))
	}
	return nil
}

// PingFiles tells whether a server answers at the root of the files. What it
// says does not matter, since a root need not be shown, unless it says that the
// server itself is at fault: 500 and above.
func (c *Client) PingFiles(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, c.rootURL.String(), http.NoBody)
	if err != nil {
		return errors.New("koji files: address cannot be asked for")
	}
	resp, err := c.files.RoundTripper().RoundTrip(req) // which follows no redirect
	if err != nil {
		return unusable("files", err)
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return unusable("files", c.files.StatusError(resp))
	}
	return resp.Body.Close()
}

// FindBuild reads a build by id, or by NVR when id is 0. A build that the hub
// does not know is Transient with ReasonBuildNotFound; what else keeps the
// answer away is Transient with ReasonKojiUnavailable or ReasonUnauthorized.
func (c *Client) FindBuild(ctx context.Context, id int64, nvr pipeline.NVR) (pipeline.HubBuild, error) {
	const method = "getBuild"
	var build any = id
	if id == 0 {
		build = nvr.String()
	}
	answer, err := c.call(ctx, method, build)
	if err != nil {
		return pipeline.HubBuild{}, err
	}
	if answer == nil {
		return pipeline.HubBuild{}, pipeline.Retry(pipeline.ReasonBuildNotFound,
			fmt.Errorf("koji %s: the hub has no build %v", method, build))
	}
	found, err := readBuild(answer)
	if err == nil && id != 0 && found.ID != id {
		err = fmt.Errorf("answer is build %d, not %d", found.ID, id)
	}
	if err != nil {
		return pipeline.HubBuild{}, unusable(method, err)
	}
	return found, nil
}

// readBuild takes from getBuild's answer what the pipeline needs. What names
// the build and its state must be there; of the rest, whose shape its builder
// chooses, a value of another type than expected counts as absent.
func readBuild(answer any) (pipeline.HubBuild, error) { return readBuildAs(answer, "id") }

// readBuildAs is readBuild for an answer that has the id under another key.
func readBuildAs(answer any, key string) (pipeline.HubBuild, error) {
	fields, ok := answer.(map[string]any)
	if !ok {
		return pipeline.HubBuild{}, errors.New("answer is not a struct")
	}
	id, ok := number(fields, key)
	if !ok || id <= 0 {
		return pipeline.HubBuild{}, errors.New("build has no id")
	}
	nvr := pipeline.NVR{Name: text(fields, "name"), Version: text(fields, "version"), Release: text(fields, "release")}
	if err := nvr.Validate(); err != nil {
		return pipeline.HubBuild{}, fmt.Errorf("build %d: %w", id, err)
	}
	state, err := readState(fields)
	if err != nil {
		return pipeline.HubBuild{}, fmt.Errorf("build %s: %w", nvr, err)
	}
	extra := within(fields, "extra")
	return pipeline.HubBuild{
		ID: id, NVR: nvr, State: state,
		Draft:            flag(fields, "draft"),
		Volume:           text(fields, "volume_name"),
		ManifestsArchive: text(within(within(extra, "typeinfo"), manifestsType), "archive"),
		LogArchive:       text(extra, "operator_manifests_archive"),
		Subtypes:         texts(within(extra, "osbs_build"), "subtypes"),
	}, nil
}

// readState refuses a state that Koji does not have: the pipeline takes an
// unknown state for one that it may still find out.
func readState(fields map[string]any) (pipeline.BuildState, error) {
	state, ok := number(fields, "state")
	if !ok || state < int64(pipeline.StateBuilding) || state > int64(pipeline.StateCanceled) {
		return pipeline.StateUnknown, errors.New("state is not one of Koji's")
	}
	return pipeline.BuildState(state), nil
}
