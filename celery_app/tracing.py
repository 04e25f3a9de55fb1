"""Where in a trace a task stands: its ids, and the context that travels with messages and in a worker.

Invariants
  * A run is one trace. Trace and span ids follow from ids of tasks, so every process names the same
    ones without being told, and a repetition names them again.
  * Unless it is enabled, nothing of OpenTelemetry is imported and no message carries anything more.
  * No trace holds what a task is about, unless `content` says so.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import signals

from celery_app.errors import ConfigurationError
from celery_app.monitoring_settings import Tracing as TracingSection
from celery_app.postgres.request import GRAPH_HEADER
from celery_app.sections import System

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext, Tracer

__all__ = ["Tracing", "is_sampled", "span_id", "trace_id"]

#: Where the W3C has the context travel.
_HEADER = "traceparent"


def trace_id(root_id: str) -> int:
    """Return the trace of a run: the id of its outermost task, as a number."""
    return UUID(root_id).int


def span_id(task_id: str, *part: str | int) -> int:
    """Return the span of a task, or of a part of its work."""
    name = "/".join(map(str, (task_id, *part)))
    # Zero is no id.
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") or 1


def is_sampled(root_id: str, ratio: float) -> bool:
    """Tell whether a run is among those that are traced.

    Not by the bits of the trace id, as OpenTelemetry does: half of them are the same in all UUIDs.
    """
    return span_id(root_id, "sample") < ratio * 2**64


class Tracing:
    """What is traced, and where it is sent.

    Args:
        section: The settings.
        system: As whom the spans are sent.
    """

    def __init__(self, section: TracingSection, system: System) -> None:
        disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        self.enabled = section.enabled and not disabled
        self.content = section.content
        self._section = section
        self._system = system
        if self.enabled:
            _require_packages()
            signals.before_task_publish.connect(self._on_publish, weak=False)

    @property
    def ratio(self) -> float:
        """The share of runs that are traced."""
        if self._section.sample_ratio is not None:
            return self._section.sample_ratio
        return float(os.environ.get("OTEL_TRACES_SAMPLER_ARG") or 1.0)

    def context_of(self, root_id: str, task_id: str) -> SpanContext:
        """Return the place of a task in the trace of its run."""
        from opentelemetry.trace import SpanContext, TraceFlags

        flags = TraceFlags(TraceFlags.SAMPLED if is_sampled(root_id, self.ratio) else 0)
        return SpanContext(trace_id(root_id), span_id(task_id), is_remote=True, trace_flags=flags)

    def step(self, root_id: str, task_id: str) -> AbstractContextManager[None]:
        """Be inside a task of a graph: whatever is traced or sent here belongs to it."""
        if not self.enabled:
            return nullcontext()
        return _inside(self._at(root_id, task_id))

    def ordinary(self, name: str, request: Any) -> AbstractContextManager[Any]:
        """Trace an ordinary Celery task, below whatever sent it."""
        if not self.enabled:
            return nullcontext()
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {_HEADER: request.get(_HEADER) or ""}
        return self._tracer.start_as_current_span(
            name,
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.CONSUMER,
            attributes={"celery.task.id": request.id, "messaging.system": "redis"},
            # Its text may tell what the task is about.
            record_exception=False,
            set_status_on_exception=self.content,
        )

    def exporter(self) -> SpanExporter:
        """Return what sends spans by OTLP; what the settings leave open is OpenTelemetry's to say."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        endpoint = self._section.endpoint
        return OTLPSpanExporter(endpoint=endpoint and f"{endpoint.rstrip('/')}/v1/traces")

    def resource(self) -> Resource:
        """Return as whom spans are sent; `OTEL_SERVICE_NAME` goes before the name of the system."""
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource

        own = {"service.name": self._system.name, "service.version": self._system.version}
        return Resource(own).merge(OTELResourceDetector().detect())

    @functools.cached_property
    def _tracer(self) -> Tracer:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

        provider = TracerProvider(ParentBasedTraceIdRatio(self.ratio), self.resource())
        provider.add_span_processor(BatchSpanProcessor(self.exporter()))
        return provider.get_tracer("celery_app")

    def _at(self, root_id: str, task_id: str) -> Context:
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context

        return set_span_in_context(NonRecordingSpan(self.context_of(root_id, task_id)))

    def _on_publish(self, headers: dict[str, Any], **_: Any) -> None:
        """Give a message its place in a trace; a task of a graph has its own, whoever sends it."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = None
        if headers.get(GRAPH_HEADER):
            context = self._at(headers.get("root_id") or headers["id"], headers["id"])
        elif _HEADER in headers:
            return
        TraceContextTextMapPropagator().inject(headers, context)


@contextmanager
def _inside(context: Context) -> Iterator[None]:
    from opentelemetry import context as current

    token = current.attach(context)
    try:
        yield
    finally:
        current.detach(token)


def _require_packages() -> None:
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"monitoring.tracing needs OpenTelemetry ({error}): "
            "pip install 'ai-agent-system[otel]', or set monitoring.tracing.enabled to false"
        ) from error
