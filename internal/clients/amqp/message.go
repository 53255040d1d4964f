package amqp

import (
	"context"
	"fmt"
	"time"
)

// Message is one of a bus, whatever its protocol.
type Message struct {
	ID    string    // the sender's, or the broker's; "": none
	Topic string    // where it was sent to, as far as the broker tells
	Time  time.Time // when it was sent; zero: not said
	Body  []byte

	headers map[string]any
}

// Header is the value of an application property (1.0) or header (0.9.1) that
// is a text, a number or a boolean, in its usual form. It is empty for what is
// not there or is something else.
func (m Message) Header(name string) string {
	switch value := m.headers[name].(type) {
	case string:
		return value
	case bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
		return fmt.Sprint(value)
	}
	return ""
}

// Delivery is a message that waits to be settled. One that is not comes again
// when the connection has ended.
type Delivery struct {
	Message
	accept, reject func(context.Context) error
}

// Accept tells the broker that the message is in good hands.
func (d Delivery) Accept(ctx context.Context) error { return d.accept(ctx) }

// Reject tells the broker that nothing can be done with the message: it goes
// where the broker keeps such, if it has a place for them.
func (d Delivery) Reject(ctx context.Context) error { return d.reject(ctx) }
