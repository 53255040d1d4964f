package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// listerFunc lists builds one after the other.
type listerFunc func(visit func(CompletedBuild) error) error

func (f listerFunc) ListBuilds(_ context.Context, _ Window, visit func(CompletedBuild) error) error {
	return f(visit)
}

type recorderFunc func(organization string, nvr NVR) (Record, error)

func (f recorderFunc) Record(_ context.Context, organization string, nvr NVR) (Record, error) {
	return f(organization, nvr)
}

type holderFunc func(Release) (bool, error)

func (f holderFunc) Holds(_ context.Context, r Release) (bool, error) { return f(r) }

var reconcileNow = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func completed(nvr NVR, id int64) CompletedBuild {
	return CompletedBuild{
		HubBuild:  HubBuild{ID: id, NVR: nvr, State: StateComplete, ManifestsArchive: "m.zip"},
		Completed: reconcileNow.Add(-time.Hour).Add(time.Duration(id) * time.Second),
	}
}

// newReconciliation lists the sample build; its organizations are all and
// samples. The ledger knows nothing, and no registry is asked.
func newReconciliation(t *testing.T) (*sampleWorld, Reconciliation) {
	t.Helper()
	w := newSampleWorld(t)
	return w, Reconciliation{
		Builds: listerFunc(func(visit func(CompletedBuild) error) error { return visit(completed(sampleNVR, 7)) }),
		Lookup: w.Lookup, Ledger: recorderFunc(func(string, NVR) (Record, error) { return Record{}, nil }),
		Fetch: w.Fetch, Prepare: w.Prepare,
		MaxAge: 24 * time.Hour, Now: func() time.Time { return reconcileNow },
	}
}

// gaps is what is missing, a word for each organization.
func gaps(t *testing.T, r Reconciliation) (string, Counts, error) {
	t.Helper()
	return gapsIn(t, r, Window{})
}

func gapsIn(t *testing.T, r Reconciliation, w Window) (string, Counts, error) {
	t.Helper()
	var all []string
	counts, err := r.Run(t.Context(), w, func(f Found) error {
		for _, m := range f.Missing {
			all = append(all, fmt.Sprintf("%d:%s:%s", f.Build.ID, m.Organization, m.Gap))
		}
		return nil
	})
	return strings.Join(all, " "), counts, err
}

func TestReconciliationAsksTheLedger(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) time.Time { return reconcileNow.Add(-d) }
	for name, tt := range map[string]struct {
		record Record
		failed bool
		want   Gap // "": nothing
	}{
		"unknown":                {Record{}, false, GapUnconfirmed},
		"unknown, and failures":  {Record{}, true, GapUnconfirmed},
		"published or rejected":  {Record{Known: true, Last: ago(100 * time.Hour)}, true, ""},
		"in hand":                {Record{Known: true, Open: true, Last: ago(time.Minute)}, true, ""},
		"in hand for a day":      {Record{Known: true, Open: true, Last: ago(24 * time.Hour)}, true, ""},
		"in hand for longer":     {Record{Known: true, Open: true, Last: ago(24*time.Hour + 1)}, false, GapStalled},
		"by a clock that is off": {Record{Known: true, Open: true, Last: ago(-time.Hour)}, false, ""},
		"failed":                 {Record{Known: true, Failed: true, Last: ago(48 * time.Hour)}, false, ""},
		"failed, to be retried":  {Record{Known: true, Failed: true, Last: ago(48 * time.Hour)}, true, GapFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r := newReconciliation(t)
			r.Failed = tt.failed
			r.Ledger = recorderFunc(func(org string, nvr NVR) (Record, error) {
				if nvr != sampleNVR {
					t.Errorf("asked for %s", nvr)
				}
				if org == "samples" {
					return Record{Known: true}, nil
				}
				return tt.record, nil
			})
			got, counts, err := gaps(t, r)
			want := ""
			if tt.want != "" {
				want = "7:all:" + string(tt.want)
			}
			if got != want || err != nil || counts != (Counts{Listed: 1, Ours: 1}) {
				t.Errorf("%q %+v %v, want %q", got, counts, err, want)
			}
		})
	}
}

// Whose builds they are is what Lookup says, before anybody is asked.
func TestReconciliationLeavesOutWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	_, r := newReconciliation(t)
	r.Lookup.Organizations = []Organization{{Name: "etcd", Match: []string{"etcd-*"}}, {Name: "by-request"}}
	nvr := NVR{"etcd-container", "1.0", "1"}
	draft, building, plain, other := completed(nvr, 1), completed(nvr, 2), completed(nvr, 3), completed(sampleNVR, 4)
	draft.Draft, building.State, plain.ManifestsArchive = true, StateDeleted, ""
	r.Builds = listerFunc(func(visit func(CompletedBuild) error) error {
		var errs []error
		for _, b := range []CompletedBuild{draft, building, plain, other, completed(nvr, 5), completed(NVR{"etcd-x", "1", "1"}, 6)} {
			errs = append(errs, visit(b))
		}
		return errors.Join(errs...)
	})
	asked := 0
	r.Ledger = recorderFunc(func(string, NVR) (Record, error) { asked++; return Record{}, nil })
	got, counts, err := gaps(t, r)
	if got != "5:etcd:not-in-ledger 6:etcd:not-in-ledger" || err != nil || counts != (Counts{6, 2}) || asked != 2 {
		t.Errorf("%q %+v %v, %d looks", got, counts, err, asked)
	}
	r.Takes = func(name string) bool { return name == "etcd-x" }
	if got, counts, _ = gaps(t, r); got != "6:etcd:not-in-ledger" || counts != (Counts{6, 1}) {
		t.Errorf("%q %+v", got, counts)
	}
}

func TestReconciliationAsksTheRegistry(t *testing.T) {
	t.Parallel()
	holds := func(held bool, err error) Holder { return holderFunc(func(Release) (bool, error) { return held, err }) }
	unavailable := Retry(ReasonQuayUnavailable, errors.New("status 503"))
	for name, tt := range map[string]struct {
		all    Holder
		change func(*sampleWorld, *Reconciliation)
		want   string
		note   string // of the last
	}{
		"has it":      {holds(true, nil), nil, "7:all:ledger-lost 7:samples:not-in-ledger", ""},
		"lacks it":    {holds(false, nil), nil, "7:all:never-seen 7:samples:not-in-ledger", ""},
		"cannot tell": {holds(false, unavailable), nil, "7:all:not-in-ledger 7:samples:not-in-ledger", "quay-unavailable: status 503"},
		"refuses":     {holds(false, Reject(ReasonQuayRefused, errors.New("no"))), nil, "7:all:never-seen 7:samples:not-in-ledger", ""},
		"panics":      {holderFunc(func(Release) (bool, error) { panic("oh") }), nil, "7:all:not-in-ledger 7:samples:not-in-ledger", "panic: panic: oh"},
		"hub is gone": {holds(true, nil), func(w *sampleWorld, _ *Reconciliation) {
			w.hub.find = func(int64, NVR) (HubBuild, error) {
				return HubBuild{}, Retry(ReasonKojiUnavailable, errors.New("offline"))
			}
		}, "7:all:not-in-ledger 7:samples:not-in-ledger", "koji-unavailable: offline"},
		"hub has no archive": {holds(true, nil), func(w *sampleWorld, _ *Reconciliation) {
			w.hub.archive = func(HubBuild) (Archive, error) { return Archive{}, Reject(ReasonArchiveNotFound, errors.New("none")) }
		}, "7:all:never-seen 7:samples:not-in-ledger", ""},
		"deleted meanwhile": {holds(true, nil), func(w *sampleWorld, _ *Reconciliation) {
			w.hub.find = func(int64, NVR) (HubBuild, error) {
				return HubBuild{ID: 7, NVR: sampleNVR, State: StateDeleted, ManifestsArchive: "m.zip"}, nil
			}
		}, "7:samples:not-in-ledger", ""},
		"bad archive": {holds(true, nil), func(w *sampleWorld, _ *Reconciliation) {
			w.hub.open = func(Archive) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("PK no zip")), nil }
		}, "7:all:never-seen 7:samples:not-in-ledger", ""},
		"archive panics": {holds(true, nil), func(w *sampleWorld, _ *Reconciliation) {
			w.hub.open = func(Archive) (io.ReadCloser, error) { panic("hostile") }
		}, "7:all:not-in-ledger 7:samples:not-in-ledger", "panic: panic: hostile"},
		"known meanwhile": {holderFunc(func(Release) (bool, error) { return false, errors.New("asked in vain") }), func(_ *sampleWorld, r *Reconciliation) {
			r.Ledger = recorderFunc(func(org string, _ NVR) (Record, error) { return Record{Known: org == "all"}, nil })
		}, "7:samples:not-in-ledger", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, r := newReconciliation(t)
			r.Holders = map[string]Holder{"all": tt.all}
			if tt.change != nil {
				tt.change(w, &r)
			}
			var note string
			_, err := r.Run(t.Context(), Window{}, func(f Found) error {
				for _, m := range f.Missing {
					if m.Organization == "all" {
						note = m.Note
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := gaps(t, r)
			if got != tt.want || err != nil || note != tt.note {
				t.Errorf("%q, note %q, %v; want %q, note %q", got, note, err, tt.want, tt.note)
			}
		})
	}
}

// What a registry was found to have is not fetched and asked for again while its
// build is in the window, unless nobody is to remember it. What it lacks, or
// cannot tell, is.
func TestReconciliationRemembersWhatIsHeld(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		held       map[Holding]time.Time
		has        bool
		err        error
		want       Gap
		downloads  int // of three looks
		remembered bool
	}{
		"held":                {map[Holding]time.Time{}, true, nil, GapUnrecorded, 1, true},
		"held, by its other":  {map[Holding]time.Time{{"samples", 7}: reconcileNow, {"all", 8}: reconcileNow}, true, nil, GapUnrecorded, 1, true},
		"held, no memory":     {nil, true, nil, GapUnrecorded, 3, false},
		"lacked":              {map[Holding]time.Time{}, false, nil, GapUnseen, 3, false},
		"nobody can tell":     {map[Holding]time.Time{}, false, errors.New("503"), GapUnconfirmed, 3, false},
		"remembered before":   {map[Holding]time.Time{{"all", 7}: reconcileNow}, false, nil, GapUnrecorded, 0, true},
		"remembered too long": {map[Holding]time.Time{{"all", 7}: reconcileNow.Add(-3 * time.Hour)}, false, nil, GapUnseen, 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, r := newReconciliation(t)
			downloads, open := 0, w.hub.open
			w.hub.open = func(a Archive) (io.ReadCloser, error) { downloads++; return open(a) }
			r.Held = tt.held
			r.Holders = map[string]Holder{"all": holderFunc(func(Release) (bool, error) { return tt.has, tt.err })}
			window := Window{From: reconcileNow.Add(-2 * time.Hour), To: reconcileNow}
			for range 3 {
				if got, _, err := gapsIn(t, r, window); got != "7:all:"+string(tt.want)+" 7:samples:not-in-ledger" || err != nil {
					t.Errorf("%q %v, want %s", got, err, tt.want)
				}
			}
			if _, remembered := tt.held[Holding{"all", 7}]; downloads != tt.downloads || remembered != tt.remembered {
				t.Errorf("%d downloads, remembered: %t", downloads, remembered)
			}
			// Behind the window nothing is left of it.
			if _, _, err := gapsIn(t, Reconciliation{Builds: listerFunc(func(func(CompletedBuild) error) error { return nil }), Held: tt.held}, Window{From: reconcileNow.Add(time.Hour)}); err != nil || len(tt.held) > 0 {
				t.Errorf("%v %v", tt.held, err)
			}
		})
	}
}

// The registry is asked for what the service would publish, without digests.
func TestReconciliationAsksForWhatWouldBePublished(t *testing.T) {
	t.Parallel()
	_, r := newReconciliation(t)
	r.Lookup.Organizations = []Organization{{
		Name: "all", Match: []string{"*"}, Target: TargetOCI, Repository: "{package}", Tags: []string{"{nvr}"}, PackageNameSuffix: "-stage", PinDigests: true,
	}}
	r.Fetch.Budget = NewBudget(64 << 20)
	var asked []Release
	r.Holders = map[string]Holder{"all": holderFunc(func(rel Release) (bool, error) { asked = append(asked, rel); return true, nil })}
	got, _, err := gaps(t, r)
	if got != "7:all:ledger-lost" || err != nil || len(asked) != 1 {
		t.Fatalf("%q %v %d", got, err, len(asked))
	}
	b := asked[0].Bundles[0]
	if b.Repository != "all/gadgets-stage" || !slices.Equal(b.Tags, []string{sampleNVR.String()}) || asked[0].Build.ID != 7 {
		t.Errorf("%+v", b)
	}
	if !r.Fetch.Budget.room.TryAcquire(64 << 20) {
		t.Error("memory is still held")
	}
}

func TestReconciliationEndsWithAnError(t *testing.T) {
	t.Parallel()
	lost := errors.New("the hub is gone")
	_, r := newReconciliation(t)
	r.Builds = listerFunc(func(visit func(CompletedBuild) error) error {
		return errors.Join(visit(completed(sampleNVR, 1)), lost)
	})
	if got, counts, err := gaps(t, r); got != "1:all:not-in-ledger 1:samples:not-in-ledger" || !errors.Is(err, lost) || counts.Ours != 1 {
		t.Errorf("%q %+v %v", got, counts, err)
	}
	_, r = newReconciliation(t)
	r.Ledger = recorderFunc(func(string, NVR) (Record, error) { return Record{}, lost })
	if got, _, err := gaps(t, r); got != "" || !errors.Is(err, lost) {
		t.Errorf("%q %v", got, err)
	}
	_, r = newReconciliation(t)
	if _, err := r.Run(t.Context(), Window{}, func(Found) error { return lost }); !errors.Is(err, lost) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.Holders = map[string]Holder{"all": holderFunc(func(Release) (bool, error) { cancel(); return false, ctx.Err() })}
	if _, err := r.Run(ctx, Window{}, func(Found) error { t.Error("visited"); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWorth(t *testing.T) {
	t.Parallel()
	for _, gap := range Gaps() {
		f := Found{Missing: []Missing{{Gap: gap}}}
		if got := f.Worth(false); got != (gap != GapUnrecorded) || !f.Worth(true) {
			t.Errorf("%s: %t", gap, got)
		}
	}
	if !(Found{Missing: []Missing{{Gap: GapUnrecorded}, {Gap: GapUnseen}}}).Worth(false) {
		t.Error("one organization lacks it")
	}
}
