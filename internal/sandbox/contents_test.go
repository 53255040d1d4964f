package sandbox

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestContentsOfARepository(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	s := serve(t, r)
	if there := r.Contents("org/app"); len(there.Digests) != 0 || len(there.Tags) != 0 || len(r.Repositories()) != 0 {
		t.Errorf("an empty registry holds %v in %v", there, r.Repositories())
	}
	put := func(tag, content string) string {
		t.Helper()
		image := testImage(t, content)
		if err := remote.Write(reference(t, s, "org/app:"+tag), image, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
		return digestString(t, image)
	}
	check := func(digests []string, tags map[string]string) {
		t.Helper()
		slices.Sort(digests)
		there := r.Contents("org/app")
		if !slices.Equal(there.Digests, digests) || !maps.Equal(there.Tags, tags) {
			t.Errorf("holds %v, want %v and %v", there, digests, tags)
		}
	}
	one := put("1", "one")
	check([]string{one}, map[string]string{"1": one})
	two := put("latest", "two")
	put("2", "two")
	check([]string{one, two}, map[string]string{"1": one, "2": two, "latest": two})
	put("latest", "one") // a tag moves, what it named stays known
	check([]string{one, two}, map[string]string{"1": one, "2": two, "latest": one})
	if err := remote.Delete(reference(t, s, "org/app:2"), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	check([]string{one, two}, map[string]string{"1": one, "latest": one})
	if got := r.Repositories(); !slices.Equal(got, []string{"org/app"}) {
		t.Errorf("repositories are %v", got)
	}
}

func digestString(t *testing.T, image v1.Image) string {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// A refused image manifest is not in the repository; one whose answer gets lost is.
func TestContentsAfterFaults(t *testing.T) {
	t.Parallel()
	r := NewRegistry(Organization{Name: "org", Username: "org+robot", Password: "secret"})
	s := serve(t, r)
	image := testImage(t, "content")
	if err := remote.Write(reference(t, s, "org/app:1"), image, remote.WithContext(t.Context())); err == nil {
		t.Error("a push without a login succeeds")
	}
	if there := r.Contents("org/app"); len(there.Digests) != 0 {
		t.Errorf("a refused push leaves %v", there)
	}

	open := NewRegistry()
	s = serve(t, open)
	s.SetFault(func(r *http.Request) *Answer {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
			return nil
		}
		return &Answer{Status: http.StatusBadRequest, After: true}
	})
	if err := remote.Write(reference(t, s, "org/app:1"), image, remote.WithContext(t.Context())); err == nil {
		t.Error("a push whose answer is lost succeeds")
	}
	if there := open.Contents("org/app"); there.Tags["1"] != digestString(t, image) {
		t.Errorf("a push whose answer is lost leaves %v", there)
	}
}

// As in Quay, a digest goes with all its tags, and a tag goes alone.
func TestDeletionOfImageManifests(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	s := serve(t, r)
	put := func(content string, tags ...string) string {
		image := testImage(t, content)
		for _, tag := range tags {
			if err := remote.Write(reference(t, s, "org/app:"+tag), image, remote.WithContext(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		return digestString(t, image)
	}
	one, two := put("one", "1", "one", "x"), put("two", "2", "two")
	check := func(ref string, status int, left ...string) {
		t.Helper()
		if got := do(t, http.MethodDelete, s.URL()+"/v2/org/app/manifests/"+ref, "", ""); got.status != status {
			t.Errorf("DELETE %s is answered %d %s", ref, got.status, got.body)
		}
		if tags := slices.Sorted(maps.Keys(r.Contents("org/app").Tags)); !slices.Equal(tags, left) {
			t.Errorf("after DELETE %s the tags are %v, want %v", ref, tags, left)
		}
		for _, tag := range []string{"1", "one", "x", "2", "two"} {
			_, err := remote.Head(reference(t, s, "org/app:"+tag), remote.WithContext(t.Context()))
			if there := err == nil; there != slices.Contains(left, tag) {
				t.Errorf("after DELETE %s: HEAD %s: %v", ref, tag, err)
			}
		}
	}
	check("x", 202, "1", "2", "one", "two")
	check("x", 404, "1", "2", "one", "two")
	check(one, 202, "2", "two")
	check(one, 404, "2", "two")
	check(two, 202)
}
