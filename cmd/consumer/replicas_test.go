package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// announceOne makes the hub know a build of a package of its own and announces it.
func (f *fleet) announceOne(i int) wanted {
	f.t.Helper()
	b := sampleBuild(fmt.Sprintf("sample-%03d", i), "1.0.0", 1)
	f.addBuild(b)
	f.announce(b.NVR, b.NVR)
	return want(b.NVR, published)
}

func (f *fleet) announceMany(n int) []wanted {
	f.t.Helper()
	builds := make([]wanted, n)
	for i := range builds {
		builds[i] = f.announceOne(i)
	}
	return builds
}

// startThree starts replicas and waits until they take messages.
func (f *fleet) startThree() []*child {
	f.t.Helper()
	replicas := []*child{f.launch(), f.launch(), f.launch()}
	for _, r := range replicas {
		r.awaitStart(f.t)
	}
	return replicas
}

func TestReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "ack_wait: 30s, workers: 4", false)
	replicas := f.startThree()
	n := 150
	if testing.Short() {
		n = 30
	}
	builds := f.announceMany(n)
	f.settle(patience)
	f.report(f.audit(builds, nil))
	done := 0
	for _, r := range replicas {
		part := r.log.settledPublished()
		if part < n/10 {
			t.Errorf("%s did %d of %d builds", r.name, part, n)
		}
		done += part
	}
	if done != n {
		t.Errorf("%d builds were settled %d times", n, done)
	}
}

// What a replica has in its hands when it is asked to end goes to the others
// at once, and not when the ack wait is over.
func TestReplicasTakeOverFromOneThatEnds(t *testing.T) {
	t.Parallel()
	const workers, n = 4, 12 // in work, then held, then with the server
	f := newFleet(t, fmt.Sprintf("ack_wait: 60s, grace: 1s, workers: %d", workers), false)
	ending := f.start()
	held := make(chan struct{}, n)
	f.world.KojiServer.SetFault(func(r *http.Request) *sandbox.Answer {
		held <- struct{}{}
		<-r.Context().Done()
		return &sandbox.Answer{}
	})
	builds := f.announceMany(n)
	for range workers {
		<-held
	}
	f.world.KojiServer.SetFault(nil) // what is held stays so
	f.start()
	f.start()
	ending.terminate(t)
	f.settle(30 * time.Second) // half the ack wait
	f.eventually("the end of "+ending.name, func(context.Context) bool { return ending.isGone() })
	if ending.err != nil {
		t.Errorf("%s ended with %v", ending.name, ending.err)
	}
	f.report(f.audit(builds, nil))
	if did := ending.log.settledPublished(); did != 0 {
		t.Errorf("%d of the builds that were held are settled by who could not", did)
	}
}

// A new version is rolled out while builds come in: nobody notices.
func TestReplicasSurviveARollingRestart(t *testing.T) {
	t.Parallel()
	n := 300
	if testing.Short() {
		n = 60
	}
	f := newFleet(t, "ack_wait: 30s, grace: 10s, workers: 4", false)
	replicas := f.startThree()
	pace := time.NewTicker(25 * time.Millisecond)
	defer pace.Stop()
	var builds []wanted
	rolled := 0
	var ending, next *child
	for len(builds) < n || rolled < len(replicas) {
		<-pace.C
		if len(builds) < n {
			builds = append(builds, f.announceOne(len(builds)))
		}
		switch {
		case ending == nil:
			ending = replicas[rolled%len(replicas)]
			ending.terminate(t)
		case next == nil && ending.isGone():
			if ending.err != nil {
				t.Errorf("%s ended with %v", ending.name, ending.err)
			}
			next = f.launch()
		case next != nil && next.isUp():
			replicas[rolled%len(replicas)] = next
			ending, next = nil, nil
			rolled++
		}
	}
	f.settle(patience)
	f.report(f.audit(builds, nil))
	t.Logf("%d builds, %d restarts", n, rolled)
}

// addRivals makes the hub know two builds of one version.
func (f *fleet) addRivals() (older, newer string) {
	f.t.Helper()
	first, second := sampleBuild("sample-race", "1.0.0", 1), sampleBuild("sample-race", "1.0.0", 2)
	f.addBuild(first)
	f.addBuild(second)
	return first.NVR, second.NVR
}

// Two builds of one version race for its tag on two replicas: whoever comes
// last to set it, the newer build has it in the end. The older one's request to
// set it reaches the registry late: after the newer build is through with its
// own, or when it is clear that this waits.
func TestReplicasRaceForATag(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "ack_wait: 30s, workers: 1", false)
	f.start()
	f.start()
	older, newer := f.addRivals()

	holding, passed := make(chan struct{}), make(chan struct{})
	var held atomic.Bool
	var pass sync.Once
	f.world.RegistryServer.SetFault(func(r *http.Request) *sandbox.Answer {
		tag, ok := strings.CutPrefix(r.URL.Path, "/v2/"+alpha+"/sample-race/manifests/")
		switch {
		case !ok || r.Method != http.MethodPut:
		case tag == newer: // set after the version's tag
			pass.Do(func() { close(passed) })
		case tag == "1.0.0" && held.CompareAndSwap(false, true):
			close(holding)
			select {
			case <-passed:
			case <-time.After(2 * time.Second):
			}
		}
		return nil
	})
	f.announce(older, "older")
	<-holding
	for i := range 5 { // more than the busy replica takes on
		f.announce(newer, fmt.Sprintf("newer-%d", i))
	}
	f.settle(patience)
	f.report(f.audit([]wanted{want(older, published), want(newer, published)}, nil))
}

// A replica dies with the lease on a tag in its hands: the others wait it out.
func TestReplicasOutliveALease(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "ack_wait: 3s, workers: 1", false)
	older, newer := f.addRivals()
	doomed := f.doom(afterTag(alpha, "1.0.0"))
	doomed.awaitStart(t)
	f.announce(older, "older")
	f.eventually("a crash", func(context.Context) bool { return doomed.isGone() })
	f.calmDown()
	f.announce(newer, "newer")
	f.start()
	f.start()
	f.settle(patience)
	f.report(f.audit([]wanted{want(older, published), want(newer, published)}, nil))
}
