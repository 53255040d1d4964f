package events

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// How an object store lies in a stream: NATS ADR-20. Under the name of an object
// is stored what there is to say of it, under its number the content, in
// chunks that follow each other.
const (
	objectStream = "OBJ_"
	objectPrefix = "$O."
	objectMeta   = ".M." // and the name in base64
	objectChunk  = ".C." // and the number
	objectDigest = "SHA-256="
)

const (
	// objectLag is how long an object that was put just before its event may not
	// be found: a replica that is asked may be behind.
	objectLag = 30 * time.Second
	// objectTimeout bounds the search for an object, and getting each chunk.
	objectTimeout = 5 * time.Second
)

// objectToken is what the name of a bucket has to be, and the number of an object.
var objectToken = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// Objects are the object stores that a connection can read. It is safe for
// concurrent use, and a pipeline.ObjectOpener.
//
// Each part is asked for when it is to be read. So nothing is delivered that
// nobody wants, and permissions to look at the bucket's stream and to get
// messages from it are enough: $JS.API.STREAM.INFO.OBJ_BUCKET and
// $JS.API.DIRECT.GET.OBJ_BUCKET with and without .> behind it.
type Objects struct{ js jetstream.JetStream }

var _ pipeline.ObjectOpener = (*Objects)(nil)

// NewObjects are those that js can read. It does not talk to NATS yet.
func NewObjects(js jetstream.JetStream) *Objects { return &Objects{js: js} }

// OpenObject is that of pipeline.ObjectOpener. The bucket's name ends at the
// first slash. Its errors are
//
//   - Rejected, archive-not-found: a name that no object can have, or a link to
//     another object, which is not followed;
//   - Rejected, bad-archive: an object that cannot be read or verified;
//   - Transient, archive-not-found: no such bucket or object, or a deleted one.
//     After 30 s that is believed;
//   - Transient, unauthorized: the server says that a permission is missing;
//   - Transient, archive-unavailable: no answer.
//
// Those of Read are Transient too: archive-not-found for chunks that are gone,
// and at the end bad-archive for content whose digest is not the object's, both
// believed after 30 s.
func (o *Objects) OpenObject(ctx context.Context, name string) (io.ReadCloser, error) {
	bucket, object, ok := strings.Cut(name, "/")
	if !ok || object == "" || !objectToken.MatchString(bucket) {
		return nil, pipeline.Reject(pipeline.ReasonArchiveNotFound, fmt.Errorf("object %q is not BUCKET/NAME", cut(name, maxText)))
	}
	r, err := o.open(ctx, bucket, object)
	if err != nil {
		return nil, fmt.Errorf("object %q: %w", cut(name, maxText), o.explained(bucket, err))
	}
	return r, nil
}

func (o *Objects) open(ctx context.Context, bucket, object string) (*objectReader, error) {
	find, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	stream, err := o.js.Stream(find, objectStream+bucket)
	if err != nil {
		return nil, err
	}
	meta := objectPrefix + bucket + objectMeta + base64.URLEncoding.EncodeToString([]byte(object))
	msg, err := stream.GetLastMsgForSubject(find, meta)
	if err != nil {
		return nil, err
	}
	var info jetstream.ObjectInfo
	if err := json.Unmarshal(msg.Data, &info); err != nil {
		return nil, pipeline.Reject(pipeline.ReasonBadArchive, fmt.Errorf("what its bucket says of it cannot be read: %w", err))
	}
	switch {
	case info.Deleted:
		return nil, jetstream.ErrObjectNotFound
	case info.Opts != nil && info.Opts.Link != nil:
		return nil, pipeline.Reject(pipeline.ReasonArchiveNotFound, errors.New("is a link to another object"))
	case !objectToken.MatchString(info.NUID) || !strings.HasPrefix(info.Digest, objectDigest):
		return nil, pipeline.Reject(pipeline.ReasonBadArchive, errors.New("its bucket gives it no number or no SHA-256"))
	}
	chunks := jetstream.WithGetMsgSubject(objectPrefix + bucket + objectChunk + info.NUID)
	get := func(sequence uint64) (*jetstream.RawStreamMsg, error) {
		ctx, cancel := context.WithTimeout(ctx, objectTimeout)
		defer cancel()
		msg, err := stream.GetMsg(ctx, sequence, chunks)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			err = o.explained(bucket, err)
		}
		return msg, err
	}
	return &objectReader{get: get, next: 1, left: info.Chunks, digest: info.Digest, sum: sha256.New()}, nil
}

// explained gives an error its class and reason.
func (o *Objects) explained(bucket string, err error) error {
	var ours *pipeline.Error
	switch {
	case errors.As(err, &ours):
		return err
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return pipeline.Doubtful(pipeline.ReasonArchiveNotFound, objectLag, errors.New("there is no such bucket"))
	case errors.Is(err, jetstream.ErrMsgNotFound), errors.Is(err, jetstream.ErrObjectNotFound):
		return pipeline.Doubtful(pipeline.ReasonArchiveNotFound, objectLag, errors.New("is not in its bucket"))
	}
	if denied := o.denied(bucket, err); denied != nil {
		return pipeline.Retry(pipeline.ReasonUnauthorized, denied)
	}
	return pipeline.Retry(pipeline.ReasonArchiveUnavailable, err)
}

// denied is what the server has said of a missing permission for a bucket. It
// leaves a request without one unanswered, and says why beside.
func (o *Objects) denied(bucket string, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
		return nil
	}
	last, stream := o.js.Conn().LastError(), objectStream+bucket
	if errors.Is(last, nats.ErrPermissionViolation) &&
		(strings.Contains(last.Error(), stream+`"`) || strings.Contains(last.Error(), stream+".")) {
		return last
	}
	return nil
}

// objectReader reads an object chunk by chunk.
type objectReader struct {
	// get returns the first chunk that is stored at a sequence or later.
	get func(sequence uint64) (*jetstream.RawStreamMsg, error)

	next   uint64 // sequence from which the next chunk is looked for
	left   uint32 // chunks still to come
	rest   []byte // of the last one
	digest string // as it should be
	sum    hash.Hash
	err    error // io.EOF once all was read and verified
}

func (r *objectReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 && r.err == nil {
		r.rest, r.err = r.chunk()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *objectReader) Close() error { return nil }

// chunk gets the next one, or says how it ends.
func (r *objectReader) chunk() ([]byte, error) {
	if r.left == 0 {
		return nil, r.end()
	}
	msg, err := r.get(r.next)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, pipeline.Doubtful(pipeline.ReasonArchiveNotFound, objectLag,
			fmt.Errorf("%d chunks are gone: it was put anew, or deleted", r.left))
	case err != nil:
		return nil, fmt.Errorf("get a chunk: %w", err)
	}
	r.next, r.left = msg.Sequence+1, r.left-1
	r.sum.Write(msg.Data)
	return msg.Data, nil
}

// end compares the digests. Not every client pads them.
func (r *objectReader) end() error {
	is, want := jetstream.GetObjectDigestValue(r.sum), r.digest
	if strings.TrimRight(is, "=") != strings.TrimRight(want, "=") {
		return pipeline.Doubtful(pipeline.ReasonBadArchive, objectLag, jetstream.ErrDigestMismatch)
	}
	return io.EOF
}
