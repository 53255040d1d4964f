package quay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// blobType is the media type that every blob is sent as.
const blobType = "application/octet-stream"

// upload puts a blob into the repository, whether it is there or not: bundle
// images hardly share any, a blob that is there may be about to go as no image
// names it yet, and sending one twice does no harm.
//
// A single POST does it, by the distribution specification's "Single POST" and
// Quay's endpoints/v2/blob.py. A registry that cannot answers with the place for
// a PUT. A 201 is believed: a registry takes no image manifest without its blobs.
func (s *session) upload(ctx context.Context, blob []byte) error {
	digest := url.Values{"digest": {digestOf(blob).String()}}
	start := s.address("blobs/uploads/")
	start.RawQuery = digest.Encode()
	got, err := s.send(ctx, http.MethodPost, start, blobType, blob)
	switch {
	case err != nil || got.status == http.StatusCreated:
		return err
	case got.place == nil:
		return errors.New("upload has no location")
	}
	query := got.place.Query()
	query.Set("digest", digest.Get("digest"))
	got.place.RawQuery = query.Encode()
	_, err = s.send(ctx, http.MethodPut, got.place, blobType, blob)
	return err
}

// put makes a tag name an image manifest whose blobs are there. It tells whether
// the registry has said by the digest that the tag now names that one: another
// digest is an error of the wire.
func (s *session) put(ctx context.Context, tag name.Tag, manifest []byte) (said bool, err error) {
	got, err := s.send(ctx, http.MethodPut, s.address("manifests/"+tag.TagStr()), string(manifestType), manifest)
	return got.digest != "", err
}

func (s *session) address(path string) *url.URL {
	return &url.URL{
		Scheme: s.repo.Scheme(), Host: s.repo.RegistryStr(), // the login knows the scheme better
		Path: "/v2/" + s.repo.RepositoryStr() + "/" + path,
	}
}

// answer is what a registry says of a write.
type answer struct {
	status int
	digest string   // what it has, "" when it does not say
	place  *url.URL // its Location, nil when there is none that can be read
}

// send sends a write, and fails for an answer that the wire does not expect.
func (s *session) send(ctx context.Context, method string, u *url.URL, mediaType string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := s.login.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	// The wire lets a 401 through, for the login.
	if err := transport.CheckError(resp, http.StatusCreated, http.StatusAccepted); err != nil {
		return answer{}, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody)) // or the connection is closed
	got := answer{status: resp.StatusCode, digest: resp.Header.Get(digestHeader)}
	if place, err := resp.Location(); err == nil {
		got.place = place
	}
	return got, nil
}
