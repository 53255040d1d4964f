package quay

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// classify gives every error its class and reason, and a text that is safe to
// publish. What the registry answers is judged by its rules. What got no
// answer, a time-out or a cut connection, is Transient: the registry may have
// done it all the same, so the next try looks before it writes. ctx is the
// caller's: when it is done, so is the try, whatever the registry does.
func classify(ctx context.Context, err error) error {
	var ours *pipeline.Error
	var lease *leaseError
	refused := refusalIn(err)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return err
	case refused != nil:
		return judge(refused)
	case ctx.Err() != nil:
		return pipeline.Retry(pipeline.ReasonDeadline, fmt.Errorf("did not end: %w", ctx.Err()))
	case errors.As(err, &lease):
		return err
	}
	return pipeline.Retry(pipeline.ReasonQuayUnavailable, presentable(err))
}

// presentable is an error that is no answer, with a text that is safe to publish.
func presentable(err error) error {
	var call *clients.CallError
	if errors.As(err, &call) {
		return call
	}
	return errors.New(clients.OneLine(plainText(err), maxText))
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
