package events_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func bypassing() []action {
	return []action{
		{"reads results of others by a second filter", "admin operator", func(_ *world, as *actor) error {
			filters := []string{"omps.result.*.myorg.>", "omps.result.*.other.>"}
			_, err := as.ask("$JS.API.CONSUMER.CREATE.OMPS_RESULTS.two", object{"stream_name": "OMPS_RESULTS", "config": object{
				"name": "two", "ack_policy": "none", "filter_subjects": filters, "inactive_threshold": int64(1e9),
			}})
			return err
		}},
		{"reads results of others under a filter of its own", "", func(_ *world, as *actor) error {
			// The server compares the subject with what the request says.
			_, err := as.ask("$JS.API.CONSUMER.CREATE.OMPS_RESULTS.sly.omps.result.*.myorg.>", object{"stream_name": "OMPS_RESULTS", "config": object{
				"name": "sly", "ack_policy": "none", "filter_subject": "omps.result.*.other.>", "inactive_threshold": int64(1e9),
			}})
			return denial(err)
		}},
		{"changes the durable for readers", "admin", func(w *world, as *actor) error {
			_, err := as.ask("$JS.API.CONSUMER.CREATE.OMPS_RESULTS.reader.omps.result.*.myorg.>", object{"stream_name": "OMPS_RESULTS", "config": object{
				"durable_name": "reader", "name": "reader", "ack_policy": "explicit", "deliver_policy": "all", "replay_policy": "instant",
				"filter_subject": "omps.result.*.myorg.>",
			}})
			return err
		}},
		{"has an answer sent as a request for another organization", "admin service", diverts("omps.request.push.other", foreign("OMPS_REQUESTS", "omps.request.push.myorg"))},
		{"has an answer sent as a result of another organization", "admin service", diverts("omps.result.published.other.etcd", foreign("OMPS_RESULTS", "omps.result.published.myorg.etcd"))},
		{"has an answer purge the builds", "admin service", diverts("$JS.API.STREAM.PURGE.KOJI", func(w *world) uint64 { return w.state("KOJI").FirstSeq })},
		{"has an answer sent to the service", "admin service", heardBy("service", "_INBOX_SERVICE.divert", diverts)},
		// No subject says where a consumer pushes to.
		{"has results pushed to the service", "admin operator myorg myorg-reader", heardBy("service", "_INBOX_SERVICE.push", pushes)},
		{"has results pushed to the administrator", "admin operator myorg myorg-reader", heardBy("admin", "_INBOX_ADMIN.push", pushes)},
		{"has results pushed to other operators", "admin operator myorg myorg-reader", heardBy("operator", "_INBOX_CLI.operator.push", pushes)},
		{"has results pushed to the reader", "", heardBy("reader", "_INBOX_READER.push", pushes)},
		{"has results pushed to the bridge", "", heardBy("bridge", "_INBOX_BRIDGE.push", pushes)},
		{"has what it may read pushed as requests for another organization", "", pushes("omps.request.push.other", foreign("OMPS_REQUESTS", "omps.request.push.myorg"))},
		{"has what it may read pushed as results of another organization", "", pushes("omps.result.published.other.etcd", foreign("OMPS_RESULTS", "omps.result.published.myorg.etcd"))},
		{"has what it may read pushed as an order to purge the builds", "", func(w *world, as *actor) error {
			w.settleStreams() // so that there is something to purge
			return pushes("$JS.API.STREAM.PURGE.KOJI", func(w *world) uint64 { return w.state("KOJI").FirstSeq })(w, as)
		}},
		{"asks servers about themselves", "", asks("$SYS.REQ.SERVER.PING.VARZ", none)},
	}
}

// denial is one that comes from the answer to a request.
func denial(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errDenied, err)
	}
	return nil
}

// foreign counts the messages of a stream that are not of the subject on which
// everything is as it should be. What a consumer delivers keeps the subject it
// had, wherever it is sent.
func foreign(stream, proper string) func(*world) uint64 {
	return func(w *world) uint64 {
		s, err := w.js.Stream(w.t.Context(), stream)
		w.must(err)
		info, err := s.Info(w.t.Context(), jetstream.WithSubjectFilter(">"))
		w.must(err)
		return info.State.Msgs - info.State.Subjects[proper]
	}
}

// answered are requests, one of which at least each role may make.
var answered = []string{
	"$JS.API.DIRECT.GET.KOJI.koji.build.completed", "$JS.API.STREAM.INFO.KOJI", "$JS.API.STREAM.INFO.OMPS_RESULTS",
	"$JS.API.DIRECT.GET.KV_omps-ledger.$KV.omps-ledger.myorg.etcd-1-1",
	"$JS.API.DIRECT.GET.OBJ_omps-uploads-myorg.$O.omps-uploads-myorg.M.bmFtZQ==",
	"$JS.API.CONSUMER.MSG.NEXT.OMPS_RESULTS.reader", "$JS.API.CONSUMER.INFO.OMPS_RESULTS.reader",
	"koji.build.completed", "omps.request.push.myorg", "omps.dead-letter.internal", "$O.omps-uploads-myorg.C.number",
}

// diverts makes every request of the list, each with an answer to a subject that
// the role may not use, and looks whether one had an effect. It makes them again
// as long as it looks: a purge finds nothing where one has just been.
func diverts(target string, effect func(*world) uint64) func(*world, *actor) error {
	return func(w *world, as *actor) error {
		before, made := effect(w), 0
		had := w.comes(func() bool {
			for _, subject := range answered {
				if as.send(&nats.Msg{Subject: as.subject(subject), Reply: target, Data: none}) == nil {
					made++
				}
			}
			return effect(w) != before
		})
		if made == 0 {
			w.t.Errorf("%s may make none of the requests", as.name)
		}
		if !had {
			return errDenied
		}
		return nil
	}
}

// pushes has results and the ledger pushed to a subject that the role may not
// use, and looks whether that had an effect.
func pushes(target string, effect func(*world) uint64) func(*world, *actor) error {
	const cycle jetstream.ErrorCode = 10081 // a stream's messages are not pushed into it again
	return func(w *world, as *actor) error {
		before := effect(w)
		for _, from := range []struct{ stream, filter string }{
			{"OMPS_RESULTS", "omps.result.*.myorg.>"}, {"OMPS_RESULTS", "omps.result.>"}, {"KV_omps-ledger", "$KV.omps-ledger.myorg.>"},
		} {
			_, err := as.consumer(from.stream, from.filter, target)
			api := new(jetstream.APIError)
			refused := errors.Is(err, errDenied) || errors.As(err, &api) && api.ErrorCode == cycle
			if err != nil && !refused {
				return err
			}
		}
		if !w.comes(func() bool { return effect(w) != before }) {
			return errDenied
		}
		return nil
	}
}

// heardBy has a trick lead to a subject that another role listens to. What it is
// to bring about is a message there.
func heardBy(listener, subject string, trick func(target string, effect func(*world) uint64) func(*world, *actor) error) func(*world, *actor) error {
	return func(w *world, as *actor) error {
		target := subject + "." + as.name // where nobody's earlier tricks lead to
		heard, err := w.as(listener).nc.SubscribeSync(target)
		w.must(err)
		defer func() { _ = heard.Unsubscribe() }()
		w.as(listener).caughtUp()
		return trick(target, func(w *world) uint64 {
			w.as(listener).caughtUp()
			n, _, err := heard.Pending()
			w.must(err)
			return uint64(n)
		})(w, as)
	}
}

// comes tells whether something happens that is under way. What should happen
// is waited for. For anything else it gives the server so much else to do, and
// waits for that, that what was asked for earlier has come to its end.
func (w *world) comes(happened func() bool) bool {
	w.t.Helper()
	late := time.Now().Add(patience)
	for round := 0; !happened(); round++ {
		if round >= 5 && (!w.expects || time.Now().After(late)) {
			return false
		}
		w.settleStreams()
	}
	return true
}

// settleStreams has a message stored in each stream that is at stake.
func (w *world) settleStreams() {
	w.t.Helper()
	w.must(w.as("bridge").publish("koji.build.completed", none))
	w.must(w.as("operator").publish("omps.request.push.myorg", none))
	w.must(w.as("service").publish("omps.result.published.myorg.etcd", none))
	w.must(w.as("service").publish("$KV.omps-ledger.myorg.etcd-1-1", none))
}

func managing() []action {
	stream := object{"name": "EXTRA", "subjects": []string{"extra.>"}, "retention": "limits", "storage": "memory", "num_replicas": 1, "discard": "old", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0}
	durable := object{"stream_name": "KOJI", "config": object{"durable_name": "extra", "name": "extra", "ack_policy": "explicit", "deliver_policy": "all", "replay_policy": "instant"}}
	return []action{
		{"makes a stream", "admin", asks("$JS.API.STREAM.CREATE.EXTRA", stream)},
		{"changes a stream", "admin", func(w *world, as *actor) error {
			s, err := w.js.Stream(w.t.Context(), "KOJI")
			w.must(err)
			cfg := s.CachedInfo().Config
			cfg.Description = "changed by " + as.name
			_, err = as.ask("$JS.API.STREAM.UPDATE.KOJI", cfg)
			return err
		}},
		{"makes a durable on the builds", "admin", asks("$JS.API.CONSUMER.CREATE.KOJI.extra", durable)},
		{"pauses the service", "admin", asks("$JS.API.CONSUMER.PAUSE.KOJI.omps", object{})},
		{"deletes a result", "admin", func(w *world, as *actor) error {
			_, err := as.ask("$JS.API.STREAM.MSG.DELETE.OMPS_RESULTS", object{"seq": w.state("OMPS_RESULTS").LastSeq})
			return err
		}},
		{"purges the results", "admin", asks("$JS.API.STREAM.PURGE.OMPS_RESULTS", none)},
		{"deletes the durable for readers", "admin", asks("$JS.API.CONSUMER.DELETE.OMPS_RESULTS.reader", none)},
		{"deletes the service's durable", "admin", asks("$JS.API.CONSUMER.DELETE.KOJI.omps", none)},
		{"deletes a stream", "admin", asks("$JS.API.STREAM.DELETE.GREENWAVE", none)},
		{"deletes the ledger", "admin", asks("$JS.API.STREAM.DELETE.KV_omps-ledger", none)},
	}
}
