package pipeline

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeHub is a Koji hub and its files in memory.
type fakeHub struct {
	find    func(id int64, nvr NVR) (HubBuild, error)
	archive func(b HubBuild) (Archive, error)
	open    func(a Archive) (io.ReadCloser, error)
	calls   int
}

func (h *fakeHub) FindBuild(_ context.Context, id int64, nvr NVR) (HubBuild, error) {
	h.calls++
	return h.find(id, nvr)
}
func (h *fakeHub) FindArchive(_ context.Context, b HubBuild) (Archive, error) { return h.archive(b) }
func (h *fakeHub) OpenArchive(_ context.Context, a Archive) (io.ReadCloser, error) {
	return h.open(a)
}

type deciderFunc func(NVR) (Decision, error)

func (f deciderFunc) Decide(_ context.Context, n NVR) (Decision, error) { return f(n) }

type pusherFunc func(Release) (Publication, error)

func (f pusherFunc) Push(_ context.Context, r Release) (Publication, error) { return f(r) }

var sampleNVR = NVR{"sample-container", "1.0.0", "1"}

func sampleOrganizations() []Organization {
	return []Organization{
		{Name: "all", Match: []string{"*"}, Target: TargetOCI, Repository: "{package}", Tags: []string{"{version}", "{nvr}"}},
		{Name: "samples", Match: []string{"other", "sample-*"}, Target: TargetOCI, Repository: "r-{package}", Tags: []string{"{version}"}},
		{Name: "asked", Target: TargetOCI, Repository: "{package}", Tags: []string{"{version}"}},
	}
}

func names(orgs []Organization) string {
	var list []string
	for _, o := range orgs {
		list = append(list, o.Name)
	}
	return strings.Join(list, " ")
}

func TestConcerns(t *testing.T) {
	s := Lookup{Organizations: sampleOrganizations()}
	nobody := Lookup{Organizations: sampleOrganizations()[1:]}
	cases := []struct {
		name   string
		lookup Lookup
		claim  Claim
		want   string // organizations, or the reason
		class  Class
	}{
		{"package", s, Claim{Package: "sample-container", State: StateComplete}, "all samples", 0},
		{"other package", s, Claim{Package: "etcd", State: StateUnknown}, "all", 0},
		{"unknown package", s, Claim{State: StateUnknown}, "all samples", 0},
		{"no match", nobody, Claim{Package: "etcd", State: StateUnknown}, "no-organization", Ignored},
		{"building", s, Claim{Package: "etcd", State: StateBuilding}, "build-not-complete", Ignored},
		{"failed", s, Claim{Package: "etcd", State: StateFailed}, "build-not-complete", Ignored},
		{"deleted", s, Claim{Package: "etcd", State: StateDeleted}, "build-not-complete", Ignored},
		{"odd state", s, Claim{Package: "etcd", State: 17}, "build-not-complete", Ignored},
		{"draft", s, Claim{Package: "etcd", State: StateComplete, Draft: true}, "draft-build", Ignored},
		{"no manifests", s, Claim{Package: "etcd", State: StateComplete, NoManifests: true}, "not-an-operator-build", Ignored},
		{"request", s, Claim{Package: "etcd", State: StateUnknown, Organization: "asked"}, "asked", 0},
		{"request elsewhere", s, Claim{Package: "etcd", State: StateUnknown, Organization: "nobody"}, "unknown-organization", Rejected},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			orgs, err := c.lookup.Concerns(c.claim)
			got := names(orgs)
			if err != nil {
				got = string(ReasonOf(err))
			}
			if got != c.want || err != nil && ClassOf(err) != c.class {
				t.Errorf("got %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	complete := HubBuild{ID: 7, NVR: sampleNVR, State: StateComplete, ManifestsArchive: "operator_manifests.zip"}
	with := func(change func(*HubBuild)) HubBuild {
		b := complete
		change(&b)
		return b
	}
	notFoundErr := Retry(ReasonBuildNotFound, errors.New("no such build"))
	announced := Trigger{NVR: sampleNVR}
	requested := Trigger{Kind: PushRequested, NVR: sampleNVR, Organization: "asked"}
	cases := []struct {
		name    string
		trigger Trigger
		build   HubBuild
		err     error
		want    string // organizations, or class and reason
	}{
		{"announced", announced, complete, nil, "all samples"},
		{"by id", Trigger{BuildID: 7}, complete, nil, "all samples"},
		{"requested", requested, complete, nil, "asked"},
		{"old form", announced, with(func(b *HubBuild) { b.ManifestsArchive, b.LogArchive = "", "x.zip" }), nil, "all samples"},
		{"another build", announced, with(func(b *HubBuild) { b.NVR.Release = "2" }), nil, "rejected build-not-found"},
		{"unknown, announced", announced, HubBuild{}, notFoundErr, "transient build-not-found"},
		{"unknown, requested", requested, HubBuild{}, notFoundErr, "rejected build-not-found"},
		{"hub down", requested, HubBuild{}, Retry(ReasonKojiUnavailable, errors.New("x")), "transient koji-unavailable"},
		{"draft", announced, with(func(b *HubBuild) { b.Draft = true }), nil, "ignored draft-build"},
		{"draft, requested", requested, with(func(b *HubBuild) { b.Draft = true }), nil, "rejected draft-build"},
		{"hub behind on the state", Trigger{NVR: sampleNVR, SaysComplete: true}, with(func(b *HubBuild) { b.State = StateBuilding }), nil, "transient build-not-complete"},
		{"hub behind on the promotion", Trigger{NVR: sampleNVR, SaysComplete: true}, with(func(b *HubBuild) { b.Draft = true }), nil, "transient draft-build"},
		{"deleted since", Trigger{NVR: sampleNVR, SaysComplete: true}, with(func(b *HubBuild) { b.State = StateDeleted }), nil, "ignored build-not-complete"},
		{"building", announced, with(func(b *HubBuild) { b.State = StateBuilding }), nil, "ignored build-not-complete"},
		{"no manifests", announced, with(func(b *HubBuild) { b.ManifestsArchive = "" }), nil, "ignored not-an-operator-build"},
		{"no manifests, requested", requested, with(func(b *HubBuild) { b.ManifestsArchive = "" }), nil, "rejected not-an-operator-build"},
		{"not configured", Trigger{Kind: PushRequested, NVR: sampleNVR, Organization: "x"}, complete, nil, "rejected unknown-organization"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			hub := &fakeHub{
				find:    func(int64, NVR) (HubBuild, error) { return c.build, c.err },
				archive: func(HubBuild) (Archive, error) { return Archive{Name: "a"}, nil },
			}
			b, err := Lookup{Finder: hub, Organizations: sampleOrganizations()}.Do(t.Context(), c.trigger)
			got := names(b.Organizations)
			if err != nil {
				got = ClassOf(err).String() + " " + string(ReasonOf(err))
			} else if b.Archive.Name != "a" || b.ID != 7 {
				t.Errorf("build %+v", b)
			}
			if got != c.want {
				t.Errorf("got %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

func TestNotOursAsksNobody(t *testing.T) {
	hub := &fakeHub{}
	s := Lookup{Finder: hub, Organizations: sampleOrganizations()[1:]}
	_, err := s.Do(t.Context(), Trigger{NVR: NVR{"etcd", "1", "1"}})
	if ClassOf(err) != Ignored || hub.calls != 0 {
		t.Errorf("%v after %d calls to the hub", err, hub.calls)
	}
}

func TestGate(t *testing.T) {
	requirement := func(kinds ...string) Decision {
		d := Decision{}
		for _, k := range kinds {
			d.Unsatisfied = append(d.Unsatisfied, Requirement{Type: k, Testcase: "t"})
		}
		return d
	}
	cases := []struct {
		name     string
		decision Decision
		err      error
		want     string
	}{
		{"satisfied", Decision{Satisfied: true}, nil, ""},
		{"satisfied but", Decision{Satisfied: true, Unsatisfied: []Requirement{{Type: "test-result-missing"}}}, nil, "transient greenwave-unavailable"},
		{"no and no reason", Decision{}, nil, "waiting gate-waiting"},
		{"missing", requirement("test-result-missing"), nil, "waiting gate-waiting"},
		{"incomplete", requirement("test-result-incomplete"), nil, "waiting gate-waiting"},
		{"errored", requirement("test-result-errored"), nil, "waiting gate-waiting"},
		{"fetch failed", requirement("failed-fetch-gating-yaml"), nil, "waiting gate-waiting"},
		{"unheard of", requirement("test-result-passed-on-a-tuesday"), nil, "waiting gate-waiting"},
		{"failed", requirement("test-result-failed"), nil, "rejected gate-unsatisfied"},
		{"failed among missing", requirement("test-result-missing", "Test-Result-Failed"), nil, "rejected gate-unsatisfied"},
		{"invalid yaml", requirement("invalid-gating-yaml"), nil, "rejected gate-unsatisfied"},
		{"missing yaml", requirement("missing-gating-yaml"), nil, "rejected gate-unsatisfied"},
		{"down", Decision{}, Retry(ReasonGreenwaveUnavailable, errors.New("x")), "transient greenwave-unavailable"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			gate := Gate{Decider: deciderFunc(func(n NVR) (Decision, error) { return c.decision, c.err })}
			a, err := gate.Do(t.Context(), Build{ID: 7, NVR: sampleNVR})
			got := ""
			if err != nil {
				got = ClassOf(err).String() + " " + string(ReasonOf(err))
			}
			if got != c.want {
				t.Errorf("got %q (%v), want %q", got, err, c.want)
			}
			var u *Unsatisfied
			if unsatisfied := c.err == nil && !c.decision.Satisfied; unsatisfied != errors.As(err, &u) {
				t.Errorf("%v: carries a decision: %t", err, !unsatisfied)
			}
			if c.err == nil && a.Decision == nil {
				t.Error("the decision is lost")
			}
		})
	}
	if a, err := (Gate{}).Do(t.Context(), Build{ID: 7}); err != nil || a.Decision != nil || a.Build.ID != 7 {
		t.Errorf("without a gate: %+v, %v", a, err)
	}
}

func TestFetch(t *testing.T) {
	data := zipOf(t, "a.yaml", "one")
	md5sum, sha1sum, sha256sum := md5.Sum(data), sha1.Sum(data), sha256.Sum256(data)
	size := int64(len(data))
	koji := Checksum{"md5", hex.EncodeToString(md5sum[:])}
	own := "sha256:" + hex.EncodeToString(sha256sum[:])
	cases := []struct {
		name    string
		archive Archive
		body    io.Reader
		openErr error
		want    string // checksum, or class and reason
		says    string
	}{
		{"md5", Archive{Size: size, Checksum: koji}, bytes.NewReader(data), nil, koji.String(), ""},
		{"sha1", Archive{Size: size, Checksum: Checksum{"sha1", hex.EncodeToString(sha1sum[:])}}, bytes.NewReader(data), nil, "sha1:" + hex.EncodeToString(sha1sum[:]), ""},
		{"sha256", Archive{Size: size, Checksum: Checksum{"sha256", own[7:]}}, bytes.NewReader(data), nil, own, ""},
		{"Koji keeps none", Archive{Size: -1}, bytes.NewReader(data), nil, own, ""},
		{"short", Archive{Size: size, Checksum: koji}, bytes.NewReader(data[:10]), nil, "rejected bad-archive", "Koji says"},
		{"long", Archive{Size: 3, Checksum: koji}, bytes.NewReader(data), nil, "rejected bad-archive", "Koji says 3"},
		{"other bytes", Archive{Size: size, Checksum: Checksum{"md5", strings.Repeat("0", 32)}}, bytes.NewReader(data), nil, "rejected bad-archive", "Koji says 000"},
		{"unknown algorithm", Archive{Size: size, Checksum: Checksum{"crc", "0"}}, bytes.NewReader(data), nil, "rejected bad-archive", "crc"},
		{"says it is too large", Archive{Size: 1001}, nil, nil, "rejected bad-archive", "limit of 1000"},
		{"is too large", Archive{Size: -1}, bytes.NewReader(make([]byte, 1001)), nil, "rejected bad-archive", "limit of 1000"},
		{"breaks off", Archive{Size: -1}, io.MultiReader(bytes.NewReader(data[:10]), brokenReader{}), nil, "transient koji-unavailable", "cable"},
		{"does not open", Archive{Size: -1}, nil, Retry(ReasonKojiUnavailable, errors.New("x")), "transient koji-unavailable", ""},
		{"not a zip", Archive{Size: 6, Checksum: Checksum{"md5", "166248a6129a1e4370d20adc2d4c23f3"}}, strings.NewReader("<html>"), nil, "rejected bad-archive", "not a zip"},
		{"not a zip, and no checksum", Archive{Size: -1}, strings.NewReader("<html>"), nil, "transient koji-unavailable", "not a zip"},
		{"a broken zip, and no checksum", Archive{Size: -1}, bytes.NewReader(data[:20]), nil, "rejected bad-archive", "not a zip"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			limits := DefaultLimits()
			limits.ArchiveBytes = 1000
			hub := &fakeHub{open: func(Archive) (io.ReadCloser, error) {
				if again, ok := c.body.(io.Seeker); ok {
					_, _ = again.Seek(0, io.SeekStart)
				}
				return io.NopCloser(c.body), c.openErr
			}}
			m, err := Fetch{Opener: hub, Limits: limits}.Do(t.Context(), Approved{Build: Build{ID: 7, Archive: c.archive}})
			got := m.Build.Archive.Checksum.String()
			if err != nil {
				got = ClassOf(err).String() + " " + string(ReasonOf(err))
				if !strings.Contains(err.Error(), c.says) {
					t.Errorf("%q does not say %q", err, c.says)
				}
			} else if diff := cmp.Diff([]File{{"a.yaml", []byte("one")}}, m.Files); diff != "" {
				t.Error(diff)
			}
			if got != c.want {
				t.Errorf("got %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

// A download damaged on its way is read once more.
func TestDamagedDownloadIsReadAgain(t *testing.T) {
	data := zipOf(t, "a.yaml", "one")
	sum := md5.Sum(data)
	opened := 0
	hub := &fakeHub{open: func(Archive) (io.ReadCloser, error) {
		opened++
		if opened == 1 {
			return io.NopCloser(bytes.NewReader(data[:len(data)/2])), nil
		}
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
	archive := Archive{Size: int64(len(data)), Checksum: Checksum{"md5", hex.EncodeToString(sum[:])}}
	m, err := Fetch{Opener: hub, Limits: DefaultLimits()}.Do(t.Context(), Approved{Build: Build{ID: 7, Archive: archive}})
	if err != nil || len(m.Files) != 1 || opened != 2 {
		t.Errorf("opened %d times: %v, %v", opened, m.Files, err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("somebody pulled the cable") }
