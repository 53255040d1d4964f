package quay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// countingLocker counts the leases that are asked for.
type countingLocker struct {
	*memoryLocker
	count atomic.Int32
}

func (l *countingLocker) Lock(ctx context.Context, name, owner string) (context.Context, func(), error) {
	l.count.Add(1)
	return l.memoryLocker.Lock(ctx, name, owner)
}

// buildOf is the release of a build with one bundle and the default tags.
func buildOf(build, version string) pipeline.Release {
	nvr := pipeline.NVR{Name: "etcd-operator-container", Version: "1.0", Release: build}
	b := etcd(build, version, nvr.String())
	b.Version = version
	r := releaseOf(b)
	r.Build.NVR = nvr
	return r
}

func tagged(r pipeline.Release, tags ...string) pipeline.Release {
	r.Bundles[0].Tags = tags
	return r
}

// What each push costs: requests in their order, and leases, of which each is two
// writes to the bucket. A new image takes its two blobs and one PUT for each tag;
// the rest is looks.
func TestRequests(t *testing.T) {
	t.Parallel()
	version, nvr := "0.9.4", buildOf("7", "").Build.NVR.String()
	upload := []string{stepStart, stepStart}
	lookAndSet := []string{stepHeadTag, stepPutManifest}
	holder := []string{stepGetManifest, stepGetBlob}
	first := slices.Concat([]string{stepHeadTag}, upload, []string{stepPutManifest}, lookAndSet)
	for name, test := range map[string]struct {
		registry func(*fakeRegistry)
		before   []pipeline.Release // each with a session of its own
		push     pipeline.Release
		want     []string
		leases   int32
	}{
		"first version":  {push: buildOf("7", version), want: first, leases: 2},
		"second version": {before: []pipeline.Release{buildOf("6", "0.9.3")}, push: buildOf("7", version), want: first, leases: 2},
		"another build of a version": {
			before: []pipeline.Release{buildOf("6", version)}, push: buildOf("7", version), leases: 2,
			want: slices.Concat([]string{stepHeadTag}, upload, []string{stepPutManifest, stepHeadTag}, holder, []string{stepPutManifest}),
		},
		"repeated": {
			before: []pipeline.Release{buildOf("7", version)}, push: buildOf("7", version),
			want: []string{stepHeadTag, stepHeadTag},
		},
		"repeated after a newer build": {
			before: []pipeline.Release{buildOf("7", version), buildOf("8", version)}, push: buildOf("7", version),
			want: slices.Concat([]string{stepHeadTag, stepHeadTag}, holder),
		},
		"older build": {
			before: []pipeline.Release{buildOf("8", version)}, push: buildOf("7", version), leases: 2,
			want: slices.Concat([]string{stepHeadTag}, upload, []string{stepPutManifest, stepHeadTag}, holder),
		},
		"forced": {
			before: []pipeline.Release{buildOf("7", version)}, push: forced(buildOf("7", version)), leases: 2,
			want: slices.Concat([]string{stepHeadTag, stepHeadTag}, upload, lookAndSet, lookAndSet),
		},
		"a version tag alone": {
			push: tagged(buildOf("7", version), version), leases: 1,
			want: slices.Concat([]string{stepHeadTag}, upload, lookAndSet),
		},
		"an NVR tag alone": {
			push: tagged(buildOf("7", version), nvr), leases: 1,
			want: slices.Concat([]string{stepHeadTag}, upload, []string{stepPutManifest}),
		},
		"no tag": {push: tagged(buildOf("7", version)), want: slices.Concat([]string{stepHeadTag}, upload, []string{stepPutManifest}), leases: 1},
		"version tag missing": {
			before: []pipeline.Release{tagged(buildOf("7", version), nvr)}, push: buildOf("7", version), leases: 1,
			want: slices.Concat([]string{stepHeadTag, stepHeadTag}, lookAndSet),
		},
		"NVR tag missing": {
			before: []pipeline.Release{tagged(buildOf("7", version), version)}, push: buildOf("7", version), leases: 2,
			want: slices.Concat([]string{stepHeadTag}, upload, []string{stepPutManifest, stepHeadTag}),
		},
		"registry that takes blobs in two requests": {
			registry: inTwo, push: buildOf("7", version), leases: 2,
			want: slices.Concat([]string{stepHeadTag}, upload, []string{stepCommit, stepCommit, stepPutManifest}, lookAndSet),
		},
		"registry that does not say what it did": {
			registry: mute, push: buildOf("7", version), leases: 2,
			want: slices.Concat([]string{stepHeadTag}, upload, []string{stepPutManifest, stepHeadTag}, lookAndSet, []string{stepHeadTag}),
		},
		"registry with a login": {
			registry: func(f *fakeRegistry) { withTokens(f) }, push: buildOf("7", version), leases: 2,
			want: slices.Concat([]string{stepPing, stepToken}, first),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			if test.registry != nil {
				test.registry(f)
			}
			locker := &countingLocker{memoryLocker: newLocker()}
			o := newOCI(t, f, sharing(locker))
			for _, r := range test.before {
				if _, err := o.Push(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			f.taken()
			locker.count.Store(0)
			p, err := o.Push(t.Context(), test.push)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(f.taken(), func(step string) bool { return step == stepPing && !slices.Contains(test.want, step) })
			if count(test.want, stepCommit) > 0 && len(got) == len(test.want) {
				slices.Sort(got[1:5]) // those of one blob come among those of the other
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if n := locker.count.Load(); n != test.leases {
				t.Errorf("%d leases, want %d", n, test.leases)
			}
			if p.Repeated != (test.leases == 0) {
				t.Errorf("publication is %+v", p)
			}
		})
	}
}

// However many builds are pushed, one login and the connections of the first serve.
func TestSteadyLoadKeepsLoginAndConnections(t *testing.T) {
	t.Parallel()
	const workers, rounds = 4, 8
	var opened atomic.Int32
	f := newUnstarted()
	f.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	next := f.next
	f.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if r.Method == http.MethodPut {
			_, _ = io.WriteString(w, "OK") // as Quay does; whoever leaves that unread loses the connection
		}
	})
	f.Start()
	t.Cleanup(f.Close)
	k := withTokens(f)
	o := newOCI(t, f, nil)
	push := func(build int) {
		r := buildOf(fmt.Sprint(build), fmt.Sprintf("0.9.%d", build))
		r.Bundles[0].Files[0].Data = make([]byte, 1<<20)
		if _, err := o.Push(t.Context(), r); err != nil {
			t.Errorf("build %d: %v", build, err)
		}
	}
	for build := range rounds {
		push(1 + build)
	}
	// Two uploads go at once. A connection may be opened in vain, when another one
	// is free before it.
	if n := opened.Load(); n > 3 {
		t.Errorf("%d connections for %d builds", n, rounds)
	}
	for round := range rounds {
		var all sync.WaitGroup
		for worker := range workers {
			all.Go(func() { push(100 + round*workers + worker) })
		}
		all.Wait()
	}
	if n := opened.Load(); n > 3*workers {
		t.Errorf("%d connections for %d builds by %d workers", n, rounds*workers, workers)
	}
	steps := f.taken()
	if given, _ := k.given(); given != 1 || count(steps, stepPing) != 1 {
		t.Errorf("%d tokens, %d pings", given, count(steps, stepPing))
	}
}

func TestTagsOfBuild(t *testing.T) {
	t.Parallel()
	nvr := func(version string) pipeline.NVR { return pipeline.NVR{Name: "etcd", Version: version, Release: "7"} }
	for _, test := range []struct {
		nvr     pipeline.NVR
		version string
		want    []string
	}{
		{nvr("1.0"), "0.9.4", []string{"etcd-1.0-7", "etcd-1.0-7-0.9.4"}},
		{nvr("1.0"), "0.9.4+1", []string{"etcd-1.0-7", "etcd-1.0-7-0.9.4_1"}},
		{nvr("1.0~rc1"), "0.9.4", nil}, // 1.0_rc1 would have the same
		{nvr("1.0^"), "0.9.4", nil},
		{pipeline.NVR{}, "0.9.4", nil},
	} {
		if got := tagsOfBuild(test.nvr, test.version); !slices.Equal(got, test.want) {
			t.Errorf("%s: tags %q, want %q", test.nvr, got, test.want)
		}
	}
}

// A tag with the build's own NVR is left as any other where it names the image of a
// newer build: somebody has put that there.
func TestNewerBuildHoldsTagOfBuild(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	older := buildOf("7", "0.9.4")
	newer := etcd("8", older.Build.NVR.String())
	mustPush(t, o, newer)
	for _, r := range []pipeline.Release{older, forced(older)} {
		p, err := o.Push(t.Context(), r)
		if err != nil || !cmp.Equal(p.Bundles[0].Tags, []string{"0.9.4"}) || len(p.Warnings) != 1 {
			t.Errorf("publication is %+v, %v", p, err)
		}
		if got := named(t, f, older.Build.NVR.String()); got != digest(t, newer) {
			t.Errorf("the tag names %s", got)
		}
	}
}

// A tag that nobody has to look at again is set under a lease all the same.
func TestLeaseOfFreeTagIsLost(t *testing.T) {
	t.Parallel()
	errLost := errors.New("the bucket is gone")
	f := newRegistry(t)
	o := newOCI(t, f, sharing(lockerFunc(func(ctx context.Context, _, _ string) (context.Context, func(), error) {
		held, lose := context.WithCancelCause(ctx)
		lose(errLost)
		return held, func() {}, nil
	})))
	_, err := o.Push(t.Context(), buildOf("7", "0.9.4"))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	if !errors.Is(err, errLost) {
		t.Errorf("error is %v", err)
	}
	if steps := f.taken(); count(steps, stepPutManifest) != 0 {
		t.Errorf("requests are %v", steps)
	}
}
