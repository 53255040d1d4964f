package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/clients/otlp"
)

// Bounds of what spans may take. What does not fit into the queue, or is not
// taken in time, is lost: no build waits for a collector.
const (
	spanQueue     = 4096
	spanBatch     = 512
	spanInterval  = 2 * time.Second
	exportTimeout = 5 * time.Second
	lastExport    = 3 * time.Second // of all that is left at the end
)

// tracing makes spans and sends them on.
type tracing struct {
	tracer trace.Tracer // nil: nothing is traced
	stop   func()       // sends what is left, within lastExport
}

// newTracing is that of a checked configuration.
func newTracing(c Config, reg prometheus.Registerer, log *slog.Logger) (tracing, error) {
	metrics := otlp.NewMetrics(reg)
	if c.Tracing.OTLPURL == "" {
		return tracing{stop: func() {}}, nil
	}
	roots, err := clients.CertPool(c.TLS.CAPaths(), c.TLS.Fetched)
	if err != nil {
		return tracing{}, err
	}
	exporter, err := otlp.New(otlp.Options{
		URL: c.Tracing.OTLPURL, Authorization: c.Tracing.Authorization.Follow(log), Metrics: metrics, Logger: log,
		HTTP: clients.New(clients.Options{
			Name: "otlp", Timeout: exportTimeout, Retries: safeRetries, RootCAs: roots, Logger: log, Hosts: []string{hostOf(c.Tracing.OTLPURL)},
		}),
	})
	if err != nil {
		return tracing{}, fmt.Errorf("tracing: %w", err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithResource(describeService()),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Tracing.Sample))),
		sdk.WithSpanProcessor(otlp.NewQueue(exporter, otlp.QueueOptions{
			Size: spanQueue, Batch: spanBatch, Interval: spanInterval, Timeout: exportTimeout,
		})),
	)
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastExport)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("the last spans are lost", "err", err)
		}
	}
	return tracing{tracer: provider.Tracer(serviceName), stop: stop}, nil
}

// serviceName is what traces call this program.
const serviceName = "omps-consumer"

// describeService names this process, by OpenTelemetry's conventions for
// services.
func describeService() *resource.Resource {
	attributes := []attribute.KeyValue{
		attribute.String("service.name", serviceName), attribute.String("service.version", buildVersion().Version),
	}
	if host, err := os.Hostname(); err == nil {
		attributes = append(attributes, attribute.String("service.instance.id", host))
	}
	return resource.NewSchemaless(attributes...)
}
