package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"
)

// openedArchive is a Koji that has one archive, and counts how often it is read.
type openedArchive struct {
	data []byte
	read atomic.Int64
}

func (o *openedArchive) OpenArchive(context.Context, Archive) (io.ReadCloser, error) {
	o.read.Add(1)
	return io.NopCloser(bytes.NewReader(o.data)), nil
}

func approvedOf(data []byte) Approved {
	return Approved{Build: Build{Archive: Archive{Name: "m.zip", Size: int64(len(data))}}}
}

// room is what is left of a budget.
func room(b *Budget) int64 {
	for n := b.size; ; n-- {
		if b.room.TryAcquire(n) {
			b.room.Release(n)
			return n
		}
	}
}

// TestBudget: many archives at once, of which two do not fit together, are all
// worked on, never more at a time than there is room for, and leave nothing taken.
func TestBudget(t *testing.T) {
	data := zipOf(t, "a.yaml", strings.Repeat("a: [1, 2, 3]\n", 2000)) // small as an archive, large as YAML
	files, err := ReadArchive(data, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	need := int64(len(data)) + inWork(files)
	for name, c := range map[string]struct {
		size   int64
		atOnce int64
	}{
		"one fits":       {need + need/2, 1},
		"three fit":      {3*need + need/2, 3},
		"none fits":      {need / 2, 1},
		"no room at all": {1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			koji := &openedArchive{data: data}
			fetch := Fetch{Opener: koji, Limits: DefaultLimits(), Budget: NewBudget(c.size)}
			var now, most atomic.Int64
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					m, err := fetch.Do(t.Context(), approvedOf(data))
					if err != nil {
						t.Error(err)
						return
					}
					for n, seen := now.Add(1), most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
					}
					runtime.Gosched() // the work, for others to meet
					now.Add(-1)
					m.Done()
					m.Done()
				})
			}
			wg.Wait()
			if most.Load() > c.atOnce {
				t.Errorf("%d at once in %d bytes, each takes %d", most.Load(), c.size, need)
			}
			if left := room(fetch.Budget); left != c.size {
				t.Errorf("%d of %d bytes are left", left, c.size)
			}
			if n := koji.read.Load(); n > 16*3 {
				t.Errorf("read %d times", n)
			}
		})
	}
}

// turnWatcher looks, whenever it is asked for something that may take its time,
// whether the one turn is free.
type turnWatcher struct {
	turns *semaphore.Weighted
	mu    sync.Mutex // a look takes the turn for a moment
	asked int
	taken []string
}

func (w *turnWatcher) look(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if !w.turns.TryAcquire(1) {
		w.taken = append(w.taken, what)
		return
	}
	w.turns.Release(1)
}

func (w *turnWatcher) ResolveImage(_ context.Context, ref string) (string, error) {
	w.look("resolve " + ref)
	return digestFor(7), nil
}

// An archive has its turn while it is unpacked, read and prepared, and neither
// before nor after, nor while a registry is asked for digests.
func TestTurn(t *testing.T) {
	w := newSampleWorld(t)
	budget := NewBudget(1 << 30)
	budget.turns = semaphore.NewWeighted(1)
	turn := &turnWatcher{turns: budget.turns}
	w.Fetch.Budget = budget
	open := w.hub.open
	w.hub.open = func(a Archive) (io.ReadCloser, error) { turn.look("download"); return open(a) }
	w.Prepare.Images = make(map[string]ImageResolver)
	for i, org := range w.Lookup.Organizations {
		w.Lookup.Organizations[i].PinDigests = true
		w.Prepare.Images[org.Name] = turn
		push := w.Push.Pushers[org.Name]
		w.Push.Pushers[org.Name] = pusherFunc(func(r Release) (Publication, error) { turn.look("push"); return push.Push(t.Context(), r) })
	}
	for _, r := range w.Run(t.Context(), Trigger{NVR: sampleNVR}) {
		if r.Err != nil || len(r.Pinned) == 0 {
			t.Fatalf("%s: %v, %d pinned", r.Organization, r.Err, len(r.Pinned))
		}
	}
	if len(turn.taken) > 0 || turn.asked < 5 { // a download, and for each of two organizations a resolve and a push
		t.Errorf("of %d looks the turn was taken at %q", turn.asked, turn.taken)
	}
}

// A turn that somebody has is waited for, and given back once, whatever the end.
func TestTurnIsGivenBack(t *testing.T) {
	data := zipOf(t, "a.yaml", strings.Repeat("a: 1\n", 10))
	budget := NewBudget(1 << 30)
	budget.turns = semaphore.NewWeighted(1)
	turn := &turnWatcher{turns: budget.turns}
	ctx, cancel := context.WithCancel(t.Context())
	hub := &fakeHub{open: func(Archive) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
	fetch := Fetch{Opener: hub, Limits: DefaultLimits(), Budget: budget}

	narrow := fetch
	narrow.Limits.UnpackedBytes = 10
	if _, err := narrow.Do(ctx, approvedOf(data)); ReasonOf(err) != ReasonBadArchive {
		t.Fatal(err)
	}
	turn.look("after one that is too large")
	m, err := fetch.Do(ctx, approvedOf(data))
	if err != nil {
		t.Fatal(err)
	}
	open := hub.open
	hub.open = func(a Archive) (io.ReadCloser, error) { cancel(); return open(a) }
	if _, err := fetch.Do(ctx, approvedOf(data)); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "processor") {
		t.Errorf("two at once: %v", err)
	}
	if turn.look("while one is read"); len(turn.taken) != 1 {
		t.Errorf("the turn was taken at %q", turn.taken)
	}
	m.Done()
	m.Done()
	if turn.look("after it is done"); len(turn.taken) != 1 {
		t.Errorf("the turn was taken at %q", turn.taken)
	}
}

// What ends before there are manifests gives its share back too.
func TestBudgetAfterFailure(t *testing.T) {
	good := zipOf(t, "a.yaml", "a: 1\n")
	for name, data := range map[string][]byte{
		"no archive":     []byte("<html>"),
		"a broken one":   good[:len(good)-1],
		"beyond a limit": zipOf(t, "a.yaml", strings.Repeat("x", 5000)),
		"a good one":     good,
		"nothing at all": {},
	} {
		limits := DefaultLimits()
		limits.UnpackedBytes = 4096
		fetch := Fetch{Opener: &openedArchive{data: data}, Limits: limits, Budget: NewBudget(1 << 20)}
		approved := approvedOf(data)
		approved.Build.Archive.Size = -1
		m, err := fetch.Do(t.Context(), approved)
		if (err == nil) != (name == "a good one") {
			t.Errorf("%s: %v", name, err)
		}
		m.Done()
		if left := room(fetch.Budget); left != 1<<20 {
			t.Errorf("%s: %d bytes are left", name, left)
		}
	}
}

// panickyOpener stands for whatever panics while an archive is read.
type panickyOpener struct{}

func (panickyOpener) OpenArchive(context.Context, Archive) (io.ReadCloser, error) { panic("open") }

// A panic, which the worker survives, gives the share back.
func TestBudgetAfterPanic(t *testing.T) {
	fetch := Fetch{Opener: panickyOpener{}, Limits: DefaultLimits(), Budget: NewBudget(1 << 20)}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = fetch.Do(t.Context(), approvedOf(make([]byte, 1000)))
	}()
	if left := room(fetch.Budget); left != 1<<20 {
		t.Errorf("%d bytes are left", left)
	}
}

// What is refused by its size alone does not wait for the whole budget.
func TestBudgetOfTheRefused(t *testing.T) {
	limits := DefaultLimits()
	limits.ArchiveBytes = 1000
	fetch := Fetch{Opener: &openedArchive{}, Limits: limits, Budget: NewBudget(1 << 20)}
	others, err := fetch.Budget.take(t.Context(), 1<<19)
	if err != nil {
		t.Fatal(err)
	}
	defer others.release()
	refused := approvedOf(nil)
	refused.Build.Archive.Size = 1 << 40
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := fetch.Do(ctx, refused); ReasonOf(err) != ReasonBadArchive {
		t.Error(err)
	}
}

// aliasing is a file of a few bytes that is as many copies of text to whoever
// follows its aliases.
func aliasing(name string, text, copies int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: %s\n  annotations:\n    a: &a %q\n", name, strings.Repeat("w", text))
	for i := range copies {
		fmt.Fprintf(&b, "    a%d: *a\n", i)
	}
	return b.String()
}

// What aliases stand for counts too, and has a bound for an archive.
func TestBudgetOfAliases(t *testing.T) {
	data := zipOf(t, "a.yaml", aliasing("a", 60<<10, 500), "b.yaml", aliasing("b", 60<<10, 500))
	fetch := Fetch{Opener: &openedArchive{data: data}, Limits: DefaultLimits(), Budget: NewBudget(1 << 30)}
	m, err := fetch.Do(t.Context(), approvedOf(data))
	if err != nil || len(m.faults) > 0 {
		t.Fatal(err, m.faults)
	}
	if least := int64(2 * 500 * (60 << 10) * copiesOfAliased); m.held.bytes < least {
		t.Errorf("counted with %d bytes, want %d and more", m.held.bytes, least)
	}
	m.Done()

	data = zipOf(t, "a.yaml", aliasing("a", 60<<10, 600), "b.yaml", aliasing("b", 60<<10, 600))
	fetch.Opener = &openedArchive{data: data}
	if m, err = fetch.Do(t.Context(), approvedOf(data)); err != nil || len(m.faults) != 1 || m.faults[0].File != "b.yaml" {
		t.Error(err, m.faults)
	}
}

// Who waits for room can be stopped.
func TestBudgetWaits(t *testing.T) {
	data := zipOf(t, "a.yaml", "a: 1\n")
	fetch := Fetch{Opener: &openedArchive{data: data}, Limits: DefaultLimits(), Budget: NewBudget(10)}
	first, err := fetch.Do(t.Context(), approvedOf(data))
	if err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("stopped")
	ctx, stop := context.WithCancelCause(t.Context())
	ended := make(chan error)
	go func() {
		_, err := fetch.Do(ctx, approvedOf(data))
		ended <- err
	}()
	stop(stopped)
	if err := <-ended; !errors.Is(err, context.Canceled) || ClassOf(err) != Transient {
		t.Errorf("%v", err)
	}
	first.Done()
	if left := room(fetch.Budget); left != 10 {
		t.Errorf("%d bytes are left", left)
	}
	if m, err := (Fetch{Opener: &openedArchive{data: data}, Limits: DefaultLimits()}).Do(t.Context(), approvedOf(data)); err != nil {
		t.Error(err)
	} else {
		m.Done() // without a budget too
	}
}

func TestInWork(t *testing.T) {
	for _, c := range []struct {
		files []File
		want  int64
	}{
		{nil, 0},
		{[]File{{"a.yaml", []byte("a: 1")}}, 2*4 + 400},
		{[]File{{"a.yaml", []byte("a: 1\n")}, {"b", []byte("xx")}}, 2*7 + 2*400},
		{[]File{{"a.yaml", bytes.Repeat([]byte("["), maxYAMLMarks+9)}}, 2*(maxYAMLMarks+9) + 400*maxYAMLMarks},
	} {
		if got := inWork(c.files); got != c.want {
			t.Errorf("%s: %d, want %d", fmt.Sprint(len(c.files)), got, c.want)
		}
	}
}

// An archive holds what it takes, once that is known, and not what it might have.
func TestBudgetShrinks(t *testing.T) {
	data := zipOf(t, "a.yaml", "a: "+strings.Repeat("x", 10_000)+"\n")
	fetch := Fetch{Opener: &openedArchive{data: data}, Limits: DefaultLimits(), Budget: NewBudget(1 << 20)}
	m, err := fetch.Do(t.Context(), approvedOf(data))
	if err != nil {
		t.Fatal(err)
	}
	if want := m.Bytes + inWork(m.Files); m.held.bytes != want || room(fetch.Budget) != 1<<20-want {
		t.Errorf("holds %d, want %d; %d are left", m.held.bytes, want, room(fetch.Budget))
	}
	m.Done()
}
