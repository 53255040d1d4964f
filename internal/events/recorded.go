package events

import (
	"context"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

var _ pipeline.Recorder = (*Ledger)(nil)

// Record is that of pipeline.Recorder. What only a request for another repository
// or version has come to, an announcement would not have: it counts as nothing.
// Errors are Transient with ReasonLedgerUnavailable.
func (l *Ledger) Record(ctx context.Context, organization string, nvr pipeline.NVR) (pipeline.Record, error) {
	p, err := l.open(ctx, organization, nvr)
	if err != nil {
		return pipeline.Record{}, unavailable(err)
	}
	e := p.entry
	open := e.State == StateWaiting || e.State == StatePublishing
	if e.NVR == "" || !open && (e.Trigger.Repository != "" || e.Trigger.Version != "") {
		return pipeline.Record{}, nil
	}
	return pipeline.Record{Known: true, Open: open, Failed: e.State == StateFailed, Last: e.Last}, nil
}
