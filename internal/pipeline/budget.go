package pipeline

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/semaphore"
)

// Budget bounds the memory of all archives in work at once. Those that it has no
// room for wait. A nil Budget has room for everything.
//
// It also has a turn for each processor that Go uses. An archive needs one from
// when it is unpacked until it is prepared for the first organization, or until
// registries are asked for its digests: more of them at once would take more
// memory, of which trees are the most, and none would be ready sooner.
type Budget struct {
	size  int64
	room  *semaphore.Weighted
	turns *semaphore.Weighted
}

// NewBudget makes a budget of size bytes. An archive that needs more than that is
// worked on alone.
func NewBudget(size int64) *Budget {
	return &Budget{size: size, room: semaphore.NewWeighted(size), turns: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))}
}

// What an archive takes while it is in work, by measurement on real ones: its
// files as they came and as rewritten, and the nodes of their YAML likewise.
const (
	copiesOfFiles = 2
	bytesPerMark  = 400
	// usualFactor is how much more than its files' bytes an archive takes as a
	// rule. What it really takes is known once it is unpacked.
	usualFactor = 16
	// What aliases stand for is spelled out to be validated.
	copiesOfAliased     = 3
	bytesPerAliasedNode = 100
)

// inWork is what files take while they are in work. Of what has more marks than
// are read, no node is made.
func inWork(files []File) int64 {
	n, marks := int64(0), int64(0)
	for _, f := range files {
		n += int64(len(f.Data))
		marks += int64(yamlMarks(f.Data))
	}
	return copiesOfFiles*n + bytesPerMark*min(marks, maxYAMLMarks)
}

// aliased is what files take because of their aliases, when these are followed.
func (o operator) aliased() int64 {
	n := int64(0)
	for _, m := range o.manifests {
		n += copiesOfAliased*int64(m.aliased.bytes) + bytesPerAliasedNode*int64(m.aliased.nodes)
	}
	return n
}

// take waits until there is room for n bytes.
func (b *Budget) take(ctx context.Context, n int64) (*share, error) {
	if b == nil {
		return &share{}, nil
	}
	n = min(n, b.size)
	if err := b.room.Acquire(ctx, n); err != nil {
		return nil, fmt.Errorf("wait for memory: %w", err)
	}
	return &share{of: b, bytes: n}, nil
}

// share is a part of a budget that somebody holds.
type share struct {
	of    *Budget // nil: of none
	bytes int64
	turn  bool
}

// begin waits for a turn.
func (s *share) begin(ctx context.Context) error {
	if s.of == nil {
		return nil
	}
	if err := s.of.turns.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for a processor: %w", err)
	}
	s.turn = true
	return nil
}

// rest gives the turn back. It may be called twice.
func (s *share) rest() {
	if s != nil && s.turn {
		s.of.turns.Release(1)
		s.turn = false
	}
}

// grow makes the share one of at least n bytes, without waiting: who waits for
// more while holding some can wait for ever. Where there is no room the error is a
// *noRoom.
func (s *share) grow(n int64) error {
	if s.of == nil {
		return nil
	}
	more := min(n, s.of.size) - s.bytes
	if more > 0 && !s.of.room.TryAcquire(more) {
		return &noRoom{need: n}
	}
	s.bytes += max(more, 0)
	return nil
}

// shrink gives back what is beyond n bytes.
func (s *share) shrink(n int64) {
	if s.of != nil && s.bytes > n {
		s.of.room.Release(s.bytes - n)
		s.bytes = n
	}
}

// release gives everything back. It may be called twice.
func (s *share) release() {
	s.rest()
	if s != nil && s.of != nil {
		s.of.room.Release(s.bytes)
		s.of, s.bytes = nil, 0
	}
}

// noRoom says how much a share would have to be.
type noRoom struct{ need int64 }

func (e *noRoom) Error() string { return fmt.Sprintf("no room for %d bytes", e.need) }
