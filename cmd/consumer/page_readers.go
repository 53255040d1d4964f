package main

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// newPageReaders reads from the streams and the ledger of the service. Beside
// the rights that the service has for its ledger, in NATS that takes those to
// publish to
//
//	$JS.API.STREAM.INFO.OMPS_RESULTS
//	$JS.API.DIRECT.GET.OMPS_RESULTS
//	$JS.API.STREAM.INFO.OMPS_DEAD_LETTERS
//	$JS.API.DIRECT.GET.OMPS_DEAD_LETTERS
//
// with the configured names. Where one is missing the page says so and shows
// the rest.
func newPageReaders(conn *nats.Conn, js jetstream.JetStream, names events.Names) pageReaders {
	results, ledger := events.NewResults(js, names.Results), events.NewLedger(js, names.Ledger)
	letters := events.NewDeadLetters(js, names)
	return pageReaders{
		connected: conn.IsConnected,
		bounds:    results.Bounds,
		rows: func(ctx context.Context, from, to uint64) ([]pageRow, error) {
			return events.ReadResults(ctx, results, from, to, rowOf)
		},
		outcomes: func(ctx context.Context, from, to uint64) ([]events.OutcomeAt, error) {
			return events.ReadOutcomes(ctx, results, from, to)
		},
		result: func(ctx context.Context, sequence uint64) (events.Watched, bool, error) {
			found, err := events.ReadResults(ctx, results, sequence, sequence, func(w events.Watched) events.Watched { return w })
			if err != nil || len(found) == 0 {
				return events.Watched{}, false, err
			}
			return found[0], true, nil
		},
		entries: func(ctx context.Context, limit int) ([]events.Entry, uint64, error) {
			count, err := ledger.Count(ctx)
			if err != nil {
				return nil, 0, err
			}
			entries, err := ledger.Newest(ctx, limit)
			return entries, count, err
		},
		find:    ledger.Find,
		letters: letters.Newest,
	}
}
