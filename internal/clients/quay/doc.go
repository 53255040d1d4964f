// Package quay publishes bundle images to an organization of a Quay registry,
// or of any other that speaks the OCI distribution protocol.
package quay
