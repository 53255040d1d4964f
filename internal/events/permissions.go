package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// right is a permission that the service needs.
type right struct {
	subject string // on which it is tried
	grant   string // what a server's configuration has to allow; "": the subject
	purpose string
	listen  bool // to subscribe, not to publish
	minor   bool // the work goes on without it, or with the server as it is by default
	// traced is set for a subject that others listen on: a subject where to send
	// the trace of a message that is delivered to nobody. Where that one is
	// denied too, this one is not known to be.
	traced string
}

func (r right) String() string {
	grant, verb := r.grant, "publish"
	if grant == "" {
		grant = r.subject
	}
	if r.listen {
		verb = "subscribe"
	}
	return fmt.Sprintf("no permission to %s to %s (%s)", verb, grant, r.purpose)
}

// apiPrefix is what jetstream.New puts before each request.
const apiPrefix = jetstream.DefaultAPIPrefix

// namesRight is only of use for a clearer report.
var namesRight = right{subject: apiPrefix + "STREAM.NAMES", purpose: "to find the stream that holds a subject"}

// probed is the last part of a subject that is tried where any would do.
const probed = "preflight"

// rights are those that the service needs whatever is on the server.
func (n Names) rights() []right {
	harmless := n.ackSubject(n.Koji) // what is no acknowledgement is dropped there
	all := []right{
		{
			subject: SubjectResult + strings.Repeat("."+probed, 3), grant: SubjectResult + ".>", traced: harmless,
			purpose: "to tell what was done",
		},
		{
			subject: subjectDeadLetter + "." + probed, grant: subjectDeadLetter + ".>", traced: harmless,
			purpose: "to keep what cannot be served",
		},
	}
	for _, s := range n.streams() {
		all = append(all, s.lookRight())
		if s.read == "" {
			continue
		}
		durable := s.name + "." + n.Durable
		all = append(all, s.bindRight(n),
			right{subject: apiPrefix + "CONSUMER.MSG.NEXT." + durable, purpose: "to pull messages"},
			right{subject: n.ackSubject(s.name), grant: "$JS.ACK." + durable + ".>", purpose: "to settle messages"},
			// By ADR-15 with the domain and a hash of the account.
			right{
				subject: "$JS.ACK._." + probed + "." + durable + ".0.0.0.0.0", grant: "$JS.ACK.*.*." + durable + ".>", minor: true,
				purpose: "to settle messages once the server has js_ack_fc_v2 on, as a later version will",
			})
	}
	for _, s := range n.buckets() {
		all = append(all, s.lookRight(), right{subject: bucketSubject + s.bucket + "." + probed, grant: s.subjects, purpose: "to write to " + s.String()})
	}
	return all
}

// announceRight is that of an Announcer. What it publishes for a stream that is
// not there is refused, and others who listen hear nothing of it.
func (n Names) announceRight() right {
	return right{
		subject: SubjectBuildCompleted + "." + probed, grant: SubjectBuildCompleted + ".*", traced: n.ackSubject(n.Koji),
		purpose: "to announce builds that nobody has (reconcile.every)",
	}
}

// ackSubject is one that messages of our durable are acknowledged on.
func (n Names) ackSubject(stream string) string {
	return "$JS.ACK." + stream + "." + n.Durable + ".0.0.0.0.0"
}

func (s stream) lookRight() right {
	return right{subject: apiPrefix + "STREAM.INFO." + s.name, purpose: "to look at " + s.String()}
}

func (s stream) bindRight(n Names) right {
	return right{subject: apiPrefix + "CONSUMER.INFO." + s.name + "." + n.Durable, purpose: "to find the durable on " + s.String()}
}

func (s stream) durableRight(n Names) right {
	durable := apiPrefix + "CONSUMER.CREATE." + s.name + "." + n.Durable
	return right{subject: durable + "." + s.read, grant: durable + ".>", purpose: "to make the durable on " + s.String() + ", which is missing"}
}

// creationRights are those to make s and what goes with it.
func (s stream) creationRights(n Names) []right {
	all := []right{{subject: apiPrefix + "STREAM.CREATE." + s.name, purpose: "to make " + s.String() + ", which is missing"}}
	if s.read != "" {
		all = append(all, s.durableRight(n))
	}
	return all
}

// readRights are those to read from a bucket: the last value of a key and, for
// the ledger, the next entry of a build.
func (s stream) readRights(n Names, direct bool) []right {
	purpose := "to read from " + s.String()
	if !direct {
		return []right{{subject: apiPrefix + "STREAM.MSG.GET." + s.name, purpose: purpose}}
	}
	get := apiPrefix + "DIRECT.GET." + s.name
	all := []right{{subject: get + "." + bucketSubject + s.bucket + "." + probed, grant: get + ".>", purpose: purpose}}
	if s.bucket == n.Ledger {
		all = append(all, right{subject: get, purpose: "to find the entries of a build"})
	}
	return all
}

// showRight is to read single messages for what people look at, and not for the
// work: of what comes in the oldest that is not settled, for its age, and of what
// goes out whatever the status page shows.
func (s stream) showRight(direct bool) right {
	get, purpose := "STREAM.MSG.GET.", "to show what is in "+s.String()
	if direct {
		get = "DIRECT.GET."
	}
	if s.read != "" {
		purpose = "to tell how old the oldest message is that is not settled, in a metric"
	}
	return right{subject: apiPrefix + get + s.name, minor: true, purpose: purpose}
}

// rights tries permissions out on a connection. A server says that one is
// missing only to the connection's error handler, so it is taken over until
// close.
type rights struct {
	nc     *nats.Conn
	before nats.ErrHandler

	mu    sync.Mutex
	last  error           // the last violation that the handler was given
	known map[string]bool // by what violation calls it: whether it is denied
	came  chan struct{}   // has one when there was another violation
}

func tryRights(nc *nats.Conn) *rights {
	r := &rights{nc: nc, before: nc.ErrorHandler(), known: map[string]bool{}, came: make(chan struct{}, 1)}
	r.last = nc.LastError() // what came earlier is not for us
	nc.SetErrorHandler(r.handle)
	return r
}

func (r *rights) close() { r.nc.SetErrorHandler(r.before) }

func (r *rights) handle(nc *nats.Conn, sub *nats.Subscription, err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		if r.before != nil {
			r.before(nc, sub, err)
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = err
	for v := range r.known {
		if strings.Contains(err.Error(), v) {
			r.known[v] = true
		}
	}
	select {
	case r.came <- struct{}{}:
	default:
	}
}

// violation is how a server names the right when it is missing:
// subPermissionViolation and pubPermissionViolation in its server/client.go.
func (r right) violation() string {
	if r.listen {
		return "Subscription to " + strconv.Quote(r.subject)
	}
	return "Publish to " + strconv.Quote(r.subject)
}

// areDenied tells whether some of the rights were tried and are missing. It is
// false for nil, which knows of none.
func (r *rights) areDenied(of ...right) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range of {
		if r.known[one.violation()] {
			return true
		}
	}
	return false
}

// noStream is the name of no stream, as none can have such a name.
const noStream = "no stream"

// try tries rights out without effect and returns those that are missing. A
// stream refuses what is published for another one; requests that cannot be
// read, and for which nobody waits, are dropped, and so is an acknowledgement
// that says none of the words there are. It returns none for nil.
func (r *rights) try(ctx context.Context, list []right) ([]right, error) {
	if r == nil {
		return nil, nil
	}
	r.mu.Lock()
	for _, one := range list {
		r.known[one.violation()] = false
	}
	r.mu.Unlock()
	for _, one := range list {
		end, err := r.use(one)
		if err != nil {
			return nil, err
		}
		defer end()
	}
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	var missing []right
	for _, one := range list {
		if r.areDenied(one) {
			missing = append(missing, one)
		}
	}
	return missing, nil
}

// traces tells whether a server can trace a message without delivering it. One
// that cannot would deliver it.
func traces(version string) bool {
	v, err := semver.NewVersion(version)
	return err == nil && !v.LessThan(semver.New(2, 11, 0, "", ""))
}

// use makes use of a right, until end is called.
func (r *rights) use(one right) (end func(), err error) {
	if one.listen {
		sub, err := r.nc.SubscribeSync(one.subject)
		if err != nil {
			return nil, fmt.Errorf("subscribe to %s: %w", one.subject, err)
		}
		return func() { _ = sub.Unsubscribe() }, nil
	}
	msg := &nats.Msg{Subject: one.subject, Header: nats.Header{jetstream.ExpectedStreamHeader: {noStream}}, Data: []byte(probed)}
	if strings.HasPrefix(one.subject, apiPrefix) {
		msg.Data = []byte("{}") // a server notes in its log what it cannot read
	}
	if one.traced != "" {
		if !traces(r.nc.ConnectedServerVersion()) {
			return func() {}, nil
		}
		// By ADR-41.
		msg.Header.Set("Nats-Trace-Dest", one.traced)
		msg.Header.Set("Nats-Trace-Only", "true")
	}
	if err := r.nc.PublishMsg(msg); err != nil {
		return nil, fmt.Errorf("publish to %s: %w", one.subject, err)
	}
	return func() {}, nil
}

// settle waits until each violation that the server found by now has reached
// the handler. The answer to the flush comes after them on the connection, and
// the handler is given them in order.
func (r *rights) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := r.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	for {
		last := r.nc.LastError()
		r.mu.Lock()
		done := r.last == last //nolint:errorlint // the very same one
		r.mu.Unlock()
		if done || !errors.Is(last, nats.ErrPermissionViolation) {
			return nil
		}
		select {
		case <-r.came:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
