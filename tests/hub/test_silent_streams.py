"""Publishes to streams that answer nobody, beside those of a stream that does; a real server."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter

from crossdock_hub.bus.jetstream import MAX_IN_FLIGHT, Bus
from crossdock_hub.bus.publishing import Message, Outcome
from crossdock_hub.bus.streams import StreamSpec
from fixtures_nats import NatsProcess, eventually

SILENT = 8
# Longer than this test may take: nobody of them is given up meanwhile.
FOR_EVER_SECONDS = 3_600.0


async def test_streams_that_answer_nobody_take_nothing_from_others(
    nats_server: NatsProcess,
) -> None:
    """Proves that several subjects whose messages nobody acknowledges have as many in flight as
    each may, and no more, and that another one's are stored meanwhile; and that what gives them up
    leaves their room to whoever comes next."""
    name = f"T{uuid.uuid4().hex[:12]}"
    spec = StreamSpec(name, (f"{name}.>",), "memory", "limits", 3600.0, 4 * 1024 * 1024)
    bus = await Bus.connect(nats_server.address)
    heard: Counter[str] = Counter()
    # Somebody is there, and so nobody says that there is no stream.
    listener = await bus.listen(f"silent.{name}.*", lambda subject, _: heard.update([subject]))
    subjects = [f"silent.{name}.{number}" for number in range(SILENT)]
    full = dict.fromkeys(subjects, MAX_IN_FLIGHT)

    async def told(more: int) -> None:
        messages = [[Message(each, b"x")] * (MAX_IN_FLIGHT + 1) for each in subjects]
        windows = [
            asyncio.create_task(bus.publish_window(each, FOR_EVER_SECONDS)) for each in messages
        ]
        awaited = {subject: count * more for subject, count in full.items()}
        await eventually(lambda: heard == awaited, "all that may be in flight")
        results = await bus.publish_window(
            [Message(f"{name}.a", b"x", {"Nats-Msg-Id": f"{more} {at}"}) for at in range(1_000)], 30
        )
        assert {each.outcome for each in results} == {Outcome.STORED}
        assert not any(window.done() for window in windows) and heard == awaited
        for window in windows:
            window.cancel()
        await asyncio.gather(*windows, return_exceptions=True)

    try:
        await bus.ensure_streams([spec])
        await told(1)
        await told(2)
    finally:
        await listener.stop()
        await bus.delete_stream(name)
        await bus.close()
