package main

import (
	"slices"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// OSBS stores of a bundle's build the bare content of its manifests folder; the
// rest is in the labels that the hub tells of the build's image.
func TestBuildOfABundleIsPublished(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	s.announce(sandbox.BundleNVR)
	r := s.next()
	if r.Outcome != "published" || r.Package != "sample-operator" || len(r.Bundles) != 1 || r.Error != nil {
		t.Fatalf("%+v, %+v", r, r.Error)
	}
	b := r.Bundles[0]
	if !slices.Equal(b.Channels, []string{"candidate", "stable"}) || b.DefaultChannel != "stable" || b.Version != "1.1.0" {
		t.Errorf("%+v", b)
	}
	config, err := pull(t, b.Reference).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range sandbox.SampleBundleLabels() {
		if got := config.Config.Labels[name]; got != want {
			t.Errorf("label %s is %q, not %q", name, got, want)
		}
	}
}
