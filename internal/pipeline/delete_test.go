package pipeline

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type deleterFunc func(Deletion) ([]string, error)

func (f deleterFunc) Delete(_ context.Context, d Deletion) ([]string, error) { return f(d) }

func TestDelete(t *testing.T) {
	gone := Reject(ReasonPackageNotFound, errors.New("no such package"))
	cases := []struct {
		name    string
		trigger Trigger
		deleted []string
		err     error
		want    string // deleted, or class and reason
		asked   string // repository and version that the deleter was asked for
	}{
		{"a version", Trigger{Organization: "asked", Repository: "etcd", Version: "1.0.0"}, []string{"1.0.0"}, nil, "deleted", "asked/etcd 1.0.0"},
		{"all", Trigger{Organization: "asked", Repository: "etcd"}, []string{"1.0.0", "2.0.0"}, nil, "deleted", "asked/etcd "},
		{"below a folder", Trigger{Organization: "asked", Repository: "a/b"}, []string{"1"}, nil, "deleted", "asked/a/b "},
		{"nothing there", Trigger{Organization: "asked", Repository: "etcd"}, nil, gone, "rejected package-not-found", "asked/etcd "},
		{"gone by an earlier try", Trigger{Organization: "asked", Repository: "etcd", Again: true}, nil, gone, "deleted", "asked/etcd "},
		{"some, then an error", Trigger{Organization: "asked", Repository: "etcd"}, []string{"1.0.0"}, errors.New("x"), "transient internal", "asked/etcd "},
		{"a path", Trigger{Organization: "asked", Repository: "../etcd"}, nil, nil, "rejected invalid-event", ""},
		{"no repository", Trigger{Organization: "asked"}, nil, nil, "rejected invalid-event", ""},
		{"a template", Trigger{Organization: "asked", Repository: "etcd{package}"}, nil, nil, "rejected invalid-event", ""},
		{"not configured", Trigger{Organization: "x", Repository: "etcd"}, nil, nil, "rejected unknown-organization", ""},
		{"nobody to do it", Trigger{Organization: "all", Repository: "etcd"}, nil, nil, "transient internal", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newSampleWorld(t)
			asked := ""
			w.Delete.Deleters = map[string]Deleter{"asked": deleterFunc(func(d Deletion) ([]string, error) {
				asked = d.Repository + " " + d.Version
				return c.deleted, c.err
			})}
			c.trigger.Kind = DeleteRequested
			results := w.Run(t.Context(), c.trigger)
			if len(results) != 1 {
				t.Fatalf("%d results", len(results))
			}
			r := results[0]
			got := "deleted"
			if r.Err != nil {
				got = ClassOf(r.Err).String() + " " + string(ReasonOf(r.Err))
			}
			if got != c.want || asked != c.asked || r.Organization != c.trigger.Organization {
				t.Errorf("%s for %q, asked for %q (%v)", got, r.Organization, asked, r.Err)
			}
			if diff := cmp.Diff(c.deleted, r.Deleted); diff != "" {
				t.Error(diff)
			}
			if r.Publication.Repeated != (c.trigger.Again && r.Err == nil) || r.Publication.Repeated != (len(r.Warnings) == 1) {
				t.Errorf("repeated %t, warnings %q", r.Publication.Repeated, r.Warnings)
			}
			if w.hub.calls > 0 || len(w.pushed) > 0 {
				t.Errorf("%d calls to the hub, pushed %v", w.hub.calls, w.pushed)
			}
			if c.asked != "" && (StageOf(r.Err) != "" && StageOf(r.Err) != StageDelete || r.Durations[StageDelete] == 0 || r.Repository == "") {
				t.Errorf("stage %q, repository %q, %v", StageOf(r.Err), r.Repository, r.Durations)
			}
		})
	}
}
