package quay

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// built is a release of the build etcd-operator-container-1.0-NUMBER.
func built(number string, bundles ...pipeline.Bundle) pipeline.Release {
	r := releaseOf(bundles...)
	r.Build.NVR = pipeline.NVR{Name: "etcd-operator-container", Version: "1.0", Release: number}
	return r
}

func TestHoldsImages(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	oci := newOCI(t, f, nil)
	if _, err := oci.Push(t.Context(), built("7", etcd("7", "0.9.4", "etcd-operator-container-1.0-7"))); err != nil {
		t.Fatal(err)
	}
	if _, err := oci.Push(t.Context(), built("8", etcd("8", "0.9.4"))); err != nil { // moves the version's tag
		t.Fatal(err)
	}
	edited := etcd("7", "0.9.4", "etcd-operator-container-1.0-7")
	edited.Files[0].Data = []byte("made with another configuration")
	other := etcd("8", "0.9.4")
	other.Files[0].Data = []byte("not what was pushed")
	several := etcd("9", "etcd-operator-container-1.0-9-0.9.4")
	elsewhere := etcd("7", "etcd-operator-container-1.0-7")
	elsewhere.Repository = "myorg/elsewhere"
	f.taken()
	for name, tt := range map[string]struct {
		release pipeline.Release
		want    bool
		looks   int
	}{
		"by the build's tag":               {built("7", etcd("7", "0.9.4", "etcd-operator-container-1.0-7")), true, 1},
		"by that, whatever is in it":       {built("7", edited), true, 1},
		"by its digest":                    {built("8", etcd("8", "0.9.4")), true, 1},
		"another one has the version":      {built("8", other), false, 1},
		"a build that is not there":        {built("9", etcd("9", "0.9.4", "etcd-operator-container-1.0-9")), false, 1},
		"nor is one with several versions": {built("9", several), false, 1},
		"some of it":                       {built("7", etcd("7", "0.9.4", "etcd-operator-container-1.0-7"), several), false, 2},
		"no such repository":               {built("7", elsewhere), false, 1},
		"nothing":                          {built("7"), false, 0},
	} {
		got, err := oci.Holds(t.Context(), tt.release)
		steps := f.taken()
		if err != nil || got != tt.want || count(steps, "HEAD manifest") != tt.looks {
			t.Errorf("%s: %t %v after %v", name, got, err, steps)
		}
		if slices.ContainsFunc(steps, func(s string) bool { return strings.HasPrefix(s, "PUT") || strings.HasSuffix(s, "upload") }) {
			t.Errorf("%s changes something: %v", name, steps)
		}
	}
}

func TestHoldsImagesOrCannotTell(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]pipeline.Reason{
		http.StatusUnauthorized: pipeline.ReasonUnauthorized, http.StatusForbidden: pipeline.ReasonUnauthorized,
		http.StatusInternalServerError: pipeline.ReasonQuayUnavailable, http.StatusBadGateway: pipeline.ReasonQuayUnavailable,
		http.StatusTooManyRequests: pipeline.ReasonQuayUnavailable,
	} {
		f := newRegistry(t)
		f.failing("HEAD manifest", status, "")
		held, err := newOCI(t, f, nil).Holds(t.Context(), built("7", etcd("7", "0.9.4")))
		if held {
			t.Errorf("%d: held", status)
		}
		wantError(t, err, pipeline.Transient, want)
		if strings.Contains(err.Error(), password) {
			t.Errorf("%d: %v", status, err)
		}
	}
	f := newRegistry(t)
	oci := newOCI(t, f, func(o *OCIOptions) { o.Timeout = 50 * time.Millisecond })
	f.setFault(func(_ string, _ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	_, err := oci.Holds(t.Context(), built("7", etcd("7", "0.9.4")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonDeadline)

	bad := etcd("7", "0.9.4")
	bad.Repository = "myorg/NO"
	_, err = oci.Holds(t.Context(), built("7", bad))
	wantError(t, err, pipeline.Rejected, pipeline.ReasonQuayRefused)
}

func TestHoldsReleases(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registry := a.client(t, nil)
	if held, err := registry.Holds(t.Context(), application("a", "")); held || err != nil {
		t.Errorf("without a package: %t %v", held, err)
	}
	wantRelease(t, registry, application("a", ""), "1.0.0", false)
	for content, want := range map[string]bool{"a": true, "b": false} {
		if held, err := registry.Holds(t.Context(), application(content, "")); held != want || err != nil {
			t.Errorf("%s: %t %v", content, held, err)
		}
	}
	if n := a.posts(); n != 1 {
		t.Errorf("%d pushes", n)
	}
	a.Stop()
	held, err := registry.Holds(t.Context(), application("a", ""))
	if held {
		t.Error("held by a server that is gone")
	}
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	_, err = registry.Holds(t.Context(), pipeline.Release{})
	wantError(t, err, pipeline.Transient, pipeline.ReasonInternal)
}
