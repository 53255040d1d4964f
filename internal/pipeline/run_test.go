package pipeline

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// sampleWorld is a pipeline over a hub with one good build, a gate that is
// open and pushers that count.
type sampleWorld struct {
	Pipeline
	hub    *fakeHub
	pushed map[string]int
}

func newSampleWorld(t *testing.T) *sampleWorld {
	t.Helper()
	var pairs []string
	for _, f := range folder(t, "testdata/prepare/bundle/in") {
		pairs = append(pairs, f.Path, string(f.Data))
	}
	data := zipOf(t, pairs...)
	w := &sampleWorld{pushed: make(map[string]int)}
	w.hub = &fakeHub{
		find: func(int64, NVR) (HubBuild, error) {
			return HubBuild{ID: 7, NVR: sampleNVR, State: StateComplete, ManifestsArchive: "m.zip"}, nil
		},
		archive: func(HubBuild) (Archive, error) { return Archive{Name: "m.zip", Size: int64(len(data))}, nil },
		open:    func(Archive) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(data))), nil },
	}
	clock := time.Unix(0, 0)
	pushers := make(map[string]Pusher)
	for _, org := range sampleOrganizations() {
		pushers[org.Name] = pusherFunc(func(r Release) (Publication, error) {
			w.pushed[org.Name]++
			return Publication{Bundles: []PushedBundle{{CSV: r.Bundles[0].CSV}}}, nil
		})
	}
	w.Pipeline = Pipeline{
		Lookup: Lookup{Finder: w.hub, Organizations: sampleOrganizations()},
		Gate:   Gate{Decider: deciderFunc(func(NVR) (Decision, error) { return Decision{Satisfied: true, Summary: "fine"}, nil })},
		Fetch:  Fetch{Opener: w.hub, Limits: DefaultLimits()},
		Push:   Push{Pushers: pushers},
		Now:    func() time.Time { clock = clock.Add(time.Second); return clock },
	}
	return w
}

func TestRunPublishes(t *testing.T) {
	w := newSampleWorld(t)
	reg := prometheus.NewRegistry()
	w.Metrics = NewMetrics(reg)
	results := w.Run(t.Context(), Trigger{ID: "e1", NVR: sampleNVR})
	if len(results) != 2 {
		t.Fatalf("%d results: %+v", len(results), results)
	}
	r := results[1]
	if r.Err != nil || r.Organization != "samples" || r.Package != "gadgets" || r.BuildID != 7 || r.NVR != sampleNVR ||
		r.Target != TargetOCI || r.Decision.Summary != "fine" || len(r.Publication.Bundles) != 1 || len(r.Files) != 6 || r.ArchiveBytes == 0 {
		t.Errorf("%+v", r)
	}
	want := map[StageName]time.Duration{
		StageLookup: time.Second, StageGate: time.Second, StageFetch: time.Second, StagePrepare: time.Second, StagePush: time.Second,
	}
	if diff := cmp.Diff(want, r.Durations); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"all": 1, "samples": 1}, w.pushed); diff != "" {
		t.Error(diff)
	}
	if n := testutil.CollectAndCount(reg, "omps_stage_seconds"); n != len(StageNames())*(len(Classes())+1) {
		t.Errorf("%d series of omps_stage_seconds", n)
	}
}

func TestRunEndsForEveryOrganization(t *testing.T) {
	down := Retry(ReasonKojiUnavailable, errors.New("down"))
	cases := []struct {
		name    string
		trigger Trigger
		breakIt func(w *sampleWorld)
		stage   StageName
		orgs    string
		reason  Reason
	}{
		{"hub down", Trigger{NVR: sampleNVR}, func(w *sampleWorld) {
			w.hub.find = func(int64, NVR) (HubBuild, error) { return HubBuild{}, down }
		}, StageLookup, "all samples", ReasonKojiUnavailable},
		{"hub down, id only", Trigger{BuildID: 7}, func(w *sampleWorld) {
			w.hub.find = func(int64, NVR) (HubBuild, error) { return HubBuild{}, down }
		}, StageLookup, "", ReasonKojiUnavailable},
		{"hub down, requested", Trigger{BuildID: 7, Organization: "asked"}, func(w *sampleWorld) {
			w.hub.find = func(int64, NVR) (HubBuild, error) { return HubBuild{}, down }
		}, StageLookup, "asked", ReasonKojiUnavailable},
		{"unknown organization", Trigger{NVR: sampleNVR, Organization: "x"}, func(*sampleWorld) {}, StageLookup, "x", ReasonUnknownOrganization},
		{"gate", Trigger{NVR: sampleNVR}, func(w *sampleWorld) {
			w.Gate.Decider = deciderFunc(func(NVR) (Decision, error) { return Decision{}, nil })
		}, StageGate, "all samples", ReasonGateWaiting},
		{"files", Trigger{NVR: sampleNVR}, func(w *sampleWorld) {
			w.hub.open = func(Archive) (io.ReadCloser, error) { return nil, down }
		}, StageFetch, "all samples", ReasonKojiUnavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newSampleWorld(t)
			c.breakIt(w)
			var orgs []string
			for _, r := range w.Run(t.Context(), c.trigger) {
				orgs = append(orgs, r.Organization)
				if StageOf(r.Err) != c.stage || ReasonOf(r.Err) != c.reason {
					t.Errorf("%s: ended at %q with %s: %v", r.Organization, StageOf(r.Err), ReasonOf(r.Err), r.Err)
				}
			}
			if got := strings.Join(orgs, " "); got != c.orgs {
				t.Errorf("results for %q, want %q", got, c.orgs)
			}
			if len(w.pushed) > 0 {
				t.Errorf("pushed to %v", w.pushed)
			}
		})
	}
}

func TestOneOrganizationFailsAlone(t *testing.T) {
	w := newSampleWorld(t)
	w.Push.Pushers["all"] = pusherFunc(func(Release) (Publication, error) {
		return Publication{}, Retry(ReasonQuayUnavailable, errors.New("x"))
	})
	results := w.Run(t.Context(), Trigger{NVR: sampleNVR})
	if ReasonOf(results[0].Err) != ReasonQuayUnavailable || StageOf(results[0].Err) != StagePush || results[1].Err != nil {
		t.Errorf("%v and %v", results[0].Err, results[1].Err)
	}
	if results[0].Package != "gadgets" {
		t.Error("a failed push still knows its package")
	}
}

func TestDeadlineIsAReason(t *testing.T) {
	w := newSampleWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.Push.Pushers["asked"] = pusherFunc(func(Release) (Publication, error) {
		cancel()
		return Publication{}, ctx.Err()
	})
	r := w.Run(ctx, Trigger{NVR: sampleNVR, Organization: "asked"})[0]
	if ClassOf(r.Err) != Transient || ReasonOf(r.Err) != ReasonDeadline {
		t.Errorf("is %s %s: %v", ClassOf(r.Err), ReasonOf(r.Err), r.Err)
	}
}

func TestNoPusher(t *testing.T) {
	w := newSampleWorld(t)
	delete(w.Push.Pushers, "asked")
	r := w.Run(t.Context(), Trigger{NVR: sampleNVR, Organization: "asked"})[0]
	if r.Err == nil || ClassOf(r.Err) != Transient {
		t.Errorf("got %v", r.Err)
	}
}
