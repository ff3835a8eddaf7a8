"""Traces as OpenTelemetry spans, where that package is installed (`sampan[otel]`).

A write is one span, what it waited for one after the other are spans in it, and every step of every
member is an event of it. Where they go is said as everywhere: OTEL_EXPORTER_OTLP_ENDPOINT and its
kin (opentelemetry.io/docs/specs/otel/protocol/exporter).
"""

import os
from collections.abc import Callable
from time import monotonic, time_ns
from typing import Any

from ..client.trace import Trace
from ..config.model import ConfigError

WANTED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def exporter(node: str) -> Callable[[Trace], None] | None:
    """What exports a trace, of the node of that name; None when the environment names no receiver.

    Raises:
        ConfigError: it names one, and the package is not there.
    """
    if not any(map(os.environ.get, WANTED_BY)):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f"{WANTED_BY[0]} is set, and opentelemetry is not installed: install sampan[otel], "
            "or leave the variable out"
        ) from error
    return Spans(node, BatchSpanProcessor(OTLPSpanExporter())).export


class Spans:
    """Makes spans of traces."""

    def __init__(self, node: str, processor: Any) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        named = Resource.create({"service.name": "sampan", "service.instance.id": node})
        provider = TracerProvider(resource=named)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("sampan")

    def export(self, trace: Trace) -> None:
        """Hand one on."""
        from opentelemetry.trace import set_span_in_context

        began_ns = time_ns() - int((monotonic() - trace.began) * 1e9)

        def at(seconds: float) -> int:
            return began_ns + int(seconds * 1e9)

        about = {"sampan.revision": trace.revision, "sampan.entry": trace.entry,
                 "sampan.term": trace.term}  # fmt: skip
        span = self._tracer.start_span("write", start_time=at(0), attributes=about)
        for step in trace.steps:
            where = {"sampan.member": f"{step.member_id:x}", "sampan.actor": step.actor}
            span.add_event(step.name, where, timestamp=at(step.at))
        inside, before = set_span_in_context(span), 0.0
        for text, seconds in trace.parts():
            part = self._tracer.start_span(text, inside, start_time=at(before))
            before += seconds
            part.end(at(before))
        span.end(at(trace.took_s))
