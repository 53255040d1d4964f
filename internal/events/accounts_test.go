package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
)

// deployed is the folder of the configuration that is shipped.
const deployed = "../../deploy/nats"

// roles are the users of accounts.conf: what their inboxes begin with, and
// under which subjects their accounts have JetStream.
var roles = []role{
	{"service", "_INBOX_SERVICE", "$JS.API"},
	{"bridge", "_INBOX_BRIDGE", "JS.OMPS.API"},
	{"operator", "_INBOX_CLI.operator", "JS.OMPS.API"},
	{"myorg", "_INBOX_CLI.myorg", "JS.OMPS.API"},
	{"myorg-reader", "_INBOX_READER.myorg", "JS.OMPS.API"},
	{"reader", "_INBOX_READER", "JS.OMPS.API"},
	{"admin", "_INBOX_ADMIN", "$JS.API"},
}

type role struct{ name, inbox, api string }

// errDenied is the end of what a role may not do: the server says that a
// permission is missing, or the account has nobody who answers.
var errDenied = errors.New("denied")

// actor is a role that is logged in. It uses one permission at a time.
type actor struct {
	role
	tb     testing.TB
	nc     *nats.Conn
	denied chan error
}

// logIn fails the test where a role cannot log in.
func logIn(tb testing.TB, a *eventstest.Accounts, r role) *actor {
	tb.Helper()
	as := &actor{role: r, tb: tb, denied: make(chan error, 100)}
	var err error
	as.nc, err = nats.Connect(a.URL(r.name), nats.CustomInboxPrefix(r.inbox), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		as.denied <- err
	}))
	if err != nil {
		tb.Fatalf("%s: %v", r.name, err)
	}
	tb.Cleanup(as.nc.Close)
	return as
}

// subject is one of JetStream's as the role's account knows it.
func (a *actor) subject(s string) string {
	if rest, ok := strings.CutPrefix(s, "$JS.API."); ok {
		return a.api + "." + rest
	}
	return s
}

// ask sends a request and returns the answer. Nothing is waited for in vain:
// either it comes, or the server says why not.
func (a *actor) ask(subject string, data any) (*nats.Msg, error) {
	a.tb.Helper()
	body, ok := data.([]byte)
	if !ok {
		var err error
		if body, err = json.Marshal(data); err != nil {
			a.tb.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(a.tb.Context(), patience)
	defer cancel()
	type answer struct {
		msg *nats.Msg
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		msg, err := a.nc.RequestWithContext(ctx, a.subject(subject), body)
		answers <- answer{msg, err}
	}()
	select {
	case err := <-a.denied:
		cancel()
		<-answers
		return nil, fmt.Errorf("%w: %w", errDenied, err)
	case got := <-answers:
		switch {
		case errors.Is(got.err, nats.ErrNoResponders):
			return nil, fmt.Errorf("%w: %w", errDenied, got.err)
		case got.err != nil:
			a.tb.Fatalf("%s: %s: %v", a.name, subject, got.err)
		}
		return got.msg, refusal(got.msg)
	}
}

// refusal is what an answer says is wrong, which is no denial.
func refusal(msg *nats.Msg) error {
	if code := msg.Header.Get("Status"); code != "" {
		return fmt.Errorf("status %s %s", code, msg.Header.Get("Description"))
	}
	var body struct{ Error *jetstream.APIError }
	if json.Unmarshal(msg.Data, &body) == nil && body.Error != nil {
		return body.Error
	}
	return nil
}

// publish stores a message in a stream.
func (a *actor) publish(subject string, data any) error {
	_, err := a.ask(subject, data)
	return err
}

// send publishes without waiting for anything but the server's word on it.
func (a *actor) send(msg *nats.Msg) error {
	a.tb.Helper()
	return a.flush(func() error { return a.nc.PublishMsg(msg) })
}

// flush does something and waits until the server has taken it in. What it denies
// it says before, and the handler is told within the time it takes to be scheduled.
func (a *actor) flush(do func() error) error {
	a.tb.Helper()
	before := a.nc.LastError()
	if err := do(); err != nil {
		a.tb.Fatal(err)
	}
	if err := a.nc.FlushTimeout(patience); err != nil {
		a.tb.Fatal(err)
	}
	if after := a.nc.LastError(); after != before && errors.Is(after, nats.ErrPermissionViolation) { //nolint:errorlint // the very same one
		return fmt.Errorf("%w: %w", errDenied, receive(a.tb, "violation", a.denied))
	}
	return nil
}

// caughtUp has everything arrive that the server has sent until now.
func (a *actor) caughtUp() {
	a.tb.Helper()
	if err := a.nc.FlushTimeout(patience); err != nil {
		a.tb.Fatal(err)
	}
}

// hear subscribes to a subject, has something happen, and tells whether it was
// heard of.
func (a *actor) hear(subject string, happen func()) error {
	a.tb.Helper()
	var sub *nats.Subscription
	err := a.flush(func() (err error) {
		sub, err = a.nc.SubscribeSync(subject)
		return err
	})
	defer func() { _ = sub.Unsubscribe() }()
	if err != nil {
		return err
	}
	happen()
	a.caughtUp()
	if n, _, err := sub.Pending(); n == 0 || err != nil {
		return fmt.Errorf("%w: nothing heard, %w", errDenied, err)
	}
	return nil
}

// consumer makes one that ends by itself, and returns its name.
func (a *actor) consumer(stream, filter, deliver string) (name string, err error) {
	a.tb.Helper()
	name = nats.NewInbox()[len("_INBOX."):]
	config := map[string]any{
		"name": name, "ack_policy": "none", "deliver_policy": "all", "replay_policy": "instant",
		"inactive_threshold": int64(time.Minute), "filter_subject": filter,
	}
	if deliver != "" {
		config["deliver_subject"] = deliver
	}
	_, err = a.ask("$JS.API.CONSUMER.CREATE."+stream+"."+name+"."+filter, map[string]any{"stream_name": stream, "config": config})
	return name, err
}

// read reads a message by an own consumer.
func (a *actor) read(stream, filter string) error {
	name, err := a.consumer(stream, filter, "")
	if err != nil {
		return err
	}
	return a.pull(stream, name)
}

// pull takes a message from a consumer.
func (a *actor) pull(stream, name string) error {
	_, err := a.ask("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+name, map[string]any{"batch": 1, "no_wait": true})
	return err
}

// world is a server with the shipped accounts, and the roles that log in.
type world struct {
	*eventstest.Accounts
	t       *testing.T
	actors  map[string]*actor
	js      jetstream.JetStream // the administrator's
	expects bool                // whether what is tried now should come about
}

func newWorld(t *testing.T, o eventstest.AccountsOptions) *world {
	t.Helper()
	o.Folder = deployed
	w := &world{Accounts: eventstest.StartAccounts(t, o), t: t, actors: map[string]*actor{}}
	var err error
	if w.js, err = jetstream.New(w.as("admin").nc); err != nil {
		t.Fatal(err)
	}
	return w
}

// as is the role of that name, logged in once.
func (w *world) as(name string) *actor {
	w.t.Helper()
	if w.actors[name] == nil {
		i := slices.IndexFunc(roles, func(r role) bool { return r.name == name })
		w.actors[name] = logIn(w.t, w.Accounts, roles[i])
	}
	return w.actors[name]
}

// provision makes what is missing of all there is, with the rights of the
// administrator.
func (w *world) provision() {
	w.t.Helper()
	if err := events.Provision(w.t.Context(), w.js, provisioned()); err != nil {
		w.t.Fatal(err)
	}
	for _, org := range []string{"myorg", "other"} {
		cfg := jetstream.ObjectStoreConfig{Bucket: "omps-uploads-" + org}
		if _, err := w.js.CreateObjectStore(w.t.Context(), cfg); err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			w.t.Fatal(err)
		}
	}
	reader := jetstream.ConsumerConfig{Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy}
	if _, err := w.js.CreateOrUpdateConsumer(w.t.Context(), "OMPS_RESULTS", reader); err != nil {
		w.t.Fatal(err)
	}
}

// must is for what prepares a test.
func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// seed has something in every stream and bucket, for two organizations.
func (w *world) seed() {
	w.t.Helper()
	w.provision()
	service, operator := w.as("service"), w.as("operator")
	for _, org := range []string{"myorg", "other"} {
		w.must(service.publish("omps.result.published."+org+".etcd", []byte("{}")))
		w.must(service.publish("$KV.omps-ledger."+org+".etcd-1-1", []byte("{}")))
		w.must(operator.publish("omps.request.push."+org, []byte("{}")))
	}
	w.must(service.publish("omps.dead-letter.internal", []byte("{}")))
	w.must(w.as("myorg").publish("$O.omps-uploads-myorg.M.bmFtZQ==", []byte("{}")))
	w.must(w.as("bridge").publish("koji.build.completed", []byte("{}")))
}

// state is what a stream holds.
func (w *world) state(stream string) jetstream.StreamState {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().State
}
