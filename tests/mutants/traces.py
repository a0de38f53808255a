"""Faults in which calls are recorded, and where in a trace the others stand."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, Mutant, faults_in

RECORDED: Final = ("tests/hub/test_recorded_calls.py",)

TRACE_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}door/tracing.py",
        RECORDED,
        a_trace_that_begins_has_another_id_than_was_asked_about=(
            "begin_with(trace_id)",
            "pass",
        ),
        every_call_begins_a_trace=(
            "parent.trace_id if parent.is_valid else ids.generate_trace_id()",
            "ids.generate_trace_id()",
        ),
        a_place_in_a_trace_is_forgotten=("attach(place)", "pass"),
        nothing_else_is_carried_on=(
            "set_span_in_context(trace.NonRecordingSpan(own), around)",
            "set_span_in_context(trace.NonRecordingSpan(own), Context())",
        ),
        every_sampler_decides_by_trace_ids=("return type(sampler) in _BY_TRACE_ID", "return True"),
        whom_a_sampler_asks_is_not_looked_at=("if type(sampler) in _BY_PARENT:", "if False:"),
        ids_of_somebody_else_are_asked_about_twice=(
            "not isinstance(provider.id_generator, TimedTraceIds) or not",
            "not",
        ),
        traces_that_are_off_are_made=(
            "if not isinstance(provider.get_tracer(__name__), Tracer):",
            "if False:",
        ),
        state_of_a_trace_is_dropped=("trace_state=sampled.trace_state", "trace_state=None"),
        health_is_traced=('call.method.startswith("/crossdock.")', "True"),
    ),
]
