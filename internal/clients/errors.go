package clients

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// CallError is a request that got no answer.
type CallError struct {
	Client, Method string
	URL            string // without userinfo, query and fragment
	Err            error
}

func (e *CallError) Error() string {
	return e.Method + " " + e.URL + ": " + OneLine(e.Err.Error(), maxText)
}
func (e *CallError) Unwrap() error { return e.Err }

func (c *Client) callError(req *http.Request, err error) error {
	return &CallError{Client: c.name, Method: req.Method, URL: redact(req.URL), Err: inner(err)}
}

// StatusError is an answer with a status that the client did not ask for. It
// is Transient: who knows better what a status means wraps it.
type StatusError struct {
	Client, Method string
	URL            string // without userinfo, query and fragment
	Code           int
	Message        string        // what the server says of it: one printable, bounded line; may be empty
	RetryAfter     time.Duration // what the server asks for, at most 15 minutes; 0: nothing
}

// StatusError makes an error of an answer and closes its body. The message is
// taken from a JSON object as Greenwave's and Quay's servers send it, or from
// plain text, which Koji's hub sends; markup is left out.
func (c *Client) StatusError(resp *http.Response) *StatusError {
	return &StatusError{
		Client: c.name, Method: resp.Request.Method, URL: redact(resp.Request.URL), Code: resp.StatusCode,
		Message: Told(readMessage(resp), resp.Request), RetryAfter: retryAfter(resp.Header, time.Now()),
	}
}

func (e *StatusError) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Code, http.StatusText(e.Code)))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Class is Transient for every status.
func (e *StatusError) Class() pipeline.Class { return pipeline.Transient }

// Reason is ReasonUnauthorized where the server refuses our credentials, else
// empty: the same status means different things to different clients.
func (e *StatusError) Reason() pipeline.Reason {
	if e.Code == http.StatusUnauthorized || e.Code == http.StatusForbidden {
		return pipeline.ReasonUnauthorized
	}
	return ""
}

// Unavailable marks err as Transient with reason. Where it holds a StatusError,
// refused credentials count as ReasonUnauthorized, and the server's Retry-After
// becomes the time to wait.
func Unavailable(reason pipeline.Reason, err error) error {
	var status *StatusError
	if !errors.As(err, &status) {
		return pipeline.Retry(reason, err)
	}
	if r := status.Reason(); r != "" {
		reason = r
	}
	return pipeline.RetryAfter(reason, status.RetryAfter, err)
}
