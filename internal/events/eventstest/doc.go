// Package eventstest runs a JetStream server for tests, as httptest does for
// HTTP.
package eventstest
