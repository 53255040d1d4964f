package events

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/schemas"
)

// However much a result repeats from outside, a server takes it.
func TestResultEventIsBounded(t *testing.T) {
	t.Parallel()
	set, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("\x01\"\\\xff€", 100_000)
	in := failed(pipeline.OutcomeRejected, nil)
	invalid := &pipeline.Invalid{}
	decision := &pipeline.Decision{Summary: long}
	for i := range 5000 {
		in.Result.Files = append(in.Result.Files, fmt.Sprintf("%d%s", i, strings.Repeat("\x01", 200)))
		in.Result.Warnings = append(in.Result.Warnings, long[:2000])
		invalid.Faults = append(invalid.Faults, pipeline.Fault{File: long[:2000], Text: "bad"})
		decision.Policies = append(decision.Policies, long[:2000])
		decision.Unsatisfied = append(decision.Unsatisfied, pipeline.Requirement{Type: long[:2000], Testcase: long[:2000], Details: long[:2000]})
	}
	in.Result.Decision = decision
	in.Result.Err = pipeline.Reject(pipeline.ReasonInvalidManifests, fmt.Errorf("%s %w", long, invalid))
	e, _, err := newResultEvent(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Validate(e.Type(), e.Data()); err != nil {
		t.Error(err)
	}
	_, payload, err := EncodeStructured(e)
	if err != nil {
		t.Fatal(err)
	}
	if len(payload) > 1<<20-16<<10 {
		t.Errorf("%d bytes", len(payload))
	}
	d, err := DataOf(e)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Error.Message) > maxMessage+len("…") || len(d.Files) == 0 || len(d.Warnings) != maxTexts+1 ||
		d.Warnings[0] != fmt.Sprintf("%d more files are left out", 5001-len(d.Files)) {
		t.Errorf("%d bytes of message, %d files, %d warnings, first %q", len(d.Error.Message), len(d.Files), len(d.Warnings), d.Warnings[0])
	}
}

// worstResult is a result in which everything that may grow has grown, of
// nothing but text.
func worstResult(text string) ResultInput {
	in := published()
	long := strings.Repeat(text, 300_000/len(text))
	res := &in.Result
	attribute := strings.ReplaceAll(long[:maxAttribute-maxAttribute%len(text)], "\x01", "x")
	in.Tries = math.MaxUint64
	res.Trigger = pipeline.Trigger{ID: attribute, Source: attribute, Type: attribute}
	for _, name := range []string{extCorrelation, extTraceParent, extTraceState} {
		in.Cause.SetExtension(name, attribute)
	}
	in.Source = "/" + strings.Repeat("x", maxAttribute-1)
	res.NVR = pipeline.NVR{Name: strings.Repeat("x", 500), Version: "1", Release: "1"}
	res.BuildID, res.ArchiveBytes = math.MaxInt64, math.MaxInt64
	res.Organization, res.Package, res.Archive.Name, res.Repository = long, long, long, long
	res.Publication.Release = &pipeline.PushedRelease{Version: long, Repository: long, Digest: "sha256:" + strings.Repeat("0", 64)}
	decision := &pipeline.Decision{Summary: long}
	bundle := pipeline.PushedBundle{
		Version: long, CSV: long, Repository: long, DefaultChannel: long,
		Reference: "quay.io/" + strings.Repeat("x", 255) + "@sha256:" + strings.Repeat("0", 64),
	}
	for range 3000 {
		some := long[:2000]
		bundle.Tags, bundle.Channels = append(bundle.Tags, some[:100]), append(bundle.Channels, text)
		res.Files, res.Warnings, res.Deleted = append(res.Files, some), append(res.Warnings, some), append(res.Deleted, some)
		res.Replacements = append(res.Replacements, pipeline.Replacement{Old: some, New: some, Count: math.MaxInt})
		decision.Policies = append(decision.Policies, some)
		decision.Unsatisfied = append(decision.Unsatisfied, pipeline.Requirement{
			Type: some, Testcase: some, Details: some, ResultID: math.MaxInt64,
		})
	}
	res.Decision = decision
	res.Publication.Warnings = res.Warnings
	res.Publication.Bundles = nil
	for range 300 {
		res.Publication.Bundles = append(res.Publication.Bundles, bundle)
	}
	return in
}

// Whatever was published, a server with the usual limit takes the event that
// says so, with its headers.
func TestWorstResultFits(t *testing.T) {
	t.Parallel()
	set, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	const limit, headers = 1 << 20, 16 << 10
	for _, text := range []string{"x", `"`, `\`, "<", "\x01", "\xff", "€", "\u2028", "😀", "\"x"} {
		in := worstResult(text)
		if !utf8.ValidString(text) {
			in.Cause, in.Result.Trigger = event.Event{}, published().Result.Trigger // no event has such attributes
		}
		for _, cause := range []error{nil, pipeline.Reject(pipeline.ReasonInvalidManifests, worstFaults(text))} {
			if in.Result.Err = cause; cause != nil {
				in.Outcome = pipeline.OutcomeRejected
			}
			e, _, err := newResultEvent(in)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if err := set.Validate(e.Type(), e.Data()); err != nil {
				t.Errorf("%q: %v", text, err)
			}
			_, payload, err := EncodeStructured(e)
			if err != nil {
				t.Fatal(err)
			}
			if len(payload) > limit-headers {
				t.Errorf("%q: %d bytes", text, len(payload))
			}
		}
	}
}

// As many versions as there may be: what does not fit is counted.
func TestDeletedIsBounded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		count int
		text  string
		whole bool
	}{
		{0, "", true}, {1000, "9999999999.0.0", true}, {5000, "1.0.0", false}, {1000, strings.Repeat("\x01", 1000), false},
	} {
		versions := slices.Repeat([]string{tt.text}, tt.count)
		d := newResultData(deleted(pipeline.OutcomeDeleted, nil, versions...))
		if size := len(mustEncode(t, d.Deleted)); size > maxDeleted+len("[]") || d.Deleted == nil {
			t.Errorf("%d bytes of %d versions", size, len(d.Deleted))
		}
		var warnings []string
		if left := tt.count - len(d.Deleted); left > 0 {
			warnings = []string{fmt.Sprintf("%d more deleted versions are left out", left)}
		}
		if diff := cmp.Diff(warnings, d.Warnings); diff != "" || tt.whole != (warnings == nil) {
			t.Errorf("%d of %d versions: %s", len(d.Deleted), tt.count, diff)
		}
	}
	if d := newResultData(published()); d.Deleted != nil {
		t.Errorf("a publication deleted %q", d.Deleted)
	}
}

func worstFaults(text string) error {
	invalid := &pipeline.Invalid{}
	for range 1000 {
		invalid.Faults = append(invalid.Faults, pipeline.Fault{File: strings.Repeat(text, 2000), Text: strings.Repeat(text, 2000)})
	}
	return invalid
}

// What does not fit is left out from the least to the most important, and each
// time a warning says so. What fits is kept as it is.
func TestBundlesAreBounded(t *testing.T) {
	t.Parallel()
	many := func(n int, text string) []string { return slices.Repeat([]string{text}, n) }
	bundles := func(n int, b pipeline.PushedBundle) []pipeline.PushedBundle {
		return slices.Repeat([]pipeline.PushedBundle{b}, n)
	}
	sum := func(list []pipeline.PushedBundle) (tags, channels int) {
		for _, b := range list {
			tags, channels = tags+len(b.Tags), channels+len(b.Channels)
		}
		return tags, channels
	}
	for _, tt := range []struct {
		name     string
		bundles  []pipeline.PushedBundle
		leftOut  string // which is what the warning is about
		complete string // what is all there
	}{
		{"all fits", bundles(100, pipeline.PushedBundle{Version: "1", Tags: many(2, "tag"), Channels: many(200, "alpha")}), "", "bundles tags channels"},
		{"channels", bundles(100, pipeline.PushedBundle{Version: "1", Tags: many(2, "tag"), Channels: many(200, strings.Repeat("x", 50))}), "channels of bundles", "bundles tags"},
		{"tags", bundles(100, pipeline.PushedBundle{Version: "1", Tags: many(200, strings.Repeat("x", 50))}), "tags of bundles", "bundles channels"},
		{"bundles", bundles(5000, pipeline.PushedBundle{Version: "1"}), "bundles", "tags channels"},
	} {
		in := published()
		in.Result.Publication.Bundles = tt.bundles
		d := newResultData(in)
		if size := len(mustEncode(t, d.Bundles)); size > maxBundles+len("[]") {
			t.Errorf("%s: %d bytes", tt.name, size)
		}
		tags, channels := sum(d.Bundles)
		allTags, allChannels := sum(tt.bundles)
		for what, left := range map[string]int{
			"bundles": len(tt.bundles) - len(d.Bundles), "tags": allTags - tags, "channels": allChannels - channels,
		} {
			if whole := left == 0; whole != strings.Contains(tt.complete, what) {
				t.Errorf("%s: %d %s are missing", tt.name, left, what)
			}
			if strings.HasPrefix(tt.leftOut, what) && d.Warnings[0] != fmt.Sprintf("%d more %s are left out", left, tt.leftOut) {
				t.Errorf("%s: %d %s are missing, the first warning is %q", tt.name, left, what, d.Warnings[0])
			}
		}
		if tt.leftOut == "" {
			if diff := cmp.Diff(tt.bundles, d.Bundles); diff != "" || len(d.Warnings) != 2 {
				t.Errorf("%s: %q %s", tt.name, d.Warnings, diff)
			}
		}
	}
}
