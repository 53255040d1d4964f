package events_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// store is an object store with one bucket.
type store struct {
	*bus
	objects jetstream.ObjectStore
}

func newStore(b *bus) store {
	b.tb.Helper()
	objects, err := b.js.CreateObjectStore(b.tb.Context(), jetstream.ObjectStoreConfig{Bucket: "uploads"})
	if err != nil {
		b.tb.Fatal(err)
	}
	return store{b, objects}
}

func (s store) put(name string, data []byte) *jetstream.ObjectInfo {
	s.tb.Helper()
	info, err := s.objects.PutBytes(s.tb.Context(), name, data)
	if err != nil {
		s.tb.Fatal(err)
	}
	return info
}

// describe replaces what the bucket says of an object.
func (s store) describe(name string, description any) {
	s.tb.Helper()
	data, err := json.Marshal(description)
	if err != nil {
		s.tb.Fatal(err)
	}
	if _, err := s.js.Publish(s.tb.Context(), "$O.uploads.M."+base64.URLEncoding.EncodeToString([]byte(name)), data); err != nil {
		s.tb.Fatal(err)
	}
}

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

func (s store) open(name string) io.ReadCloser {
	s.tb.Helper()
	r, err := events.NewObjects(s.js).OpenObject(s.tb.Context(), name)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { _ = r.Close() })
	return r
}

func TestObjects(t *testing.T) {
	t.Parallel()
	s := newStore(newBus(t))
	big := random(5 << 20)
	for name, data := range map[string][]byte{
		"big.zip": big, "folder/a b*>.zip": []byte("PK"), "empty.zip": nil, "ä/../x": big[:128<<10], "one-more": big[:128<<10+1],
	} {
		s.put(name, data)
		got, err := io.ReadAll(s.open("uploads/" + name))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(data), err)
		}
	}
	if err := iotest.TestReader(s.open("uploads/one-more"), big[:128<<10+1]); err != nil {
		t.Error(err)
	}
	// The last one put under a name.
	s.put("big.zip", big[:1000])
	if got, err := io.ReadAll(s.open("uploads/big.zip")); err != nil || !bytes.Equal(got, big[:1000]) {
		t.Errorf("put anew: %d bytes, %v", len(got), err)
	}
}

func wantObjectError(t *testing.T, name string, err error, class pipeline.Class, reason pipeline.Reason, doubt time.Duration) {
	t.Helper()
	if err == nil || pipeline.ClassOf(err) != class || pipeline.ReasonOf(err) != reason {
		t.Errorf("%s: %v is %s %s, want %s %s", name, err, pipeline.ClassOf(err), pipeline.ReasonOf(err), class, reason)
	}
	if got, _ := pipeline.DoubtOf(err); got != doubt {
		t.Errorf("%s: in doubt for %s, want %s", name, got, doubt)
	}
	if err != nil && len(err.Error()) > 2000 {
		t.Errorf("%s: says %d bytes", name, len(err.Error()))
	}
}

func TestObjectsThatAreNone(t *testing.T) {
	t.Parallel()
	s := newStore(newBus(t))
	info := s.put("here.zip", []byte("PK"))
	s.put("gone.zip", []byte("PK"))
	if err := s.objects.Delete(t.Context(), "gone.zip"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.objects.AddLink(t.Context(), "link.zip", info); err != nil {
		t.Fatal(err)
	}
	s.describe("text.zip", "text")
	s.describe("nothing.zip", struct{}{})
	described := func(change func(*jetstream.ObjectInfo)) jetstream.ObjectInfo {
		other := *info
		change(&other)
		return other
	}
	s.describe("all.zip", described(func(i *jetstream.ObjectInfo) { i.NUID = ">" }))
	s.describe("md5.zip", described(func(i *jetstream.ObjectInfo) { i.Digest = "MD5=abc" }))

	const lag = 30 * time.Second
	for name, want := range map[string]struct {
		class  pipeline.Class
		reason pipeline.Reason
		doubt  time.Duration
	}{
		"uploads/not-here.zip":                 {pipeline.Transient, pipeline.ReasonArchiveNotFound, lag},
		"uploads/gone.zip":                     {pipeline.Transient, pipeline.ReasonArchiveNotFound, lag},
		"uploads/" + strings.Repeat("x", 500):  {pipeline.Transient, pipeline.ReasonArchiveNotFound, lag},
		"other/here.zip":                       {pipeline.Transient, pipeline.ReasonArchiveNotFound, lag},
		strings.Repeat("b", 200) + "/here.zip": {pipeline.Transient, pipeline.ReasonArchiveNotFound, lag},
		"uploads":                              {pipeline.Rejected, pipeline.ReasonArchiveNotFound, 0},
		"uploads/":                             {pipeline.Rejected, pipeline.ReasonArchiveNotFound, 0},
		"/here.zip":                            {pipeline.Rejected, pipeline.ReasonArchiveNotFound, 0},
		"":                                     {pipeline.Rejected, pipeline.ReasonArchiveNotFound, 0},
		"up.loads/here.zip":                    {pipeline.Rejected, pipeline.ReasonArchiveNotFound, 0},
		"*/here.zip":                           {pipeline.Rejected, pipeline.ReasonArchiveNotFound, 0},
		"a b/" + strings.Repeat("x", 1<<20):    {pipeline.Rejected, pipeline.ReasonArchiveNotFound, 0},
		"uploads/link.zip":                     {pipeline.Rejected, pipeline.ReasonArchiveNotFound, 0},
		"uploads/text.zip":                     {pipeline.Rejected, pipeline.ReasonBadArchive, 0},
		"uploads/nothing.zip":                  {pipeline.Rejected, pipeline.ReasonBadArchive, 0},
		"uploads/all.zip":                      {pipeline.Rejected, pipeline.ReasonBadArchive, 0},
		"uploads/md5.zip":                      {pipeline.Rejected, pipeline.ReasonBadArchive, 0},
	} {
		r, err := events.NewObjects(s.js).OpenObject(t.Context(), name)
		if r != nil {
			t.Errorf("%.100s is open", name)
		}
		wantObjectError(t, fmt.Sprintf("%.100q", name), err, want.class, want.reason, want.doubt)
	}
}

// What is not what was put is no archive, however it came to be so.
func TestObjectsAreVerified(t *testing.T) {
	t.Parallel()
	s := newStore(newBus(t))
	data := random(300 << 10) // three chunks
	info := s.put("whole.zip", data)
	for name, change := range map[string]func(*jetstream.ObjectInfo){
		"another digest": func(i *jetstream.ObjectInfo) { i.Digest = "SHA-256=" + strings.Repeat("A", 43) + "=" },
		"no digest":      func(i *jetstream.ObjectInfo) { i.Digest = "SHA-256=" },
		"fewer chunks":   func(i *jetstream.ObjectInfo) { i.Chunks = 2 },
		"more chunks":    func(i *jetstream.ObjectInfo) { i.Chunks = 4 },
		"another number": func(i *jetstream.ObjectInfo) { i.NUID = "none" },
	} {
		other := *info
		change(&other)
		s.describe(name, other)
		got, err := io.ReadAll(s.open("uploads/" + name))
		if err == nil {
			t.Errorf("%s: read %d bytes", name, len(got))
		}
		want := pipeline.ReasonBadArchive
		if name == "more chunks" || name == "another number" {
			want = pipeline.ReasonArchiveNotFound
		}
		wantObjectError(t, name, err, pipeline.Transient, want, 30*time.Second)
		if mismatch := errors.Is(err, jetstream.ErrDigestMismatch); mismatch != (want == pipeline.ReasonBadArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
	unpadded := *info
	unpadded.Digest = strings.TrimRight(info.Digest, "=")
	s.describe("unpadded", unpadded)
	if got, err := io.ReadAll(s.open("uploads/unpadded")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("unpadded digest: %d bytes, %v", len(got), err)
	}
}

// An object that is put anew, or whose bucket goes, while it is read is never
// half of each.
func TestObjectsThatChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(store) error{
		"put anew":  func(s store) error { _, err := s.objects.PutBytes(s.tb.Context(), "a.zip", random(100)); return err },
		"deleted":   func(s store) error { return s.objects.Delete(s.tb.Context(), "a.zip") },
		"no bucket": func(s store) error { return s.js.DeleteObjectStore(s.tb.Context(), "uploads") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(newBus(t))
			s.put("a.zip", random(300<<10))
			r := s.open("uploads/a.zip")
			if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := change(s); err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, r)
			if err == nil {
				t.Errorf("read %d bytes to the end", n)
			}
			if _, again := r.Read(make([]byte, 1)); !errors.Is(again, err) {
				t.Errorf("first %v, then %v", err, again)
			}
		})
	}
}

func TestObjectsOutage(t *testing.T) {
	t.Parallel()
	s := newStore(newBus(t))
	s.put("a.zip", random(300<<10))
	r := s.open("uploads/a.zip")
	s.Stop()
	if n, err := io.Copy(io.Discard, r); err == nil {
		t.Errorf("read %d bytes without a server", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := events.NewObjects(s.js).OpenObject(ctx, "uploads/a.zip")
	wantObjectError(t, "outage", err, pipeline.Transient, pipeline.ReasonArchiveUnavailable, 0)
	s.Restart()
	if n, err := io.Copy(io.Discard, s.open("uploads/a.zip")); err != nil || n != 300<<10 {
		t.Errorf("after it: %d bytes, %v", n, err)
	}
}

func TestObjectsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	s := newStore(newBus(t))
	s.put("a.zip", random(300<<10))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := events.NewObjects(s.js).OpenObject(ctx, "uploads/a.zip")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("read %d bytes: %v", n, err)
	}
	_, err = events.NewObjects(s.js).OpenObject(ctx, "uploads/a.zip")
	wantObjectError(t, "canceled", err, pipeline.Transient, pipeline.ReasonArchiveUnavailable, 0)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The permissions that are documented are enough, and one that is missing is named.
func TestObjectsPermissions(t *testing.T) {
	t.Parallel()
	all := []string{"$JS.API.STREAM.INFO.OBJ_uploads", "$JS.API.DIRECT.GET.OBJ_uploads", "$JS.API.DIRECT.GET.OBJ_uploads.>"}
	for _, missing := range append([]string{""}, all...) {
		t.Run(missing, func(t *testing.T) {
			t.Parallel()
			b := guardedBus(t, server.Permissions{
				Publish:   &server.SubjectPermission{Allow: without(all, missing)},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			})
			s := newStore(b)
			data := random(300 << 10)
			s.put("a.zip", data)
			js, err := jetstream.New(connect(t, b.URL))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			if missing != "" {
				ctx, cancel = context.WithTimeout(t.Context(), time.Second)
			}
			defer cancel()
			r, err := events.NewObjects(js).OpenObject(ctx, "uploads/a.zip")
			if err == nil {
				var got []byte
				got, err = io.ReadAll(r)
				if missing == "" && !bytes.Equal(got, data) {
					t.Errorf("%d bytes", len(got))
				}
			}
			if missing == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantObjectError(t, missing, err, pipeline.Transient, pipeline.ReasonUnauthorized, 0)
			if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(missing, ">")) {
				t.Errorf("%v does not name %s", err, missing)
			}
		})
	}
}
