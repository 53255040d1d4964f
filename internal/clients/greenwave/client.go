package greenwave

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// maxAnswer bounds an answer in bytes. A requirement takes about 400.
const maxAnswer = 4 << 20

// Options describe one Greenwave and the gate that is asked about.
type Options struct {
	URL            string // such as https://greenwave.example.com
	Context        string // decision context, such as omps_push
	ProductVersion string // such as cvp

	HTTP *clients.Client
}

// Client asks one Greenwave. It is safe for concurrent use.
type Client struct {
	decision, about *url.URL
	context         string
	productVersion  string
	http            *clients.Client
}

// Client serves the pipeline's second stage.
var _ pipeline.Decider = (*Client)(nil)

// New makes a Client. Its errors are about o alone: nothing is asked yet.
func New(o Options) (*Client, error) {
	base, err := clients.ParseURL(o.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("greenwave: %w", err)
	case o.Context == "" || o.ProductVersion == "":
		return nil, errors.New("greenwave: decision context and product version must be set")
	case o.HTTP == nil:
		return nil, errors.New("greenwave: client needs an HTTP client")
	}
	return &Client{
		decision: base.JoinPath("api/v1.0/decision"), about: base.JoinPath("api/v1.0/about"),
		context: o.Context, productVersion: o.ProductVersion, http: o.HTTP,
	}, nil
}

// query is the body of a request for a decision, by Greenwave's docs/decisions.
type query struct {
	Context           string `json:"decision_context"`
	ProductVersion    string `json:"product_version"`
	SubjectType       string `json:"subject_type"`
	SubjectIdentifier string `json:"subject_identifier"`
}

// Decide asks for the decision on the Koji build n. No answer, one that is not
// a decision, and 404, which means that no policy applies, are Transient with
// ReasonGreenwaveUnavailable; refused credentials are ReasonUnauthorized. None
// of them is ever a pass.
func (c *Client) Decide(ctx context.Context, n pipeline.NVR) (pipeline.Decision, error) {
	body, err := json.Marshal(query{
		Context: c.context, ProductVersion: c.productVersion,
		SubjectType: "koji_build", SubjectIdentifier: n.String(),
	})
	if err != nil {
		return pipeline.Decision{}, unusable("decision", err)
	}
	answer, err := c.ask(ctx, http.MethodPost, c.decision, body)
	if err != nil {
		return pipeline.Decision{}, unusable("decision", err)
	}
	d, err := readDecision(answer)
	if err != nil {
		return pipeline.Decision{}, unusable("decision", err)
	}
	return d, nil
}

// Ping asks Greenwave for its version.
func (c *Client) Ping(ctx context.Context) error {
	answer, err := c.ask(ctx, http.MethodGet, c.about, nil)
	if err != nil {
		return unusable("about", err)
	}
	if _, ok := answer["version"].(string); !ok {
		return unusable("about", errors.New("answer names no version"))
	}
	return nil
}

// ask sends one request and reads the JSON object that answers it.
func (c *Client) ask(ctx context.Context, method string, u *url.URL, body []byte) (map[string]any, error) {
	req, err := clients.NewJSONRequest(ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, c.http.StatusError(resp)
	}
	defer resp.Body.Close()
	data, err := clients.ReadBody(resp.Body, maxAnswer)
	if err != nil {
		return nil, err
	}
	var answer map[string]any
	if err := json.Unmarshal(data, &answer); err != nil || answer == nil {
		return nil, errors.New("answer is not a JSON object")
	}
	return answer, nil
}

// unusable marks what kept a usable answer away.
func unusable(what string, err error) error {
	return clients.Unavailable(pipeline.ReasonGreenwaveUnavailable, fmt.Errorf("greenwave %s: %w", what, err))
}
