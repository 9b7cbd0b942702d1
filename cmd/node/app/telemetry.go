package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// flushTimeout bounds the last export, when the node has stopped.
const flushTimeout = 5 * time.Second

// consoleDelay is how long spans for the console are gathered, by default.
const consoleDelay = 200 * time.Millisecond

// telemetry is what `run` exports: what the OTEL_* variables ask for, and a
// page for Prometheus. With neither, its providers are nil, which the node
// takes for none.
type telemetry struct {
	tracers trace.TracerProvider
	meters  metric.MeterProvider
	page    http.Handler // the metrics, for Prometheus
	ends    []func(context.Context) error
	log     *slog.Logger
}

// identity is who exports.
type identity struct{ service, version, node string }

func newTelemetry(ctx context.Context, id identity, s Streams, withPage bool, log *slog.Logger) (*telemetry, error) {
	t := &telemetry{log: log}
	env := otelEnv(s.Getenv)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry", "error", err) }))
	// The environment has the last word: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", id.service),
		attribute.String("service.version", id.version),
		attribute.String("service.instance.id", id.node),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	if err := t.startTraces(ctx, env, res, s.Err); err != nil {
		return nil, err
	}
	if err := t.startMetrics(ctx, env, res, s.Err, withPage); err != nil {
		t.close(ctx)
		return nil, err
	}
	return t, nil
}

func (t *telemetry) startTraces(ctx context.Context, env otelEnv, res *resource.Resource, console io.Writer) error {
	var exporter sdktrace.SpanExporter
	var err error
	by := env.exporter("TRACES")
	switch by {
	case "":
		return nil
	case "console":
		exporter, err = stdouttrace.New(stdouttrace.WithWriter(console))
	default:
		exporter, err = autoexport.NewSpanExporter(ctx)
	}
	if err != nil {
		return fmt.Errorf("export traces by %q, as OTEL_* ask for: %w", by, err)
	}
	var batch []sdktrace.BatchSpanProcessorOption
	if by == "console" && env("OTEL_BSP_SCHEDULE_DELAY") == "" {
		batch = append(batch, sdktrace.WithBatchTimeout(consoleDelay)) // somebody watches
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, batch...), sdktrace.WithResource(res))
	t.tracers = provider
	t.ends = append(t.ends, provider.Shutdown)
	return nil
}

func (t *telemetry) startMetrics(ctx context.Context, env otelEnv, res *resource.Resource, console io.Writer, withPage bool) error {
	opts := []sdkmetric.Option{sdkmetric.WithResource(res)}
	switch by := env.exporter("METRICS"); by {
	case "":
	case "console":
		exporter, err := stdoutmetric.New(stdoutmetric.WithWriter(console))
		if err != nil {
			return fmt.Errorf("export metrics: %w", err)
		}
		opts = append(opts, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	default:
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return fmt.Errorf("export metrics by %q, as OTEL_* ask for: %w", by, err)
		}
		opts = append(opts, sdkmetric.WithReader(reader))
	}
	if withPage {
		registry := prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		t.page = promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
		if !env.disabled() {
			reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
			if err != nil {
				return fmt.Errorf("metrics for Prometheus: %w", err)
			}
			opts = append(opts, sdkmetric.WithReader(reader))
		}
	}
	if len(opts) == 1 {
		return nil // nobody reads
	}
	provider := sdkmetric.NewMeterProvider(opts...)
	t.meters = provider
	t.ends = append(t.ends, provider.Shutdown)
	return nil
}

// close exports what is left. That nobody takes it is no failure of the node's.
func (t *telemetry) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	var errs []error
	for _, end := range t.ends {
		errs = append(errs, end(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		t.log.Warn("the last telemetry was not exported", "error", err)
	}
}

// otelEnv reads the variables that decide whether anything is exported; how,
// the exporters read from the process's environment themselves.
type otelEnv func(string) string

func (env otelEnv) disabled() bool { return strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") }

// exporter is the one for TRACES or METRICS, "" for none. By OpenTelemetry's
// rules OTLP to this host would be the default; who has set nothing wants
// nothing.
func (env otelEnv) exporter(signal string) string {
	named := env("OTEL_" + signal + "_EXPORTER")
	switch {
	case env.disabled() || named == "none":
		return ""
	case named == "" && (env("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || env("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""):
		return "otlp"
	default:
		return named
	}
}
