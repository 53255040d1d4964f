package koji

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/kolo/xmlrpc"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

const (
	maxAnswer  = 16 << 20 // bytes; a build's extra may hold megabytes
	maxMessage = 300      // bytes of a fault's message
)

// call asks the hub. The answer is made of nil, bool, int64, float64, string,
// []any and map[string]any; an empty string comes as nil, a date as it is
// written. An error is a *Fault, or is Transient with ReasonKojiUnavailable or
// ReasonUnauthorized.
func (c *Client) call(ctx context.Context, method string, args ...any) (any, error) {
	if args == nil {
		args = []any{} // for nil the codec leaves out <params>
	}
	body, err := xmlrpc.EncodeMethodCall(method, args...)
	if err != nil {
		return nil, unusable(method, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.hubURL.String(), bytes.NewReader(body))
	if err != nil {
		return nil, unusable(method, errors.New("address cannot be asked for"))
	}
	req.Header.Set("Content-Type", "text/xml")

	resp, err := c.hub.Do(req)
	if err != nil {
		return nil, unusable(method, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, unusable(method, c.hub.StatusError(resp))
	}
	defer resp.Body.Close()
	data, err := clients.ReadBody(resp.Body, maxAnswer)
	if err != nil {
		return nil, unusable(method, err)
	}
	answer, err := decode(data)
	if fault := (*Fault)(nil); errors.As(err, &fault) {
		return nil, fmt.Errorf("koji %s: %w", method, fault)
	}
	if err != nil {
		return nil, unusable(method, err)
	}
	return answer, nil
}

// unusable marks what kept a usable answer away.
func unusable(what string, err error) error {
	return clients.Unavailable(pipeline.ReasonKojiUnavailable, fmt.Errorf("koji %s: %w", what, err))
}
