package quay

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// Bounds of what is read and repeated of a registry's error.
const (
	maxErrorBody = 64 << 10
	maxText      = 300
)

// refusal is an answer of a registry other than the one asked for.
type refusal struct {
	*clients.StatusError
	rules     rulebook // that are to judge it
	write     bool     // it was asked to change something
	password  bool     // it was sent our password, not a token or nothing
	codes     []string // of the distribution specification or the app registry, and Quay's own
	readOnly  bool     // Quay is under maintenance
	ofRelease bool     // it is about one release of an application
	hint      string   // what may be the matter
}

func (r *refusal) Error() string {
	if r.hint == "" {
		return r.StatusError.Error()
	}
	return r.StatusError.Error() + ": " + r.hint
}

// Unwrap gives the status to those who look for that alone.
func (r *refusal) Unwrap() error { return r.StatusError }

func (r *refusal) has(code string) bool { return slices.Contains(r.codes, code) }

// registryErrors is the body of an error by the distribution specification,
// with what Quay's endpoints/v2/errors.py adds.
type registryErrors struct {
	Errors []struct {
		Code     string          `json:"code"`
		Message  string          `json:"message"`
		Detail   json.RawMessage `json:"detail"`
		ReadOnly bool            `json:"is_readonly"`
	} `json:"errors"`
}

// refused makes a refusal of resp and closes its body.
func (w *wire) refused(req *http.Request, resp *http.Response) *refusal {
	text := w.blank(readError(resp), req)
	resp.Body = io.NopCloser(strings.NewReader(text))
	r := &refusal{StatusError: w.client.StatusError(resp), rules: ociRules, write: isWrite(req), password: hasPassword(req)}

	var parsed registryErrors
	if json.Unmarshal([]byte(text), &parsed) != nil || len(parsed.Errors) == 0 {
		return r
	}
	var texts []string
	for _, e := range parsed.Errors {
		if e.Code != "" {
			r.codes = append(r.codes, e.Code)
		}
		r.readOnly = r.readOnly || e.ReadOnly
		texts = append(texts, joinText(e.Code, e.Message, detailText(e.Detail)))
	}
	// Once more: in JSON a secret may have been spelled another way.
	r.Message = clients.OneLine(w.blank(strings.Join(texts, "; "), req), maxText)
	return r
}

// detailText is what Quay says in the detail of an error, where it is text.
func detailText(detail json.RawMessage) string {
	var fields struct{ Message, Reason string }
	if json.Unmarshal(detail, &fields) != nil {
		return ""
	}
	return joinText(fields.Message, fields.Reason)
}

func joinText(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// withoutSecrets blanks the credentials that a body echoes, in an answer that
// the library makes its own error of.
func (w *wire) withoutSecrets(req *http.Request, resp *http.Response) *http.Response {
	resp.Body = io.NopCloser(strings.NewReader(w.blank(plainlySpelled(readError(resp)), req)))
	return resp
}

// plainlySpelled is JSON without escapes that hide letters, so that a secret in it
// can be found. Other text is returned as it is.
func plainlySpelled(text string) string {
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		return text
	}
	var plain strings.Builder
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return text
	}
	return plain.String()
}

// readError is as much of the body of an error as is worth reading and has come.
func readError(resp *http.Response) string {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	return string(body)
}

// blank takes our credentials, those of now and those that req was sent with, and
// the secrets of addresses out of text.
func (w *wire) blank(text string, req *http.Request) string {
	_, credentials, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	_, sent, _ := req.BasicAuth()
	for _, secret := range append(w.account.secrets(), credentials, sent) {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return withoutSignatures(text)
}

func hasPassword(req *http.Request) bool {
	_, _, ok := req.BasicAuth()
	return ok
}

// refusalIn is the answer of a registry that err is about, nil when there is none.
func refusalIn(err error) *refusal {
	var refused *refusal
	var answer *transport.Error
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &answer):
		return fromLibrary(answer)
	}
	return nil
}

// fromLibrary is the refusal in an error of the library, which has seen only
// what wire lets through: 401 and 404.
func fromLibrary(e *transport.Error) *refusal {
	r := &refusal{StatusError: &clients.StatusError{Code: e.StatusCode}, rules: ociRules}
	if e.Request != nil {
		r.password = hasPassword(e.Request)
		r.Method = e.Request.Method
		r.URL = clients.OneLine(e.Request.URL.Scheme+"://"+e.Request.URL.Host+e.Request.URL.Path, maxText)
	}
	var texts []string
	for _, d := range e.Errors {
		r.codes = append(r.codes, string(d.Code))
		texts = append(texts, joinText(string(d.Code), d.Message))
	}
	r.Message = clients.OneLine(withoutSignatures(strings.Join(texts, "; ")), maxText)
	return r
}
