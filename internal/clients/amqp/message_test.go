package amqp

import (
	"strings"
	"testing"
	"time"

	amqp10 "github.com/Azure/go-amqp"
	"github.com/rabbitmq/amqp091-go"
)

func TestMessagesOfBothProtocols(t *testing.T) {
	t.Parallel()
	to, at := "topic://VirtualTopic.eng.brew.build.complete", time.Date(2026, 11, 22, 7, 26, 7, 0, time.UTC)
	empty := ""
	for name, c := range map[string]struct {
		got                   Message
		id, topic, body, what string
		at                    time.Time
	}{
		"koji's plugin": {
			got:   message10(&amqp10.Message{Value: "{}", ApplicationProperties: map[string]any{"what": "COMPLETE"}}, "queue://a"),
			topic: "queue://a", body: "{}", what: "COMPLETE",
		},
		"by a broker that keeps the target": {
			got: message10(&amqp10.Message{
				Value: []byte("{}"), Properties: &amqp10.MessageProperties{MessageID: "ID:1", To: &to, CreationTime: &at},
			}, "queue://a"),
			id: "ID:1", topic: to, body: "{}", at: at,
		},
		"by RabbitMQ": {
			got: message10(&amqp10.Message{
				Data: [][]byte{[]byte("{"), []byte("}")}, Annotations: amqp10.Annotations{"x-routing-key": "build.complete"},
				Properties: &amqp10.MessageProperties{MessageID: uint64(7), To: &empty}, ApplicationProperties: map[string]any{"what": true},
			}, "/queue/a"),
			id: "7", topic: "build.complete", body: "{}", what: "true",
		},
		"no body": {
			got:   message10(&amqp10.Message{Value: int64(1), ApplicationProperties: map[string]any{"what": nil}}, "a"),
			topic: "a",
		},
		"fedora-messaging": {
			got: message091(amqp091.Delivery{
				MessageId: "e4f2691a", RoutingKey: "org.fedoraproject.prod.x", Timestamp: at, Body: []byte("{}"),
				Headers: amqp091.Table{"what": int32(20), "table": amqp091.Table{}},
			}),
			id: "e4f2691a", topic: "org.fedoraproject.prod.x", body: "{}", what: "20", at: at,
		},
	} {
		m := c.got
		if m.ID != c.id || m.Topic != c.topic || string(m.Body) != c.body || m.Header("what") != c.what || !m.Time.Equal(c.at) {
			t.Errorf("%s: %+v", name, m)
		}
		if got := m.Header("table") + m.Header("absent"); got != "" {
			t.Errorf("%s: headers that are no texts are %q", name, got)
		}
	}
}

func TestMessageIDs(t *testing.T) {
	t.Parallel()
	for want, id := range map[string]any{
		"": nil, "a": "a", "18446744073709551615": ^uint64(0), "00ff": []byte{0, 255},
		"01020304-0506-0708-090a-0b0c0d0e0f10": amqp10.UUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	} {
		if got := id10(id); got != want {
			t.Errorf("%v is %q, want %q", id, got, want)
		}
	}
}

func TestHostShowsNoSecret(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"amqps://user:hunter2@broker.example.com/hunter2?hunter2", "amqps://hunter2\n", "://hunter2"} {
		if shown := host(at); strings.Contains(shown, "hunter2") {
			t.Errorf("%s is shown as %s", at, shown)
		}
	}
}

// TestEndedSaysWhy: of two chans that the library closes together, the one with
// a word counts.
func TestEndedSaysWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		closed    *amqp091.Error
		cancelled string
		open      bool // the connection lives on
		want      string
	}{
		"lost":      {closed: &amqp091.Error{Code: 320, Reason: "CONNECTION_FORCED"}, want: "connection lost: Exception (320) Reason: \"CONNECTION_FORCED\""},
		"closed":    {want: "connection lost"},
		"cancelled": {cancelled: "tag", open: true, want: "the broker ended the subscription: the queue was deleted, or has moved"},
	} {
		for range 50 { // a select takes any
			conn := &conn091{closed: make(chan *amqp091.Error, 1), cancelled: make(chan string, 1)}
			if c.closed != nil {
				conn.closed <- c.closed
			}
			if c.cancelled != "" {
				conn.cancelled <- c.cancelled
			}
			if !c.open {
				close(conn.closed)
				close(conn.cancelled)
			}
			if err := conn.ended(); err.Error() != c.want {
				t.Fatalf("%s: %v, want %s", name, err, c.want)
			}
		}
	}
}

// What is renewed at once has to be more than the broker may still send,
// and no more than is ever in hand.
func TestRenewal(t *testing.T) {
	t.Parallel()
	for prefetch := 1; prefetch <= 1000; prefetch++ {
		n := int(renewal(prefetch))
		if left := prefetch - n; n <= left || left < 0 {
			t.Errorf("of %d messages %d are renewed at once", prefetch, n)
		}
	}
}
