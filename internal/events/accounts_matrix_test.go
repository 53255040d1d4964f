package events_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
)

// action is something that one may want to do, or to do harm with.
type action struct {
	name string
	can  string // the roles that can
	do   func(w *world, as *actor) error
}

// TestRoleMatrix has every role of the shipped accounts try every action, with
// both forms of acknowledgement subjects.
func TestRoleMatrix(t *testing.T) {
	t.Parallel()
	for _, later := range []bool{false, true} {
		t.Run(fmt.Sprintf("later acks %v", later), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, eventstest.AccountsOptions{LaterAcks: later})
			for _, action := range actions() {
				allowed := strings.Fields(action.can)
				can := func(r role) bool { return slices.Contains(allowed, r.name) }
				w.seed()
				// What is allowed comes last: it can leave less for others, and
				// may show late.
				for _, r := range slices.SortedStableFunc(slices.Values(roles), func(a, b role) int { return rank(can(a)) - rank(can(b)) }) {
					w.expects = can(r)
					err := action.do(w, w.as(r.name))
					switch {
					case err != nil && !errors.Is(err, errDenied):
						t.Errorf("%s, %s: neither done nor denied: %v", r.name, action.name, err)
					case can(r) != (err == nil):
						t.Errorf("%s, %s: %v, and may do it: %v", r.name, action.name, err, can(r))
					}
				}
			}
		})
	}
}

func rank(last bool) int {
	if last {
		return 1
	}
	return 0
}

// stores publishes to a subject of a stream.
func stores(subject string) func(*world, *actor) error {
	return func(_ *world, as *actor) error { return as.publish(subject, []byte("{}")) }
}

// asks sends a request that is answered.
func asks(subject string, data any) func(*world, *actor) error {
	return func(_ *world, as *actor) error {
		_, err := as.ask(subject, data)
		return err
	}
}

// reads reads from a stream by a consumer of its own.
func reads(stream, filter string) func(*world, *actor) error {
	return func(_ *world, as *actor) error { return as.read(stream, filter) }
}

// hears listens while something is published by who may.
func hears(subject, by, published string) func(*world, *actor) error {
	return func(w *world, as *actor) error {
		return as.hear(subject, func() {
			w.must(w.as(by).publish(published, []byte("{}")))
			w.as(by).caughtUp() // stored comes before heard
		})
	}
}

type object = map[string]any

var none = []byte{}

func actions() []action {
	all := writing()
	all = append(all, reading()...)
	all = append(all, settling()...)
	all = append(all, bypassing()...)
	return append(all, managing()...)
}

func writing() []action {
	return []action{
		{"announces a build", "bridge operator", stores("koji.build.completed")},
		{"announces a build of a package", "service bridge operator", stores("koji.build.completed.etcd")},
		{"announces a promoted build", "bridge operator", stores("koji.build.promoted")},
		{"announces a promoted build of a package", "bridge operator", stores("koji.build.promoted.etcd")},
		{"publishes other events of Koji", "", stores("koji.task.closed")},
		{"says that a decision changed", "bridge operator", stores("greenwave.decision.updated")},
		{"asks for a push to its organization", "operator myorg", stores("omps.request.push.myorg")},
		{"asks for a deletion in its organization", "operator myorg", stores("omps.request.delete.myorg")},
		{"asks for a push to another organization", "operator", stores("omps.request.push.other")},
		{"asks for a deletion in another organization", "operator", stores("omps.request.delete.other")},
		{"tells a result of its organization", "service", stores("omps.result.published.myorg.etcd")},
		{"tells a result of another organization", "service", stores("omps.result.published.other.etcd")},
		{"writes a dead letter", "service", stores("omps.dead-letter.internal")},
		{"writes to the ledger", "service", stores("$KV.omps-ledger.myorg.etcd-1-1")},
		{"takes a lease", "service", stores("$KV.omps-leases.tag")},
		{"uploads an archive", "myorg", stores("$O.omps-uploads-myorg.C.number")},
		{"uploads an archive for another organization", "", stores("$O.omps-uploads-other.C.number")},
	}
}

func reading() []action {
	const get, info = "$JS.API.DIRECT.GET.", "$JS.API.STREAM.INFO."
	first := object{"seq": 1, "next_by_subj": ">"}
	return []action{
		{"reads results of its organization", "admin operator myorg myorg-reader", reads("OMPS_RESULTS", "omps.result.*.myorg.>")},
		{"reads one outcome of its organization", "admin operator myorg myorg-reader", reads("OMPS_RESULTS", "omps.result.published.myorg.>")},
		{"reads results of another organization", "admin operator", reads("OMPS_RESULTS", "omps.result.*.other.>")},
		{"reads all results", "admin operator", reads("OMPS_RESULTS", "omps.result.>")},
		{"reads results by the durable for readers", "admin reader", func(_ *world, as *actor) error { return as.pull("OMPS_RESULTS", "reader") }},
		{"reads results by sequence", "admin", asks("$JS.API.STREAM.MSG.GET.OMPS_RESULTS", first)},
		{"gets results directly", "admin service", asks(get+"OMPS_RESULTS", first)},
		{"gets a result of another organization by subject", "admin", asks(get+"OMPS_RESULTS.omps.result.published.other.etcd", none)},
		{"hears results of its organization", "operator myorg myorg-reader reader", hears("omps.result.*.myorg.>", "service", "omps.result.published.myorg.etcd")},
		{"hears results of another organization", "operator reader", hears("omps.result.*.other.>", "service", "omps.result.published.other.etcd")},
		{"hears requests", "", hears("omps.request.>", "operator", "omps.request.push.other")},
		{"hears builds", "", hears("koji.>", "bridge", "koji.build.completed")},
		{"hears everything", "", hears(">", "service", "omps.result.published.myorg.etcd")},
		{"hears answers to the service", "service", hears("_INBOX_SERVICE.>", "service", "omps.dead-letter.internal")},
		{"hears answers to other operators", "operator", hears("_INBOX_CLI.operator.>", "operator", "koji.build.completed")},
		{"gets the ledger's entry of its organization", "admin service operator myorg", asks(get+"KV_omps-ledger.$KV.omps-ledger.myorg.etcd-1-1", none)},
		{"gets the ledger's entry of another organization", "admin service operator", asks(get+"KV_omps-ledger.$KV.omps-ledger.other.etcd-1-1", none)},
		{"gets the ledger by sequence", "admin service operator", asks(get+"KV_omps-ledger", first)},
		{"reads the ledger of its organization", "admin operator myorg", watches("KV_omps-ledger", "$KV.omps-ledger.myorg.>")},
		{"reads the ledger of another organization", "admin operator", watches("KV_omps-ledger", "$KV.omps-ledger.other.>")},
		// What no subject says cannot be kept apart.
		{"counts the builds of others by name", "admin service operator myorg", asks(info+"KV_omps-ledger", object{"subjects_filter": ">"})},
		{"counts the results of others by name", "admin service operator myorg myorg-reader", asks(info+"OMPS_RESULTS", object{"subjects_filter": ">"})},
		{"reads dead letters", "admin operator", reads("OMPS_DEAD_LETTERS", "omps.dead-letter.>")},
		{"gets a dead letter", "admin service operator", asks(get+"OMPS_DEAD_LETTERS", first)},
		{"gets requests", "admin service operator", asks(get+"OMPS_REQUESTS", first)},
		{"gets builds", "admin service operator", asks(get+"KOJI", first)},
		{"gets an archive of its organization", "admin service myorg", asks(get+"OBJ_omps-uploads-myorg.$O.omps-uploads-myorg.M.bmFtZQ==", none)},
		{"looks at the archives of another organization", "admin operator", asks(info+"OBJ_omps-uploads-other", none)},
		{"takes builds away from the service", "admin service", func(_ *world, as *actor) error { return as.pull("KOJI", "omps") }},
		{"asks what the account holds", "admin", asks("$JS.API.INFO", none)},
		{"lists the streams", "admin", asks("$JS.API.STREAM.NAMES", none)},
		{"lists the consumers of results", "admin", asks("$JS.API.CONSUMER.NAMES.OMPS_RESULTS", none)},
	}
}

// watches reads by a consumer that pushes to its own inbox.
func watches(stream, filter string) func(*world, *actor) error {
	return func(_ *world, as *actor) error {
		inbox := as.nc.NewInbox()
		sub, err := as.nc.SubscribeSync(inbox)
		if err != nil {
			return err
		}
		defer func() { _ = sub.Unsubscribe() }()
		if _, err := as.consumer(stream, filter, inbox); err != nil {
			return err
		}
		_, err = sub.NextMsg(patience)
		return err
	}
}

func settling() []action {
	return []action{
		{"settles a build for the service", "service", settles("service", "KOJI", "omps")},
		{"settles a request for the service", "service", settles("service", "OMPS_REQUESTS", "omps")},
		{"settles a result for the reader", "reader", settles("reader", "OMPS_RESULTS", "reader")},
		{"deletes a dead letter", "admin operator", func(w *world, as *actor) error {
			w.seed()
			_, err := as.ask("$JS.API.STREAM.MSG.DELETE.OMPS_DEAD_LETTERS", object{"seq": w.state("OMPS_DEAD_LETTERS").LastSeq})
			return err
		}},
	}
}

// settles tries to acknowledge what a durable has delivered to its owner.
func settles(owner, stream, durable string) func(*world, *actor) error {
	return func(w *world, as *actor) error {
		w.t.Helper()
		unsettled := func() int {
			c, err := w.js.Consumer(w.t.Context(), stream, durable)
			w.must(err)
			return c.CachedInfo().NumAckPending
		}
		w.seed()
		msg, err := w.as(owner).ask("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+durable, object{"batch": 1, "no_wait": true})
		w.must(err)
		if msg.Reply == "" {
			w.t.Fatalf("%s was delivered no message of %s: %v", owner, stream, msg.Header)
		}
		before := unsettled()
		_, err = as.ask(msg.Reply, []byte("+ACK"))
		if after := unsettled(); (after < before) != (err == nil) {
			w.t.Errorf("%s: of %d unsettled messages of %s there are %d, and %v", as.name, before, stream, after, err)
		}
		w.must(w.as(owner).send(&nats.Msg{Subject: msg.Reply, Data: []byte("+ACK")}))
		return err
	}
}
