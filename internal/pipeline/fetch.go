package pipeline

import (
	"bytes"
	"context"
	"crypto/md5"  //nolint:gosec // Koji's own checksums, checked against what Koji says
	"crypto/sha1" //nolint:gosec // as above
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// ArchiveOpener reads an archive from the Koji files server.
type ArchiveOpener interface {
	OpenArchive(ctx context.Context, a Archive) (io.ReadCloser, error)
}

// ObjectOpener reads an archive that somebody put into an object store.
type ObjectOpener interface {
	// OpenObject opens BUCKET/NAME. One that is not there is an error with
	// ReasonArchiveNotFound. ctx bounds the reading too.
	OpenObject(ctx context.Context, name string) (io.ReadCloser, error)
}

// Limits bound what an archive may hold. Bytes are counted as they come,
// never believed from a header.
type Limits struct {
	ArchiveBytes  int64 // of the archive itself
	UnpackedBytes int64 // of all files together
	FileBytes     int64 // of one file
	Files         int   // entries, directories included
	Depth         int   // path components
	NameBytes     int   // of a whole path and so of each component
}

// DefaultLimits are those of the configuration's defaults.
func DefaultLimits() Limits {
	return Limits{
		ArchiveBytes: 20 << 20, UnpackedBytes: 20 << 20, FileBytes: 10 << 20,
		Files: 5000, Depth: 10, NameBytes: 255,
	}
}

// Fetch is the third stage: it downloads, verifies and unpacks in memory.
type Fetch struct {
	Opener  ArchiveOpener
	Objects ObjectOpener
	Limits  Limits
	Budget  *Budget // shared by all that fetch; nil: memory has no bound
}

// Do returns the files of an approved build's archive. An archive that is not
// what Koji says, or not a well-formed zip within the limits, is Rejected. It
// waits until the budget has room; the caller calls Done on what it gets.
//
// How much an archive takes is known only once it is there. One that turns out to
// take more than is left gives back what it has, waits for all that it needs, and
// is fetched again.
func (s Fetch) Do(ctx context.Context, a Approved) (Manifests, error) {
	need := min(a.Build.Archive.Size, s.Limits.ArchiveBytes) // what is larger is not even read
	if need < 0 {
		need = s.Limits.ArchiveBytes
	}
	for {
		m, err := s.within(ctx, a, need)
		var full *noRoom
		if !errors.As(err, &full) {
			return m, err
		}
		need = full.need
	}
}

// within is Do with a share of so many bytes to begin with. Only manifests
// without an error keep one: readers of hostile bytes may also panic.
func (s Fetch) within(ctx context.Context, a Approved, need int64) (m Manifests, err error) {
	held, err := s.Budget.take(ctx, need)
	if err != nil {
		return Manifests{}, err
	}
	defer func() {
		if m.held == nil {
			held.release()
		}
	}()
	if m, err = s.fetch(ctx, a, held); err == nil {
		m.held = held
	}
	return m, err
}

// fetch is Do with a share of the budget, which it makes as large as it needs.
func (s Fetch) fetch(ctx context.Context, a Approved, held *share) (Manifests, error) {
	archive := a.Build.Archive
	data, err := s.verified(ctx, a.Build)
	if err != nil {
		return Manifests{}, err
	}
	if archive.Checksum == (Checksum{}) {
		sum := sha256.Sum256(data)
		a.Build.Archive.Checksum = Checksum{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	}
	m := Manifests{Build: a.Build, Decision: a.Decision, Bytes: int64(len(data))}
	opened, err := openArchive(data, s.Limits)
	if err != nil {
		return m, err
	}
	if err := held.grow(m.Bytes + usualFactor*opened.bytes()); err != nil {
		return m, err
	}
	if err := held.begin(ctx); err != nil {
		return m, err
	}
	if m.Files, err = opened.files(); err != nil {
		return m, err
	}
	need := m.Bytes + inWork(m.Files)
	if err := held.grow(need); err != nil {
		return m, err
	}
	if m.operator, m.faults, err = readOperator(ctx, m.Files); err != nil {
		return m, err
	}
	need += m.operator.aliased()
	held.shrink(need)
	return m, held.grow(need)
}

// verified downloads an archive that is what Koji says it is. One that is not
// may have been damaged on its way: it is read once more before the build is
// refused for it.
func (s Fetch) verified(ctx context.Context, b Build) ([]byte, error) {
	a := b.Archive
	data, err := s.download(ctx, b)
	if err != nil {
		return nil, err
	}
	if verify(a, data) == nil {
		return data, nil
	}
	if data, err = s.download(ctx, b); err != nil {
		return nil, err
	}
	if err := verify(a, data); err != nil {
		return nil, Reject(ReasonBadArchive, err)
	}
	return data, nil
}

// open opens the archive of a build, and tells what it means when it cannot be
// read to its end.
func (s Fetch) open(ctx context.Context, b Build) (r io.ReadCloser, unreadable Reason, err error) {
	switch given := b.Trigger.Given; {
	case given.IsZero():
		r, err = s.Opener.OpenArchive(ctx, b.Archive)
		return r, ReasonKojiUnavailable, err
	case given.Object != "" && s.Objects == nil:
		return nil, "", Reject(ReasonNotSupported, errors.New("there is no object store to take archives from"))
	case given.Object != "":
		r, err = s.Objects.OpenObject(ctx, given.Object)
		return r, ReasonArchiveUnavailable, err
	default:
		return io.NopCloser(strings.NewReader(given.Inline)), ReasonArchiveUnavailable, nil
	}
}

func (s Fetch) download(ctx context.Context, b Build) ([]byte, error) {
	a := b.Archive
	if a.Size > s.Limits.ArchiveBytes {
		return nil, Reject(ReasonBadArchive,
			fmt.Errorf("%s has %d bytes, more than the limit of %d", a.Name, a.Size, s.Limits.ArchiveBytes))
	}
	r, unreadable, err := s.open(ctx, b)
	if err != nil {
		return nil, err
	}
	defer r.Close()

	var buf bytes.Buffer
	if a.Size > 0 {
		buf.Grow(int(a.Size) + bytes.MinRead)
	}
	if _, err := io.Copy(&buf, io.LimitReader(r, s.Limits.ArchiveBytes+1)); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read %s: %w", a.Name, ctx.Err())
		}
		err = fmt.Errorf("read %s: %w", a.Name, err)
		if ReasonOf(err) != ReasonInternal {
			return nil, err // whoever reads knows better what it means
		}
		return nil, Retry(unreadable, err)
	}
	data := buf.Bytes()
	if int64(len(data)) > s.Limits.ArchiveBytes {
		return nil, Reject(ReasonBadArchive,
			fmt.Errorf("%s has more than the limit of %d bytes", a.Name, s.Limits.ArchiveBytes))
	}
	if b.Trigger.Given.IsZero() && a.Checksum == (Checksum{}) && !bytes.HasPrefix(data, []byte("PK")) {
		// Nothing tells this from what a server in between says of itself.
		return nil, Retry(ReasonKojiUnavailable, fmt.Errorf("%s is not a zip file, and Koji keeps no checksum of it", a.Name))
	}
	return data, nil
}

// verify compares a download with what Koji says of it.
func verify(a Archive, data []byte) error {
	if a.Size >= 0 && int64(len(data)) != a.Size {
		return fmt.Errorf("%s has %d bytes, Koji says %d", a.Name, len(data), a.Size)
	}
	if a.Checksum == (Checksum{}) {
		return nil
	}
	h, err := newHash(a.Checksum.Algorithm)
	if err != nil {
		return err
	}
	h.Write(data)
	if got := hex.EncodeToString(h.Sum(nil)); got != a.Checksum.Hex {
		return fmt.Errorf("%s has %s %s, Koji says %s", a.Name, a.Checksum.Algorithm, got, a.Checksum.Hex)
	}
	return nil
}

func newHash(algorithm string) (hash.Hash, error) {
	switch algorithm {
	case "md5":
		return md5.New(), nil //nolint:gosec // Koji's default for archives
	case "sha1":
		return sha1.New(), nil //nolint:gosec // one of Koji's three
	case "sha256":
		return sha256.New(), nil
	}
	return nil, errors.New("checksum algorithm " + algorithm + " is not one of Koji's")
}
