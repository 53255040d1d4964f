package quay

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

func TestDeleteReleases(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registry := a.client(t, nil)
	remove := func(version string) ([]string, error) {
		return registry.Delete(t.Context(), pipeline.Deletion{Repository: "myorg/etcd", Version: version})
	}
	wantGone := func(version, text string) {
		t.Helper()
		deleted, err := remove(version)
		wantError(t, err, pipeline.Rejected, pipeline.ReasonPackageNotFound)
		if len(deleted) != 0 || !strings.Contains(err.Error(), text) {
			t.Errorf("deleted %q, error is %v, want %q", deleted, err, text)
		}
	}
	const noPackage = "package myorg/etcd doesn't exist, v: None, type: None"
	wantGone("", "myorg/etcd not found: GET "+a.URL()+etcdPath+": 404 Not Found: "+noPackage)
	wantGone("1.0.0", "release 1.0.0 of myorg/etcd not found: ")
	wantGone("1.0.0", noPackage)

	for _, version := range []string{"3.0.0", "4.0.1", "10.0.2"} {
		wantRelease(t, registry, application(version, version), version, false)
	}
	if deleted, err := remove("4.0.1"); err != nil || !slices.Equal(deleted, []string{"4.0.1"}) {
		t.Errorf("deleted %q: %v", deleted, err)
	}
	wantGone("4.0.1", "package myorg/etcd doesn't exist, v: 4.0.1, type: helm")
	a.wantHas(t, "3.0.0=3.0.0", "10.0.2=10.0.2")
	if deleted, err := remove(""); err != nil || !slices.Equal(deleted, []string{"3.0.0", "10.0.2"}) {
		t.Errorf("deleted %q: %v", deleted, err)
	}
	wantGone("", "myorg/etcd not found: it has no release")
	wantRelease(t, registry, application("a", ""), "1.0.0", false)
}

// The next release is counted anew after a deletion.
func TestNextReleaseAfterDeletion(t *testing.T) {
	t.Parallel()
	for deleted, next := range map[string]string{"6.0.2": "5.0.0", "4.0.1": "7.0.0"} {
		a := newApps(t)
		registry := a.client(t, nil)
		for _, version := range []string{"3.0.0", "4.0.1", "6.0.2"} {
			wantRelease(t, registry, application(version, version), version, false)
		}
		if _, err := registry.Delete(t.Context(), pipeline.Deletion{Repository: "myorg/etcd", Version: deleted}); err != nil {
			t.Fatal(err)
		}
		wantRelease(t, registry, application("a", ""), next, false)
	}
}

// Any release may be deleted, also one that does not count.
func TestDeleteReleaseThatDoesNotCount(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	var path string
	a.SetFault(func(r *http.Request) *sandbox.Answer {
		path = r.URL.Path
		return &sandbox.Answer{Status: http.StatusOK, Body: `{"status":"deleted"}`}
	})
	const version = "1.0.0-rc.1+build.7"
	deleted, err := a.client(t, nil).Delete(t.Context(), pipeline.Deletion{Repository: "myorg/etcd", Version: version})
	if err != nil || !slices.Equal(deleted, []string{version}) || path != etcdPath+"/"+version+"/helm" {
		t.Errorf("deleted %q at %s: %v", deleted, path, err)
	}
}

func TestDeleteReleaseWithoutRights(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	wantRelease(t, a.client(t, nil), application("a", ""), "1.0.0", false)
	nobody := a.client(t, func(o *AppRegistryOptions) { o.Username, o.Password = "", nil })
	for _, d := range []pipeline.Deletion{{Repository: "myorg/etcd"}, {Repository: "myorg/etcd", Version: "1.0.0"}, {Repository: "myorg/none"}} {
		deleted, err := nobody.Delete(t.Context(), d)
		if verdictOf(err) != credentials || len(deleted) != 0 || !strings.Contains(err.Error(), "Unauthorized access for: "+d.Repository) {
			t.Errorf("deleted %q: %v", deleted, err)
		}
	}
	a.wantHas(t, "1.0.0=a")
}

// What was deleted before an error is said beside it, and others may delete too.
func TestDeleteOfAllReleasesEndsHalfWay(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	registry := a.client(t, nil)
	for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
		wantRelease(t, registry, application(version, version), version, false)
	}
	a.SetFault(func(r *http.Request) *sandbox.Answer {
		switch {
		case r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "1.0.0"):
			return &sandbox.Answer{Status: http.StatusNotFound, Body: appError("package-not-found", "gone")}
		case r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "3.0.0"):
			a.SetAppsReadOnly(true)
		}
		return nil
	})
	deleted, err := registry.Delete(t.Context(), pipeline.Deletion{Repository: "myorg/etcd"})
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	if !slices.Equal(deleted, []string{"2.0.0"}) || !strings.Contains(err.Error(), "Currently in read-only mode") {
		t.Errorf("deleted %q: %v", deleted, err)
	}
	a.wantHas(t, "1.0.0=1.0.0", "3.0.0=3.0.0")
}

func TestDeleteOfReleasesLocksTheRepository(t *testing.T) {
	t.Parallel()
	a := newApps(t)
	locker := newLocker()
	lockName := a.Host() + "/cnr/myorg/etcd"
	registry := a.client(t, func(o *AppRegistryOptions) { o.Locker = locker })
	wantRelease(t, registry, application("a", ""), "1.0.0", false)
	errLost := errors.New("the bucket is gone")
	a.SetFault(func(r *http.Request) *sandbox.Answer {
		if r.Method != http.MethodDelete {
			return nil
		}
		locker.mu.Lock()
		lease := locker.leases[lockName]
		locker.mu.Unlock()
		if lease == nil || lease.owner != deleteOwner {
			t.Errorf("%s is leased to %+v", lockName, lease)
			return nil
		}
		locker.lose(lockName, errLost)
		return &sandbox.Answer{Status: http.StatusBadGateway}
	})
	_, err := registry.Delete(t.Context(), pipeline.Deletion{Repository: "myorg/etcd"})
	if !errors.Is(err, errLost) || locker.held() != 0 {
		t.Errorf("error is %v, %d leases are held", err, locker.held())
	}
	a.wantHas(t, "1.0.0=a")
}
