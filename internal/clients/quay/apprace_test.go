package quay

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

const racers = 16

// together pushes to one repository at the same time, the ith through the ith of
// the registries, in turns.
func together(t *testing.T, registries []*AppRegistry, release func(i int) pipeline.Release) []pipeline.Publication {
	t.Helper()
	done := make([]pipeline.Publication, racers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			<-start
			var err error
			if done[i], err = registries[i%len(registries)].Push(t.Context(), release(i)); err != nil {
				t.Errorf("push %d: %v", i, err)
				done[i].Release = &pipeline.PushedRelease{}
			}
		})
	}
	close(start)
	wg.Wait()
	return done
}

// gather makes n pushers look at the releases before any of them pushes.
func (a apps) gather(n int) {
	var mu sync.Mutex
	waiting := n
	all := make(chan struct{})
	a.SetFault(func(r *http.Request) *sandbox.Answer {
		if r.Method != http.MethodPost {
			return nil
		}
		mu.Lock()
		if waiting--; waiting == 0 {
			close(all)
		}
		mu.Unlock()
		<-all
		return nil
	})
}

// replicas are clients that know nothing of each other, unless they share a locker.
func (a apps) replicas(t *testing.T, n int, locker Locker) []*AppRegistry {
	all := make([]*AppRegistry, n)
	for i := range all {
		all[i] = a.client(t, func(o *AppRegistryOptions) { o.Locker = locker })
	}
	return all
}

// conflicts is how many pushes Quay refused, if each of so many releases took one.
func (a apps) conflicts(taken int) int { return a.posts() - taken }

// Sixteen contents that come at once become sixteen releases, and each pusher is
// told of its own.
func TestContentsRaceForReleases(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		replicas  int
		locker    Locker
		gathered  int
		conflicts func(int) bool
	}{
		"one process":                  {1, nil, 0, func(n int) bool { return n == 0 }},
		"four replicas with leases":    {4, newLocker(), 0, func(n int) bool { return n == 0 }},
		"four replicas without leases": {4, nil, 4, func(n int) bool { return n >= 3 }},
		"sixteen strangers":            {racers, nil, racers, func(n int) bool { return n >= racers-1 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApps(t)
			if test.gathered > 0 {
				a.gather(test.gathered)
			}
			done := together(t, a.replicas(t, test.replicas, test.locker), func(i int) pipeline.Release {
				return application(fmt.Sprint("content ", i), "")
			})
			var told []string
			for i, p := range done {
				if p.Repeated {
					t.Errorf("push %d is repeated", i)
				}
				told = append(told, p.Release.Version+"=content "+strconv.Itoa(i))
			}
			there := a.has(t)
			byNumber := func(x, y string) int {
				x, _, _ = strings.Cut(x, "=")
				y, _, _ = strings.Cut(y, "=")
				return compareReleases(x, y)
			}
			slices.SortFunc(told, byNumber)
			slices.SortFunc(there, byNumber)
			if !slices.Equal(told, there) || len(there) != racers {
				t.Errorf("told of %q\nthere are %q", told, there)
			}
			for i, r := range there {
				if want := fmt.Sprint(i+1, ".0.0="); !strings.HasPrefix(r, want) {
					t.Errorf("release %d is %s", i, r)
				}
			}
			n := a.conflicts(racers)
			t.Logf("%d conflicts for %d releases", n, len(there))
			if !test.conflicts(n) {
				t.Errorf("%d conflicts", n)
			}
		})
	}
}

// One content that comes sixteen times at once becomes one release, of which all
// are told. Without leases that holds as long as nobody pushes releases out of turn
// or deletes any.
func TestOneContentRacesForOneRelease(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		replicas int
		locker   Locker
		gathered int
	}{
		"one process":                  {1, nil, 0},
		"four replicas with leases":    {4, newLocker(), 4}, // which they share: they do the same work
		"four replicas without leases": {4, nil, 4},
		"sixteen strangers":            {racers, nil, racers},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApps(t)
			wantRelease(t, a.client(t, nil), application("before", ""), "1.0.0", false)
			if test.gathered > 0 {
				a.gather(test.gathered)
			}
			fresh := 0
			for i, p := range together(t, a.replicas(t, test.replicas, test.locker), func(int) pipeline.Release { return application("same", "") }) {
				if p.Release.Version != "2.0.0" {
					t.Errorf("push %d is told of %+v", i, p.Release)
				}
				if !p.Repeated {
					fresh++
				}
			}
			a.wantHas(t, "1.0.0=before", "2.0.0=same")
			if fresh != 1 {
				t.Errorf("%d pushes say that they did it", fresh)
			}
			t.Logf("%d conflicts", a.conflicts(2))
		})
	}
}

// A release that is asked for goes to one content; who comes second is told so.
func TestContentsRaceForTheSameRelease(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	a.gather(2)
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i, registry := range a.replicas(t, 2, nil) {
		wg.Go(func() { _, errs[i] = registry.Push(t.Context(), application(fmt.Sprint(i), "7.0.0")) })
	}
	wg.Wait()
	winner := 0
	if errs[0] != nil {
		winner = 1
	}
	if errs[winner] != nil {
		t.Fatalf("errors are %v", errs)
	}
	wantError(t, errs[1-winner], pipeline.Rejected, pipeline.ReasonVersionExists)
	a.wantHas(t, fmt.Sprint("7.0.0=", winner))
}

// Pushes and deletions that come at once leave nothing half done.
func TestPushesRaceWithDeletions(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registries := a.replicas(t, 4, newLocker())
	wantRelease(t, registries[0], application("before", ""), "1.0.0", false)
	var mu sync.Mutex
	var deleted []string
	var wg sync.WaitGroup
	for _, registry := range registries {
		wg.Go(func() {
			gone, err := registry.Delete(t.Context(), pipeline.Deletion{Repository: "myorg/etcd"})
			if err != nil && pipeline.ReasonOf(err) != pipeline.ReasonPackageNotFound {
				t.Errorf("deletion: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			deleted = append(deleted, gone...)
		})
	}
	together(t, registries, func(i int) pipeline.Release { return application(fmt.Sprint("content ", i), "") })
	wg.Wait()
	if n := len(deleted) + len(a.has(t)); n != racers+1 {
		t.Errorf("%d of %d releases are accounted for: deleted %q, there are %q", n, racers+1, deleted, a.has(t))
	}
}
