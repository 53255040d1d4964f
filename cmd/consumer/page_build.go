package main

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// buildView is what the page of one build shows, or of one result.
type buildView struct {
	pageHead
	Row  pageRow            // what the list says of it
	Shot events.Watched     // the result as it was stored; zero: it is not at hand
	Data *events.ResultData // of Shot; nil: there is none
	From *events.Entry      // the ledger's; nil: it has none
	Past []pageRow          // results of the build, the newest first
	Koji string             // where the build is there
	Pack []publishedView    // what was published

	unanswered bool // something was asked for in vain
}

// publishedView is an image or release.
type publishedView struct {
	Version, Name, Reference, Repository string
	Tags, Channels                       []string
	Default                              string
	Link                                 string
}

// build shows a build for an organization: its newest result, what the ledger
// holds of it, and its other results.
func (p *page) build(w http.ResponseWriter, r *http.Request) {
	organization, nvr := r.PathValue("organization"), r.PathValue("nvr")
	if _, err := pipeline.ParseNVR(nvr); err != nil || len(organization) > maxFilter {
		p.missing(w, r, "That is not the name of a build. A build is named NAME-VERSION-RELEASE.")
		return
	}
	state := p.source.fresh(r.Context())
	view := buildView{pageHead: p.head(nvr, state), Row: pageRow{NVR: nvr, Organization: organization}}
	view.Past = pastOf(state, view.Row.key())
	ok := p.withNATS(r.Context(), func(ctx context.Context, readers pageReaders) {
		if entries, err := readers.find(ctx, nvr); err != nil {
			view.missed("The ledger could not be asked for this build just now; reload the page to try again.")
		} else if i := slices.IndexFunc(entries, func(e events.Entry) bool { return e.Organization == organization }); i >= 0 {
			view.From = &entries[i]
		}
		if len(view.Past) > 0 {
			view.read(ctx, readers, view.Past[0].Sequence)
		}
	})
	switch {
	case len(view.Past) > 0:
		view.Row = view.Past[0]
	case view.From != nil:
		view.Row = rowOfEntry(*view.From)
	case !ok || view.unanswered:
		p.missing(w, r, "This build is not at hand, and NATS could not be asked for it just now. Reload the page to try again.")
		return
	default:
		p.missing(w, r, "Nothing is known of "+nvr+" for "+organization+": it was not announced, the organization does not want it, or that is long ago.")
		return
	}
	p.showBuild(w, r, view)
}

// result shows one result by its sequence: of what has no build, and of what
// came before the last result of a build.
func (p *page) result(w http.ResponseWriter, r *http.Request) {
	sequence, err := strconv.ParseUint(r.PathValue("sequence"), 10, 64)
	if err != nil || sequence == 0 {
		p.missing(w, r, "That is not the number of a result.")
		return
	}
	state := p.source.fresh(r.Context())
	view := buildView{pageHead: p.head("Result "+strconv.FormatUint(sequence, 10), state)}
	found := false
	ok := p.withNATS(r.Context(), func(ctx context.Context, readers pageReaders) { found = view.read(ctx, readers, sequence) })
	switch {
	case found:
		view.Row = rowOf(view.Shot)
		view.Past = pastOf(state, view.Row.key())
		view.Row.Superseded = len(view.Past) > 0 && view.Past[0].Sequence > sequence
	case !ok || view.unanswered:
		p.missing(w, r, "NATS could not be asked for this result just now. Reload the page to try again.")
		return
	default:
		p.missing(w, r, "There is no such result, or no more: the stream keeps results for a time only.")
		return
	}
	p.showBuild(w, r, view)
}

// read reads a whole result into the view.
func (v *buildView) read(ctx context.Context, readers pageReaders, sequence uint64) (found bool) {
	shot, found, err := readers.result(ctx, sequence)
	if err != nil {
		v.missed("The whole result could not be read just now; reload the page to try again.")
		return false
	}
	if found {
		v.Shot = shot
		if shot.Err == nil {
			v.Data = &v.Shot.Data
		}
	}
	return found
}

// missed notes a question that was not answered, and what to do.
func (v *buildView) missed(notice string) {
	v.unanswered = true
	v.Notices = append(v.Notices, notice)
}

func (p *page) showBuild(w http.ResponseWriter, r *http.Request, view buildView) {
	view.Title = cmp.Or(view.Row.NVR, view.Row.Repository, view.Row.Package, view.Title)
	id := view.Row.BuildID
	if view.From != nil {
		id = cmp.Or(id, view.From.BuildID)
	}
	view.Koji = p.links.build(id, view.Row.NVR)
	switch {
	case view.Data != nil:
		view.Pack = p.published(view.Data)
	case view.From != nil:
		for _, reference := range view.From.Digests {
			view.Pack = append(view.Pack, publishedView{Name: view.From.Package, Reference: reference})
		}
	}
	p.render(w, r, http.StatusOK, "build", view)
}

func (p *page) published(d *events.ResultData) []publishedView {
	var all []publishedView
	for _, b := range d.Bundles {
		all = append(all, publishedView{
			Version: b.Version, Name: b.CSV, Reference: b.Reference, Repository: b.Repository,
			Tags: b.Tags, Channels: b.Channels, Default: b.DefaultChannel, Link: p.links.repository(b.Repository, b.Reference),
		})
	}
	if rel := d.Release; rel != nil {
		all = append(all, publishedView{
			Version: rel.Version, Name: d.Package, Reference: rel.Digest, Repository: rel.Repository,
			Link: p.links.repository(rel.Repository, ""),
		})
	}
	slices.Reverse(all)
	return all
}

// pastOf are the results at hand of a build, the newest first.
func pastOf(state *pageState, key rowKey) []pageRow {
	if key.nvr == "" {
		return nil
	}
	var past []pageRow
	for _, row := range state.Rows {
		if row.key() == key {
			past = append(past, row)
		}
	}
	return past
}

// missing answers that there is no such page, and says what may help.
func (p *page) missing(w http.ResponseWriter, r *http.Request, why string) {
	head := p.head("Not here", p.source.state.Load())
	head.Notices = nil
	p.render(w, r, http.StatusNotFound, "missing", struct {
		pageHead
		Why string
	}{head, why})
}
