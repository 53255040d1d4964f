// Package sandbox stands in for the outside world: a Koji hub with its files
// server, Greenwave, and a registry with Quay's way of handing out tokens, Quay's
// former app registry and Quay's API for visibility. All of it speaks real HTTP on
// loopback, keeps its state in memory, and can be made to fail while it runs.
//
// [Start] brings everything up at once, with sample builds; that is what
// `consumer sandbox` runs. Tests also use the parts: [Koji], [Greenwave] and
// [Registry] are handlers, [Serve] serves any handler, and a [Server] records
// what it was asked, can be stopped and started again on its address, and
// injects faults.
package sandbox
