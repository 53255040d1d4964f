package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// puller asks a durable for messages, one request at a time, by the JetStream
// API's CONSUMER.MSG.NEXT (ADR-13). The library's own Fetch takes any message
// without a payload and with a Status header for the server's word: one that
// somebody published so would end each request, and what stands behind it in
// the batch would be lost until the ack wait has passed. What the server says
// has no reply subject; every message of a stream has.
type puller struct {
	conn *nats.Conn
	next string // subject of requests
	sub  *nats.Subscription
	in   chan *nats.Msg // what comes, in order

	inbox  string // what the subjects of answers begin with, the dot included
	serial uint64 // of the request
	left   int    // messages that the request may still bring; 0: there is none
	alive  *time.Timer

	heartbeat time.Duration // of the request
}

// pullBuffer is room for what can come before it is read: requests are made
// one at a time, so that only one that was given up can bring more than
// maxBatch.
const pullBuffer = 4 * maxBatch

func newPuller(conn *nats.Conn, stream, durable string) (*puller, error) {
	p := &puller{
		conn: conn, next: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + durable,
		in: make(chan *nats.Msg, pullBuffer), inbox: conn.NewInbox() + ".", alive: time.NewTimer(0),
	}
	var err error
	p.sub, err = conn.ChanSubscribe(p.inbox+"*", p.in)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return p, nil
}

// asking tells whether a request is under way.
func (p *puller) asking() bool { return p.left > 0 }

// ask requests up to n messages of up to size bytes together. The server ends
// the request after pullWait, and sends a heartbeat when it has been quiet.
func (p *puller) ask(n int, size int64, heartbeat time.Duration) error {
	request, err := json.Marshal(map[string]int64{
		"batch": int64(n), "max_bytes": size,
		"expires": int64(pullWait), "idle_heartbeat": int64(heartbeat),
	})
	if err != nil {
		return err
	}
	p.serial++
	if err := p.conn.PublishRequest(p.next, p.answers(), request); err != nil {
		return err
	}
	p.left, p.heartbeat = n, heartbeat
	p.alive.Reset(2 * heartbeat)
	return nil
}

func (p *puller) answers() string { return p.inbox + strconv.FormatUint(p.serial, 10) }

// giveUp forgets the request that is under way. What it still brings is taken.
func (p *puller) giveUp() { p.left = 0 }

// silence fires when neither a message nor a heartbeat has come for too long.
func (p *puller) silence() <-chan time.Time {
	if !p.asking() {
		return nil
	}
	return p.alive.C
}

// errSilent is the end of a request that the server has forgotten.
var errSilent = errors.New("no word from the server")

// read sorts what came in: a message of the stream, or the server's word. ended
// tells that the request is over, err why if not as it should be.
func (p *puller) read(msg *nats.Msg) (m jetstream.Msg, ended bool, err error) {
	if msg.Reply != "" {
		if p.asking() {
			p.left--
			p.alive.Reset(2 * p.heartbeat)
			ended = p.left == 0
		}
		return pulled{msg, p.conn}, ended, nil
	}
	if msg.Subject != p.answers() || !p.asking() {
		return nil, false, nil // about a request that was given up
	}
	p.alive.Reset(2 * p.heartbeat)
	if ended, err = readStatus(msg.Header); ended {
		p.left = 0
	}
	return nil, ended, err
}

// readStatus reads the server's word on a request: the status codes of ADR-13.
func readStatus(h nats.Header) (ended bool, err error) {
	text := cut(h.Get("Description"), maxWord)
	switch code := h.Get("Status"); code {
	case "100": // a heartbeat
		return false, nil
	case "404", "408": // nothing there, nothing came in time
		return true, nil
	case "503":
		return true, nats.ErrNoResponders
	case "409":
		switch {
		case strings.Contains(text, "Exceeds MaxBytes"), strings.Contains(text, "Batch Completed"):
			return true, nil
		case strings.Contains(text, "Consumer Deleted"):
			return true, jetstream.ErrConsumerDeleted
		}
		return true, fmt.Errorf("request ended: %s", text)
	default:
		return true, fmt.Errorf("request ended: %s %s", cut(code, maxWord), text)
	}
}

// close ends the subscription and returns the messages that came and were not
// read. None is under way when it returns: the server has sent everything that
// it sends.
func (p *puller) close() []jetstream.Msg {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if p.sub.Drain() == nil {
		_ = p.conn.FlushWithContext(ctx) // without an answer, the ack wait brings it back
	}
	var unread []jetstream.Msg
	for {
		select {
		case msg := <-p.in:
			if msg != nil && msg.Reply != "" {
				unread = append(unread, pulled{msg, p.conn})
			}
			if msg != nil {
				continue
			}
		default:
		}
		return unread
	}
}

// pulled is a message of a stream.
type pulled struct {
	msg  *nats.Msg
	conn *nats.Conn
}

var _ jetstream.Msg = pulled{}

func (m pulled) Data() []byte         { return m.msg.Data }
func (m pulled) Headers() nats.Header { return m.msg.Header }
func (m pulled) Subject() string      { return m.msg.Subject }
func (m pulled) Reply() string        { return m.msg.Reply }

func (m pulled) Metadata() (*jetstream.MsgMetadata, error) {
	meta, err := m.msg.Metadata()
	if err != nil {
		return nil, err
	}
	return &jetstream.MsgMetadata{
		Sequence:     jetstream.SequencePair{Consumer: meta.Sequence.Consumer, Stream: meta.Sequence.Stream},
		NumDelivered: meta.NumDelivered, NumPending: meta.NumPending,
		Timestamp: meta.Timestamp, Stream: meta.Stream, Consumer: meta.Consumer, Domain: meta.Domain,
	}, nil
}

// The answers to a message, as the server's consumer.go reads them.
func (m pulled) Ack() error        { return m.answer("+ACK") }
func (m pulled) Nak() error        { return m.answer("-NAK") }
func (m pulled) InProgress() error { return m.answer("+WPI") }
func (m pulled) Term() error       { return m.answer("+TERM") }

func (m pulled) NakWithDelay(d time.Duration) error {
	return m.answer(fmt.Sprintf(`-NAK {"delay": %d}`, d.Nanoseconds()))
}

func (m pulled) TermWithReason(reason string) error { return m.answer("+TERM " + reason) }

// DoubleAck acknowledges, and waits for the server to confirm it.
func (m pulled) DoubleAck(ctx context.Context) error {
	_, err := m.conn.RequestWithContext(ctx, m.msg.Reply, []byte("+ACK"))
	return err
}

func (m pulled) answer(text string) error { return m.conn.Publish(m.msg.Reply, []byte(text)) }
