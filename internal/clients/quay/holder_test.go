package quay

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestPushGivesSharedTagToTheLastBundle(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	older, newer, elsewhere := etcd("7", "0.9.2", "latest"), etcd("7", "0.9.4", "latest", "latest"), etcd("7", "latest")
	older.Files[0].Data = []byte("older")
	elsewhere.Repository = "myorg/other"
	p := mustPush(t, o, older, newer, elsewhere)
	for i, want := range [][]string{{"0.9.2"}, {"0.9.4", "latest"}, {"latest"}} {
		if !cmp.Equal(p.Bundles[i].Tags, want) {
			t.Errorf("bundle %d has tags %q, want %q", i, p.Bundles[i].Tags, want)
		}
	}
	if got := named(t, f, "latest"); got != digest(t, newer) {
		t.Errorf("latest names %s", got)
	}
	if p := mustPush(t, o, older, newer, elsewhere); !p.Repeated {
		t.Error("pushed again")
	}
}

func TestPushAndTagsOfOtherBuilds(t *testing.T) {
	t.Parallel()
	unlabelled := etcd("", "tag")
	delete(unlabelled.Labels, pipeline.LabelBuildID)
	odd := etcd("latest", "tag")
	for name, test := range map[string]struct {
		there, pushed pipeline.Bundle
		left          bool
	}{
		"older build there":      {etcd("6", "tag"), etcd("7", "tag"), false},
		"newer build there":      {etcd("8", "tag"), etcd("7", "tag"), true},
		"more digits there":      {etcd("10", "tag"), etcd("9", "tag"), true},
		"no build there":         {unlabelled, etcd("7", "tag"), false},
		"no number there":        {odd, etcd("7", "tag"), false},
		"pushed without a build": {etcd("8", "tag"), unlabelled, false},
		"pushed without number":  {etcd("8", "tag"), odd, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			o := newOCI(t, f, nil)
			mustPush(t, o, test.there)
			test.pushed.Tags = append(test.pushed.Tags, "own")
			p := mustPush(t, o, test.pushed)

			want, wantTags := digest(t, test.pushed), []string{"tag", "own"}
			var warnings []string
			if test.left {
				want, wantTags = digest(t, test.there), []string{"own"}
				warnings = []string{fmt.Sprintf("tag tag holds build %s, newer than %s: left",
					test.there.Labels[pipeline.LabelBuildID], test.pushed.Labels[pipeline.LabelBuildID])}
			}
			if got := named(t, f, "tag"); got != want {
				t.Errorf("tag names %s, want %s", got, want)
			}
			if diff := cmp.Diff(wantTags, p.Bundles[0].Tags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(warnings, p.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if again := mustPush(t, o, test.pushed); !again.Repeated || !cmp.Equal(again.Warnings, warnings) {
				t.Errorf("again: %+v", again)
			}
		})
	}
}

func TestPushTakesTagsOfStrangers(t *testing.T) {
	t.Parallel()
	index := func(t *testing.T, f *fakeRegistry) {
		list := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: empty.Image})
		if err := remote.WriteIndex(referenceOf(t, f, "tag"), list); err != nil {
			t.Fatal(err)
		}
	}
	image := func(config func(v1.Image) v1.Image) func(*testing.T, *fakeRegistry) {
		return func(t *testing.T, f *fakeRegistry) {
			if err := remote.Write(referenceOf(t, f, "tag"), config(empty.Image)); err != nil {
				t.Fatal(err)
			}
		}
	}
	newerBuild := func(img v1.Image) v1.Image {
		img, err := mutate.Config(img, v1.Config{Labels: map[string]string{pipeline.LabelBuildID: "9"}})
		if err != nil {
			panic(err)
		}
		return img
	}
	tooLarge := func(img v1.Image) v1.Image {
		img, err := mutate.Config(img, v1.Config{Labels: map[string]string{
			pipeline.LabelBuildID: "9", "large": strings.Repeat("x", maxConfig),
		}})
		if err != nil {
			panic(err)
		}
		return img
	}
	artifact := func(img v1.Image) v1.Image {
		img, err := mutate.AppendLayers(mutate.ConfigMediaType(img, "application/vnd.example+json"),
			static.NewLayer([]byte("x"), types.OCILayer))
		if err != nil {
			panic(err)
		}
		return img
	}
	gone := func(step string) func(*fakeRegistry) {
		return func(f *fakeRegistry) { f.failing(step, http.StatusNotFound, errorsBody("BLOB_UNKNOWN", "gone")) }
	}
	answer := func(step, body string) func(*fakeRegistry) {
		return func(f *fakeRegistry) { f.failing(step, http.StatusOK, body) }
	}
	for name, test := range map[string]struct {
		there func(*testing.T, *fakeRegistry)
		fault func(*fakeRegistry)
	}{
		"index":              {there: index},
		"artifact":           {there: image(artifact)},
		"config too large":   {there: image(tooLarge)},
		"manifest gone":      {there: image(newerBuild), fault: gone(stepGetManifest)},
		"config gone":        {there: image(newerBuild), fault: gone(stepGetBlob)},
		"manifest too large": {there: image(newerBuild), fault: answer(stepGetManifest, strings.Repeat(" ", maxAnswer+1))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			test.there(t, f)
			if test.fault != nil {
				test.fault(f)
			}
			b := etcd("7", "tag")
			if p := mustPush(t, newOCI(t, f, nil), b); len(p.Warnings) != 0 {
				t.Errorf("warnings: %q", p.Warnings)
			}
			if got := named(t, f, "tag"); got != digest(t, b) {
				t.Errorf("tag names %s", got)
			}
		})
	}
}

func TestPushDoesNotMoveWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for _, step := range []string{stepGetManifest, stepGetBlob} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			o := newOCI(t, f, nil)
			newer := etcd("8", "tag")
			mustPush(t, o, newer)
			f.failing(step, http.StatusBadGateway, "")
			_, err := o.Push(t.Context(), releaseOf(etcd("7", "tag")))
			wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
			if got := named(t, f, "tag"); got != digest(t, newer) {
				t.Errorf("tag names %s", got)
			}
		})
	}
}
