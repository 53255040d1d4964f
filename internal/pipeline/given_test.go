package pipeline

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type objectsFunc func(name string) (io.ReadCloser, error)

func (f objectsFunc) OpenObject(_ context.Context, name string) (io.ReadCloser, error) {
	return f(name)
}

func sampleArchive(t *testing.T) string {
	t.Helper()
	var pairs []string
	for _, f := range folder(t, "testdata/prepare/bundle/in") {
		pairs = append(pairs, f.Path, string(f.Data))
	}
	return string(zipOf(t, pairs...))
}

// An archive by hand meets neither hub nor gate nor ledger, and everything else.
func TestArchiveByHand(t *testing.T) {
	data := sampleArchive(t)
	store := objectsFunc(func(name string) (io.ReadCloser, error) {
		switch name {
		case "drop/good.zip":
			return io.NopCloser(strings.NewReader(data)), nil
		case "drop/broken.zip":
			return io.NopCloser(io.MultiReader(strings.NewReader(data[:10]), brokenReader{})), nil
		}
		return nil, Reject(ReasonArchiveNotFound, errors.New("no such object"))
	})
	cases := []struct {
		name    string
		trigger Trigger
		store   ObjectOpener
		want    string // outcome of the only result: published, or class and reason
		stage   StageName
	}{
		{"inline", Trigger{Organization: "handy", Given: Given{Inline: data}}, nil, "published", ""},
		{"an object", Trigger{Organization: "handy", Given: Given{Object: "drop/good.zip"}}, store, "published", ""},
		{"no such object", Trigger{Organization: "handy", Given: Given{Object: "drop/x.zip"}}, store, "rejected archive-not-found", StageFetch},
		{"an object that breaks off", Trigger{Organization: "handy", Given: Given{Object: "drop/broken.zip"}}, store, "transient archive-unavailable", StageFetch},
		{"no object store", Trigger{Organization: "handy", Given: Given{Object: "drop/good.zip"}}, nil, "rejected not-supported", StageFetch},
		{"not a zip file", Trigger{Organization: "handy", Given: Given{Inline: "hello"}}, nil, "rejected bad-archive", StageFetch},
		{"an organization that takes none", Trigger{Organization: "asked", Given: Given{Inline: data}}, nil, "rejected archive-not-accepted", StageLookup},
		{"an organization that is not configured", Trigger{Organization: "x", Given: Given{Inline: data}}, nil, "rejected unknown-organization", StageLookup},
		{"a version for a bundle image", Trigger{Organization: "handy", Version: "1.0.0", Given: Given{Inline: data}}, nil, "rejected not-supported", StageLookup},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newSampleWorld(t)
			handy := Organization{Name: "handy", AcceptArchives: true, Target: TargetOCI, Repository: "{package}", Tags: []string{"{version}", "{nvr}"}}
			w.Lookup.Organizations = append(w.Lookup.Organizations, handy)
			var got Release
			w.Push.Pushers["handy"] = pusherFunc(func(r Release) (Publication, error) { got = r; return Publication{}, nil })
			w.Gate.Decider = deciderFunc(func(NVR) (Decision, error) {
				t.Error("the gate was asked")
				return Decision{}, nil
			})
			ledger := &fakeLedger{}
			w.Ledger, w.Fetch.Objects = ledger, c.store
			c.trigger.Kind, c.trigger.ID = PushRequested, "e1"
			results := w.Run(t.Context(), c.trigger)
			if len(results) != 1 {
				t.Fatalf("%d results", len(results))
			}
			r := results[0]
			outcome := "published"
			if r.Err != nil {
				outcome = ClassOf(r.Err).String() + " " + string(ReasonOf(r.Err))
			}
			if outcome != c.want || StageOf(r.Err) != c.stage || r.Organization != c.trigger.Organization {
				t.Errorf("%s at %q for %q (%v)", outcome, StageOf(r.Err), r.Organization, r.Err)
			}
			if w.hub.calls+len(ledger.asked)+len(ledger.began) > 0 {
				t.Errorf("hub or ledger were asked: %d calls, %v, %v", w.hub.calls, ledger.asked, ledger.began)
			}
			if c.want != "published" {
				return
			}
			if diff := cmp.Diff([]string{"1.0.0"}, got.Bundles[0].Tags); diff != "" {
				t.Error("tags without a build: ", diff)
			}
			if _, said := got.Bundles[0].Labels[LabelBuildID]; said || r.Decision != nil || r.BuildID != 0 ||
				r.Archive.Checksum.Algorithm != "sha256" || r.ArchiveBytes != int64(len(data)) || r.Package != "gadgets" {
				t.Errorf("%+v, labels %v", r, got.Bundles[0].Labels)
			}
		})
	}
}

func TestVersionOfARequest(t *testing.T) {
	for version, want := range map[string]Reason{
		"":                        "",
		"1.2.3":                   "",
		"0.0.0":                   "",
		"10.200.3000":             "",
		"1.0.0.1":                 ReasonInvalidVersion, // this one to the last: OMPS's own cases
		"1.0.0-2":                 ReasonInvalidVersion,
		"1.0.02":                  ReasonInvalidVersion,
		"1.a.2":                   ReasonInvalidVersion,
		"1.1":                     ReasonInvalidVersion,
		"1.0.0\n":                 ReasonInvalidVersion,
		"-1.0.0":                  ReasonInvalidVersion,
		"+1.0.0":                  ReasonInvalidVersion,
		"1..0":                    ReasonInvalidVersion,
		"1.0.0/../2.0.0":          ReasonInvalidVersion,
		"1.0.٣":                   ReasonInvalidVersion,
		"1.0.9999999999999999999": ReasonInvalidVersion,
	} {
		w := newSampleWorld(t)
		w.Lookup.Organizations = append(w.Lookup.Organizations, Organization{Name: "apps", Target: TargetAppRegistry})
		_, err := w.Lookup.Do(t.Context(), Trigger{Kind: PushRequested, NVR: sampleNVR, Organization: "apps", Version: version})
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", version, err)
		case want != "" && (ReasonOf(err) != want || ClassOf(err) != Rejected || w.hub.calls != 0):
			t.Errorf("%q: %v after %d calls to the hub", version, err, w.hub.calls)
		case want != "" && version == "1.0.02" && !strings.Contains(err.Error(), version):
			t.Errorf("%v does not say %s", err, version)
		}
	}
}
