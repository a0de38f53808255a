"""The span of a call to a vendor, where one may be recorded."""

from __future__ import annotations

from types import SimpleNamespace

import aiohttp
from crossdock.telemetry import may_be_recorded
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.propagate import inject
from yarl import URL


def trace_config() -> aiohttp.TraceConfig:
    """OpenTelemetry's. A call of which no span would be recorded says in its headers where it
    stands, as one with a span does, and is spared the rest."""
    config = create_trace_config(url_filter=_without_query)
    (begin,) = config.on_request_start

    async def begin_where_recorded(
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceRequestStartParams,
    ) -> None:
        if may_be_recorded():
            await begin(session, context, params)
        elif not context.excluded_urls.url_disabled(str(params.url)):
            inject(params.headers)

    config.on_request_start[0] = begin_where_recorded
    return config


def _without_query(url: URL) -> str:
    """What spans show of an address: queries may carry names, numbers or keys."""
    return str(url.with_query(None).with_user(None))
