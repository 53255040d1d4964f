package quay

import (
	"encoding/json"
	"fmt"
	"path"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// nameDigits is how much of its content's digest is in the name of the directory
// that a payload is in.
const nameDigits = 8

// mediaType is that of every release, as operator-courier sent it.
const mediaType = "helm"

// payload is the content of a release.
type payload struct {
	blob   []byte // tar.gz
	digest string // by which Quay knows it: sha256:…, of the archive before it is compressed
}

// Content is the content of a release.
type Content struct {
	Archive []byte // tar.gz
	Digest  string // by which an app registry knows it: sha256:…, not of the tar.gz but of the tar
}

// ContentOf packs the files of an application, as AppRegistry.Push does before it
// asks anybody. Its bytes depend on the repository's name and the files alone.
//
// Errors: Rejected with ReasonQuayRefused, ReasonInvalidVersion or
// ReasonInvalidManifests.
func ContentOf(app *pipeline.Application) (Content, error) {
	p, err := checkedPayload(app)
	return Content{Archive: p.blob, Digest: p.digest}, err
}

// checkedPayload is newPayload for an application whose names can be pushed.
func checkedPayload(app *pipeline.Application) (payload, error) {
	if err := checkRepository(app.Repository); err != nil {
		return payload{}, err
	}
	if app.Version != "" && numbers(app.Version) == nil {
		return payload{}, pipeline.Reject(pipeline.ReasonInvalidVersion,
			fmt.Errorf("release %.100q is not int.int.int", app.Version))
	}
	return newPayload(app)
}

// newPayload packs the files of an application. The archive has one directory
// named repository-XXXXXXXX, as operator-courier made it. There the X were random;
// here they follow from the files, and with them so does every byte: what is
// pushed again is known by its digest.
func newPayload(app *pipeline.Application) (payload, error) {
	bare, err := archiveOf("", app.Files)
	if err != nil {
		return payload{}, pipeline.Reject(pipeline.ReasonInvalidManifests, err)
	}
	top := path.Base(app.Repository) + "-" + digestOf(bare).Hex[:nameDigits]
	archive, err := archiveOf(top, app.Files)
	if err != nil {
		return payload{}, pipeline.Reject(pipeline.ReasonInvalidManifests, err)
	}
	blob, err := compress(archive)
	return payload{blob: blob, digest: digestOf(archive).String()}, err
}

// body is the request that pushes it: these three fields and no more. Without
// "visibility" Quay makes a new repository private, without ?force=true it leaves
// a release that is there alone.
func (p payload) body(release string) ([]byte, error) {
	return json.Marshal(struct {
		Blob      []byte `json:"blob"` // standard base64 in JSON
		Release   string `json:"release"`
		MediaType string `json:"media_type"`
	}{p.blob, release, mediaType})
}
