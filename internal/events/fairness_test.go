package events_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// A build whose first try failed is tried again long before a backlog of builds
// that nobody has tried is worked off.
func TestLaterTriesBesideABacklog(t *testing.T) {
	const failing, work = 20, 5 * time.Millisecond
	for _, workers := range []int{1, 2, 8} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			b := newBus(t)
			b.inMemory()
			backlog := 200 * workers
			var (
				mu     sync.Mutex
				ran    int // of the backlog
				failed = map[string]bool{}
				behind []int // how much of the backlog had run at each second try
			)
			o := b.options(handlerFunc(func(_ context.Context, tr pipeline.Trigger) []pipeline.Result {
				<-time.After(work)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case !strings.HasPrefix(tr.NVR.Release, "failing"):
					ran++
				case !failed[tr.NVR.Version]:
					failed[tr.NVR.Version] = true
					return result(tr, errKoji)
				default:
					behind = append(behind, ran)
				}
				return result(tr, nil)
			}))
			o.Workers, o.Logger = workers, slog.New(slog.DiscardHandler)
			b.announceMany(failing, func(i int) string { return fmt.Sprintf("etcd-operator-%d-failing", i) })
			b.announceMany(backlog, func(i int) string { return fmt.Sprintf("etcd-operator-%d-fresh", i) })
			s := b.run(o)
			eventually(t, "second tries", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(behind) == failing
			})
			s.finish()
			slices.Sort(behind)
			median := behind[failing/2]
			t.Logf("second tries came after %d, %d and %d (first, median, last) of a backlog of %d", behind[0], median, behind[failing-1], backlog)
			if median >= backlog/2 {
				t.Errorf("half of the second tries came after %d of %d", median, backlog)
			}
		})
	}
}
