package amqp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	amqp10 "github.com/Azure/go-amqp"
)

// maxMessageBytes bounds a message of AMQP 1.0, where a receiver may say so. It
// is far above what can be passed on, so that one which cannot is seen and
// told, and does not stand in the way of all that follow it.
const maxMessageBytes = 64 << 20

// conn10 is a connection of AMQP 1.0.
type conn10 struct {
	conn      *amqp10.Conn
	receivers []link
}

func open10(ctx context.Context, o Options, at string) (connection, error) {
	c, err := dial10(ctx, o, at)
	if err != nil {
		return nil, err
	}
	if err := c.attach(ctx, o); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// dial10 connects and logs in.
func dial10(ctx context.Context, o Options, at string) (*conn10, error) {
	login, err := o.login10()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	conn, err := amqp10.Dial(ctx, at, &amqp10.ConnOptions{
		SASLType: login, TLSConfig: tlsConfig, IdleTimeout: 2 * heartbeat,
		Properties: map[string]any{"product": name},
	})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &conn10{conn: conn}, nil
}

// ping10 connects and logs in, and asks for nothing: who asks for messages gets
// them.
func ping10(ctx context.Context, o Options, at string) error {
	c, err := dial10(ctx, o, at)
	if err != nil {
		return err
	}
	c.close()
	return nil
}

func (o Options) login10() (amqp10.SASLType, error) {
	switch {
	case o.Username != "":
		password, err := o.password()
		return amqp10.SASLTypePlain(o.Username, password.Reveal()), err
	case o.TLS.CertFile != "":
		return amqp10.SASLTypeExternal(""), nil
	}
	return amqp10.SASLTypeAnonymous(), nil
}

// attach asks for the messages of every address. One that the broker refuses keeps
// us from all, so that nobody overlooks it. They come unsettled: a broker forgets
// one that it sends settled, whatever becomes of it here.
func (c *conn10) attach(ctx context.Context, o Options) error {
	session, err := c.conn.NewSession(ctx, nil)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	for _, address := range o.Addresses {
		receiver, err := session.NewReceiver(ctx, address, &amqp10.ReceiverOptions{
			Credit: -1, MaxMessageSize: maxMessageBytes, // the credit is link10's to give
			RequestedSenderSettleMode: amqp10.SenderSettleModeUnsettled.Ptr(),
		})
		if err == nil {
			err = receiver.IssueCredit(uint32(o.Prefetch))
		}
		if err != nil {
			return fmt.Errorf("address %s: %w", address, err)
		}
		c.receivers = append(c.receivers, &link10{receiver: receiver, address: address, renewal: renewal(o.Prefetch)})
	}
	return nil
}

// renewal is after how many settled messages as many more are asked for.
//
// RabbitMQ 3 sends some too many when it is asked for more while it sends: at
// most as many as it still may send at that time, which is what is not renewed.
// For the library's own way, which asks for each when none may come, that can be
// one more than none. Its unsigned count of what may come then wraps around, and
// it never asks again. So more is renewed at once than can be too many. The quarter
// that is left is what may be held for long without holding up the others.
func renewal(prefetch int) uint32 { return uint32(prefetch - prefetch/4) }

func (c *conn10) links() []link { return c.receivers }

// close leaves the links as they are: to close one can mean to end a durable
// subscription.
func (c *conn10) close() { _ = c.conn.Close() }

// link10 is one address.
type link10 struct {
	receiver *amqp10.Receiver
	address  string
	renewal  uint32
	settled  atomic.Uint32
}

func (l *link10) receive(ctx context.Context) (Delivery, error) {
	msg, err := l.receiver.Receive(ctx, nil)
	if err != nil {
		return Delivery{}, ended10(err)
	}
	return Delivery{
		Message: message10(msg, l.address),
		accept:  func(ctx context.Context) error { return l.renew(l.receiver.AcceptMessage(ctx, msg)) },
		reject:  func(ctx context.Context) error { return l.renew(l.receiver.RejectMessage(ctx, msg, nil)) },
	}, nil
}

// renew asks for more messages when enough are settled. settling is how that went
// for one.
func (l *link10) renew(settling error) error {
	if l.settled.Add(1)%l.renewal != 0 {
		return settling
	}
	return errors.Join(settling, l.receiver.IssueCredit(l.renewal))
}

// ended10 says why an address gives no more, where the library has no words.
func ended10(err error) error {
	var conn *amqp10.ConnError
	if errors.As(err, &conn) && conn.RemoteErr == nil {
		return fmt.Errorf("connection lost: %w", err)
	}
	return err
}

// message10 reads a message that came from an address.
func message10(msg *amqp10.Message, address string) Message {
	m := Message{Topic: address, Body: body10(msg), headers: msg.ApplicationProperties}
	// RabbitMQ tells the routing key; others keep what the sender addressed.
	if key, ok := msg.Annotations["x-routing-key"].(string); ok && key != "" {
		m.Topic = key
	}
	if p := msg.Properties; p != nil {
		m.ID = id10(p.MessageID)
		if p.To != nil && *p.To != "" {
			m.Topic = *p.To
		}
		if p.CreationTime != nil {
			m.Time = *p.CreationTime
		}
	}
	return m
}

// body10 is the body as bytes. Koji's plugin sends one text value; brokers that
// translate from other protocols send data sections.
func body10(msg *amqp10.Message) []byte {
	switch value := msg.Value.(type) {
	case string:
		return []byte(value)
	case []byte:
		return value
	}
	return bytes.Join(msg.Data, nil)
}

// id10 is a message id in text form; the specification has four types of them.
func id10(id any) string {
	switch id := id.(type) {
	case string:
		return id
	case uint64:
		return strconv.FormatUint(id, 10)
	case []byte:
		return hex.EncodeToString(id)
	case amqp10.UUID:
		return id.String()
	}
	return ""
}
