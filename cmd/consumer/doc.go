// Command consumer takes operator manifests from completed Koji builds to Quay,
// driven by CloudEvents on NATS JetStream.
package main
