package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/clients/quay"
	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// wanted is what has to come of a build for each of its organizations.
type wanted struct {
	nvr   string
	orgs  []string
	final pipeline.Outcome // told once
	// before are outcomes that are told once before the final one, and may be
	// those that may be told. None of them, nor any other, is told twice.
	before, maybe []pipeline.Outcome
}

// want is a build that has to end so for both organizations.
func want(nvr string, final pipeline.Outcome, before ...pipeline.Outcome) wanted {
	return wanted{nvr: nvr, orgs: []string{alpha, beta}, final: final, before: before}
}

// figures is what an audit counted. All but the first two have to be zero.
type figures struct {
	results     int // result events stored
	deadLetters int // those of what was garbage

	lost     int // builds without their final outcome, for an organization
	repeated int // result events that say again what was said
	stray    int // result events and dead letters that nothing explains
	wrong    int // images, tags and entries of the ledger that are not as they must be

	problems []string // what is behind the last four, the first of them
}

func (f *figures) faults() int { return f.lost + f.repeated + f.stray + f.wrong }

const maxProblems = 60

// problem notes one, of the kind that n counts.
func (f *figures) problem(n *int, format string, args ...any) {
	*n++
	if len(f.problems) < maxProblems {
		f.problems = append(f.problems, fmt.Sprintf(format, args...))
	}
}

// report fails the test on any problem.
func (f *fleet) report(got figures) {
	f.t.Helper()
	if got.faults() > 0 {
		f.t.Errorf("%d lost, %d repeated, %d stray, %d wrong:\n%s",
			got.lost, got.repeated, got.stray, got.wrong, strings.Join(got.problems, "\n"))
	}
}

// audit compares everything that is stored anywhere with what has to be.
// garbage is the payloads that have to be dead letters.
func (f *fleet) audit(builds []wanted, garbage []string) figures {
	f.t.Helper()
	var got figures
	finals := f.auditResults(&got, builds)
	f.auditLedger(&got, builds, finals)
	f.auditRegistry(&got, builds, finals)
	f.auditDeadLetters(&got, garbage)
	return got
}

// place is a build for an organization.
type place struct{ nvr, org string }

// auditResults returns the final result of each build where there is one.
func (f *fleet) auditResults(got *figures, builds []wanted) map[place]told {
	f.t.Helper()
	stored := f.results()
	got.results = len(stored)
	ids := make(map[string]bool, len(stored))
	byPlace := make(map[place]map[pipeline.Outcome][]told)
	for _, r := range stored {
		if ids[r.id] {
			got.problem(&got.repeated, "result %s of %s is stored again", r.id, r.data.NVR)
		}
		ids[r.id] = true
		at := place{r.data.NVR, r.data.Organization}
		if byPlace[at] == nil {
			byPlace[at] = make(map[pipeline.Outcome][]told)
		}
		byPlace[at][r.data.Outcome] = append(byPlace[at][r.data.Outcome], r)
	}
	finals := make(map[place]told)
	for _, b := range builds {
		for _, org := range b.orgs {
			at := place{b.nvr, org}
			outcomes := byPlace[at]
			delete(byPlace, at)
			for _, outcome := range append([]pipeline.Outcome{b.final}, b.before...) {
				if len(outcomes[outcome]) == 0 {
					got.problem(&got.lost, "%s for %s is not told to be %s", b.nvr, org, outcome)
				}
			}
			if final := outcomes[b.final]; len(final) > 0 {
				finals[at] = final[0]
			}
			for _, outcome := range slices.Sorted(maps.Keys(outcomes)) {
				if outcome != b.final && !slices.Contains(b.before, outcome) && !slices.Contains(b.maybe, outcome) {
					got.problem(&got.stray, "%s for %s is told to be %s: %+v", b.nvr, org, outcome, outcomes[outcome][0].data.Error)
				}
				if first := outcomes[outcome][0]; slices.ContainsFunc(outcomes[outcome], func(r told) bool { return r.id != first.id }) {
					got.problem(&got.repeated, "%s for %s is told to be %s by several ids", b.nvr, org, outcome)
				}
			}
		}
	}
	for at, outcomes := range byPlace {
		got.problem(&got.stray, "%v has results: %v", at, slices.Sorted(maps.Keys(outcomes)))
	}
	return finals
}

// auditLedger wants one entry for each final result, which names it.
func (f *fleet) auditLedger(got *figures, builds []wanted, finals map[place]told) {
	f.t.Helper()
	entries := make(map[place]entry)
	for _, e := range f.ledger() {
		entries[place{e.NVR, e.Organization}] = e
	}
	for _, b := range builds {
		for _, org := range b.orgs {
			at := place{b.nvr, org}
			e := entries[at]
			delete(entries, at)
			if e.State != string(b.final) || e.ResultID != finals[at].id {
				got.problem(&got.wrong, "the ledger has %s for %s as %q of result %q, not %s of %q",
					b.nvr, org, e.State, e.ResultID, b.final, finals[at].id)
			}
		}
	}
	for at, e := range entries {
		got.problem(&got.stray, "the ledger has %v as %q", at, e.State)
	}
}

// auditRegistry wants in each repository the images of the builds that are
// published, in the bytes that a calm run gives them, and nothing else; and
// each tag at the image of the newest build that may have it.
func (f *fleet) auditRegistry(got *figures, builds []wanted, finals map[place]told) {
	f.t.Helper()
	digests := make(map[string]map[string]bool)   // by repository
	tags := make(map[string]map[string]calmImage) // by repository and tag
	for _, b := range builds {
		if b.final != pipeline.OutcomePublished {
			continue
		}
		for _, org := range b.orgs {
			images := f.calmImages(b.nvr, org)
			f.auditReferences(got, b, org, images, finals)
			for _, image := range images {
				if digests[image.repository] == nil {
					digests[image.repository] = make(map[string]bool)
					tags[image.repository] = make(map[string]calmImage)
				}
				digests[image.repository][image.digest] = true
				for _, tag := range image.tags {
					if image.build >= tags[image.repository][tag].build {
						tags[image.repository][tag] = image
					}
				}
			}
		}
	}
	for _, repository := range f.world.Registry.Repositories() {
		there := f.world.Registry.Contents(repository)
		for _, digest := range there.Digests {
			if !digests[repository][digest] {
				got.problem(&got.wrong, "%s holds %s, which no build gives", repository, digest)
			}
		}
		for tag := range there.Tags {
			if _, known := tags[repository][tag]; !known {
				got.problem(&got.wrong, "%s has the tag %s", repository, tag)
			}
		}
	}
	for repository, byTag := range tags {
		there := f.world.Registry.Contents(repository)
		for tag, image := range byTag {
			if there.Tags[tag] != image.digest {
				got.problem(&got.wrong, "%s:%s names %q, not %s of %s", repository, tag, there.Tags[tag], image.digest, image.nvr)
			}
		}
	}
}

// auditReferences compares what a result says was published.
func (f *fleet) auditReferences(got *figures, b wanted, org string, images []calmImage, finals map[place]told) {
	final, ok := finals[place{b.nvr, org}]
	if !ok {
		return // counted as lost
	}
	var wants, says []string
	for _, image := range images {
		wants = append(wants, image.repository+"@"+image.digest)
	}
	for _, bundle := range final.data.Bundles {
		says = append(says, strings.TrimPrefix(bundle.Reference, f.world.RegistryHost()+"/"))
	}
	slices.Sort(wants)
	slices.Sort(says)
	if !slices.Equal(wants, says) {
		got.problem(&got.wrong, "the result of %s for %s tells of %v, not %v", b.nvr, org, says, wants)
	}
}

// auditDeadLetters wants one for each payload of garbage.
func (f *fleet) auditDeadLetters(got *figures, garbage []string) {
	f.t.Helper()
	left := make(map[string]int, len(garbage))
	for _, payload := range garbage {
		left[payload]++
	}
	for _, letter := range f.read(events.DefaultNames().DeadLetters) {
		payload := string(letter.data)
		if left[payload] == 0 {
			got.problem(&got.stray, "dead letter %s of %s: %.200q: %s", letter.subject,
				letter.header.Get(events.HeaderSubject), payload, letter.header.Get(events.HeaderError))
			continue
		}
		left[payload]--
		got.deadLetters++
	}
	for payload, n := range left {
		if n > 0 {
			got.problem(&got.lost, "%d dead letters of %q are missing", n, payload)
		}
	}
}

// calmImage is a bundle image that a build gives an organization when nothing
// goes wrong.
type calmImage struct {
	nvr                string
	build              int64
	repository, digest string
	tags               []string
}

// calmImages runs the stages that decide the bytes, here and alone.
func (f *fleet) calmImages(nvr, org string) []calmImage {
	f.t.Helper()
	images, err := f.tryCalmImages(nvr, org)
	if err != nil {
		f.t.Fatalf("%s for %s: %v", nvr, org, err)
	}
	return images
}

func (f *fleet) tryCalmImages(nvr, org string) ([]calmImage, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	id, err := pipeline.ParseNVR(nvr)
	if err != nil {
		return nil, err
	}
	organizations := f.config.PipelineOrganizations()
	build, err := pipeline.Lookup{Finder: f.calm, Organizations: organizations}.Do(ctx, pipeline.Trigger{ID: "calm", NVR: id})
	if err != nil {
		return nil, err
	}
	approved, err := pipeline.Gate{}.Do(ctx, build)
	if err != nil {
		return nil, err
	}
	manifests, err := pipeline.Fetch{Opener: f.calm, Limits: f.config.PipelineLimits()}.Do(ctx, approved)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(organizations, func(o pipeline.Organization) bool { return o.Name == org })
	release, err := pipeline.Prepare{}.Do(ctx, pipeline.Order{Manifests: manifests, Organization: organizations[i]})
	if err != nil {
		return nil, err
	}
	var images []calmImage
	for _, b := range release.Bundles {
		image, err := quay.Image(b)
		if err != nil {
			return nil, err
		}
		digest, err := image.Digest()
		if err != nil {
			return nil, err
		}
		images = append(images, calmImage{
			nvr: nvr, build: build.ID, repository: b.Repository, digest: digest.String(), tags: b.Tags,
		})
	}
	slices.SortFunc(images, func(a, b calmImage) int { return cmp.Compare(a.digest, b.digest) })
	return images, nil
}
