package pipeline

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeLedger is a Ledger that says what it is told to, and keeps a record.
type fakeLedger struct {
	published func(Work) (Publication, bool, error)
	begin     func(Work) error
	asked     []Work
	began     []Work
}

func (l *fakeLedger) Published(_ context.Context, w Work) (Publication, bool, error) {
	l.asked = append(l.asked, w)
	if l.published == nil {
		return Publication{}, false, nil
	}
	return l.published(w)
}

func (l *fakeLedger) Begin(_ context.Context, w Work) error {
	l.began = append(l.began, w)
	if l.begin == nil {
		return nil
	}
	return l.begin(w)
}

// withLedger is a sample world whose archive has a checksum, and whose
// organizations have fingerprints.
func withLedger(t *testing.T, l *fakeLedger) *sampleWorld {
	t.Helper()
	w := newSampleWorld(t)
	for i, org := range w.Lookup.Organizations {
		w.Lookup.Organizations[i].Fingerprint = "of " + org.Name
	}
	w.Ledger = l
	return w
}

func organizationsOf(works []Work) []string {
	var list []string
	for _, w := range works {
		list = append(list, w.Organization)
	}
	return list
}

func TestWhatIsPublishedIsNotRunAgain(t *testing.T) {
	l := &fakeLedger{published: func(Work) (Publication, bool, error) {
		return Publication{Repeated: true, Bundles: []PushedBundle{{Reference: "r"}}}, true, nil
	}}
	w := withLedger(t, l)
	w.Gate.Decider = deciderFunc(func(NVR) (Decision, error) { t.Error("the gate is asked"); return Decision{}, nil })
	w.hub.open = func(Archive) (io.ReadCloser, error) { t.Error("the archive is read"); return nil, io.EOF }
	results := w.Run(t.Context(), Trigger{NVR: sampleNVR})
	if len(results) != 2 || len(w.pushed) != 0 || len(l.began) != 0 {
		t.Fatalf("%d results, pushed %v, began %v", len(results), w.pushed, l.began)
	}
	for i, org := range []string{"all", "samples"} {
		r := results[i]
		if r.Err != nil || !r.Known || !r.Publication.Repeated || len(r.Publication.Bundles) != 1 || r.Organization != org ||
			r.BuildID != 7 || r.Configuration != "of "+org {
			t.Errorf("%+v", r)
		}
	}
}

// A request always goes to the registry.
func TestARequestIsRunAgain(t *testing.T) {
	l := &fakeLedger{published: func(Work) (Publication, bool, error) { return Publication{Repeated: true}, true, nil }}
	w := withLedger(t, l)
	results := w.Run(t.Context(), Trigger{Kind: PushRequested, NVR: sampleNVR, Organization: "asked"})
	if len(results) != 1 || results[0].Known || results[0].Err != nil || w.pushed["asked"] != 1 {
		t.Errorf("%+v, pushed %v", results, w.pushed)
	}
}

func TestEachOrganizationIsRecalledAlone(t *testing.T) {
	busy := Retry(ReasonInProgress, errors.New("somebody is at it"))
	for _, tt := range []struct {
		name       string
		all        error // nil: it is published
		wantPushed map[string]int
	}{
		{"one is published", nil, map[string]int{"samples": 1}},
		{"one is in work", busy, map[string]int{"samples": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &fakeLedger{published: func(w Work) (Publication, bool, error) {
				if w.Organization == "all" {
					return Publication{Repeated: true}, tt.all == nil, tt.all
				}
				return Publication{}, false, nil
			}}
			w := withLedger(t, l)
			results := w.Run(t.Context(), Trigger{NVR: sampleNVR})
			if diff := cmp.Diff(tt.wantPushed, w.pushed); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"samples"}, organizationsOf(l.began)); diff != "" {
				t.Error(diff)
			}
			if len(results) != 2 || results[0].Organization != "all" || results[1].Organization != "samples" || results[1].Err != nil {
				t.Fatalf("%+v", results)
			}
			if tt.all != nil && (!errors.Is(results[0].Err, busy) || StageOf(results[0].Err) != StageLookup) {
				t.Errorf("%v", results[0].Err)
			}
			if (tt.all == nil) != results[0].Known {
				t.Errorf("known %t", results[0].Known)
			}
		})
	}
}

// What ends the run for those that are left does not touch those that are done.
func TestTheDoneKeepTheirResult(t *testing.T) {
	for stage, breakIt := range map[StageName]func(*sampleWorld){
		StageGate: func(w *sampleWorld) {
			w.Gate.Decider = deciderFunc(func(NVR) (Decision, error) { return Decision{}, nil })
		},
		StageFetch: func(w *sampleWorld) { w.hub.open = func(Archive) (io.ReadCloser, error) { return nil, io.EOF } },
	} {
		l := &fakeLedger{published: func(w Work) (Publication, bool, error) {
			return Publication{Repeated: true}, w.Organization == "all", nil
		}}
		w := withLedger(t, l)
		breakIt(w)
		results := w.Run(t.Context(), Trigger{NVR: sampleNVR})
		if len(results) != 2 || results[0].Err != nil || !results[0].Known || StageOf(results[1].Err) != stage {
			t.Errorf("%s: %+v", stage, results)
		}
	}
}

func TestNothingIsPushedThatCannotBegin(t *testing.T) {
	busy := Retry(ReasonInProgress, errors.New("somebody was faster"))
	l := &fakeLedger{begin: func(w Work) error {
		if w.Organization == "all" {
			return busy
		}
		return nil
	}}
	w := withLedger(t, l)
	results := w.Run(t.Context(), Trigger{NVR: sampleNVR})
	if !errors.Is(results[0].Err, busy) || StageOf(results[0].Err) != StagePush || results[0].Package != "gadgets" || results[1].Err != nil {
		t.Errorf("%v and %v", results[0].Err, results[1].Err)
	}
	if diff := cmp.Diff(map[string]int{"samples": 1}, w.pushed); diff != "" {
		t.Error(diff)
	}
}

// What cannot be published does not begin.
func TestOnlyAPushBegins(t *testing.T) {
	l := &fakeLedger{}
	w := withLedger(t, l)
	w.Gate.Decider = deciderFunc(func(NVR) (Decision, error) { return Decision{}, nil })
	w.Run(t.Context(), Trigger{NVR: sampleNVR})
	if len(l.asked) != 2 || len(l.began) != 0 {
		t.Errorf("asked %v, began %v", organizationsOf(l.asked), organizationsOf(l.began))
	}
}

func TestWork(t *testing.T) {
	sum := Checksum{Algorithm: "sha256", Hex: "aa"}
	announced := Trigger{ID: "e1", NVR: sampleNVR}
	org := Organization{Name: "all", Fingerprint: "f1"}
	build := Build{ID: 7, NVR: sampleNVR, Trigger: announced, Archive: Archive{Name: "m.zip", Checksum: sum}}
	want := Work{Trigger: announced, Organization: "all", NVR: sampleNVR, BuildID: 7, Checksum: sum, Configuration: "f1"}
	if diff := cmp.Diff(want, workOf(build, org)); diff != "" {
		t.Error(diff)
	}
	// Whatever decides what is published, and where, makes other work of it;
	// what forces it does not.
	seen := map[string]Trigger{}
	for _, trigger := range []Trigger{
		announced, {Repository: "a"}, {Version: "a"}, {Repository: `a" version="b`}, {Repository: "a", Version: "b"}, {Repository: "b", Version: "a"},
	} {
		text := configurationOf(trigger, org)
		if other, taken := seen[text]; taken {
			t.Errorf("%+v and %+v are both %s", trigger, other, text)
		}
		seen[text] = trigger
	}
	if configurationOf(Trigger{Force: true}, org) != configurationOf(announced, org) {
		t.Error("force makes other work")
	}
	if configurationOf(announced, Organization{Fingerprint: "f2"}) == configurationOf(announced, org) {
		t.Error("another configuration is the same work")
	}
}

// An archive of which Koji keeps no checksum is known by what was read.
func TestWorkWithoutAChecksum(t *testing.T) {
	l := &fakeLedger{}
	w := withLedger(t, l)
	results := w.Run(t.Context(), Trigger{NVR: sampleNVR})
	if l.asked[0].Checksum != (Checksum{}) || l.began[0].Checksum == (Checksum{}) || results[0].Archive.Checksum != l.began[0].Checksum {
		t.Errorf("asked for %s, began %s, published %s", l.asked[0].Checksum, l.began[0].Checksum, results[0].Archive.Checksum)
	}
}
