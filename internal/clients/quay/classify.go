package quay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// classify gives every error of a push its class and reason, and a text that
// is safe to publish. Only final refusals are not Transient. ctx is the
// caller's: when it is done, so is the try, whatever the registry does.
func classify(ctx context.Context, err error) error {
	var ours *pipeline.Error
	var refused *refusal
	var answer *transport.Error
	var call *clients.CallError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return err
	case errors.As(err, &refused):
		return judge(refused)
	case errors.As(err, &answer):
		return judge(fromLibrary(answer))
	case ctx.Err() != nil:
		return pipeline.Retry(pipeline.ReasonDeadline, fmt.Errorf("push did not end: %w", ctx.Err()))
	case errors.As(err, &call):
		return pipeline.Retry(pipeline.ReasonQuayUnavailable, call)
	}
	return pipeline.Retry(pipeline.ReasonQuayUnavailable, errors.New(clients.OneLine(plainText(err), maxText)))
}

// plainText is what the library itself says of an error: without the addresses
// around it, and without the answer that it quotes after a line break, which
// may be a token.
func plainText(err error) string {
	for address := (*url.Error)(nil); errors.As(err, &address); {
		err = address.Err
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return withoutSignatures(line)
}

// Parts of an address that may be a secret. Text in Go's quotes has a backslash
// before a quote of its own.
var (
	userinfo = regexp.MustCompile(`//[^\s/?#"]*@`)
	query    = regexp.MustCompile(`(/[^\s?#"]*)[?#](\\.|[^\s"\\])*`)
)

// withoutSignatures is text that is not ours without the userinfo, query and
// fragment of each address in it.
func withoutSignatures(text string) string {
	return query.ReplaceAllString(userinfo.ReplaceAllString(text, "//"), "$1")
}

// final lists the refusals of a write that no further try can change. An empty
// code stands for any.
var final = []struct {
	status int
	code   string
}{
	{http.StatusBadRequest, "NAME_INVALID"},
	{http.StatusBadRequest, "TAG_INVALID"},
	{http.StatusBadRequest, "MANIFEST_UNVERIFIED"},
	{http.StatusBadRequest, "UNSUPPORTED"},
	{http.StatusMethodNotAllowed, ""},      // a disabled namespace, a repository of another kind
	{http.StatusConflict, ""},              // an immutable tag that names another image
	{http.StatusRequestEntityTooLarge, ""}, // over the registry's limit
	{http.StatusUnsupportedMediaType, ""},  // a registry without schema 2
}

// pushesDisabled is Quay's code, of status 405, while an administrator has put
// pushes off. It is the only refusal of that status besides maintenance that
// passes.
const pushesDisabled = "METHOD NOT ALLOWED"

// judge is the verdict on a refusal. Final is only what the registry itself
// says, with a code, of something that was to be written: the same status to a
// read, or with a page of whatever lies in front of the registry, passes when
// that is mended. MANIFEST_INVALID is not the build's fault, since image
// manifests are ours, and registries have been seen to say it of good ones
// whose blobs they do not see yet.
func judge(r *refusal) error {
	transient := clients.Unavailable(pipeline.ReasonQuayUnavailable, r)
	switch {
	case !r.write, len(r.codes) == 0, r.readOnly, r.has(pushesDisabled):
		return transient
	case r.Code == http.StatusForbidden && r.quota():
		return pipeline.Reject(pipeline.ReasonQuayRefused, r)
	}
	for _, f := range final {
		if r.Code == f.status && (f.code == "" || r.has(f.code)) {
			return pipeline.Reject(pipeline.ReasonQuayRefused, r)
		}
	}
	// Refused credentials are told apart by Unavailable. All else passes, or is
	// not known to be final: a lost upload session, a blob that is not visible
	// yet, a repository deleted after the login, 429, 5xx.
	return transient
}
