// Package events is the service's side of NATS JetStream: it reads triggers
// out of CloudEvents and makes CloudEvents of results, and it alone settles
// messages.
//
// Reading goes in two steps. Reader.Peek looks at every message of the bus and
// tells cheaply what is not ours. The rest goes through Decode, which makes a
// CloudEvent of a message, and Reader.Trigger, which makes a trigger of it.
package events
