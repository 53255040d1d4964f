// Package clients holds what every client of an outside server shares: one way
// to send a request with bounds on time, tries and bytes, and errors and
// metrics that carry no secret.
package clients
