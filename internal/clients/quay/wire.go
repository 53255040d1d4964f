package quay

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// maxAnswer bounds the body of any answer: the distribution specification lets
// a registry refuse an image manifest above 4 MiB, and an image config of ours
// is far smaller.
const maxAnswer = 4 << 20

// digestHeader names what the registry has, in answers to HEAD, GET and PUT.
const digestHeader = "Docker-Content-Digest"

// wire lies between go-containerregistry, or the writes of a session, and the
// network. It sends nothing where it must not go, and judges each answer by the
// distribution specification where the library is content with less: a front end
// of quay.io has been seen to answer an upload with "200 Healthcheck requested".
type wire struct {
	client    *clients.Client
	next      http.RoundTripper
	registry  string // host[:port]
	plainHTTP bool
	account   *account // whose password is never to be in an error; nil: nobody's
}

func newWire(o OCIOptions, account *account, registry name.Registry) *wire {
	return &wire{client: o.HTTP, next: o.HTTP.RoundTripper(), registry: registry.RegistryStr(), plainHTTP: o.PlainHTTP, account: account}
}

func (w *wire) scheme() string {
	if w.plainHTTP {
		return "http"
	}
	return "https"
}

// RoundTrip sends one request. A status that is no success for who asks comes back
// as a *refusal, except those that the library itself acts upon.
func (w *wire) RoundTrip(in *http.Request) (*http.Response, error) {
	out, err := w.outgoing(in)
	if err != nil {
		return nil, err
	}
	resp, err := w.next.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	if !expected(out, resp.StatusCode) {
		return nil, w.refused(out, resp)
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	if resp.StatusCode >= http.StatusBadRequest {
		return w.withoutSecrets(out, resp), nil
	}
	if err := checkDigest(out, resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// isWrite tells a request that is to change the registry from a look and from
// the request for a token.
func isWrite(req *http.Request) bool {
	return req.Method == http.MethodPut || req.Method == http.MethodDelete || isUpload(req)
}

// isUpload tells the POST of a blob from that for a token.
func isUpload(req *http.Request) bool {
	return req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/blobs/uploads/")
}

// outgoing is the request as it is sent. The body is a fresh one each time:
// after a token has expired in the middle of a push, the library sends the
// request again whose body it has read already.
func (w *wire) outgoing(in *http.Request) (*http.Request, error) {
	out := in.Clone(in.Context())
	if w.plainHTTP && out.URL.Host == w.registry {
		out.URL.Scheme = "http" // the library always tries TLS first
	}
	if err := w.admit(out); err != nil {
		if in.Body != nil {
			in.Body.Close()
		}
		return nil, err
	}
	if in.Body == nil || in.GetBody == nil {
		return out, nil
	}
	in.Body.Close()
	body, err := in.GetBody()
	if err != nil {
		return nil, err
	}
	out.Body = body
	return out, nil
}

// admit tells why a request must not be sent.
func (w *wire) admit(req *http.Request) error {
	switch {
	case !w.plainHTTP && req.URL.Scheme != "https":
		// The library falls back to plain HTTP for names that look local.
		return fmt.Errorf("plain HTTP to %s is not allowed", req.URL.Host)
	case req.Method != http.MethodPut:
		return nil
	case req.URL.Scheme != w.scheme(), withPort(req.URL.Host, req.URL.Scheme) != withPort(w.registry, req.URL.Scheme):
		return fmt.Errorf("upload location is at %s, not at the registry", req.URL.Host)
	}
	return nil
}

// expected tells whether the library may see a status. It needs 401 for its
// login and 404 for what is not there yet, and follows redirects of reads,
// which is how Quay hands out blobs; a redirected write goes nowhere. The
// statuses of writes are those of the distribution specification and of Quay's
// endpoints/v2. To a blob, 202 says where to send it instead.
func expected(req *http.Request, status int) bool {
	if status == http.StatusUnauthorized {
		return true
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		return status == http.StatusOK || status == http.StatusNotFound || isRedirect(status)
	case http.MethodPost:
		if isUpload(req) {
			return status == http.StatusCreated || status == http.StatusAccepted
		}
		return status == http.StatusOK // a token
	case http.MethodDelete:
		return status == http.StatusAccepted
	case http.MethodPut:
		return status == http.StatusCreated
	}
	return false
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// checkDigest compares the digest that the registry says it has with the one
// that the request is about.
func checkDigest(req *http.Request, resp *http.Response) error {
	got := resp.Header.Get(digestHeader)
	want, err := requestDigest(req)
	if err != nil || want == "" || got == "" || got == want {
		return err
	}
	return fmt.Errorf("%s %s: registry has %s, not %s", req.Method, req.URL.Path, clients.OneLine(got, maxText), want)
}

// requestDigest is the digest of what req sends or asks for, "" when it names none.
func requestDigest(req *http.Request) (string, error) {
	last := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
	switch {
	case strings.HasPrefix(last, "sha256:"):
		return last, nil
	case req.Method != http.MethodPut && !isUpload(req):
		return "", nil
	case req.URL.Query().Has("digest"):
		return req.URL.Query().Get("digest"), nil
	case req.GetBody == nil:
		return "", nil
	}
	body, err := req.GetBody()
	if err != nil {
		return "", err
	}
	defer body.Close()
	manifest, err := clients.ReadBody(body, maxAnswer)
	if err != nil {
		return "", err
	}
	return digestOf(manifest).String(), nil
}

func withPort(host, scheme string) string {
	if (&url.URL{Host: host}).Port() != "" {
		return host
	}
	return host + map[string]string{"http": ":80", "https": ":443"}[scheme]
}
