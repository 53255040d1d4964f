// Package quay publishes to an organization of a Quay registry, and deletes from
// it: bundle images, also in any other registry that speaks the OCI distribution
// protocol, and the releases of the app registry that Quay had up to 3.8. It
// also asks any registry which image a tag names.
package quay
