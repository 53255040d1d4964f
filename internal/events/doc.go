// Package events is the service's side of NATS JetStream: it reads triggers
// out of CloudEvents and makes CloudEvents of results, and it alone settles
// messages.
//
// Reading goes in two steps. Reader.Peek looks at every message of the bus and
// tells cheaply what is not ours. The rest goes through Decode, which makes a
// CloudEvent of a message, and Reader.Trigger, which makes a trigger of it.
//
// A build with two tags, published for one organization, takes eleven round trips
// to JetStream, each for a reason:
//
//   - Ledger.Published reads the entry, before anybody else is asked: what is done
//     costs no more than that.
//   - Ledger.Begin reads it again and writes it. Minutes may lie in between, with
//     the gate and the archive; the entry as it was would only lose the race.
//   - Leases.Lock creates and deletes a key for each tag. A lease that is left to
//     end by itself would hold up the package's next build, and one for both tags
//     the builds that share only one of them.
//   - The result event is acknowledged before the ledger is written.
//   - The ledger is read once more before that event, and written after it:
//     another replica may have told it meanwhile.
//   - The delivery's own acknowledgement is confirmed, or it would come again.
package events
