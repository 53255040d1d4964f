package main

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

const (
	pageWindow  = 1000 // results at hand
	pageChunk   = 64   // results read at a time
	pageBacking = 200  // older results counted in a round
	pageLedger  = 100  // entries of the ledger at hand
	pageLetters = 20   // dead letters at hand

	viewedTime  = time.Minute      // how long after a request the page counts as looked at
	viewedEvery = time.Second      // between two rounds while it is
	idleEvery   = 10 * time.Second // and while it is not
	ledgerEvery = 5 * time.Second
	letterEvery = 10 * time.Second

	// freshAge is how old what is shown may be without a look at the sources,
	// freshWait how long a request waits for that look. Where nobody has looked
	// at the page for viewedTime it waits for firstWait.
	freshAge  = 2 * time.Second
	freshWait = 80 * time.Millisecond
	firstWait = 400 * time.Millisecond

	// holeRounds is how often a result that is missing is looked for: a replica
	// of the stream that lags does not have it yet. lagTime is how old the one
	// after it may be then.
	holeRounds = 3
	lagTime    = 30 * time.Second
	// lastSourceRetry is the longest time until a source that fails is asked
	// again.
	lastSourceRetry = 30 * time.Second
)

// pageReaders are what the page is made of. All of it is in NATS, so that every
// replica shows the same and a restart loses nothing.
type pageReaders struct {
	connected func() bool
	bounds    func(context.Context) (events.Bounds, error)
	// rows reads results between two sequences, the oldest first.
	rows func(ctx context.Context, from, to uint64) ([]pageRow, error)
	// outcomes is rows for who only counts.
	outcomes func(ctx context.Context, from, to uint64) ([]events.OutcomeAt, error)
	// result is one whole result; false: there is none.
	result func(ctx context.Context, sequence uint64) (events.Watched, bool, error)
	// entries are the newest of the ledger, and how many it has.
	entries func(ctx context.Context, limit int) ([]events.Entry, uint64, error)
	// find is the ledger's entries of one build.
	find func(ctx context.Context, nvr string) ([]events.Entry, error)
	// letters are the newest dead letters, and how many there are.
	letters func(ctx context.Context, limit int) ([]events.DeadLetter, uint64, error)
}

// sourceState tells how up to date one source is.
type sourceState struct {
	At  time.Time // of the last good look; zero: none
	Err error     // of the last look

	next     time.Time // when to look again
	failures int
}

// after notes how a look ended.
func (s *sourceState) after(err error, now time.Time, every time.Duration) {
	s.Err = err
	if err == nil {
		s.At, s.failures, s.next = now, 0, now.Add(every)
		return
	}
	s.next = now.Add(min(viewedEvery<<min(s.failures, 10), lastSourceRetry))
	s.failures++
}

// pageState is what the page shows at one moment. It never changes.
type pageState struct {
	Version   string // of no other state, whichever process it is of
	Connected bool

	Results, Ledger, Letters sourceState

	Rows    []pageRow // the newest first
	First   uint64    // sequence that the stream begins with
	Lowest  uint64    // sequence that the rows begin with
	Counted pageTally

	Entries     []events.Entry // the newest first
	EntryCount  uint64
	Dead        []events.DeadLetter // the newest first
	LetterCount uint64
}

// pageSource keeps a pageState up to date in a goroutine of its own.
type pageSource struct {
	hub   *pageHub
	now   func() time.Time
	word  string                    // a random one, which versions begin with
	state atomic.Pointer[pageState] // never nil
	asked atomic.Int64              // when the page was last asked for, in Unix nanoseconds
	wake  chan struct{}

	mu    sync.Mutex
	round chan struct{} // closed when the next round ends
}

func newPageSource(hub *pageHub) *pageSource {
	s := &pageSource{hub: hub, now: time.Now, word: rand.Text(), wake: make(chan struct{}, 1), round: make(chan struct{})}
	s.state.Store(&pageState{Version: stateVersion(s.word, 0), Counted: newPageTally()})
	return s
}

// stateVersion tells the states of a process apart from each other and, by its word,
// from those of other replicas and of the process before.
func stateVersion(word string, count uint64) string {
	return word + "-" + strconv.FormatUint(count, 10)
}

// viewed tells whether somebody looks at the page.
func (s *pageSource) viewed() bool {
	return s.hub.count() > 0 || s.now().Sub(time.Unix(0, s.asked.Load())) < viewedTime
}

// fresh is the state after another look at the sources, if that is soon enough
// and the last one was long ago.
func (s *pageSource) fresh(ctx context.Context) *pageState {
	longest := freshWait
	if !s.viewed() {
		longest = firstWait
	}
	s.asked.Store(s.now().UnixNano())
	state := s.state.Load()
	if s.now().Sub(state.Results.At) < freshAge && s.now().Sub(state.Ledger.At) < ledgerEvery+freshAge {
		return state
	}
	s.mu.Lock()
	round := s.round
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	wait := time.NewTimer(longest)
	defer wait.Stop()
	select {
	case <-round:
	case <-wait.C:
	case <-ctx.Done():
	}
	return s.state.Load()
}

// run looks at the sources again and again until ctx ends.
func (s *pageSource) run(ctx context.Context, readers pageReaders) {
	f := follower{readers: readers, now: s.now, word: s.word, tally: newPageTally()}
	for {
		if f.look(ctx, s.viewed()) {
			state := f.snapshot()
			s.state.Store(state)
			s.hub.tell(state.Version)
		} else {
			s.state.Store(f.restated(s.state.Load()))
		}
		s.mu.Lock()
		close(s.round)
		s.round = make(chan struct{})
		s.mu.Unlock()

		every := idleEvery
		if s.viewed() {
			every = viewedEvery
		}
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}
