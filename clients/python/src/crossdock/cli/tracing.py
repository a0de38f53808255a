"""Traces from the command line on: ids always, spans recorded only where somebody collects them."""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from typing import Final

from crossdock import telemetry

SAMPLER_VARIABLE: Final = "OTEL_TRACES_SAMPLER"
_NOTHING: Final = "parentbased_always_off"
_COLLECTORS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def begin_tracing(service_name: str) -> Callable[[], None]:
    """Start tracing in this process; returns what to call at the end."""
    record_only_for_a_collector(os.environ)
    return telemetry.start_tracing(service_name)


def record_only_for_a_collector(variables: MutableMapping[str, str]) -> None:
    """Without a collector spans cost time and go nowhere; the ids travel all the same."""
    if not any(variables.get(name) for name in _COLLECTORS):
        variables.setdefault(SAMPLER_VARIABLE, _NOTHING)
