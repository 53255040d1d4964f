package events

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestQuiet(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sight sight
		want  quiet
	}{
		"nothing at all":                 {sight{}, quietFine},
		"all handed out":                 {sight{out: 5000, most: 6000}, quietFine},
		"all handed out, and full":       {sight{out: 6000, most: 6000}, quietFine},
		"pending":                        {sight{pending: 1, out: 5999, most: 6000}, quietStalled},
		"pending, nothing out":           {sight{pending: 7, most: 6000}, quietStalled},
		"pending without a limit":        {sight{pending: 1, out: 100000, most: -1}, quietStalled},
		"pending without a limit, old":   {sight{pending: 1, out: 100000}, quietStalled},
		"full":                           {sight{pending: 1, out: 6000, most: 6000}, quietFull},
		"more than full":                 {sight{pending: 1, out: 6001, most: 6000}, quietFull},
		"paused":                         {sight{pending: 1, most: 6000, paused: true}, quietPaused},
		"paused and full":                {sight{pending: 1, out: 6000, most: 6000, paused: true}, quietPaused},
		"paused with nothing to deliver": {sight{paused: true}, quietPaused},
	} {
		if got := tt.sight.quiet(); got != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestRemedyFor(t *testing.T) {
	t.Parallel()
	want := map[int]remedy{2: remedyRebind, 4: remedyRebind, 6: remedyReconnect, 8: remedyRebind, 10: remedyRebind, 12: remedyReconnect}
	for stalls := range 14 {
		if got := remedyFor(stalls); got != want[stalls] {
			t.Errorf("after %d: %d", stalls, got)
		}
	}
}

// toldDurable is a durable that says what it is told to.
type toldDurable struct {
	info  jetstream.ConsumerInfo
	err   error
	asked int
}

func (d *toldDurable) ask(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	d.asked++
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("asked without a deadline")
	}
	return &d.info, d.err
}

// dog is a watchdog with a durable, a clock and all that it says.
type dog struct {
	watchdog
	durable    toldDurable
	now        time.Time
	said       strings.Builder
	reconnects int
}

func newDog() *dog {
	d := &dog{now: time.Unix(1_800_000_000, 0)}
	d.watchdog = watchdog{
		info:      d.durable.ask,
		log:       slog.New(slog.NewTextHandler(&d.said, nil)),
		rebinds:   newRebinds(prometheus.NewRegistry()),
		reconnect: func() error { d.reconnects++; return nil },
	}
	return d
}

// empty is a pull that brought nothing, in full length.
func (d *dog) empty() (rebind bool) {
	d.now = d.now.Add(pullWait)
	return d.ended(context.Background(), d.now)
}

func (d *dog) lines() int { return strings.Count(d.said.String(), "\n") }

func TestWatchdogRebindsWhatStalls(t *testing.T) {
	t.Parallel()
	d := newDog()
	d.durable.info.NumPending = 3
	for pull := 1; pull <= 12; pull++ {
		if got, want := d.empty(), pull%2 == 0; got != want {
			t.Errorf("pull %d: rebind %v", pull, got)
		}
		if got, want := d.reconnects, pull/6; got != want {
			t.Errorf("pull %d: %d reconnects", pull, got)
		}
		if stalled := d.health.get() != nil; stalled != (pull >= 2) {
			t.Errorf("pull %d: health %v", pull, d.health.get())
		}
	}
	if got := testutil.ToFloat64(d.rebinds); got != 6 {
		t.Errorf("%v rebinds", got)
	}
	if d.lines() != 6 || !strings.Contains(d.said.String(), "messages are pending, and none comes\" pending=3 pulls=2 connect_anew=false") {
		t.Errorf("said %s", d.said.String())
	}

	d.message()
	if err := d.health.get(); err != nil {
		t.Errorf("a message came, and health is %v", err)
	}
	for range 2 { // the pull with the message, and one without
		if d.empty() {
			t.Error("rebound after a message and one empty pull")
		}
	}
	if !d.empty() {
		t.Error("not rebound when it stalls again")
	}
}

// One that came in the moment between the end of a pull and the question is no
// stall.
func TestWatchdogLeavesAloneWhatServes(t *testing.T) {
	t.Parallel()
	d := newDog()
	for range 10 {
		d.durable.info.NumPending = 1
		if d.empty() {
			t.Error("rebound")
		}
		d.durable.info.NumPending = 0
		if d.empty() {
			t.Error("rebound")
		}
	}
	d.durable.info.NumPending = 1
	for range 10 {
		d.message()
		if d.empty() { // not empty after all
			t.Error("rebound")
		}
	}
	if d.lines() > 0 || d.health.get() != nil || testutil.ToFloat64(d.rebinds) != 0 {
		t.Errorf("said %s, health %v", d.said.String(), d.health.get())
	}
}

func TestWatchdogAsksSeldom(t *testing.T) {
	t.Parallel()
	d := newDog()
	for range 100 { // pulls that the server ends early
		d.now = d.now.Add(time.Second)
		d.ended(t.Context(), d.now)
	}
	if d.durable.asked != 12 { // at 1 s, 10 s, 19 s, …
		t.Errorf("asked %d times in 100 s", d.durable.asked)
	}
	d.durable.asked = 0
	for range 100 {
		d.message()
		d.empty()
	}
	if d.durable.asked != 0 {
		t.Errorf("asked %d times about pulls that brought messages", d.durable.asked)
	}
}

func TestWatchdogSaysOnceWhyNothingComes(t *testing.T) {
	t.Parallel()
	full := jetstream.ConsumerInfo{NumPending: 9, NumAckPending: 10, Config: jetstream.ConsumerConfig{MaxAckPending: 10}}
	for name, tt := range map[string]struct {
		info jetstream.ConsumerInfo
		want string
	}{
		"full":   {full, "as many messages wait to be settled as may, so none that is new comes\" pending=9 unsettled=10 max_ack_pending=10"},
		"paused": {jetstream.ConsumerInfo{Paused: true, NumPending: 9}, "the durable is paused, so nothing comes\" pending=9"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDog()
			d.empty()
			d.durable.info = tt.info
			for range 5 {
				if d.empty() {
					t.Error("rebound")
				}
				d.saw(&tt.info)
				d.message() // an old one, while new ones do not come
				d.empty()
			}
			if d.lines() != 1 || !strings.Contains(d.said.String(), "level=WARN") || !strings.Contains(d.said.String(), tt.want) {
				t.Errorf("said %s", d.said.String())
			}
			if err := d.health.get(); err != nil {
				t.Errorf("health is %v", err)
			}
			d.durable.info = jetstream.ConsumerInfo{NumPending: 9}
			d.empty()
			if d.lines() != 2 || !strings.Contains(d.said.String(), "open to new messages again") {
				t.Errorf("said %s", d.said.String())
			}
		})
	}
}

func TestWatchdogWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	d := newDog()
	d.durable.info.NumPending = 3
	d.empty()
	d.durable.err = errors.New("no answer")
	if d.empty() || d.health.get() != nil {
		t.Error("no answer is a stall")
	}
	d.durable.err = nil
	if !d.empty() {
		t.Error("the second stall does not count")
	}
	d.reconnect = func() error { return errors.New("closed") }
	for range 4 {
		d.empty()
	}
	if !strings.Contains(d.said.String(), "not connected anew") {
		t.Errorf("said %s", d.said.String())
	}
}
