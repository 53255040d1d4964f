package events

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// report writes the one line of a delivery.
func (c *Consumer) report(ctx context.Context, d *delivery, w worked, v Verdict) {
	level, text := slog.LevelInfo, "settled"
	switch {
	case v.Reason == pipeline.ReasonNothingWaits: // most decisions are about builds of others
		level = slog.LevelDebug
	case v.Outcome == pipeline.OutcomeWaiting && d.tries > 1: // said before
		level, text = slog.LevelDebug, "still waiting"
	case v.Outcome == pipeline.OutcomeWaiting:
		text = "waiting"
	case v.Action == ActionNak:
		level, text = slog.LevelWarn, "to be tried again"
	}
	if c.log.Enabled(ctx, level) {
		c.log.LogAttrs(ctx, level, text, lineOf(d, w, v)...)
	}
}

// lineOf is what there is to say of a delivery: what it was about, what was done,
// and why no more.
func lineOf(d *delivery, w worked, v Verdict) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("event_id", w.trigger.ID), slog.Uint64("tries", d.tries),
		slog.Duration("age", d.age(time.Now()).Round(time.Millisecond)), slog.String("outcome", string(v.Outcome)),
	}
	if span := w.span.SpanContext(); span.IsSampled() {
		attrs = append(attrs, slog.String("trace_id", span.TraceID().String()))
	}
	some := func(name string, values ...string) {
		values = slices.DeleteFunc(values, func(value string) bool { return value == "" })
		if len(values) > 0 {
			attrs = append(attrs, slog.String(name, strings.Join(values, ",")))
		}
	}
	if (v.Outcome == pipeline.OutcomePublished || v.Outcome == pipeline.OutcomeDeleted) && repeated(w.results) {
		attrs = append(attrs, slog.Bool("repeated", true))
	}
	nvr, id := w.trigger.NVR, w.trigger.BuildID
	var archive, repository string
	var orgs, releases, deleted, digests []string
	for _, r := range w.results {
		nvr, id, archive, repository = r.NVR, r.BuildID, r.Archive.Name, r.Repository
		orgs, deleted = append(orgs, r.Organization), append(deleted, r.Deleted...)
		if release := r.Publication.Release; release != nil {
			releases = append(releases, release.Repository+":"+release.Version)
		}
		for _, reference := range digestsOf(r.Publication) {
			_, digest, _ := strings.Cut(reference, "@")
			digests = append(digests, digest)
		}
	}
	some("nvr", nvr.String())
	if id != 0 {
		attrs = append(attrs, slog.Int64("build_id", id))
	}
	if nvr.IsZero() && id == 0 { // an archive by hand, a deletion, or nothing says which message this is
		some("archive", archive)
		attrs = append(attrs, slog.String("stream", d.stream), slog.Uint64("sequence", d.sequence))
	}
	some("organization", orgs...)
	some("repository", repository)
	some("release", releases...)
	some("deleted", deleted[:min(len(deleted), maxTexts)]...)
	some("digest", digests...)
	some("stage", string(pipeline.StageOf(v.Err)))
	some("reason", string(v.Reason))
	if v.Err != nil {
		some("err", oneLine(v.Err, maxErrorBytes))
	}
	if v.Action == ActionNak {
		attrs = append(attrs, slog.Duration("delay", v.Delay))
	}
	return attrs
}

// repeated tells whether nothing had to be done for any of the results.
func repeated(results []pipeline.Result) bool {
	return !slices.ContainsFunc(results, func(r pipeline.Result) bool { return !r.Known && !r.Publication.Repeated })
}
