package amqp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rabbitmq/amqp091-go"
)

const (
	// dialTimeout bounds reaching one broker.
	dialTimeout = 10 * time.Second
	// closeTimeout bounds saying goodbye to it.
	closeTimeout = 2 * time.Second
	// reasonTimeout bounds waiting for the reason of an end that is known.
	reasonTimeout = time.Second
)

// conn091 is a connection of AMQP 0.9.1, which reads one queue.
type conn091 struct {
	conn       *amqp091.Connection
	network    net.Conn
	deliveries <-chan amqp091.Delivery
	closed     chan *amqp091.Error
	cancelled  chan string
}

func open091(ctx context.Context, o Options, at string) (connection, error) {
	c, detach, err := dial091(ctx, o, at)
	defer detach()
	if err != nil {
		return nil, err
	}
	if err := c.consume(o); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// dial091 connects and logs in. The library knows no contexts, so the end of ctx
// takes its network connection away, until detach is called.
func dial091(ctx context.Context, o Options, at string) (c *conn091, detach func() bool, err error) {
	detach = func() bool { return true }
	login, err := o.login091()
	if err != nil {
		return nil, detach, err
	}
	tlsConfig, err := o.TLS.config()
	if err != nil {
		return nil, detach, err
	}
	var network net.Conn
	properties := amqp091.NewConnectionProperties()
	properties["app"] = name
	properties.SetClientConnectionName(name)
	conn, err := amqp091.DialConfig(at, amqp091.Config{
		SASL: login, TLSClientConfig: tlsConfig, Heartbeat: heartbeat, Properties: properties,
		Dial: func(protocol, addr string) (_ net.Conn, err error) {
			network, err = (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, protocol, addr)
			if err == nil {
				detach = context.AfterFunc(ctx, func() { _ = network.Close() })
			}
			return network, err
		},
	})
	if err != nil {
		if network != nil {
			_ = network.Close()
		}
		return nil, detach, fmt.Errorf("connect: %w", err)
	}
	return &conn091{conn: conn, network: network}, detach, nil
}

// ping091 connects and logs in, and looks for a queue that should be there.
func ping091(ctx context.Context, o Options, at string) error {
	c, detach, err := dial091(ctx, o, at)
	defer detach()
	if err != nil {
		return err
	}
	defer c.close()
	if o.Queue.Declare {
		return nil
	}
	channel, err := c.conn.Channel()
	if err != nil {
		return fmt.Errorf("channel: %w", err)
	}
	if _, err := channel.QueueDeclarePassive(o.Queue.Name, false, false, false, false, nil); err != nil {
		return fmt.Errorf("queue %s: %w", o.Queue.Name, err)
	}
	return nil
}

func (o Options) login091() ([]amqp091.Authentication, error) {
	if o.Username != "" {
		password, err := o.password()
		return []amqp091.Authentication{&amqp091.PlainAuth{Username: o.Username, Password: password.Reveal()}}, err
	}
	if o.TLS.CertFile != "" {
		return []amqp091.Authentication{&amqp091.ExternalAuth{}}, nil
	}
	return nil, errors.New("neither a user nor a certificate to log in with")
}

// consume subscribes to the queue, and makes it before where it should.
func (c *conn091) consume(o Options) error {
	channel, err := c.conn.Channel()
	if err != nil {
		return fmt.Errorf("channel: %w", err)
	}
	c.closed = channel.NotifyClose(make(chan *amqp091.Error, 1))
	c.cancelled = channel.NotifyCancel(make(chan string, 1))
	if q := o.Queue; q.Declare {
		if err := declare(channel, q); err != nil {
			return err
		}
	}
	if err := channel.Qos(o.Prefetch, 0, false); err != nil {
		return fmt.Errorf("prefetch: %w", err)
	}
	c.deliveries, err = channel.Consume(o.Queue.Name, "", false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("queue %s: %w", o.Queue.Name, err)
	}
	return nil
}

func declare(channel *amqp091.Channel, q Queue) error {
	if _, err := channel.QueueDeclare(q.Name, q.Durable, !q.Durable, false, false, nil); err != nil {
		return fmt.Errorf("declare queue %s: %w", q.Name, err)
	}
	for _, key := range q.RoutingKeys {
		if err := channel.QueueBind(q.Name, key, q.Exchange, false, nil); err != nil {
			return fmt.Errorf("bind queue %s to %s with %s: %w", q.Name, q.Exchange, key, err)
		}
	}
	return nil
}

func (c *conn091) links() []link { return []link{c} }

func (c *conn091) close() { _ = c.conn.CloseDeadline(time.Now().Add(closeTimeout)) }

func (c *conn091) receive(ctx context.Context) (Delivery, error) {
	select {
	case <-ctx.Done():
		return Delivery{}, ctx.Err()
	case d, ok := <-c.deliveries:
		if !ok {
			return Delivery{}, c.ended()
		}
		return Delivery{
			Message: message091(d),
			accept:  func(ctx context.Context) error { return c.settle(ctx, func() error { return d.Ack(false) }) },
			reject:  func(ctx context.Context) error { return c.settle(ctx, func() error { return d.Reject(false) }) },
		}, nil
	}
}

// settle answers. The library waits for as long as the broker reads nothing, so
// the end of ctx takes the network connection away here too.
func (c *conn091) settle(ctx context.Context, answer func() error) error {
	detach := context.AfterFunc(ctx, func() { _ = c.network.Close() })
	defer detach()
	return answer()
}

// ended says why there are no more deliveries. Once the library has told why, it
// closes both chans, so that a word on one may come after the end of the other.
func (c *conn091) ended() error {
	select {
	case err := <-c.closed:
		return connectionLost(err)
	case _, told := <-c.cancelled:
		if !told {
			return connectionLost(<-c.closed)
		}
		return errors.New("the broker ended the subscription: the queue was deleted, or has moved")
	case <-time.After(reasonTimeout):
		return connectionLost(nil)
	}
}

func connectionLost(why *amqp091.Error) error {
	if why == nil {
		return errors.New("connection lost")
	}
	return fmt.Errorf("connection lost: %w", why)
}

// message091 reads a message. Its size is bounded by RabbitMQ alone, 16 or 128
// MiB unless configured: the protocol lets nobody ask for less.
func message091(d amqp091.Delivery) Message {
	return Message{ID: d.MessageId, Topic: d.RoutingKey, Time: d.Timestamp, Body: d.Body, headers: d.Headers}
}
