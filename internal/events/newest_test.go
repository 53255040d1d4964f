package events

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// put writes an entry of a build with a number, behind all others.
func put(t *testing.T, kv jetstream.KeyValue, number int) {
	t.Helper()
	nvr := fmt.Sprintf("n-%d-1", number)
	if _, err := kv.Put(t.Context(), entryKey("a", nvr), fmt.Appendf(nil, `{"organization":"a","nvr":%q}`, nvr)); err != nil {
		t.Fatal(err)
	}
}

// newest is what Newest gives, as the numbers of put.
func newest(t *testing.T, l *Ledger, limit int) []int {
	t.Helper()
	entries, err := l.Newest(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	numbers := make([]int, len(entries))
	for i, e := range entries {
		if _, err := fmt.Sscanf(e.NVR, "n-%d-1", &numbers[i]); err != nil {
			t.Fatal(err)
		}
	}
	return numbers
}

// down counts from one number down to another.
func down(from, to int) []int {
	var list []int
	for i := from; i >= to; i-- {
		list = append(list, i)
	}
	return list
}

func TestNewest(t *testing.T) {
	t.Parallel()
	for _, history := range []uint8{1, 3} {
		js := newJetStream(t)
		kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "ledger", History: history})
		if err != nil {
			t.Fatal(err)
		}
		l := NewLedger(js, "ledger")
		if got := newest(t, l, 5); len(got) != 0 {
			t.Errorf("of nothing: %v", got)
		}
		put(t, kv, 0)
		if got := newest(t, l, 5); !cmp.Equal(got, []int{0}) {
			t.Errorf("of one: %v", got)
		}
		for number := range 300 {
			put(t, kv, number)
		}
		for _, limit := range []int{1, 5, 299, 300, 400} {
			if diff := cmp.Diff(down(299, max(300-limit, 0)), newest(t, l, limit)); diff != "" {
				t.Errorf("history %d: the newest %d: %s", history, limit, diff)
			}
		}
		put(t, kv, 7)
		if err := kv.Delete(t.Context(), entryKey("a", "n-299-1")); err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Put(t.Context(), entryKey("a", "n-298-1"), []byte("\x00garbage")); err != nil {
			t.Fatal(err)
		}
		if n, err := l.Count(t.Context()); n != 300 || err != nil { // what is deleted leaves a mark
			t.Errorf("counted %d, %v", n, err)
		}
		if history == 1 {
			if diff := cmp.Diff([]int{7, 297, 296, 295}, newest(t, l, 4)); diff != "" {
				t.Errorf("rewritten: %s", diff)
			}
		} else if got := newest(t, l, 4); got[0] != 7 {
			t.Errorf("rewritten: %v", got)
		}
	}
}

// Of writes that are all about a few builds Newest looks at some, not at all.
func TestNewestOfFewBuilds(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	kv := newBucket(t, js)
	for number := range 10 {
		put(t, kv, number)
	}
	for range 1000 {
		put(t, kv, 3)
	}
	l := NewLedger(js, "ledger")
	if diff := cmp.Diff([]int{3}, newest(t, l, 5)); diff != "" {
		t.Error(diff)
	}
	if n, err := l.Count(t.Context()); n != 10 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
}

// moving is a stream in which something happens while it is read.
type moving struct {
	jetstream.Stream
	happens chan func() // one
}

func (s moving) GetMsg(ctx context.Context, seq uint64, opts ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	select {
	case happen := <-s.happens:
		happen()
	default:
	}
	return s.Stream.GetMsg(ctx, seq, opts...)
}

// What is written anew while Newest reads is not left out.
func TestNewestWhileWritten(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	kv := newBucket(t, js)
	for number := range 20 {
		put(t, kv, number)
	}
	l := NewLedger(js, "ledger")
	l.openBucket(t)
	happens := make(chan func(), 1)
	happens <- func() { // before anything is read
		put(t, kv, 12)
		put(t, kv, 20)
	}
	l.bucket.stream = moving{l.bucket.stream, happens}
	want := append([]int{20, 12}, append(down(19, 13), down(11, 0)...)...)
	if diff := cmp.Diff(want, newest(t, l, 50)); diff != "" {
		t.Error(diff)
	}
}

func (l *Ledger) openBucket(t *testing.T) {
	t.Helper()
	if _, _, err := l.bucket.open(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNewestIsAnError(t *testing.T) {
	t.Parallel()
	js := newJetStream(t)
	l := NewLedger(js, "ledger")
	if got, err := l.Newest(t.Context(), 5); err == nil {
		t.Errorf("without a bucket: %v", got)
	}
	put(t, newBucket(t, js), 1)
	happens := make(chan func(), 1)
	happens <- js.Conn().Close
	l.openBucket(t)
	l.bucket.stream = moving{l.bucket.stream, happens}
	if got, err := l.Newest(t.Context(), 5); err == nil {
		t.Errorf("half read: %v", got)
	}
	if n, err := l.Count(t.Context()); err == nil {
		t.Errorf("counted %d", n)
	}
}
