package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ProvisionOptions say what must be there.
type ProvisionOptions struct {
	Names  Names
	Manage bool // create what is missing; what exists is never changed

	Replicas   int           // of what is created
	AckWait    time.Duration // of the durables, at least
	MaxWaiting int           // builds that may wait for a later try at once

	// Since is how far back a new durable starts: normally Policy.MaxAge.
	// What is older would fail for its age, so a durable on a bus that has
	// gone on for weeks does not publish weeks of builds; and one that is made
	// again after it was lost misses nothing that could still be served.
	// 0 starts with the oldest message.
	Since time.Duration
}

// ErrMissing is the fault of a stream, durable or bucket that is not there.
var ErrMissing = errors.New("is missing")

// Faults is everything that keeps the service from running on a server.
type Faults []error

func (f Faults) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives errors.Is and errors.As each fault.
func (f Faults) Unwrap() []error { return f }

// Provision makes sure that every stream, durable and bucket is there and safe
// to work on. What exists is used as it is and never changed. What is missing
// and may not be created, and what is unsafe, comes back together as Faults;
// any other error means that the server did not answer.
func Provision(ctx context.Context, js jetstream.JetStream, o ProvisionOptions) error {
	s := survey{js: js, o: o}
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	if len(s.faults) > 0 {
		return fmt.Errorf("provision: %w", s.faults)
	}
	return nil
}

// survey goes through everything that the service needs on a server.
type survey struct {
	js     jetstream.JetStream
	o      ProvisionOptions
	look   bool    // make nothing, even with Manage
	rights *rights // nil: not in doubt
	// clustered tells that a server of a cluster answers, whose streams can
	// have replicas.
	clustered bool

	faults Faults
	report Report
}

func (s *survey) run(ctx context.Context) error {
	names := s.o.Names
	for _, want := range append(names.streams(), names.buckets()...) {
		if err := s.stream(ctx, want); err != nil {
			return fmt.Errorf("%s: %w", want, err)
		}
	}
	return nil
}

func (s *survey) fault(of string, err error) {
	s.faults = append(s.faults, fmt.Errorf("%s: %w", of, err))
}

func (s *survey) warn(of string, texts []string) {
	for _, text := range texts {
		s.report.Warnings = append(s.report.Warnings, of+": "+text)
	}
}

// stream finds or creates what is wanted, and our durable if it is read, and
// reports what is wrong with them.
func (s *survey) stream(ctx context.Context, want stream) error {
	there, err := s.find(ctx, want)
	if err != nil {
		return err
	}
	direct := true
	if there != nil {
		info := there.CachedInfo()
		for _, fault := range s.o.check(want, info.Config) {
			s.fault(want.String(), fault)
		}
		s.warn(want.String(), s.o.streamRisks(want, info, s.clustered, time.Now()))
		direct = info.Config.AllowDirect
	}
	if want.bucket != "" {
		_, err := s.ask(ctx, want.readRights(s.o.Names, direct))
		return err
	}
	if there == nil {
		return nil
	}
	if _, err := s.ask(ctx, []right{want.showRight(direct)}); err != nil || want.read == "" {
		return err
	}
	return s.durable(ctx, want, there.CachedInfo())
}

// find finds or makes a stream. It returns nil where it may not.
func (s *survey) find(ctx context.Context, want stream) (jetstream.Stream, error) {
	if s.rights.areDenied(want.lookRight()) {
		return nil, nil // reported, and an answer would not come
	}
	there, err := s.js.Stream(ctx, want.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return s.create(ctx, want)
	}
	return there, err
}

// create makes a stream. It returns nil where it could or may not be made.
func (s *survey) create(ctx context.Context, want stream) (jetstream.Stream, error) {
	if !s.o.Manage {
		s.fault(want.String(), s.missing(ctx, want))
		return nil, nil
	}
	denied, err := s.ask(ctx, want.creationRights(s.o.Names))
	if err != nil || denied {
		return nil, err
	}
	if s.look {
		if err := s.missing(ctx, want); !errors.Is(err, ErrMissing) {
			s.fault(want.String(), err)
		}
		return nil, nil
	}
	there, err := s.js.CreateStream(ctx, want.config(s.o.Replicas))
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // by a replica, just now
		return s.js.Stream(ctx, want.name)
	}
	if isOverlap(err) {
		err = s.missing(ctx, want)
	} else if !isRefusal(err) {
		return there, err
	}
	s.fault(want.String(), err)
	return nil, nil
}

// overlapCode is the server's answer to a stream on subjects that another one
// holds: JSStreamSubjectOverlapErr in its errors.json.
const overlapCode jetstream.ErrorCode = 10065

func isOverlap(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == overlapCode
}

// unavailableCode is that of a server that may well answer otherwise later.
const unavailableCode = 503

// isRefusal tells whether a server does not want to make what it was asked for,
// such as more replicas than it has peers, and says the same the next time.
func isRefusal(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code != unavailableCode
}

// hintTimeout bounds a question whose answer only makes a text clearer.
const hintTimeout = time.Second

// missing says that a stream is not there, and which one may be meant.
func (s *survey) missing(ctx context.Context, want stream) error {
	ctx, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	if denied, err := s.rights.try(ctx, []right{namesRight}); err != nil || len(denied) > 0 {
		return ErrMissing
	}
	holder, err := s.js.StreamNameBySubject(ctx, want.subjects)
	if err != nil {
		return ErrMissing
	}
	return fmt.Errorf("is missing, but stream %s holds %s: configure that name", holder, want.subjects)
}

// durable finds or creates our consumer on a stream and reports what is wrong
// with it.
func (s *survey) durable(ctx context.Context, on stream, of *jetstream.StreamInfo) error {
	if s.rights.areDenied(on.bindRight(s.o.Names)) {
		return nil // reported, and an answer would not come
	}
	name := fmt.Sprintf("%s: durable %s", on, s.o.Names.Durable)
	there, err := s.js.Consumer(ctx, on.name, s.o.Names.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound) && !s.o.Manage:
		s.fault(name, ErrMissing)
		return nil
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		there, err = s.createDurable(ctx, on)
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		s.fault(name, errors.New("is a push consumer"))
		return nil
	}
	if isRefusal(err) {
		s.fault(name, err)
		return nil
	}
	if err != nil || there == nil {
		return err
	}
	info := there.CachedInfo()
	for _, fault := range s.o.checkDurable(on, info.Config, s.js.Conn().MaxPayload()) {
		s.fault(name, fault)
	}
	s.warn(name, s.o.durableRisks(info, of, time.Now()))
	return nil
}

// createDurable makes our consumer. It returns nil where it could or may not
// be made.
func (s *survey) createDurable(ctx context.Context, on stream) (jetstream.Consumer, error) {
	denied, err := s.ask(ctx, []right{on.durableRight(s.o.Names)})
	if err != nil || denied || s.look {
		return nil, err
	}
	// Never an update: a refused one can cost the state of a consumer.
	there, err := s.js.CreateConsumer(ctx, on.name, s.o.durableConfig(on))
	if errors.Is(err, jetstream.ErrConsumerExists) { // by a replica, just now
		return s.js.Consumer(ctx, on.name, s.o.Names.Durable)
	}
	return there, err
}
