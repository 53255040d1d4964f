// Package prometheus holds the alert rules of omps-consumer, and the tests of
// these and of the Grafana dashboard, which run them through Prometheus' own code.
package prometheus
