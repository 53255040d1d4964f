// Package otlp sends finished spans to an OpenTelemetry collector.
package otlp
