// Package amqp receives the messages of other people's buses: AMQP 1.0, which
// Koji's protonmsg plugin speaks to ActiveMQ or Artemis, and AMQP 0.9.1, which
// fedora-messaging speaks to RabbitMQ. It hands over each message with the way
// to settle it, and connects again for as long as it is asked to.
package amqp
